"""Whole journeys: submitted here, passed on by MX, read there; and what becomes of it otherwise."""

import email
import email.policy
from collections import Counter
from datetime import timedelta

import pytest

from mailstead.model.dns import Status
from mailstead.model.entries import Attempted, Notified
from mailstead.services.explain import explain
from mailstead.storage import journal
from mailstead.testing.cast.broken import silent, without_tls
from mailstead.testing.cast.greylister import greylister
from mailstead.testing.cast.refuser import closed_door, refuser
from mailstead.testing.cast.sink import sink
from mailstead.testing.house import PASSWORD, SimulatedHouse, SimulatedWorld
from mailstead.testing.imap import ImapClient

ALICE, BOB = "alice@example.org", "bob@example.net"


async def attempts(house: SimulatedHouse) -> list[Attempted]:
    return [entry for _, entry in house.told if isinstance(entry, Attempted)]


async def story(house: SimulatedHouse, number: int = 0) -> str:
    """What `message explain` says of the newest message, or of an older one."""
    found = await house.house.store.read(lambda tx: journal.arrivals(tx, 10)[number])
    whole = await house.house.store.read(lambda tx: journal.find(tx, found.trace))
    assert whole is not None
    return "\n".join(str(line) for line in explain(whole.entries))


async def test_t1_submitted_passed_on_and_read_by_two_clients(world: SimulatedWorld) -> None:
    here = await world.house("example.org", accounts=["alice"], address="203.0.113.25")
    there = await world.house("example.net", accounts=["bob"], address="203.0.113.26")
    async with (
        ImapClient(world.network, there.address) as phone,
        ImapClient(world.network, there.address) as desktop,
    ):
        await phone.log_in(BOB, PASSWORD)
        await desktop.log_in(BOB, PASSWORD)
        assert await phone.command("IDLE") == [b"+ idling"]
        assert (await here.submit(ALICE, to=BOB, subject="Lunch?")).ok
        assert [await phone.response(), await phone.response()] == [b"* 1 EXISTS", b"* 1 RECENT"]
        phone.stream.send(b"DONE\r\n")
        await phone.response()
        await desktop.command("NOOP")
        fetched = await desktop.command("FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT)]")
        assert b"Subject: Lunch?" in b"".join(fetched)
        before = world.clock.now()
        assert await desktop.command("IDLE") == [b"+ idling"]
        await phone.command("STORE 1 +FLAGS.SILENT (\\Flagged)")
        while b"\\Flagged" not in await desktop.response():
            pass
        assert world.clock.now() - before < timedelta(seconds=1)
    assert "relayed" in [one.outcome for one in await attempts(here)]
    assert "250 2.0.0 OK, kept as" in await story(here)


