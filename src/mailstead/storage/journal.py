"""The journal: what happened to each message, as entries (model/entries.py) under its trace.

One row a transaction, written in the transaction it tells of. Retention is the organisation's.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from mailstead.model.entries import AnyEntry
from mailstead.model.numbers import OrganisationId, TraceId
from mailstead.storage import journal_index
from mailstead.storage.plan import JournalRow
from mailstead.storage.store import Tx, from_micros, to_micros

INSERT = (
    "INSERT INTO journal (id, at, organisation, trace, arrival, entries)"
    " VALUES (:id, :at, :organisation, :trace, :arrival, :entries)"
)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[AnyEntry]).decode


class Story(msgspec.Struct, frozen=True):
    """All entries under one trace, in the order they happened."""

    trace: TraceId
    entries: tuple[AnyEntry, ...]


def new_row(tx: Tx, row: JournalRow) -> dict[str, Any]:
    """The values of a journal row; its keys are journal_index.new_rows."""
    return {
        "id": tx.allocate("journal"),
        "at": to_micros(tx.now),
        "organisation": row.organisation,
        "trace": row.trace,
        "arrival": int(row.arrival),
        "entries": _encode(row.entries),
    }


def add(tx: Tx, rows: Sequence[JournalRow]) -> None:
    """Write the rows."""
    for row in rows:
        values = new_row(tx, row)
        tx.many(INSERT, [values])
        tx.many(journal_index.INSERT, journal_index.new_rows(values["id"], row.entries))


def find(tx: Tx, trace: TraceId) -> Story | None:
    """The story of a message, or None if nothing is known under this id."""
    rows = tx.rows("SELECT entries FROM journal WHERE trace = :trace ORDER BY id", trace=trace)
    if not rows:
        return None
    return Story(trace, tuple(entry for row in rows for entry in _decode(row[0])))


def find_owned(tx: Tx, trace: TraceId) -> tuple[tuple[AnyEntry, ...], OrganisationId]:
    """All entries under the id, and the organisation they belong to."""
    rows = tx.rows(
        "SELECT entries, organisation FROM journal WHERE trace = :trace ORDER BY id", trace=trace
    )
    entries = tuple(entry for row in rows for entry in _decode(row[0]))
    return entries, OrganisationId(rows[0][1] if rows else 0)


def arrivals(tx: Tx, limit: int) -> list[Story]:
    """The newest messages, newest first, each with the entries of its arrival."""
    rows = tx.rows(
        "SELECT trace, entries FROM journal WHERE arrival = 1 ORDER BY id DESC LIMIT :limit",
        limit=limit,
    )
    return [Story(TraceId(trace), tuple(_decode(entries))) for trace, entries in rows]


def arrivals_after(tx: Tx, since: datetime, after: int, limit: int) -> list[tuple[int, Story]]:
    """The next rows of arrivals behind that id and that time, with their ids."""
    rows = tx.rows(
        "SELECT id, trace, entries FROM journal WHERE at >= :since AND id > :after"
        " AND arrival = 1 ORDER BY id LIMIT :limit",
        since=to_micros(since),
        after=after,
        limit=limit,
    )
    return [(id_, Story(TraceId(trace), tuple(_decode(entries)))) for id_, trace, entries in rows]


def expire(tx: Tx, limit: int = 1000) -> int:
    """Delete rows that are older than their organisation keeps them; how many went."""
    rows = tx.rows(
        "SELECT journal.id, entries FROM journal"
        " LEFT JOIN organisation ON organisation.id = journal.organisation"
        " WHERE journal.at < :now - coalesce(journal_days, 30) * :day"
        " ORDER BY journal.at LIMIT :limit",
        now=to_micros(tx.now),
        day=86_400_000_000,
        limit=limit,
    )
    for id_, entries in rows:
        tx.many(journal_index.DELETE, journal_index.new_rows(id_, _decode(entries)))
    tx.many("DELETE FROM journal WHERE id = :id", [{"id": row[0]} for row in rows])
    return len(rows)


def oldest(tx: Tx) -> datetime | None:
    """When the oldest row was written."""
    at = tx.value("SELECT min(at) FROM journal")
    return None if at is None else from_micros(at)
