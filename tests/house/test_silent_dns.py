"""When the DNS is silent: nothing is refused for it, little is put off, and only for a day."""

import asyncio

from mailstead.model.entries import Refused
from mailstead.model.reply import Reply
from mailstead.services.inbound.policy import UNSURE
from mailstead.testing.cast.sink import sink
from mailstead.testing.house import SimulatedHouse, SimulatedWorld, compose
from mailstead.testing.imap import ImapClient
from mailstead.testing.smtp import SmtpClient

ALICE, BOB, STRANGER = "alice@example.org", "bob@example.net", "192.0.2.66"


async def receive(house: SimulatedHouse, to: str = ALICE, source: str = STRANGER) -> Reply:
    message = compose(BOB, [to], "Hello", "Hi!\r\n")
    async with SmtpClient(house.world.network, house.address, 25, source) as client:
        return await client.send_message(BOB, [to], message)


async def test_what_may_be_a_forgery_waits_for_a_day(world: SimulatedWorld) -> None:
    """SPF fails, and whether its domain asks to refuse it cannot be told."""
    world.zone["TXT", "example.net"] = "v=spf1 ip4:192.0.2.5 -all"
    world.zone.fail("_dmarc.example.net")
    house = await world.house("example.org", ["alice", "carol"])
    assert await receive(house) == UNSURE
    await world.sleep(hours=23)
    assert await receive(house) == UNSURE
    await world.sleep(hours=2)
    assert (await receive(house)).ok
    assert len(await house.mailbox(ALICE, "Junk")) == 1
    memory = house.house.site.scoring.memory
    await memory.write()
    remembered = await house.house.store.read(lambda tx: tx.rows("SELECT * FROM sender_memory"))
    assert remembered == []  # whose fault is it?
    assert await receive(house, to="carol@example.org") == UNSURE  # each has a day
    world.zone.heal("_dmarc.example.net")
    assert (await receive(house, to="carol@example.org")).ok


async def test_all_dns_silent_for_half_an_hour(world: SimulatedWorld) -> None:
    """Log-in, local mail and submission go on; nothing is refused; the backlog leaves after it."""
    world.zone["MX", "example.net"] = "10 mx.example.net"
    world.zone["A", "mx.example.net"] = "192.0.2.25"
    world.zone["TXT", "example.net"] = "v=spf1 ip4:192.0.2.5 -all"
    world.zone["TXT", "_dmarc.example.net"] = "v=DMARC1; p=reject"
    away = sink()
    world.network.listen("192.0.2.25", 25, away.serve)
    house = await world.house("example.org", ["alice", "carol"])
    world.zone.broken = True
    for minute in range(30):
        there = f"b{minute}@example.net"
        async with asyncio.TaskGroup() as group:
            inside = group.create_task(house.submit(ALICE, to="carol@example.org"))
            outside = group.create_task(house.submit("carol@example.org", to=there))
            stranger = group.create_task(receive(house))
        assert [one.result().code for one in (inside, outside, stranger)] == [250, 250, 250]
        async with ImapClient(world.network, house.address, 143) as client:
            assert b"OK" in (await client.command(f"LOGIN {ALICE} secret"))[-1]
        await world.sleep(minutes=1)
    assert away.received == []
    assert [one for _, one in house.told if isinstance(one, Refused)] == []
    assert len(await house.mailbox(ALICE)) == 30  # from strangers, whom nobody could look up
    assert len(await house.mailbox("carol@example.org")) == 30
    world.zone.broken = False
    await world.sleep(hours=3)
    assert len(away.received) == 30
    notices = [one for one in await house.mailbox("carol@example.org") if one.subject != "Hello"]
    assert notices == []
