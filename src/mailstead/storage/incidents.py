"""Incidents: a site says that we are blocked or not believed, until it takes mail from us again.

Holds: at most one is open for a site, a source and a kind.
"""

from datetime import datetime, timedelta

import msgspec

from mailstead.model.numbers import TraceId
from mailstead.storage.store import Tx, from_micros, to_micros

SAID_LIMIT = 500  # characters of a reply that are kept
KEPT = timedelta(days=90)  # after it was closed
LIST_LIMIT = 1000


class Key(msgspec.Struct, frozen=True):
    """What an incident is about: who does not want mail from where, and of which kind that is."""

    site: str
    source: str
    kind: str  # "reputation", "authentication"


class Incident(msgspec.Struct, frozen=True):
    """One incident; `times` counts the refusals, `trace` is the message that was refused first."""

    id: int
    key: Key
    host: str
    said: str
    trace: TraceId
    opened: datetime
    last: datetime
    times: int
    closed: datetime | None = None


def open_one(tx: Tx, key: Key, host: str, said: str, trace: TraceId) -> tuple[Incident, bool]:
    """The open incident about this, and whether it is a new one."""
    if found := _find_open(tx, key):
        return found, False
    number = tx.allocate("incident")
    now = to_micros(tx.now)
    tx.run(
        "INSERT INTO incident (id, site, source, kind, host, said, trace, opened, last, times)"
        " VALUES (:id, :site, :source, :kind, :host, :said, :trace, :now, :now, 1)",
        id=number,
        site=key.site,
        source=key.source,
        kind=key.kind,
        host=host,
        said=said[:SAID_LIMIT],
        trace=trace,
        now=now,
    )
    return Incident(number, key, host, said[:SAID_LIMIT], trace, tx.now, tx.now, 1), True


def again(tx: Tx, number: int, times: int) -> None:
    """So many more refusals."""
    tx.run(
        "UPDATE incident SET times = times + :times, last = :now WHERE id = :id AND closed IS NULL",
        id=number,
        times=times,
        now=to_micros(tx.now),
    )


def close(tx: Tx, number: int) -> bool:
    """It is over; False if it was already."""
    closed = tx.run(
        "UPDATE incident SET closed = :now WHERE id = :id AND closed IS NULL",
        id=number,
        now=to_micros(tx.now),
    )
    return closed > 0


def list_open(tx: Tx) -> list[Incident]:
    """Those that are open, oldest first."""
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM incident WHERE closed IS NULL ORDER BY id LIMIT :limit",
        limit=LIST_LIMIT,
    )
    return [_incident(row) for row in rows]


def list_closed(tx: Tx) -> list[Incident]:
    """Those that are over, the last one first."""
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM incident WHERE closed IS NOT NULL"
        " ORDER BY closed DESC LIMIT :limit",
        limit=LIST_LIMIT,
    )
    return [_incident(row) for row in rows]


def expire(tx: Tx, limit: int) -> int:
    """Forget what was over long ago; how many rows went."""
    return tx.run(
        "DELETE FROM incident WHERE id IN"
        " (SELECT id FROM incident WHERE closed < :before LIMIT :limit)",
        before=to_micros(tx.now - KEPT),
        limit=limit,
    )


_COLUMNS = "id, site, source, kind, host, said, trace, opened, last, times, closed"


def _find_open(tx: Tx, key: Key) -> Incident | None:
    row = tx.row(
        f"SELECT {_COLUMNS} FROM incident WHERE site = :site AND source = :source AND kind = :kind"
        " AND closed IS NULL",
        site=key.site,
        source=key.source,
        kind=key.kind,
    )
    return None if row is None else _incident(row)


def _incident(row: tuple) -> Incident:  # type: ignore[type-arg]
    number, site, source, kind, host, said, trace, opened, last, times, closed = row
    return Incident(
        number,
        Key(site, source, kind),
        host,
        said,
        trace,
        from_micros(opened),
        from_micros(last),
        times,
        None if closed is None else from_micros(closed),
    )