async def test_t2_a_dead_mx_is_passed_over_and_equal_ones_share(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    world.zone["MX", "example.net"] = [
        "10 dead.example.net",
        "20 a.example.net",
        "20 b.example.net",
    ]
    hosts = {"dead": "198.51.100.1", "a": "198.51.100.2", "b": "198.51.100.3"}
    remotes = {name: sink() for name in ("a", "b")}
    for name, address in hosts.items():
        world.zone["A", f"{name}.example.net"] = address
        if name in remotes:
            world.network.listen(address, 25, remotes[name].serve)
    for _ in range(100):
        assert (await house.submit(ALICE, to=BOB)).ok
        await world.sleep(minutes=10)  # so that no connection is left to be used again
    counts = Counter({name: len(remote.received) for name, remote in remotes.items()})
    assert counts.total() == 100
    assert min(counts.values()) > 25  # chance, seeded
    tried = [[host.host for host in one.hosts] for one in await attempts(house)]
    assert all(one[0] == "dead.example.net" and len(one) == 2 for one in tried)
    told = await story(house)
    assert "dead.example.net" in told
    assert "refused" in told.lower()


@pytest.mark.parametrize(
    ("character", "reached"),
    [
        ("421", "greeting"),
        ("dark", "connect"),
        ("no banner", "greeting"),
        ("broken TLS", "starttls"),
        ("550", "rcpt"),
    ],
)
async def test_t3_what_falls_through_and_what_is_final(
    world: SimulatedWorld, character: str, reached: str
) -> None:
    house = await world.house("example.org", accounts=["alice"])
    world.zone["MX", "example.net"] = ["10 first.example.net", "20 second.example.net"]
    world.zone["A", "first.example.net"] = "198.51.100.1"
    world.zone["A", "second.example.net"] = "198.51.100.2"
    first = {
        "421": closed_door(),
        "dark": sink(),
        "no banner": silent(),
        "broken TLS": without_tls(),
        "550": refuser([BOB]),
    }[character]
    world.network.listen("198.51.100.1", 25, first.serve)
    if character == "dark":
        world.network.dark.add("198.51.100.1")
    second = sink()
    world.network.listen("198.51.100.2", 25, second.serve)
    await house.submit(ALICE, to=BOB)
    await world.sleep(minutes=10)
    (tried,) = await attempts(house)  # all of it in one
    assert tried.hosts[0].reached == reached
    if character == "550":
        assert second.sessions == 0
        assert "5.1.1" in (await house.newest(ALICE)).text
    else:
        assert len(second.received) == 1
        assert await house.mailbox(ALICE) == []


@pytest.mark.rfc("7505 section 4.2")
@pytest.mark.parametrize(
    ("records", "outcome"),
    [
        ({("MX", "example.net"): "0 ."}, "5.1.10"),  # takes no mail, and says so
        ({("A", "example.net"): "198.51.100.1"}, "delivered"),  # RFC 5321 section 5.1
        ({}, "5.1.2"),  # there is no such domain
        (None, "delivered later"),  # the DNS fails for an hour
    ],
)
async def test_t4_what_the_dns_says(
    world: SimulatedWorld, records: dict[tuple[str, str], str] | None, outcome: str
) -> None:
    house = await world.house("example.org", accounts=["alice"])
    remote = sink()
    world.network.listen("198.51.100.1", 25, remote.serve)
    for key, record in (records or {}).items():
        world.zone[key] = record
    if records is None:
        world.zone["A", "example.net"] = "198.51.100.1"
        world.zone.fail("example.net", Status.SERVFAIL)
    await house.submit(ALICE, to=BOB)
    await world.sleep(minutes=1)
    if outcome == "delivered later":
        assert (await attempts(house))[0].outcome == "deferred"
        world.zone.heal("example.net")
        await world.sleep(hours=1)
    if outcome.startswith("5"):
        assert outcome in (await house.newest(ALICE)).text
        assert remote.sessions == 0
    else:
        assert len(remote.received) == 1


async def test_t7_greylisting_is_outwaited_without_a_word(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    world.zone["A", "example.net"] = "198.51.100.1"
    remote = greylister(world.clock, timedelta(minutes=5))
    world.network.listen("198.51.100.1", 25, remote.serve)
    await house.submit(ALICE, to=BOB)
    await world.sleep(minutes=30)
    assert len(remote.received) == 1
    outcomes = [one.outcome for one in await attempts(house)]
    assert outcomes[0] == "deferred"
    assert outcomes[-1] == "relayed"
    assert await house.mailbox(ALICE) == []


@pytest.mark.rfc("5321 section 4.5.4.1")
async def test_t7_a_dead_mx_is_retried_for_five_days_then_bounced(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    world.zone["MX", "example.net"] = "10 mx.example.net"
    world.zone["A", "mx.example.net"] = "192.0.2.25"  # nobody listens there
    await house.submit(ALICE, to=BOB, subject="Urgent")
    await world.sleep(hours=3, minutes=50)
    assert await house.mailbox(ALICE) == []
    await world.sleep(hours=1)
    (delay,) = await house.mailbox(ALICE)
    assert "Action: delayed" in delay.text
    await world.sleep(days=6)
    delay_again, failure = await house.mailbox(ALICE)
    assert delay_again == delay
    assert "4.4.1" in failure.text  # no answer from host (RFC 3463 section 3.5)
    parsed = email.message_from_bytes(failure.header + failure.body, policy=email.policy.default)
    assert parsed.get_content_type() == "multipart/report"
    status = parsed.get_payload()[1].get_payload()  # RFC 3464: per message, then per recipient
    assert status[0]["Reporting-MTA"] == "dns; mx.example.org"
    assert status[1]["Final-Recipient"] == "rfc822; bob@example.net"
    assert status[1]["Action"] == "failed"
    assert parsed["Auto-Submitted"].startswith("auto-")
    notified = [entry for _, entry in house.told if isinstance(entry, Notified)]
    assert [one.action for one in notified] == ["delayed", "failed"]
    assert "Connection refused" in await story(house, 2)


async def test_a_bounce_to_nobody_is_told_to_nobody(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"], aliases={"away": [BOB]})
    world.zone["A", "example.net"] = "198.51.100.1"
    world.network.listen("198.51.100.1", 25, refuser([BOB]).serve)
    for sender in ("", "carol@example.com"):  # a bounce; a forward of who knows whom
        assert (await house.receive(sender, to="away@example.org")).ok
    await world.sleep(days=1)
    assert [one.outcome for one in await attempts(house)] == ["failed", "failed"]
    assert {entry.sent_to for _, entry in house.told if isinstance(entry, Notified)} <= {""}
    assert await house.mailbox(ALICE) == []


async def test_first_retrieval_is_told(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    await house.receive(BOB, to=ALICE)
    for _ in range(2):
        async with ImapClient(world.network, house.address) as client:
            await client.log_in(ALICE, PASSWORD)
            await client.command("FETCH 1 BODY[]")
        await world.sleep(seconds=5)
    told = await story(house)
    assert told.count("for the first time") == 1
