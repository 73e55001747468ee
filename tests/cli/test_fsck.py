"""`mailstead fsck`: finds what is wrong in the store, mends what can be counted again."""

import asyncio
from pathlib import Path

import apsw
import pytest

from mailstead.model.numbers import OrganisationId, TraceId
from mailstead.server.config import load
from mailstead.server.wiring import House, open_house
from mailstead.services.delivery.plan import render
from mailstead.storage import accounts, blobs, mailboxes
from mailstead.storage.plan import Append, Plan
from mailstead.storage.store import Tx

from .conftest import Shell

HEADER = b"Subject: Hello\r\n\r\n"
BODIES = [b"%d " % number * 400 for number in range(6)]


async def deliver(house: House) -> None:
    """Some messages, all but the last of them packed."""

    def place(tx: Tx) -> tuple[accounts.Account, mailboxes.Mailbox]:
        account = accounts.get_account(tx, "alice@example.org")
        return account, mailboxes.get(tx, account.id, "INBOX")

    account, mailbox = await house.store.read(place)
    for number, octets in enumerate(BODIES):
        if number == len(BODIES) - 1:
            await house.packing.pack_all()
        body = blobs.MemoryBody(octets)
        now = house.world.clock.now()
        step = Append(account.id, mailbox.id, HEADER, render(HEADER, body), now)
        await house.store.apply(Plan((step,), TraceId("t"), OrganisationId(1), body))


@pytest.fixture
def filled(mailstead: Shell) -> Shell:
    """A store with messages in it."""

    async def fill() -> None:
        async with open_house(load(mailstead.config), lambda trace, entries: None) as house:
            await deliver(house)

    asyncio.run(fill())
    return mailstead


def pack_of(shell: Shell) -> Path:
    (path,) = (shell.folder / "data" / "packs").glob("*.pack")
    return path


def change(shell: Shell, sql: str) -> None:
    connection = apsw.Connection(str(shell.folder / "data" / "mail.db"))
    connection.execute(sql)
    connection.close()


def test_a_store_that_is_whole(filled: Shell) -> None:
    ran = filled("fsck")
    assert ran.out == "The store is whole: the database, 1 packs with 5 parts of bodies.\n"
    assert (ran.code, ran.err) == (0, "Checking the database ...\n")
    assert filled("fsck", "--json").json() == {
        "clean": True,
        "findings": [],
        "repaired": [],
        "packs": 1,
        "parts": 5,
    }


def test_a_damaged_body_is_named_with_its_message(filled: Shell) -> None:
    octets = bytearray(pack_of(filled).read_bytes())
    octets[-1] ^= 1
    pack_of(filled).write_bytes(octets)
    ran = filled("fsck", "--repair")
    assert ran.code == 1
    assert "part 5 in " in ran.out
    assert "    UID 5 in INBOX of alice@example.org\n" in ran.out
    (finding,) = filled("fsck", "--json").json()["findings"]
    assert finding["messages"] == ["UID 5 in INBOX of alice@example.org"]


@pytest.mark.parametrize(
    ("sql", "meaning"),
    [
        ("UPDATE mailbox SET messages = 7, size = 1 WHERE name = 'INBOX'", "a mailbox's counters"),
        ("UPDATE mailbox SET uidnext = 2 WHERE name = 'INBOX'", "a mailbox's counters"),
        ("UPDATE mailbox SET modseq = 0 WHERE name = 'INBOX'", "a mailbox's counters"),
        ("UPDATE account SET used = 0", "an account's usage"),
        ("UPDATE pack SET live = 3", "a pack's live octets"),
    ],
)
def test_what_is_counted_wrong_is_counted_again(filled: Shell, sql: str, meaning: str) -> None:
    change(filled, sql)
    ran = filled("fsck")
    assert (ran.code, meaning in ran.out) == (1, True)
    ran = filled("fsck", "--repair")
    assert (ran.code, f"Repaired: counted again: {meaning}" in ran.out) == (0, True)
    assert filled("fsck").code == 0


def test_files_of_nobody_are_harmless_and_go(filled: Shell) -> None:
    packs = pack_of(filled).parent
    for name in ("000000000098.new", "000000000002.pack", "000000000099.pack"):
        (packs / name).write_bytes(b"mspack1\n")
    ran = filled("fsck")
    assert ran.code == 0
    assert "000000000002.pack belongs to nothing" in ran.out
    assert "000000000099.pack is newer than the database" in ran.out
    ran = filled("fsck", "--repair")
    assert "Repaired: removed 000000000002.pack\nRepaired: removed 000000000098.new\n" in ran.out
    assert len(list(packs.glob("*.pack"))) == 2
    assert list(packs.glob("*.new")) == []


def test_a_pack_that_is_gone_or_short(filled: Shell) -> None:
    path = pack_of(filled)
    path.write_bytes(path.read_bytes()[:-1])
    assert f"{path} has {path.stat().st_size} octets, not " in filled("fsck").out
    path.unlink()
    ran = filled("fsck")
    assert (ran.code, f"{path} is missing\n" in ran.out) == (1, True)
    assert len(filled("fsck", "--json").json()["findings"]) == 1 + 5


def test_a_message_whose_rows_are_gone(filled: Shell) -> None:
    change(filled, "DELETE FROM blob")
    ran = filled("fsck", "--repair")
    assert ran.code == 1
    assert "a body is not there, or not whole: [(6, " in ran.out
