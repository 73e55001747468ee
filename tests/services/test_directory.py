"""Erasing accounts, and who owns a new domain."""

import pytest

from mailstead.model.address import parse_domain
from mailstead.model.errors import Refusal
from mailstead.services import directory
from mailstead.storage import accounts
from mailstead.testing.house import SimulatedHouse, SimulatedWorld

BOB = "bob@example.org"


async def count(house: SimulatedHouse, table: str) -> int:
    """How many rows the table has."""
    number: int = await house.house.store.read(lambda tx: tx.value(f"SELECT count(*) FROM {table}"))
    return number


async def test_an_erasure_that_was_cut_short_is_repeated(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice", "bob"])
    for _ in range(3):
        assert (await house.receive("x@example.net", to=[BOB, "alice@example.org"])).ok
    store = house.house.store

    def power_cut(gone: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await directory.erase_account(store, BOB, power_cut)
    account = await store.read(lambda tx: accounts.get_account(tx, BOB))
    assert (account.active, account.emails) == (False, 0)
    assert (await house.receive("x@example.net", to=BOB)).permanent
    assert await directory.erase_account(store, BOB, lambda gone: None) == 0
    assert await store.read(lambda tx: accounts.find_account(tx, BOB)) is None
    left = {
        name: await count(house, name) for name in ("account", "mailbox", "email_gone", "expunged")
    }
    assert left == {"account": 1, "mailbox": 6, "email_gone": 0, "expunged": 0}


async def test_others_keep_the_mail_they_share(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice", "bob"])
    await house.receive("x@example.net", to=[BOB, "alice@example.org"], text="Shared\r\n")
    told: list[int] = []
    assert await directory.erase_account(house.house.store, BOB, told.append) == 1
    assert told == [1]
    assert (await house.newest("alice@example.org")).body == b"Shared\r\n"


async def test_nobody_to_erase(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    with pytest.raises(Refusal, match="there is no account"):
        await directory.erase_account(house.house.store, BOB, lambda gone: None)


async def test_who_owns_a_domain(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    store = house.house.store
    names = {"example.net": "", "example.com": "Acme", "acme.example": "Acme"}
    owners = {
        name: await store.write(
            lambda tx, n=name, o=owner: directory.add_domain(tx, parse_domain(n), o)  # type: ignore[misc]
        )
        for name, owner in names.items()
    }
    first = await store.read(lambda tx: accounts.find_organisation(tx, "example.org"))
    acme = await store.read(lambda tx: accounts.find_organisation(tx, "Acme"))
    assert owners == {"example.net": first, "example.com": acme, "acme.example": acme}


@pytest.mark.parametrize(
    ("password", "good"),
    [
        ("12345678", True),
        ("пароль-пароль", True),
        ("1234567", False),
        ("x" * 1024, True),
        ("x" * 1025, False),
        ("ü" * 513, False),
        ("with\nline feed", False),
        ("with\0nul....", False),
        ("half \ud800 a pair", False),
        ("not utf-8 \udcff", False),
    ],
)
def test_passwords(password: str, good: bool) -> None:
    if good:
        directory.check_password(password)
    else:
        with pytest.raises(Refusal):
            directory.check_password(password)
