"""Messages are found by what an operator knows of them, and keys go with their rows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailstead.model.entries import Accepted, AnyEntry, Attempted, Delivered, Queued, Refused
from mailstead.model.numbers import OrganisationId, QueueId, TraceId
from mailstead.storage import journal, journal_index
from mailstead.storage.journal_index import BLOCK, Wanted, search
from mailstead.storage.plan import JournalRow
from mailstead.storage.sqlite import SqliteStore
from mailstead.storage.store import Tx

START = datetime(2026, 11, 1, tzinfo=UTC)


class HandClock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> datetime:
        return self.at

    async def sleep(self, duration: timedelta) -> None:
        self.at += duration


class Filled:
    """A store to whose journal rows are added, an hour apart."""

    def __init__(self, store: SqliteStore, clock: HandClock) -> None:
        self.store, self.clock = store, clock

    async def add(self, trace: str, *entries: AnyEntry, hours: float = 1) -> None:
        row = JournalRow(TraceId(trace), OrganisationId(0), entries, arrival=True)
        await self.store.write(lambda tx: journal.add(tx, [row]))
        self.clock.at += timedelta(hours=hours)

    async def found(self, limit: int = 100, **wanted: object) -> list[str]:
        what = Wanted(**wanted)  # type: ignore[arg-type]
        return list(await self.store.read(lambda tx: search(tx, what, limit)))


def accepted(sender: str, *recipients: str, message_id: str = "") -> Accepted:
    return Accepted(
        at=START, reverse_path=sender, recipients=recipients, size=1, message_id=message_id
    )


@asynccontextmanager
async def open_filled(tmp_path: Path) -> AsyncIterator[Filled]:
    clock = HandClock()
    store = SqliteStore(tmp_path / "mailstead.db", clock, threads=False)
    filled = Filled(store, clock)
    await filled.add("one", accepted("Bob@example.net", "alice@example.org", message_id="<1@x>"))
    await filled.add("two", accepted("", "info@example.org"), delivered("alice@example.org"))
    await filled.add("three", refused("bob@example.net", "nobody@example.org"))
    await filled.add(
        "four",
        accepted("alice@example.org", "carol@example.com", message_id="<1@x>"),
        Queued(at=START, recipient="carol@example.com", queue_id=77),
    )
    await filled.add("four", attempted("dave@example.com"))
    yield filled
    await store.close()


def delivered(account: str) -> Delivered:
    return Delivered(at=START, recipient="info@example.org", account=account, mailbox="INBOX")


def refused(sender: str, recipient: str) -> Refused:
    return Refused(at=START, stage="rcpt", reply="550 no", reverse_path=sender, recipient=recipient)


def attempted(recipient: str) -> Attempted:
    return Attempted(at=START, recipient=recipient, attempt=1, outcome="relayed", reply="250")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ["four", "three", "two", "one"]),
        ({"reverse_path": "bob@example.net"}, ["three", "one"]),
        ({"reverse_path": "BOB@EXAMPLE.NET", "recipient": "ALICE@example.org"}, ["one"]),
        ({"reverse_path": ""}, ["two"]),
        ({"recipient": "alice@example.org"}, ["two", "one"]),  # the alias led there
        ({"recipient": "info@example.org"}, ["two"]),
        ({"recipient": "nobody@example.org"}, ["three"]),
        ({"recipient": "dave@example.com"}, []),  # no arrival: later rows have no keys
        ({"recipient": ""}, []),
        ({"message_id": "<1@x>"}, ["four", "one"]),
        ({"message_id": "<2@x>"}, []),
        ({"queue_id": QueueId(77)}, ["four"]),
        ({"queue_id": QueueId(77), "reverse_path": "bob@example.net"}, []),
        ({"since": START + timedelta(hours=1)}, ["four", "three", "two"]),
        ({"until": START + timedelta(hours=1)}, ["one"]),
        ({"message_id": "<1@x>", "since": START + timedelta(minutes=1)}, ["four"]),
        ({"message_id": "<1@x>", "until": START + timedelta(minutes=1)}, ["one"]),
        ({"since": START + timedelta(days=1)}, []),
        ({"until": START - timedelta(days=1)}, []),
        ({"since": START + timedelta(hours=2), "until": START + timedelta(hours=1)}, []),
        ({"reverse_path": "\udc80\x00"}, []),
        ({"reverse_path": "\ud800"}, []),
    ],
)
async def test_search(tmp_path: Path, wanted: dict[str, object], expected: list[str]) -> None:
    async with open_filled(tmp_path) as filled:
        assert expected == await filled.found(**wanted)


async def test_the_newest_come_first_over_many_blocks(tmp_path: Path) -> None:
    async with open_filled(tmp_path) as filled:
        for number in range(3 * BLOCK):
            await filled.add(f"m{number}", accepted("eve@example.net", "x@example.org"), hours=0)
        expected = [f"m{number}" for number in reversed(range(3 * BLOCK))]
        assert expected[:5] == await filled.found(5, reverse_path="eve@example.net")
        assert expected[:200] == await filled.found(200, reverse_path="eve@example.net")
        assert expected == await filled.found(1000, recipient="x@example.org")
        assert [*expected, "four"] == await filled.found(3 * BLOCK + 1)
        assert await filled.found(message_id="<1@x>") == ["four", "one"]


async def test_rows_of_one_message_count_once(tmp_path: Path) -> None:
    async with open_filled(tmp_path) as filled:
        for _ in range(30):
            await filled.add("many", refused("eve@example.net", "x@example.org"))
        assert await filled.found(3) == ["many", "four", "three"]
        assert await filled.found(10, reverse_path="eve@example.net") == ["many"]


async def test_keys_go_with_their_rows(tmp_path: Path) -> None:
    async with open_filled(tmp_path) as filled:

        def left(tx: Tx) -> tuple[int, int]:
            return tx.value("SELECT count(*) FROM journal_key"), tx.value(
                "SELECT count(*) FROM journal"
            )

        filled.clock.at = START + timedelta(days=30, hours=2, minutes=30)
        assert await filled.store.write(lambda tx: journal.expire(tx, 1000)) == 3
        assert await filled.found(message_id="<1@x>") == ["four"]
        filled.clock.at = START + timedelta(days=40)
        await filled.store.write(lambda tx: journal.expire(tx, 1000))
        assert await filled.store.read(left) == (0, 0)
        assert await filled.found() == []


def test_a_row_without_an_arrival_has_no_keys() -> None:
    assert journal_index.new_rows(1, [attempted("a@b.example")]) == []
