"""SEARCH by kept texts finds what SEARCH in the store finds; what goes away is kept nowhere."""

import shutil
from pathlib import Path

import pytest

from mailstead.services.directory import erase_account
from mailstead.services.mailboxes import texts as shelf
from mailstead.sessions.imap import texts as by_texts
from mailstead.storage.texts import TEXTS
from mailstead.testing.house import SimulatedWorld
from mailstead.testing.transcript import Client, ImapHouse, compose, open_house

MESSAGES = [
    compose("One needle"),
    compose("Two") + b"a Needle in the body\r\n",
    compose("=?utf-8?q?=C3=84hre?=") + b"nothing\r\n",
    b"Subject: zwei\r\n words\r\nX-Odd: \xc3\xa4 here\r\n\r\nneedles\r\n",
    b"No header at all",
    b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"<p>gr=C3=BCne Stra=C3=9Fe</p>",
]
PROGRAMS = [
    "TEXT needle",
    "BODY needle",
    "BODY NEEDLE SUBJECT two",
    "NOT TEXT needle",
    "NOT BODY needle TEXT needle",
    "OR BODY needle SUBJECT one",
    "OR (TEXT needle NOT BODY needle) UID 5",
    "2:4 TEXT needle",
    "TEXT needle LARGER 200",
    "TEXT ähre",
    "TEXT STRASSE",
    'BODY "grüne straße"',
    "HEADER X-Odd here",
    "NOT HEADER X-Odd here",
    "HEADER X-Odd here TEXT needle",
    'TEXT ""',
    'BODY ""',
    "TEXT b",
    "TEXT absent",
    "OR TEXT absent SEEN",
    " ".join(f"NOT TEXT x{n}" for n in range(by_texts.ASKED_LIMIT + 1)),
]


async def enter(world: SimulatedWorld) -> tuple[ImapHouse, Client]:
    """Alice with the messages in her INBOX."""
    house = await open_house(world)
    for message in MESSAGES:
        await house.deliver("alice", message)
    client = await house.log_in("alice")
    await client.command("s SELECT INBOX")
    return house, client


async def answers(client: Client) -> dict[str, str]:
    """What each program finds."""
    return {text: (await client.command(f"a SEARCH {text}"))[0] for text in PROGRAMS}


def files(world: SimulatedWorld) -> list[str]:
    """Whose texts are kept."""
    return sorted(path.name for path in folder(world).glob("*.db"))


def folder(world: SimulatedWorld) -> Path:
    return world.folder / "example.org" / TEXTS


@pytest.mark.rfc("3501 section 6.4.4")
async def test_kept_texts_find_the_same(world: SimulatedWorld) -> None:
    house, client = await enter(world)
    first = {}
    for program in PROGRAMS:  # each with nothing kept
        first[program] = (await client.command(f"a SEARCH {program}"))[0]
        shutil.rmtree(folder(world), ignore_errors=True)
    assert first["TEXT needle"] == "* SEARCH 1 2 4"
    assert first["BODY needle"] == "* SEARCH 2 4"
    await client.command("a SEARCH TEXT absent")
    assert len(files(world)) == 1
    assert await answers(client) == first
    await house.deliver("alice", compose("Another needle"))
    await client.command("a NOOP")
    assert (await answers(client))["TEXT needle"] == "* SEARCH 1 2 4 7"
    assert (await answers(client))["BODY needle"] == "* SEARCH 2 4"


async def test_kept_texts_are_really_used(world: SimulatedWorld) -> None:
    house, client = await enter(world)
    await client.command("a SEARCH TEXT absent")
    await house.house.store.write(lambda tx: tx.run("UPDATE blob SET data = :data", data=b""))
    await house.house.store.write(lambda tx: tx.run("DELETE FROM packed"))
    assert (await client.command("a SEARCH BODY needle"))[0] == "* SEARCH 2 4"


async def test_a_copy_elsewhere_is_found_by_the_same_text(world: SimulatedWorld) -> None:
    _, client = await enter(world)
    await client.command("a SEARCH TEXT absent")
    await client.command("a CREATE Elsewhere")
    await client.command("a COPY 1:4 Elsewhere")
    await client.command("a SELECT Elsewhere")
    assert (await client.command("a SEARCH BODY needle"))[0] == "* SEARCH 2 4"


async def test_a_number_that_new_mail_was_given_again(world: SimulatedWorld) -> None:
    """After an old copy of the database was restored, contents have numbers of others."""
    house, client = await enter(world)
    await client.command("a SEARCH TEXT absent")
    await client.command("a LOGOUT")
    await house.house.store.write(lambda tx: tx.run("UPDATE placement SET size = size + 1"))
    await house.house.store.write(
        lambda tx: tx.run("UPDATE blob SET data = :data", data=b"nothing here")
    )
    client = await house.log_in("alice")
    house.mailboxes._columns._kept.clear()  # another process
    await client.command("s SELECT INBOX")
    assert (await client.command("a SEARCH BODY needle"))[0] == "* SEARCH"


async def test_what_was_expunged_goes(world: SimulatedWorld) -> None:
    house, client = await enter(world)
    await client.command("a SEARCH TEXT absent")
    await client.command(r"a STORE 2,4 +FLAGS (\Deleted)")
    await client.command("a EXPUNGE")
    await house.mailboxes.texts.tidy()
    octets = b"".join(path.read_bytes() for path in folder(world).iterdir())
    assert b"one needle" in octets
    assert b"a needle in the body" not in octets
    assert b"needles" not in octets
    assert (await client.command("a SEARCH TEXT needle"))[0] == "* SEARCH 1"
    await house.mailboxes.texts.tidy()
    assert len(files(world)) == 1


async def test_texts_go_with_the_account(world: SimulatedWorld) -> None:
    house, client = await enter(world)
    await client.command("a SEARCH TEXT absent")
    await client.command("a LOGOUT")
    assert len(files(world)) == 1
    await erase_account(house.house.store, "alice@example.org", lambda octets: None)
    await house.mailboxes.texts.tidy()
    assert files(world) == []


async def test_texts_go_when_nobody_searches(world: SimulatedWorld) -> None:
    house, client = await enter(world)
    await client.command("a SEARCH TEXT absent")
    await client.command("a SEARCH TEXT absent")
    await world.sleep(days=shelf.UNUSED_KEPT.days - 1)
    await house.mailboxes.texts.tidy()
    assert len(files(world)) == 1
    await world.sleep(days=2)
    await house.mailboxes.texts.tidy()
    assert files(world) == []
