"""Manners at the door: who does not wait, who guesses names, who has to come again."""

import pytest

from mailstead.model.entries import Refused, Scored
from mailstead.model.reply import Reply
from mailstead.protocol.smtp import replies
from mailstead.services.inbound.waiting import COME_AGAIN
from mailstead.sessions.smtp import GREETING_PAUSE
from mailstead.storage import switches
from mailstead.storage.switches import EVERYBODY, GREYLISTING, Switch
from mailstead.testing.house import SimulatedHouse, SimulatedWorld, compose
from mailstead.testing.smtp import SmtpClient

RCPT = b"RCPT TO:<alice@example.org>\r\n"
ALICE, BOB, STRANGER = "alice@example.org", "bob@example.net", "192.0.2.66"


async def receive(
    house: SimulatedHouse, source: str = STRANGER, path: str = BOB, to: str = ALICE
) -> Reply:
    message = compose(BOB, [to], "Hello", "Hi!\r\n")
    async with SmtpClient(house.world.network, house.address, 25, source) as client:
        return await client.send_message(path, [to], message)


async def greeted_after(world: SimulatedWorld, house: SimulatedHouse, source: str) -> float:
    began = world.clock.now()
    async with SmtpClient(world.network, house.address, 25, source) as client:
        assert client.greeting.code == 220
        return (world.clock.now() - began).total_seconds()


# ---------------------------------------------------------------------- early talkers


@pytest.mark.rfc("5321 section 4.3.1")
async def test_who_speaks_before_the_greeting(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    stream = await world.network.connect(house.address, 25, STRANGER)
    stream.send(b"EHLO pc.example\r\nMAIL FROM:<x@example.net>\r\n")
    assert await stream.receive() == replies.format_reply(replies.SPOKE_EARLY)
    assert await stream.receive() == b""
    await world.sleep(seconds=2)
    (refused,) = [one for _, one in house.told if isinstance(one, Refused)]
    assert refused.reason.startswith("early_talkers: 192.0.2.66")


async def test_who_waits_for_the_greeting(world: SimulatedWorld) -> None:
    """Strangers wait a moment; our own machines and hosts that have proved themselves do not."""
    world.zone["TXT", "example.net"] = "v=spf1 ip4:192.0.2.0/24 -all"
    world.zone["TXT", "_dmarc.example.net"] = "v=DMARC1; p=reject"
    house = await world.house("example.org", ["alice"])
    pause = GREETING_PAUSE.total_seconds()
    assert await greeted_after(world, house, STRANGER) > pause
    assert await greeted_after(world, house, "127.0.0.1") < 0.1
    assert (await receive(house)).ok
    assert await greeted_after(world, house, STRANGER) < 0.1
    assert await greeted_after(world, house, "192.0.2.67") > pause


@pytest.mark.rfc("2920 section 3.1")
@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([b"EHLO x.example\r\n", b"MAIL FROM:<bob@example.net>\r\n" + RCPT + b"DATA\r\n"], False),
        ([b"EHLO x.example\r\nMAIL FROM:<bob@example.net>\r\n", RCPT, b"DATA\r\n"], True),
        ([b"HELO x.example\r\nMAIL FROM:<bob@example.net>\r\n", RCPT, b"DATA\r\n"], True),
        ([b"HELO x.example\r\n", b"MAIL FROM:<bob@example.net>\r\n", RCPT, None], True),
    ],
)
async def test_who_does_not_wait_for_replies(
    world: SimulatedWorld, groups: list[bytes | None], expected: bool
) -> None:
    house = await world.house("example.org", ["alice"])
    stream = await world.network.connect(house.address, 25, STRANGER)
    await stream.receive()
    content = b"From: bob@example.net\r\n\r\nHi\r\n.\r\n"
    for group in groups:
        stream.send(b"DATA\r\n" + content if group is None else group)
        await world.sleep(seconds=1)
    stream.send(b"" if groups[-1] is None else content)
    await world.sleep(seconds=5)
    (scored,) = [one for _, one in house.told if isinstance(one, Scored)]
    assert ("client.pipelined" in [part.rule for part in scored.parts]) == expected


# ---------------------------------------------------------------------- harvest


async def test_a_harvest_is_slowed_and_cut_off(world: SimulatedWorld) -> None:
    """T20: name after name from one address, in as many connections as it likes."""
    house = await world.house("example.org", ["alice"])
    began, codes = world.clock.now(), []
    while len(codes) < 300:
        async with SmtpClient(world.network, house.address, 25, STRANGER) as client:
            await client.command("MAIL FROM:<x@example.net>")
            code = 0
            while code != 421:
                name = "alice" if len(codes) % 25 == 0 else f"n{len(codes)}"
                code = (await client.command(f"RCPT TO:<{name}@example.org>")).code
                codes.append(code)
    assert len([code for code in codes if code != 421]) <= 21  # whatever it asked after these
    assert (world.clock.now() - began).total_seconds() > 300


