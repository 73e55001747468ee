"""Who sent it: what SPF, DKIM and DMARC say of mail from outside, and what becomes of it."""

import msgspec
import pytest

from mailstead.message import header as fields
from mailstead.model.address import Domain
from mailstead.model.dns import Status
from mailstead.model.entries import Authenticated
from mailstead.model.reply import Reply
from mailstead.msgauth.dkim.failure import Verdict
from mailstead.msgauth.dkim.verify import Result as DkimResult
from mailstead.services import signing
from mailstead.services.inbound.evidence import _worth
from mailstead.testing.cast.refuser import refuser
from mailstead.testing.cast.sink import sink
from mailstead.testing.house import (
    PASSWORD,
    Filed,
    SimulatedHouse,
    SimulatedWorld,
    compose_elsewhere,
)
from mailstead.testing.smtp import SmtpClient

ALICE, BOB, SPAMMER = "alice@example.org", "bob@example.net", "192.0.2.66"
BOBS_HOST = "192.0.2.5"


def publish(world: SimulatedWorld, policy: str = "none") -> None:
    """What Bob's domain says: only its host sends for it."""
    world.zone["TXT", "example.net"] = f"v=spf1 ip4:{BOBS_HOST} -all"
    world.zone["TXT", "_dmarc.example.net"] = f"v=DMARC1; p={policy}"
    world.zone["A", "example.net"] = "198.51.100.1"


async def receive(
    house: SimulatedHouse,
    source: str,
    author: str = BOB,
    to: str = ALICE,
    header: bytes = b"",
    path: str | None = None,
) -> Reply:
    """A message from that host, in the name of the author."""
    message = header + compose_elsewhere(author, [to], "Hello", "Hi!\r\n")
    async with SmtpClient(house.world.network, house.address, 25, source) as client:
        return await client.send_message(author if path is None else path, [to], message)


def told(house: SimulatedHouse) -> Authenticated:
    return [entry for _, entry in house.told if isinstance(entry, Authenticated)][-1]


async def junk(house: SimulatedHouse) -> list[Filed]:
    return await house.mailbox(ALICE, "Junk")


@pytest.mark.rfc("8601 section 2.7")
@pytest.mark.rfc("9989 section 5.3.4")
async def test_a_genuine_message(world: SimulatedWorld) -> None:
    publish(world, "reject")
    house = await world.house("example.org", ["alice"])
    assert (await receive(house, BOBS_HOST)).ok
    filed = await house.newest(ALICE)
    results = fields.get(filed.header, "Authentication-Results") or b""
    for said in (b"mx.example.org", b"spf=pass", b"dkim=none", b"dmarc=pass header.from="):
        assert said in b" ".join(results.split())
    entry = told(house)
    assert (entry.spf, entry.dmarc, entry.action) == ("pass", "pass", "inbox")


async def test_dkim_alone_is_enough(world: SimulatedWorld) -> None:
    """Through a forwarder, from house to house."""
    sender = await world.house("example.net", ["bob"], address="203.0.113.26")
    house = await world.house("example.org", ["alice"])
    store = sender.house.store
    domain = sender.address_of("x").domain
    await signing.ensure_key(store, sender.house.world.offload, domain)
    (key,) = await store.read(lambda tx: signing.find_keys(tx, domain))
    world.zone["TXT", key.name] = key.record
    publish(world, "reject")
    world.zone["TXT", "example.net"] = "v=spf1 -all"
    await sender.submit(BOB, to=ALICE)
    await world.sleep(minutes=1)
    assert len(await house.mailbox(ALICE)) == 1
    entry = told(house)
    assert (entry.spf, entry.dkim, entry.dmarc) == ("fail", ("example.net pass",), "pass")


@pytest.mark.rfc("6376 section 8.2")
def test_text_that_was_added_behind_a_signature() -> None:
    """l= covers the beginning only: whoever has a signed message could write any other below."""
    uncovered = DkimResult(Verdict.PASS, "", None, Domain("example.net"), "s", uncovered=5)
    covered = msgspec.structs.replace(uncovered, uncovered=0)
    assert [_worth(one) for one in (covered, uncovered)] == ["pass", "policy"]


@pytest.mark.rfc("9989 section 7.4")
@pytest.mark.parametrize(
    ("policy", "header", "expected"),
    [
        ("none", b"", "inbox"),
        ("quarantine", b"", "junk"),
        ("reject", b"", "refused"),
        ("reject", b"List-Id: <friends.example.com>\r\n", "junk"),
        ("reject", b"ARC-Seal: i=1\r\n", "junk"),
    ],
)
async def test_a_forged_message(
    world: SimulatedWorld, policy: str, header: bytes, expected: str
) -> None:
    publish(world, policy)
    house = await world.house("example.org", ["alice"])
    reply = await receive(house, SPAMMER, header=header)
    assert (reply.code, reply.enhanced) == (
        (550, "5.7.1") if expected == "refused" else (250, "2.0.0")
    )
    assert len(await house.mailbox(ALICE)) == (expected == "inbox")
    found = await junk(house)
    assert len(found) == (expected == "junk")


