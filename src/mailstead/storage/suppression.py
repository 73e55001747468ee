"""Whom an organisation writes to no more: addresses that are gone, that complained, or were named.

Each row says why and on what evidence. A stream is a kind of mail of an organisation; the row with
the empty stream counts for all of them.
Holds: a complaint never expires by itself; addresses are compared folded, as mailboxes are.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from mailstead.model.address import Address
from mailstead.model.numbers import OrganisationId
from mailstead.storage.plan import Suppress
from mailstead.storage.store import Tx, from_micros, to_micros

REASONS = ("gone", "complaint", "unsubscribed", "named")
SUSPECT = "suspect"  # failed once, and for a reason that may pass: does not count yet
FAILED_KEPT = timedelta(days=90)  # an address may come back; whoever knows better says so
TWICE_WITHIN = timedelta(days=30)
TWICE_APART = timedelta(days=1)
EVIDENCE_LIMIT = 1000  # characters


class Suppression(msgspec.Struct, frozen=True):
    """One address that is not written to; `expires` is None for never."""

    address: str
    reason: str
    evidence: str
    created: datetime
    expires: datetime | None = None
    stream: str = ""


def find(
    tx: Tx, organisation: OrganisationId, address: Address, stream: str = ""
) -> Suppression | None:
    """Why the organisation's stream does not write to the address; None if it may."""
    row = tx.row(
        f"SELECT {_COLUMNS} FROM suppression WHERE organisation = :organisation"
        " AND stream IN ('', :stream) AND address = :address"
        " AND reason != :suspect AND (expires IS NULL OR expires > :now)"
        " ORDER BY stream LIMIT 1",
        organisation=organisation,
        suspect=SUSPECT,
        stream=stream,
        address=fold(str(address)),
        now=to_micros(tx.now),
    )
    return None if row is None else _suppression(row)


def add(tx: Tx, organisation: OrganisationId, entries: Sequence[Suppression]) -> None:
    """Write to these no more; what was known of an address before gives way, but no complaint."""
    tx.many(
        "INSERT INTO suppression (organisation, stream, address, reason, evidence, created,"
        " expires) VALUES (:organisation, :stream, :address, :reason, :evidence, :created,"
        " :expires) ON CONFLICT (organisation, stream, address) DO UPDATE SET"
        " reason = excluded.reason, evidence = excluded.evidence, created = excluded.created,"
        " expires = excluded.expires WHERE suppression.reason != 'complaint'",
        [_row(organisation, entry) for entry in _latest(entries)],
    )


def complained(tx: Tx, organisation: OrganisationId, step: Suppress) -> None:
    """The stream writes to somebody no more who complained of it."""
    evidence, stream = step.evidence, step.stream
    add(
        tx, organisation, [Suppression(step.recipient, "complaint", evidence, tx.now, None, stream)]
    )


def failed_row(tx: Tx, organisation: OrganisationId, step: Suppress) -> dict[str, Any]:
    """What a failure for good says about an address, as a row for `FAILED`."""
    return {
        "organisation": organisation,
        "address": fold(step.recipient),
        "reason": SUSPECT if step.twice else "gone",
        "evidence": step.evidence[:EVIDENCE_LIMIT],
        "created": to_micros(tx.now),
        "expires": to_micros(tx.now + (TWICE_WITHIN if step.twice else FAILED_KEPT)),
        "kept": to_micros(tx.now + FAILED_KEPT),
        "before": to_micros(tx.now - TWICE_APART),
    }


# A suspect that fails again a day later is gone; what people said of an address stays as it is.
_AGAIN = "suppression.reason = 'suspect' AND suppression.created <= :before"
FAILED = (
    "INSERT INTO suppression (organisation, stream, address, reason, evidence, created, expires)"
    " VALUES (:organisation, '', :address, :reason, :evidence, :created, :expires)"
    " ON CONFLICT (organisation, stream, address) DO UPDATE SET reason = 'gone',"
    " evidence = excluded.evidence, created = excluded.created, expires = :kept"
    f" WHERE excluded.reason = 'gone' AND suppression.reason IN ('gone', 'suspect') OR {_AGAIN}"
)


def remove(tx: Tx, organisation: OrganisationId, address: str, stream: str = "") -> bool:
    """Write to the address again; False if that was not forbidden."""
    gone = tx.run(
        "DELETE FROM suppression WHERE organisation = :organisation AND stream = :stream"
        " AND address = :address",
        organisation=organisation,
        stream=stream,
        address=fold(address),
    )
    return gone > 0


def page(
    tx: Tx, organisation: OrganisationId, after: tuple[str, str] = ("", ""), limit: int = 1000
) -> list[Suppression]:
    """The next rows behind this (stream, address), in that order."""
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM suppression WHERE organisation = :organisation"
        " AND (stream, address) > (:stream, :address) ORDER BY stream, address LIMIT :limit",
        organisation=organisation,
        stream=after[0],
        address=after[1],
        limit=limit,
    )
    return [_suppression(row) for row in rows]


def expire(tx: Tx, limit: int) -> int:
    """Forget rows whose time is over; how many it were."""
    rows = tx.rows(
        "SELECT organisation, stream, address FROM suppression"
        " WHERE expires IS NOT NULL AND expires <= :now LIMIT :limit",
        now=to_micros(tx.now),
        limit=limit,
    )
    names = ("organisation", "stream", "address")
    tx.many(
        "DELETE FROM suppression WHERE organisation = :organisation AND stream = :stream"
        " AND address = :address",
        [dict(zip(names, row, strict=True)) for row in rows],
    )
    return len(rows)


def fold(address: str) -> str:
    """The address as it is compared."""
    return address.casefold()


def _latest(entries: Sequence[Suppression]) -> list[Suppression]:
    """One for each key: a statement changes a row only once."""
    return list({(entry.stream, fold(entry.address)): entry for entry in entries}.values())


def _row(organisation: OrganisationId, entry: Suppression) -> dict[str, Any]:
    complaint = entry.reason == "complaint"
    return {
        "organisation": organisation,
        "stream": entry.stream,
        "address": fold(entry.address),
        "reason": entry.reason,
        "evidence": entry.evidence[:EVIDENCE_LIMIT],
        "created": to_micros(entry.created),
        "expires": None if complaint or entry.expires is None else to_micros(entry.expires),
    }


_COLUMNS = "address, reason, evidence, created, expires, stream"

# For a statement about an account that joins what its stream does not write to; with the parameters
# :address (folded), :suspect and :now.
JOINED = ", ".join(f"suppression.{column}" for column in _COLUMNS.split(", "))
COUNTS_FOR_ACCOUNT = (
    "suppression.organisation = account.organisation"
    " AND suppression.stream IN ('', account.stream) AND suppression.address = :address"
    " AND reason != :suspect AND (expires IS NULL OR expires > :now)"
)


def joined(row: Sequence[Any]) -> Suppression | None:
    """The suppression of a statement with JOINED; None if there was none."""
    return None if row[0] is None else _suppression(tuple(row))


def _suppression(row: tuple[Any, ...]) -> Suppression:
    address, reason, evidence, created, expires, stream = row
    until = None if expires is None else from_micros(expires)
    return Suppression(address, reason, evidence, from_micros(created), until, stream)
