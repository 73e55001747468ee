"""Who wrote to an organisation before, and what was thought of it: domains, addresses, networks.

The counts are habits, no evidence: some may be lost, and what is old is forgotten.
Holds: what is remembered of a sender is found by its key, however many there are.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta

import msgspec

from mailstead.model.numbers import OrganisationId
from mailstead.spam.score import Remembered
from mailstead.storage.store import Tx, to_micros

KINDS = ("domain", "address", "network")
KEPT = timedelta(days=180)  # without a message
MOST = 1000  # messages of a kind; then both counts are halved, since people change


class Sender(msgspec.Struct, frozen=True, order=True):
    """One that is remembered: `kind` is one of KINDS."""

    kind: str
    sender: str


class Change(msgspec.Struct, frozen=True):
    """Messages that came from it; less than nothing takes back."""

    organisation: OrganisationId
    sender: Sender
    ham: int
    spam: int


def find(
    tx: Tx, organisation: OrganisationId, senders: Sequence[Sender]
) -> dict[Sender, Remembered]:
    """What is remembered of those who wrote before; one statement for one of each kind."""
    values = dict.fromkeys(KINDS, "") | {one.kind: one.sender for one in senders}
    rows = tx.rows(
        "SELECT kind, sender, ham, spam FROM sender_memory WHERE organisation = :organisation"
        " AND ((kind = 'domain' AND sender = :domain) OR (kind = 'address' AND sender = :address)"
        " OR (kind = 'network' AND sender = :network))",
        organisation=organisation,
        **values,
    )
    return {
        Sender(kind, sender): Remembered(max(ham, 0), max(spam, 0))
        for kind, sender, ham, spam in rows
    }


def remember(tx: Tx, changes: Iterable[Change]) -> None:
    """Count these; always in the same order, for whoever else does it at the same time."""
    now = to_micros(tx.now)
    rows = [
        {
            "organisation": one.organisation,
            "kind": one.sender.kind,
            "sender": one.sender.sender,
            "ham": one.ham,
            "spam": one.spam,
            "now": now,
        }
        for one in sorted(changes, key=lambda one: (one.organisation, one.sender))
    ]
    tx.many(_REMEMBER, rows)
    keys = [{name: row[name] for name in ("organisation", "kind", "sender")} for row in rows]
    tx.many(
        "UPDATE sender_memory SET ham = ham / 2, spam = spam / 2"
        " WHERE organisation = :organisation AND kind = :kind AND sender = :sender"
        f" AND (ham > {MOST} OR spam > {MOST})",
        keys,
    )


_REMEMBER = (
    "INSERT INTO sender_memory (organisation, kind, sender, ham, spam, first, last)"
    " VALUES (:organisation, :kind, :sender, :ham, :spam, :now, :now)"
    " ON CONFLICT (organisation, kind, sender) DO UPDATE SET"
    " ham = CASE WHEN sender_memory.ham + excluded.ham < 0 THEN 0"
    " ELSE sender_memory.ham + excluded.ham END,"
    " spam = CASE WHEN sender_memory.spam + excluded.spam < 0 THEN 0"
    " ELSE sender_memory.spam + excluded.spam END, last = excluded.last"
)


def expire(tx: Tx, limit: int) -> int:
    """Forget who has not written for long; how many it were."""
    rows = tx.rows(
        "SELECT organisation, kind, sender FROM sender_memory WHERE last < :before LIMIT :limit",
        before=to_micros(tx.now - KEPT),
        limit=limit,
    )
    tx.many(
        "DELETE FROM sender_memory WHERE organisation = :organisation AND kind = :kind"
        " AND sender = :sender",
        [dict(zip(("organisation", "kind", "sender"), row, strict=True)) for row in rows],
    )
    return len(rows)
