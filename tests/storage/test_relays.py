"""Relay domains and their lists."""

import asyncio
from collections.abc import Callable

import pytest

from mailstead.model.address import parse_address, parse_domain
from mailstead.model.errors import Refusal
from mailstead.storage import accounts, relays
from mailstead.storage.relays import RelayDomain
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
