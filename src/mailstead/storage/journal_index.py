"""Finding journal rows by what an operator knows: addresses, Message-ID, queue number, time.

A key is a hash in the block of its row (migrations/0004_journal_index.sql): written with the row,
gone with the row. A search asks every block of its time, newest first.
Holds: only arrivals and entries into the queue have keys; later rows share their trace.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgspec

from mailstead.model.entries import Accepted, AnyEntry, Delivered, Queued, Refused
from mailstead.model.numbers import QueueId, TraceId
from mailstead.storage.store import Tx, to_micros

INSERT = "INSERT INTO journal_key (block, key, journal) VALUES (:block, :key, :journal)"
DELETE = "DELETE FROM journal_key WHERE block = :block AND key = :key AND journal = :journal"

BLOCK = 128  # journal rows whose keys lie together
SPREAD = 8 * 1024  # ids by which rows of the same second may lie apart: each worker has a range
BLOCKS_AT_ONCE = 1000  # asked for in one statement


class Wanted(msgspec.Struct, frozen=True):
    """Which messages; what is None matches all. Addresses may be in any case."""

    reverse_path: str | None = None  # "": the null reverse-path
    recipient: str | None = None
    message_id: str | None = None
    queue_id: QueueId | None = None
    since: datetime | None = None
    until: datetime | None = None


def new_rows(journal: int, entries: Sequence[AnyEntry]) -> list[dict[str, Any]]:
    """The keys of a journal row."""
    words: set[str] = set()
    for entry in entries:
        match entry:
            case Accepted():
                words.add(_FROM + entry.reverse_path.lower())
                words.update(_TO + recipient.lower() for recipient in entry.recipients)
                if entry.message_id:
                    words.add(_MESSAGE_ID + entry.message_id)
            case Delivered():
                words.add(_TO + entry.account.lower())
            case Queued():
                words.add(f"{_QUEUE}{entry.queue_id}")
                words.add(_TO + entry.recipient.lower())
            case Refused():
                words.add(_FROM + entry.reverse_path.lower())
                if entry.recipient:
                    words.add(_TO + entry.recipient.lower())
            case _:
                pass
    block = journal // BLOCK
    return [{"block": block, "key": _key(word), "journal": journal} for word in words]


_FROM, _TO, _MESSAGE_ID, _QUEUE = "from ", "to ", "id ", "queue "


def _key(word: str) -> int:
    octets = word.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(octets, digest_size=8).digest(), "big", signed=True)


def search(tx: Tx, wanted: Wanted, limit: int) -> list[TraceId]:
    """The newest messages that match, newest first."""
    keys = [_key(word) for word in _words(wanted)]
    pages = _by_keys(tx, wanted, keys, limit) if keys else _by_time(tx, wanted, limit)
    traces: dict[TraceId, None] = {}
    for page in pages:
        traces |= dict.fromkeys(page)
        if len(traces) >= limit:
            break
    return list(traces)[:limit]


def _words(wanted: Wanted) -> list[str]:
    """The most telling first."""
    words = []
    if wanted.queue_id is not None:
        words.append(f"{_QUEUE}{wanted.queue_id}")
    if wanted.message_id is not None:
        words.append(_MESSAGE_ID + wanted.message_id)
    if wanted.reverse_path is not None:
        words.append(_FROM + wanted.reverse_path.lower())
    if wanted.recipient is not None:
        words.append(_TO + wanted.recipient.lower())
    return words


def _by_keys(tx: Tx, wanted: Wanted, keys: list[int], limit: int) -> Iterator[list[TraceId]]:
    """A thousand blocks at a time."""
    span = _span(tx, wanted)
    if span is None:
        return
    sql = _sql(len(keys))
    values = {f"key{number}": key for number, key in enumerate(keys)}
    for last in range(span.last // BLOCK, span.first // BLOCK - 1, -BLOCKS_AT_ONCE):
        first = max(last - BLOCKS_AT_ONCE + 1, span.first // BLOCK)
        rows = tx.rows(
            sql,
            first=first,
            last=last,
            since=span.since,
            until=span.until,
            limit=limit,
            **values,
        )
        yield [TraceId(trace) for (trace,) in rows]


def _sql(keys: int) -> str:
    others = "".join(
        " AND EXISTS (SELECT 1 FROM journal_key AS other WHERE other.block = n"
        f" AND other.key = :key{number} AND other.journal = found.journal)"
        for number in range(1, keys)
    )
    # CROSS JOIN: one look into the index for each block, whatever the planner may think.
    return (
        "WITH RECURSIVE blocks (n) AS (SELECT :last UNION ALL"
        " SELECT n - 1 FROM blocks WHERE n > :first)"
        " SELECT trace FROM blocks CROSS JOIN journal_key AS found"
        " CROSS JOIN journal WHERE found.block = n AND found.key = :key0"
        f" AND journal.id = found.journal AND at >= :since AND at < :until{others}"
        " ORDER BY journal.id DESC LIMIT :limit"
    )


def _by_time(tx: Tx, wanted: Wanted, limit: int) -> Iterator[list[TraceId]]:
    """With a refused recipient a message has several rows: ask again, further back."""
    span = _span(tx, wanted)
    before = span.last if span else 0
    while span and before >= span.first:
        rows = tx.rows(
            "SELECT id, trace FROM journal WHERE arrival = 1 AND at >= :since AND at < :until"
            " AND id <= :before ORDER BY id DESC LIMIT :limit",
            since=span.since,
            until=span.until,
            before=before,
            limit=limit,
        )
        yield [TraceId(trace) for _, trace in rows]
        before = rows[-1][0] - 1 if len(rows) == limit else 0


class _Span(msgspec.Struct, frozen=True):
    since: int  # microseconds
    until: int
    first: int  # ids of rows
    last: int


def _span(tx: Tx, wanted: Wanted) -> _Span | None:
    """The time that is meant, and the rows that may lie in it; None if there are none."""
    since = to_micros(wanted.since) if wanted.since else 0
    until = to_micros(wanted.until) if wanted.until else _END
    first = tx.value("SELECT id FROM journal WHERE at >= :at ORDER BY at LIMIT 1", at=since)
    last = tx.value("SELECT id FROM journal WHERE at < :at ORDER BY at DESC LIMIT 1", at=until)
    if first is None or last is None:
        return None
    # Ids follow the clock, but for ranges of workers, and the little that clocks are set back.
    return _Span(since, until, max(1, first - SPREAD), last + SPREAD)


_END = 2**62