async def test_who_exists_is_not_told_by_the_clock(world: SimulatedWorld) -> None:
    """Who is kept waiting waits as long for a name that is there."""
    house = await world.house("example.org", ["alice"])
    async with SmtpClient(world.network, house.address, 25, STRANGER) as client:
        await client.command("MAIL FROM:<x@example.net>")
        waited = []
        for name in ("n1", "n2", "n3", "n4", "n5", "n6", "alice", "alice", "n7"):
            before = world.clock.now()
            await client.command(f"RCPT TO:<{name}@example.org>")
            waited.append(round((world.clock.now() - before).total_seconds()))
    assert waited == [0, 0, 0, 0, 1, 2, 3, 3, 3]


async def test_the_tar_pit_has_a_bottom(world: SimulatedWorld) -> None:
    """However many wait, places are left for others."""
    house = await world.house("example.org", ["alice"])
    doorkeeper = house.house.doorkeeper
    places = [doorkeeper.keep_waiting() for _ in range(201)]
    assert places[-1] is None
    for place in places:
        if place is not None:
            place.leave()
    assert doorkeeper.keep_waiting() is not None


# ---------------------------------------------------------------------- greylisting


async def greylisting(world: SimulatedWorld, domain: str = "") -> SimulatedHouse:
    house = await world.house("example.org", ["alice"])
    switch = Switch(EVERYBODY, domain, "on")
    await house.house.store.write(lambda tx: switches.put(tx, GREYLISTING, switch))
    return house


async def test_a_stranger_comes_again(world: SimulatedWorld) -> None:
    house = await greylisting(world)
    assert await receive(house) == COME_AGAIN
    await world.sleep(minutes=1)
    assert await receive(house) == COME_AGAIN
    await world.sleep(minutes=4)
    assert (await receive(house, source="192.0.2.99")).ok  # of the same network
    assert (await receive(house)).ok
    assert await receive(house, source="198.51.100.1") == COME_AGAIN
    await world.sleep(days=3)
    assert await receive(house, source="198.51.100.1") == COME_AGAIN  # too late


async def test_who_proves_itself_never_waits(world: SimulatedWorld) -> None:
    world.zone["TXT", "example.net"] = "v=spf1 ip4:192.0.2.66 -all"
    world.zone["TXT", "_dmarc.example.net"] = "v=DMARC1; p=none"
    house = await greylisting(world)
    assert (await receive(house)).ok


async def test_the_domain_that_spf_names_is_one_source(world: SimulatedWorld) -> None:
    world.zone["TXT", "lists.example.com"] = "v=spf1 ip4:192.0.2.66 ip4:198.51.100.1 -all"
    world.zone["TXT", "_dmarc.example.net"] = "v=DMARC1; p=none"
    house = await greylisting(world)
    path = "a@lists.example.com"
    assert await receive(house, path=path) == COME_AGAIN
    await world.sleep(minutes=5)
    assert (await receive(house, source="198.51.100.1", path=path)).ok


async def test_who_was_welcome_before_does_not_wait(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    for number in range(3):
        assert (await receive(house, source=f"192.0.2.{number + 1}")).ok
    await house.house.site.scoring.memory.write()
    switch = Switch(EVERYBODY, "", "on")
    await house.house.store.write(lambda tx: switches.put(tx, GREYLISTING, switch))
    await world.sleep(minutes=2)
    assert (await receive(house)).ok
    assert await receive(house, source="198.51.100.1") == COME_AGAIN


async def test_postmaster_hears_everybody(world: SimulatedWorld) -> None:
    house = await greylisting(world)
    assert (await receive(house, to="postmaster@example.org")).ok


async def test_greylisting_is_off(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    assert (await receive(house)).ok


async def test_a_source_whose_mail_passed_is_known(world: SimulatedWorld) -> None:
    house = await greylisting(world)
    for domain in ("a.example", "b.example", "c.example"):
        assert await receive(house, path=f"x@{domain}") == COME_AGAIN
        await world.sleep(minutes=5)
        assert (await receive(house, path=f"x@{domain}")).ok
    assert (await receive(house, path="x@d.example")).ok
    await house.house.housekeeping.tidy()
    await world.sleep(days=40)
    await house.house.housekeeping.tidy()
    assert await receive(house, path="x@d.example") == COME_AGAIN
