"""Lists in the DNS: used while they are healthy, one fact among others, no way to lose mail."""

import asyncio
import ipaddress
from datetime import timedelta

import pytest

from mailstead.model.dns import Status
from mailstead.services.inbound.evidence import GATHER_LIMIT
from mailstead.services.inbound.lists import BAD_FOR, Hit, Lists
from mailstead.services.inbound.policy import FORGED_BY_LISTED
from mailstead.services.metering import NO_METER
from mailstead.storage import dnsbl_uses
from mailstead.testing.house import SimulatedHouse, SimulatedWorld, compose_elsewhere
from mailstead.testing.smtp import SmtpClient

ALICE, BOB, SPAMMER = "alice@example.org", "bob@example.net", "192.0.2.66"
ZEN = "zen.spamhaus.org"


def open_zone(world: SimulatedWorld, suffix: str = ZEN) -> None:
    """A zone that passes its test (RFC 5782 section 5)."""
    world.zone["A", f"2.0.0.127.{suffix}"] = "127.0.0.2"
    mapped = ipaddress.ip_address("::ffff:7f00:2").reverse_pointer.removesuffix("ip6.arpa")
    world.zone["A", f"{mapped}{suffix}"] = "127.0.0.2"


async def ask(house: SimulatedHouse, lists: Lists, *subjects: str) -> list[Hit]:
    return await lists.ask(map(ipaddress.ip_address, subjects), house.world.zone)


async def of(house: SimulatedHouse) -> Lists:
    return Lists(house.house.store, house.world.clock, NO_METER)


async def receive(house: SimulatedHouse, header: bytes = b"", source: str = SPAMMER) -> int:
    message = header + compose_elsewhere(BOB, [ALICE], "Hello", "Hi!\r\n")
    async with SmtpClient(house.world.network, house.address, 25, source) as client:
        return (await client.send_message(BOB, [ALICE], message)).code


async def test_a_listing_is_a_fact_with_a_weight(world: SimulatedWorld) -> None:
    open_zone(world)
    world.zone["A", f"66.2.0.192.{ZEN}"] = ["127.0.0.2", "127.0.0.10"]
    world.zone["TXT", f"66.2.0.192.{ZEN}"] = "https://check.spamhaus.org/"
    house = await world.house("example.org", ["alice"])
    (hit,) = await ask(house, await of(house), SPAMMER, "192.0.2.67")
    assert (hit.zone, hit.subject, hit.weight) == ("spamhaus-zen", SPAMMER, 4.0)
    assert hit.reason == "https://check.spamhaus.org/"
    assert hit.fact.name == "dnsbl.spamhaus-zen"


@pytest.mark.rfc("5782 section 5")
@pytest.mark.parametrize(
    "everything", ["127.0.0.1", "127.0.0.2", "127.255.255.254", "203.0.113.9", ""]
)
async def test_a_zone_that_fails_its_test_lists_nobody(
    world: SimulatedWorld, everything: str
) -> None:
    """Gone, rewritten, refused, or answering everything alike."""
    names = ("1.0.0.127", "2.0.0.127", "66.2.0.192")
    for name in names if everything else names[2:]:
        world.zone["A", f"{name}.{ZEN}"] = everything or "127.0.0.2"
    house = await world.house("example.org", ["alice"])
    lists = await of(house)
    assert await ask(house, lists, SPAMMER) == []
    open_zone(world)
    world.zone["A", f"66.2.0.192.{ZEN}"] = "127.0.0.2"
    world.zone["A", f"1.0.0.127.{ZEN}"] = []
    assert await ask(house, lists, SPAMMER) == []  # it is not asked before it is tested again
    await world.clock.sleep(BAD_FOR)
    assert [hit.zone for hit in await ask(house, lists, SPAMMER)] == ["spamhaus-zen"]


async def test_a_zone_that_begins_to_refuse_us_is_off_at_once(world: SimulatedWorld) -> None:
    open_zone(world)
    house = await world.house("example.org", ["alice"])
    lists = await of(house)
    assert await ask(house, lists, SPAMMER) == []
    world.zone["A", f"66.2.0.192.{ZEN}"] = "127.255.255.254"
    world.zone["A", f"67.2.0.192.{ZEN}"] = "127.0.0.2"
    assert await ask(house, lists, SPAMMER) == []
    assert await ask(house, lists, "192.0.2.67") == []


