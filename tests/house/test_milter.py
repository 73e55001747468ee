"""A milter at the door: everything that it may want is done."""

from datetime import timedelta

import pytest

from mailstead.message import header as fields
from mailstead.model.address import Domain
from mailstead.model.entries import Queued
from mailstead.model.reply import Reply
from mailstead.services import signing
from mailstead.storage import filter_engines
from mailstead.storage.filter_engines import Engine
from mailstead.testing.cast.milter import CONTINUE, Milter
from mailstead.testing.cast.sink import sink
from mailstead.testing.clock import START, InlineOffload
from mailstead.testing.house import SimulatedHouse, SimulatedWorld, compose
from mailstead.testing.smtp import SmtpClient

ALICE, BOB, CAROL = "alice@example.org", "bob@example.net", "carol@example.org"
END, RCPT = b"E", b"R"


async def filtered(
    world: SimulatedWorld, answers: dict[bytes, list[bytes]], direction: str = "in"
) -> tuple[SimulatedHouse, Milter]:
    """A house that asks a milter which answers so."""
    milter = Milter(answers)
    world.network.listen("127.0.0.1", 8891, milter.serve)
    house = await world.house("example.org", ["alice", "carol"])
    limit = timedelta(seconds=10)
    engine = Engine("m", "milter", "127.0.0.1:8891", direction, "closed", limit, 100, START)
    await house.house.store.write(lambda tx: filter_engines.add(tx, engine))
    return house, milter


async def receive(house: SimulatedHouse, *to: str) -> Reply:
    recipients = list(to) or [ALICE]
    message = compose(BOB, recipients, "Hello", "Hi!\r\n")
    async with SmtpClient(house.world.network, house.address, 25, "192.0.2.66") as client:
        return await client.send_message(BOB, recipients, message)


async def test_what_it_hears(world: SimulatedWorld) -> None:
    world.zone["PTR", "66.2.0.192.in-addr.arpa"] = "mail.example.net"
    world.zone["A", "mail.example.net"] = "192.0.2.66"
    house, milter = await filtered(world, {})
    assert (await receive(house)).ok
    told = [one for one in milter.heard if one[:1] not in b"OD"]
    assert told[0].startswith(b"Cmail.example.net\x004")
    assert told[1] == b"Hclient.example\0"
    assert told[2].startswith(b"M<bob@example.net>\0SIZE=")
    assert told[3:5] == [b"R<alice@example.org>\0", b"T"]
    assert told[5] == b"LFrom\0 bob@example.net\0"
    assert told[-4:] == [b"N", b"BHi!\r\n", b"E", b"Q"]
    macros = next(one for one in milter.heard if one.startswith(b"DC"))
    assert b"{client_addr}\x00192.0.2.66\0" in macros


@pytest.mark.parametrize(
    ("stage", "said", "expected"),
    [
        (b"C", b"r", 550),
        (b"H", b"t", 451),
        (b"M", b"y550 5.7.1 No such thing\0", 550),
        (b"R", b"r", 550),
        (b"T", b"t", 451),
        (b"L", b"r", 550),
        (b"B", b"y451 4.7.1 Later\0", 451),
        (b"E", b"r", 550),
        (b"E", b"4", 451),
        (b"M", b"a", 250),
        (b"E", b"z", 451),
    ],
)
async def test_refusals_at_every_stage(
    world: SimulatedWorld, stage: bytes, said: bytes, expected: int
) -> None:
    house, _ = await filtered(world, {stage: [said]})
    assert (await receive(house)).code == expected
    assert len(await house.mailbox(ALICE)) == (expected == 250)


async def test_one_of_two_recipients(world: SimulatedWorld) -> None:
    house, _ = await filtered(world, {b"R<carol@example.org>\0": [b"r"]})
    assert (await receive(house, ALICE, CAROL)).ok
    assert len(await house.mailbox(ALICE)) == 1
    assert await house.mailbox(CAROL) == []
    assert len(await house.mailbox(CAROL, "Junk")) == 1


async def test_header_and_body(world: SimulatedWorld) -> None:
    said = [
        b"hX-Added\0 last\0",
        b"i\0\0\0\0X-First\0 top\0",
        b"m\0\0\0\1Subject\0 Changed\0",
        b"bA new ",
        b"bbody\r\n",
        CONTINUE,
    ]
    house, _ = await filtered(world, {END: said})
    assert (await receive(house)).ok
    (filed,) = await house.mailbox(ALICE)
    assert (filed.subject, filed.body) == ("Changed", b"A new body\r\n")
    names = [one.name for one in fields.fields(filed.header)]
    assert names.index("X-First") == names.index("From") - 1
    assert names[-1] == "X-Added"


async def test_recipients_and_sender(world: SimulatedWorld) -> None:
    said = [
        b"+<carol@example.org>\0",
        b"+<nobody@example.org>\0",
        b"-<alice@example.org>\0",
        b"e<other@example.com>\0",
        CONTINUE,
    ]
    house, _ = await filtered(world, {END: said})
    assert (await receive(house)).ok
    assert await house.mailbox(ALICE) == []
    (filed,) = await house.mailbox(CAROL)
    assert filed.header.startswith(b"Return-Path: <other@example.com>\r\n")


async def test_nobody_is_left(world: SimulatedWorld) -> None:
    house, _ = await filtered(world, {END: [b"-<alice@example.org>\0", CONTINUE]})
    assert (await receive(house)).code == 550


@pytest.mark.parametrize("said", [[b"qlook at it\0", CONTINUE], [b"d"]])
async def test_quarantine_and_discard(world: SimulatedWorld, said: list[bytes]) -> None:
    house, _ = await filtered(world, {END: said})
    assert (await receive(house)).ok
    assert await house.mailbox(ALICE) == []
    assert [one.held for _, one in house.told if isinstance(one, Queued)] == [True]


async def test_our_own_mail_is_signed_as_the_filter_left_it(world: SimulatedWorld) -> None:
    away = sink()
    world.zone["MX", "example.net"] = "10 mx.example.net"
    world.zone["A", "mx.example.net"] = "192.0.2.25"
    world.network.listen("192.0.2.25", 25, away.serve)
    said = [b"bThe disclaimer\r\n", CONTINUE]
    house, milter = await filtered(world, {END: said}, "out")
    key = await signing.ensure_key(house.house.store, InlineOffload(), Domain("example.org"))
    assert (await house.submit(ALICE, to=BOB)).ok
    await world.sleep(minutes=1)
    (received,) = away.received
    assert received.content.endswith(b"\r\n\r\nThe disclaimer\r\n")
    assert any(b"{auth_authen}\0alice@example.org\0" in one for one in milter.heard)
    world.zone["TXT", key.name] = key.record
    other = await world.house("example.com", ["dave"], address="203.0.113.30")
    async with SmtpClient(world.network, other.address, 25, "192.0.2.9") as client:
        reply = await client.send_message(ALICE, ["dave@example.com"], received.content)
        assert reply.ok
    dave = "dave@example.com"
    (filed,) = [*await other.mailbox(dave), *await other.mailbox(dave, "Junk")]
    assert b"dkim=pass" in (fields.get(filed.header, "Authentication-Results") or b"")
