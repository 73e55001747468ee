"""Relay domains and their lists."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from mailstead.model.address import parse_address, parse_domain
from mailstead.model.errors import Refusal
from mailstead.model.numbers import OrganisationId, TraceId
from mailstead.storage import accounts, queue, relays, sources
from mailstead.storage.blobs import MemoryBody
from mailstead.storage.plan import Enqueue, Plan, Postpone, QueuedRecipient
from mailstead.storage.queue import Filter
from mailstead.storage.relays import RelayDomain
from mailstead.storage.sources import Source
from mailstead.storage.store import Store, Tx

NET = parse_domain("example.net")


def on_store(open_store: Callable[[], Store], work: Callable[[Tx], object]) -> object:
    async def story() -> object:
        store = open_store()
        try:
            return await store.write(work)
        finally:
            await store.close()

    return asyncio.run(story())


def domain(tx: Tx, host: str = "") -> RelayDomain:
    owner = accounts.first_organisation(tx) or accounts.create_organisation(tx, "Example")
    return RelayDomain(NET, owner, host, "smtp", "list", 14, tx.now)


def test_added_changed_and_removed(open_store: Callable[[], Store]) -> None:
    def work(tx: Tx) -> None:
        first, second = domain(tx), domain(tx, "mx.example.net:25")
        relays.add(tx, first)
        with pytest.raises(Refusal):
            relays.add(tx, second)
        assert relays.list_all(tx) == [first]
        relays.change(tx, second)
        assert relays.find(tx, NET) == second
        assert relays.find_all(tx, ["example.com", NET]) == {NET: second}
        relays.remove(tx, NET)
        assert relays.find(tx, NET) is None
        with pytest.raises(Refusal):
            relays.change(tx, first)

    on_store(open_store, work)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("bob@example.net", True),
        ("BOB@EXAMPLE.NET", True),
        ("bob+tag@example.net", True),
        ("tagged+always@example.net", True),
        ("tagged@example.net", False),
        ("carol@example.net", False),
        ("bob@example.com", None),
    ],
)
def test_who_is_on_the_list(
    open_store: Callable[[], Store], address: str, expected: bool | None
) -> None:
    def work(tx: Tx) -> bool | None:
        relays.add(tx, domain(tx))
        relays.add_recipients(tx, NET, ["Bob", "tagged+always"])
        found = relays.find_recipient(tx, parse_address(address))
        return None if found is None else found.listed

    assert on_store(open_store, work) == expected


@pytest.mark.parametrize(
    ("whatever", "expected"),
    [
        (False, ["421@example.net", "down@example.net", "sourced@example.net"]),
        (True, ["421@example.net", "down@example.net", "full@example.net", "sourced@example.net"]),
    ],
)
def test_what_a_flush_concerns(
    open_store: Callable[[], Store], whatever: bool, expected: list[str]
) -> None:
    """What waits for this domain, from any source, and was tried; not what nobody may try."""
    down, full = "451 4.4.1 No connection to mx.example.net", "452 4.2.2 mx says: over 451 4.4.1"
    rows = {
        "down": ("example.net", down, False),
        "sourced": ("example.net/one", down, False),
        "421": ("example.net", "421 4.3.2 Busy", False),
        "full": ("example.net", full, False),
        "held": ("example.net", down, True),
        "new": ("example.net", "", False),
        "other": ("sub.example.net", down, False),
        "like": ("example.net/two", down, False),
    }

    async def enqueue(store: Store) -> None:
        now = await store.read(lambda tx: tx.now)
        await store.write(lambda tx: sources.add(tx, Source("one", ("192.0.2.1",), "", now)))
        waiting = tuple(
            QueuedRecipient(f"{name}@example.net", "smtp", lane, now, hold=held)
            for name, (lane, _, held) in rows.items()
        )
        step, trace, owner = Enqueue(b"", "a@b.example", waiting), TraceId("t"), OrganisationId(1)
        applied = await store.apply(Plan((step,), trace, owner, MemoryBody(b"")))
        replies = zip(applied.enqueued[0].queue_ids, rows.values(), strict=True)
        tried = tuple(
            Postpone(queue_id, now + timedelta(hours=1), 1, reply)
            for queue_id, (_, reply, _) in replies
            if reply
        )
        await store.apply(Plan(tried, trace, owner))

    def flush(tx: Tx) -> list[str]:
        ids = queue.waiting_in(tx, "example.net", whatever, 100)
        queue.make_due(tx, ids)
        assert queue.waiting_in(tx, "example.net", whatever, 100) == []
        return sorted(row.recipient for row, _ in queue.find(tx, Filter(ids=tuple(ids)), 100))

    async def story() -> list[str]:
        store = open_store()
        try:
            await enqueue(store)
            return await store.write(flush)
        finally:
            await store.close()

    assert asyncio.run(story()) == expected


def test_who_exists_here_is_not_looked_for_there(open_store: Callable[[], Store]) -> None:
    def work(tx: Tx) -> list[bool]:
        relay = domain(tx)
        relays.add(tx, relay)
        accounts.create_domain(tx, relay.organisation, NET)
        accounts.create_account(tx, parse_address("bob@example.net"), "")
        names = ("bob", "bob+tag", "bobby")
        found = [relays.find_recipient(tx, parse_address(f"{one}@example.net")) for one in names]
        return [one is not None for one in found]

    assert on_store(open_store, work) == [False, False, True]


def test_the_list_page_by_page(open_store: Callable[[], Store]) -> None:
    def work(tx: Tx) -> None:
        relays.add(tx, domain(tx))
        for _ in range(2):
            relays.add_recipients(tx, NET, ["c", "A", "b", "a"])
        assert relays.page(tx, NET, "", 2) == ["a", "b"]
        assert relays.page(tx, NET, "b", 2) == ["c"]
        relays.remove_recipients(tx, NET, ["B", "nobody"])
        assert relays.count_recipients(tx, NET) == 2

    on_store(open_store, work)
