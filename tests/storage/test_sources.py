"""Sources, pools, who uses them, and what was sent: on both databases."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from mailstead.model.errors import Refusal
from mailstead.model.numbers import OrganisationId, TraceId
from mailstead.storage import queue, sources
from mailstead.storage.blobs import MemoryBody
from mailstead.storage.plan import CountSent, Enqueue, Plan, Postpone, QueuedRecipient
from mailstead.storage.queue import Filter
from mailstead.storage.sources import Arrangement, PoolUse, Source
from mailstead.storage.store import Store, Tx

OURS = OrganisationId(1)


def on_store(open_store: Callable[[], Store], story: Callable[[Store], Awaitable[None]]) -> None:
    async def whole() -> None:
        store = open_store()
        try:
            await story(store)
        finally:
            await store.close()

    asyncio.run(whole())


def source(tx: Tx, name: str, *addresses: str, warming: bool = False) -> Source:
    return Source(name, addresses, f"{name}.example.org", tx.now, tx.now if warming else None)


def test_all_of_it_is_read_at_once(open_store: Callable[[], Store]) -> None:
    async def story(store: Store) -> None:
        def work(tx: Tx) -> Arrangement:
            a = source(tx, "a", "192.0.2.1", "2001:db8::1", warming=True)
            b = source(tx, "b", "192.0.2.2")
            for one in (b, a):
                sources.add(tx, one)
                sources.put_in(tx, "pool", one.name)
                sources.put_in(tx, "pool", one.name)
            uses = PoolUse(OURS, "example.org", "news", "pool"), PoolUse(OURS, "", "", "pool")
            for use in uses:
                sources.use(tx, use)
                sources.use(tx, use)
            expected = Arrangement({"a": a, "b": b}, {"pool": ("a", "b")}, (uses[1], uses[0]))
            assert expected == sources.load(tx)
            sources.set_warming(tx, "a", None)
            assert sources.get(tx, "a").warming is None
            assert sources.use_no_more(tx, OURS, "example.org", "news")
            assert not sources.use_no_more(tx, OURS, "example.org", "news")
            return sources.load(tx)

        assert len((await store.write(work)).uses) == 1

    on_store(open_store, story)


def test_refuses_what_would_leave_somebody_without_a_source(
    open_store: Callable[[], Store],
) -> None:
    async def story(store: Store) -> None:
        def work(tx: Tx) -> None:
            sources.add(tx, source(tx, "a", "192.0.2.1"))
            sources.put_in(tx, "pool", "a")
            sources.use(tx, PoolUse(OURS, "", "", "pool"))

        await store.write(work)
        refused: tuple[Callable[[Tx], None], ...] = (
            lambda tx: sources.remove(tx, "a"),
            lambda tx: sources.take_out(tx, "pool", "a"),
            lambda tx: sources.add(tx, source(tx, "a", "192.0.2.9")),
            lambda tx: sources.add(tx, source(tx, "b", "192.0.2.1")),
            lambda tx: sources.put_in(tx, "pool", "b"),
            lambda tx: sources.use(tx, PoolUse(OURS, "", "", "other")),
            lambda tx: sources.set_warming(tx, "b", None),
        )
        for attempt in refused:
            with pytest.raises(Refusal):
                await store.write(attempt)

    on_store(open_store, story)


def test_what_was_sent_is_counted_with_the_outcome(open_store: Callable[[], Store]) -> None:
    async def story(store: Store) -> None:
        def plan(*steps: CountSent) -> Plan:
            return Plan(steps, TraceId("t"), OURS)

        plans = [
            plan(CountSent("a", "google", 7, 2), CountSent("a", "google", 7, 1)),
            plan(CountSent("a", "yahoo", 7, 5)),
            plan(CountSent("a", "google", 8, 1), CountSent("b", "google", 7, 1)),
            plan(CountSent("a", "google", 7, 4)),
        ]
        await asyncio.gather(*map(store.apply, plans))
        assert await store.read(lambda tx: sources.sent(tx, "a", 7)) == {"google": 7, "yahoo": 5}
        assert await store.read(lambda tx: sources.sent_to(tx, "b", "google", 7)) == 1
        assert await store.read(lambda tx: sources.sent_to(tx, "b", "google", 8)) == 0
        # All of it was long ago.
        assert await store.write(lambda tx: sources.expire(tx, 1000)) == 4

    on_store(open_store, story)


def test_a_recipient_may_move_to_another_source(open_store: Callable[[], Store]) -> None:
    async def story(store: Store) -> None:
        def recipients(tx: Tx) -> tuple[QueuedRecipient, ...]:
            return tuple(
                QueuedRecipient(f"{name}@example.net", "smtp", "example.net", tx.now, source="a")
                for name in ("bob", "carol")
            )

        queued = await store.read(recipients)
        step = Enqueue(b"Subject: x\r\n\r\n", "alice@example.org", queued)
        plan = Plan((step,), TraceId("t"), OURS, MemoryBody(b"x"))
        first, second = (await store.apply(plan)).enqueued[0].queue_ids
        due = queued[0].due + timedelta(hours=1)
        moved = (Postpone(first, due, 1, "", source="b"), Postpone(second, due, 1, ""))
        await store.apply(Plan(moved, TraceId("t"), OURS))
        rows = await store.read(lambda tx: queue.find(tx, Filter(), 10))
        assert [(row.recipient, row.source) for row, _ in rows] == [
            ("bob@example.net", "b"),
            ("carol@example.net", "a"),
        ]

    on_store(open_store, story)
