"""Somebody writes a message and saves it again and again: REPLACE (RFC 8508)."""

import pytest

from mailstead.storage import accounts, mailboxes
from mailstead.storage.store import Tx
from mailstead.testing.house import SimulatedWorld
from mailstead.testing.transcript import Client, ImapHouse, compose, open_house

ALICE = "alice@example.org"
USED_UP = "The account's quota is used up: delete some mail first"


async def begin(house: ImapHouse) -> Client:
    await house.deliver("alice", compose("a draft"))
    client = await house.log_in("alice")
    await client.command("a SELECT INBOX")
    return client


async def save(client: Client, size: int, mailbox: str = "INBOX") -> str:
    """The tagged answer to a REPLACE of the last message."""
    message = "Subject: x\r\n\r\n".ljust(size, "x")
    return (await client.command(f"r REPLACE * {mailbox} {{{size}+}}\r\n{message}"))[-1]


async def sizes(house: ImapHouse, name: str = "INBOX") -> tuple[int, int, int]:
    """Messages and octets of the mailbox, and what the account uses in all."""

    def work(tx: Tx) -> tuple[int, int, int]:
        account = accounts.get_account(tx, ALICE).id
        mailbox = mailboxes.get(tx, account, name)
        return mailbox.messages, mailbox.size, accounts.get_quota(tx, account)[0]

    return await house.house.store.read(work)


@pytest.mark.rfc("8508 section 3.4")
async def test_only_the_difference_counts_for_the_quota(world: SimulatedWorld) -> None:
    house = await open_house(world)
    client = await begin(house)
    await house.house.store.write(lambda tx: accounts.set_quota(tx, ALICE, 300))
    assert await save(client, 300) == "r OK REPLACE completed"
    assert await sizes(house) == (1, 300, 300)
    assert await save(client, 301) == f"r NO [OVERQUOTA] {USED_UP}"
    assert await sizes(house) == (1, 300, 300)
    assert await save(client, 200, "Trash") == "r OK REPLACE completed"
    assert await sizes(house) == (0, 0, 200)
    assert await sizes(house, "Trash") == (1, 200, 200)


async def test_what_is_gone_meanwhile(world: SimulatedWorld) -> None:
    """Between the command and the end of the message others may do anything."""
    house = await open_house(world)
    client, other = await begin(house), await house.log_in("alice")
    await other.command("a CREATE Folder")
    await other.command("b SELECT INBOX")
    client.send(b"r REPLACE 1 Folder {3}\r\n")
    assert await client.line() == "+ OK"
    await other.command("c DELETE Folder")
    client.send(b"abc\r\n")
    assert await client.line() == "r NO [TRYCREATE] The mailbox is gone"
    client.send(b"r REPLACE 1 INBOX {3}\r\n")
    assert await client.line() == "+ OK"
    await other.command("d STORE 1 +FLAGS (\\Deleted)")
    await other.command("e EXPUNGE")
    client.send(b"abc\r\n")
    assert await client.line() == "r NO [EXPUNGEISSUED] The message to be replaced is gone"
    assert await sizes(house) == (0, 0, 0)
    assert await client.command("f NOOP") == ["* 1 EXPUNGE", "f OK Completed"]


async def test_the_selected_mailbox_is_gone_meanwhile(world: SimulatedWorld) -> None:
    house = await open_house(world)
    client, other = await begin(house), await house.log_in("alice")
    await other.command("a CREATE Folder")
    await client.command("b COPY 1 Folder")
    await client.command("c SELECT Folder")
    client.send(b"r REPLACE 1 INBOX {3}\r\n")
    assert await client.line() == "+ OK"
    await other.command("d DELETE Folder")
    client.send(b"abc\r\n")
    assert await client.line() == "r NO [EXPUNGEISSUED] The message to be replaced is gone"
    assert (await sizes(house))[0] == 1