async def test_a_switched_off_zone_is_not_asked_and_a_key_is_used(world: SimulatedWorld) -> None:
    open_zone(world)
    open_zone(world, "secret.zen.dq.spamhaus.net")
    world.zone["A", f"66.2.0.192.{ZEN}"] = "127.0.0.2"
    world.zone["A", "66.2.0.192.secret.zen.dq.spamhaus.net"] = "127.0.0.4"
    house = await world.house("example.org", ["alice"])
    store = house.house.store
    await store.write(lambda tx: dnsbl_uses.put(tx, "spamhaus-zen", False, ""))
    assert await ask(house, await of(house), SPAMMER) == []
    await store.write(lambda tx: dnsbl_uses.put(tx, "spamhaus-zen", True, "secret"))
    (hit,) = await ask(house, await of(house), SPAMMER)
    assert "XBL" in hit.labels[0]


async def test_a_silent_dns_costs_a_zone_nothing_for_long(world: SimulatedWorld) -> None:
    open_zone(world)
    world.zone["A", f"66.2.0.192.{ZEN}"] = "127.0.0.2"
    world.zone.fail(f"2.0.0.127.{ZEN}", Status.TIMEOUT)
    house = await world.house("example.org", ["alice"])
    lists = await of(house)
    assert await ask(house, lists, SPAMMER) == []
    world.zone.heal(f"2.0.0.127.{ZEN}")
    await world.clock.sleep(timedelta(minutes=2))
    assert len(await ask(house, lists, SPAMMER)) == 1


# ---------------------------------------------------------------------- at the door


def forge(world: SimulatedWorld) -> None:
    """Only another host sends for Bob's domain, and it asks to refuse all else."""
    world.zone["TXT", "example.net"] = "v=spf1 ip4:192.0.2.5 -all"
    world.zone["TXT", "_dmarc.example.net"] = "v=DMARC1; p=reject"


@pytest.mark.rfc("9989 section 7.4")
async def test_a_forgery_in_the_clothes_of_a_list_from_a_listed_host(
    world: SimulatedWorld,
) -> None:
    forge(world)
    house = await world.house("example.org", ["alice"])
    clothes = b"List-Id: <friends.example.com>\r\n"
    assert await receive(house, clothes) == 250
    assert len(await house.mailbox(ALICE, "Junk")) == 1
    open_zone(world)
    world.zone["A", f"66.2.0.192.{ZEN}"] = "127.0.0.2"
    await world.sleep(hours=1)
    async with SmtpClient(world.network, house.address, 25, SPAMMER) as client:
        message = clothes + compose_elsewhere(BOB, [ALICE], "Hello", "Hi!\r\n")
        assert await client.send_message(BOB, [ALICE], message) == FORGED_BY_LISTED


async def test_a_listing_alone_refuses_nobody(world: SimulatedWorld) -> None:
    open_zone(world)
    world.zone["A", f"66.2.0.192.{ZEN}"] = "127.0.0.2"
    house = await world.house("example.org", ["alice"])
    assert await receive(house) == 250


async def test_the_same_questions_are_not_asked_for_each_message(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    async with SmtpClient(world.network, house.address, 25, SPAMMER) as client:
        message = compose_elsewhere(BOB, [ALICE], "Hello", "Hi!\r\n")
        for _ in range(3):
            assert (await client.send_message(BOB, [ALICE], message)).ok
    pointers = [one for one in world.zone.asked if one.type == "PTR"]
    assert len(pointers) == 1


# ---------------------------------------------------------------------- time


async def test_evidence_has_one_time_limit(world: SimulatedWorld) -> None:
    """However many look-ups hang, and one after the other."""
    for name in ("example.net", "_dmarc.example.net", "66.2.0.192.in-addr.arpa"):
        world.zone.hang(name)
    house = await world.house("example.org", ["alice"])
    began = world.clock.now()
    assert await receive(house) == 250
    took = world.clock.now() - began
    assert GATHER_LIMIT <= took < GATHER_LIMIT + timedelta(seconds=5)
    assert len(await house.mailbox(ALICE)) == 1


async def test_nothing_is_asked_any_more_when_the_peer_is_gone(world: SimulatedWorld) -> None:
    world.zone.hang("example.net")
    house = await world.house("example.org", ["alice"])
    before = len(asyncio.all_tasks())
    client = SmtpClient(world.network, house.address, 25, SPAMMER)
    await client.__aenter__()
    for line in (f"MAIL FROM:<{BOB}>", f"RCPT TO:<{ALICE}>", "DATA"):
        await client.command(line)
    client.stream.send(b"From: bob@example.net\r\n\r\nthe body beg")
    await world.sleep(seconds=1)
    assert len(asyncio.all_tasks()) > before + 1
    client.stream.abort()
    await world.sleep(seconds=1)
    assert len(asyncio.all_tasks()) == before