async def test_spf_alone_never_refuses(world: SimulatedWorld) -> None:
    world.zone["TXT", "example.net"] = "v=spf1 -all"
    house = await world.house("example.org", ["alice"])
    assert (await receive(house, SPAMMER)).ok
    assert len(await house.mailbox(ALICE)) == 1


async def test_who_claims_to_be_from_here_is_junk(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice", "carol"])
    assert (await receive(house, SPAMMER, author="carol@example.org")).ok
    assert await house.mailbox(ALICE) == []
    assert len(await junk(house)) == 1
    assert "hosted here" in told(house).reason
    assert (await house.submit("carol@example.org", to=ALICE)).ok  # Carol herself may
    assert len(await house.mailbox(ALICE)) == 1


async def test_a_message_without_from(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    async with SmtpClient(world.network, house.address, 25, SPAMMER) as client:
        assert (await client.send_message(BOB, [ALICE], b"Subject: x\r\n\r\n")).ok
    assert told(house).dmarc == ""


@pytest.mark.rfc("8601 section 5")
async def test_nobody_else_speaks_for_us(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    forged = (
        b"Authentication-Results: MX.example.org; dmarc=pass\r\n"
        b"Authentication-Results: other.example; spf=pass\r\n"
    )
    assert (await receive(house, SPAMMER, header=forged)).ok
    filed = await house.newest(ALICE)
    found = fields.get_all(filed.header, "Authentication-Results")
    assert [b"dmarc=pass" in one for one in found] == [False, False]
    assert [one.split(b";")[0].strip() for one in found] == [b"mx.example.org", b"other.example"]


@pytest.mark.parametrize("status", [Status.SERVFAIL, Status.TIMEOUT])
async def test_a_silent_dns_refuses_nobody(world: SimulatedWorld, status: Status) -> None:
    publish(world, "reject")
    for name in ("example.net", "_dmarc.example.net"):
        world.zone.fail(name, status)
    house = await world.house("example.org", ["alice"])
    assert (await receive(house, SPAMMER)).ok
    assert len(await house.mailbox(ALICE)) == 1
    assert (told(house).spf, told(house).dmarc) == ("temperror", "temperror")


# ---------------------------------------------------------------------- forwards


async def forwarding(world: SimulatedWorld) -> SimulatedHouse:
    """A house whose alias leads to somebody who takes nothing."""
    world.zone["A", "example.com"] = "198.51.100.2"
    server = refuser(reply=Reply(550, "5.7.1", "We do not want that"))
    world.network.listen("198.51.100.2", 25, server.serve)
    return await world.house("example.org", ["alice"], aliases={"away": ["carol@example.com"]})


async def test_the_failure_of_a_genuine_forward_is_told(world: SimulatedWorld) -> None:
    publish(world)
    bobs = sink()
    world.network.listen("198.51.100.1", 25, bobs.serve)
    house = await forwarding(world)
    assert (await receive(house, BOBS_HOST, to="away@example.org")).ok
    await world.sleep(minutes=5)
    (notice,) = bobs.received
    assert notice.reverse_path is None
    assert [str(one) for one in notice.recipients] == [BOB]
    assert b"We do not want that" in notice.content


async def test_the_failure_of_a_forged_one_is_not(world: SimulatedWorld) -> None:
    publish(world)
    bobs = sink()
    world.network.listen("198.51.100.1", 25, bobs.serve)
    house = await forwarding(world)
    assert (await receive(house, SPAMMER, to="away@example.org")).ok
    await world.sleep(days=6)
    assert bobs.received == []


async def test_junk_is_not_forwarded(world: SimulatedWorld) -> None:
    publish(world, "quarantine")
    house = await forwarding(world)
    reply = await receive(house, SPAMMER, to="away@example.org")
    assert (reply.code, reply.enhanced) == (550, "5.7.1")
    assert await house.house.operators.count() == 0


async def test_our_own_people_are_not_judged(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    assert (await house.submit(ALICE, to=ALICE)).ok
    assert [entry for _, entry in house.told if isinstance(entry, Authenticated)] == []
    assert fields.get((await house.newest(ALICE)).header, "Authentication-Results") is None
    assert PASSWORD
