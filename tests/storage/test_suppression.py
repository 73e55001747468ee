"""Whom an organisation writes to no more."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from mailstead.model.address import parse_address
from mailstead.model.numbers import OrganisationId
from mailstead.storage import suppression
from mailstead.storage.store import Store, Tx
from mailstead.storage.suppression import Suppression

OURS, THEIRS = OrganisationId(1), OrganisationId(2)
BOB = parse_address("Bob@example.net")


def entry(tx: Tx, reason: str = "gone", days: int | None = None, stream: str = "") -> Suppression:
    until = None if days is None else tx.now + timedelta(days=days)
    return Suppression(str(BOB), reason, "550 5.1.1", tx.now, until, stream)


def on_store(open_store: Callable[[], Store], work: Callable[[Tx], object]) -> object:
    async def story() -> object:
        store = open_store()
        try:
            return await store.write(work)
        finally:
            await store.close()

    return asyncio.run(story())


def test_an_organisation_by_itself(open_store: Callable[[], Store]) -> None:
    def work(tx: Tx) -> tuple[object, ...]:
        suppression.add(tx, OURS, [entry(tx)])
        found = suppression.find(tx, OURS, parse_address("bob@EXAMPLE.net"))
        assert found is not None
        return found.reason, found.evidence, suppression.find(tx, THEIRS, BOB)

    assert on_store(open_store, work) == ("gone", "550 5.1.1", None)


def test_a_stream_by_itself_and_all_of_them(open_store: Callable[[], Store]) -> None:
    def work(tx: Tx) -> list[bool]:
        suppression.add(tx, OURS, [entry(tx, "unsubscribed", stream="news")])
        before = [suppression.find(tx, OURS, BOB, one) is not None for one in ("", "news", "shop")]
        suppression.add(tx, OURS, [entry(tx)])
        after = [suppression.find(tx, OURS, BOB, one) is not None for one in ("", "news", "shop")]
        return before + after

    assert on_store(open_store, work) == [False, True, False, True, True, True]


def test_a_complaint_stays(open_store: Callable[[], Store]) -> None:
    """It never expires by itself, and nothing that is known later takes its place."""

    def work(tx: Tx) -> list[object]:
        suppression.add(tx, OURS, [entry(tx, "complaint", days=1)])
        suppression.add(tx, OURS, [entry(tx, "gone", days=1)])
        (one,) = suppression.page(tx, OURS)
        return [one.reason, one.expires]

    assert on_store(open_store, work) == ["complaint", None]


def test_what_is_over_is_forgotten(open_store: Callable[[], Store]) -> None:
    def work(tx: Tx) -> list[object]:
        other = Suppression("carol@example.net", "gone", "", tx.now)
        suppression.add(tx, OURS, [entry(tx, days=-1), other])
        found = suppression.find(tx, OURS, BOB)
        gone = suppression.expire(tx, 10)
        return [found, gone, [one.address for one in suppression.page(tx, OURS)]]

    assert on_store(open_store, work) == [None, 1, ["carol@example.net"]]


def test_pages_and_removal(open_store: Callable[[], Store]) -> None:
    def work(tx: Tx) -> list[object]:
        names = [f"{number:03}@example.net" for number in range(25)]
        entries = [Suppression(name, "named", "", tx.now) for name in names]
        suppression.add(tx, OURS, [*entries, *entries])  # twice the same in one statement
        seen: list[str] = []
        while page := suppression.page(tx, OURS, ("", seen[-1] if seen else ""), limit=10):
            seen += [one.address for one in page]
        removed = [
            suppression.remove(tx, OURS, name) for name in ("003@EXAMPLE.net", "x@y.example")
        ]
        return [seen == names, removed]

    assert on_store(open_store, work) == [True, [True, False]]
