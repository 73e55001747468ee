"""Relay domains: as their backup, as their gateway, as their other half (capabilities A3.4)."""

import asyncio

import msgspec
import pytest

from mailstead.model.address import Address, parse_address, parse_domain
from mailstead.model.entries import Attempted, Notified
from mailstead.model.errors import Refusal
from mailstead.model.reply import Reply
from mailstead.model.world import Stream
from mailstead.protocol.smtp import replies
from mailstead.protocol.smtp.server import ServerOptions
from mailstead.sessions.smtp import GREETING_PAUSE
from mailstead.storage import accounts, call_ahead, queue, relays, sources
from mailstead.storage.queue import Filter
from mailstead.storage.relays import RelayDomain
from mailstead.storage.sources import PoolUse, Source
from mailstead.storage.store import Tx
from mailstead.testing.cast.refuser import refuser
from mailstead.testing.cast.remote import HangUp, Remote, Script
from mailstead.testing.cast.sink import sink
from mailstead.testing.house import SimulatedHouse, SimulatedWorld
from mailstead.testing.smtp import SmtpClient

ALICE, BOB, CAROL = "alice@example.org", "bob@example.net", "carol@example.com"
PRIMARY = "198.51.100.1"


async def relay(
    house: SimulatedHouse,
    *listed: str,
    domain: str = "example.net",
    host: str = "",
    transport: str = "smtp",
    recipients: str = "list",
    days: int = 14,
) -> None:
    """Let the house relay for the domain."""

    def work(tx: Tx) -> None:
        name, owner = parse_domain(domain), accounts.first_organisation(tx)
        assert owner is not None
        relays.add(tx, RelayDomain(name, owner, host, transport, recipients, days, tx.now))
        relays.add_recipients(tx, name, listed)

    await house.house.store.write(work)


async def backup(world: SimulatedWorld, *listed: str) -> SimulatedHouse:
    """We are MX 20 of example.net; its primary is not there yet."""
    house = await world.house("example.org", ["alice"])
    world.zone["MX", "example.net"] = ["10 primary.example.net", "20 mx.example.org"]
    world.zone["A", "primary.example.net"] = PRIMARY
    await relay(house, *listed)
    return house


def outcomes(house: SimulatedHouse) -> list[str]:
    return [entry.outcome for _, entry in house.told if isinstance(entry, Attempted)]


async def waiting(house: SimulatedHouse) -> list[queue.Waiting]:
    found = await house.house.store.read(lambda tx: queue.find(tx, Filter(), 1000))
    return [row for row, _ in found]


# ---------------------------------------------------------------------- backup


@pytest.mark.rfc("5321 section 5.1")
async def test_t5_the_primary_is_down_then_back(world: SimulatedWorld) -> None:
    """Unknown is refused at RCPT, known is held, and flushed when the primary returns."""
    house = await backup(world, "bob", "dave")
    unknown = await house.receive(CAROL, to="nobody@example.net")
    assert (unknown.code, unknown.enhanced) == (550, "5.1.1")
    for number in range(20):
        assert (await house.receive(CAROL, to=BOB, subject=str(number))).ok
    await world.sleep(days=3)
    assert set(outcomes(house)) == {"deferred"}
    primary = sink()
    world.network.listen(PRIMARY, 25, primary.serve)
    assert (await house.receive(CAROL, to="dave@example.net")).ok
    await world.sleep(seconds=30)  # the others would have waited for hours
    assert len(primary.received) == 21
    assert {one.reverse_path for one in primary.received} == {parse_address(CAROL)}
    assert await waiting(house) == []


@pytest.mark.parametrize(("days", "received"), [(13, 1), (15, 0)])
async def test_it_waits_as_long_as_was_said(
    world: SimulatedWorld, days: int, received: int
) -> None:
    """Two weeks, longer than other mail; then it is given up, and nobody is told."""
    house = await backup(world, "bob")
    assert (await house.receive(ALICE, to=BOB)).ok
    await world.sleep(days=days)
    primary = sink()
    world.network.listen(PRIMARY, 25, primary.serve)
    await world.sleep(hours=4)
    assert len(primary.received) == received
    assert await waiting(house) == []
    assert await house.mailbox(ALICE) == []


async def test_what_the_primary_puts_off_is_not_flushed(world: SimulatedWorld) -> None:
    """Its mailbox is full, and that others get their mail says nothing about it."""
    house = await backup(world, "bob", "dave")
    full = Reply(452, "4.2.2", "Mailbox full")
    world.network.listen(PRIMARY, 25, refuser([BOB], full).serve)
    await house.receive(CAROL, to=BOB)
    await world.sleep(hours=2)
    tried = len(outcomes(house))
    for _ in range(5):
        await house.receive(CAROL, to="dave@example.net")
        await world.sleep(minutes=2)
    assert len(outcomes(house)) <= tried + 5 + 1  # one by its own schedule


async def test_roles_always_go_to_the_primary(world: SimulatedWorld) -> None:
    house = await backup(world)
    primary = sink()
    world.network.listen(PRIMARY, 25, primary.serve)
    for role in ("postmaster", "Abuse"):
        assert (await house.receive(CAROL, to=f"{role}@example.net")).ok
    await world.sleep(minutes=1)
    assert [str(one.recipients[0]) for one in primary.received] == [
        "postmaster@example.net",
        "Abuse@example.net",
    ]
    assert await house.mailbox(ALICE) == []


async def test_names_are_compared_folded_and_take_their_tags(world: SimulatedWorld) -> None:
    house = await backup(world, "Bob")
    codes = [
        (await house.receive(CAROL, to=f"{name}@example.net")).code
        for name in ("BOB", "bob+lists", "bobby", "+bob")
    ]
    assert codes == [250, 250, 550, 550]


async def test_no_backscatter(world: SimulatedWorld) -> None:
    """What the primary refuses after all is told to nobody, and suppresses nobody."""
    house = await backup(world, "bob")
    world.network.listen(PRIMARY, 25, refuser([BOB]).serve)
    assert (await house.receive(ALICE, to=BOB)).ok  # somebody claims to be alice
    await world.sleep(minutes=1)
    assert outcomes(house) == ["failed"]
    assert await house.mailbox(ALICE) == []
    assert not [entry for _, entry in house.told if isinstance(entry, Notified)]
    assert (await house.submit(ALICE, to=BOB)).ok


async def test_a_dns_that_knows_no_primary_keeps_mail_waiting(world: SimulatedWorld) -> None:
    """Somebody took the primary's MX away: nothing is lost, and its return is enough."""
    house = await backup(world, "bob")
    world.zone["MX", "example.net"] = "20 mx.example.org"
    assert (await house.receive(CAROL, to=BOB)).ok
    await world.sleep(minutes=1)
    (row,) = await waiting(house)
    assert row.last_reply.startswith("451 4.4.4 We relay for this domain")
    world.zone["MX", "example.net"] = ["10 primary.example.net", "20 mx.example.org"]
    primary = sink()
    world.network.listen(PRIMARY, 25, primary.serve)
    await world.sleep(hours=1)
    assert len(primary.received) == 1


async def test_who_guesses_names_has_to_go(world: SimulatedWorld) -> None:
    """The same limit as for domains hosted here; the list is not to be found out."""
    house = await backup(world, "bob")
    codes = [(await house.receive(CAROL, to=f"name{n}@example.net")).code for n in range(21)]
    assert codes == [550] * 20 + [421]


# ---------------------------------------------------------------------- gateway


async def test_a_named_host_counts_for_all_mail_and_at_once(world: SimulatedWorld) -> None:
    """The MX is ours alone; the server behind it moves while mail waits for it."""
    house = await world.house("example.org", ["alice"])
    world.zone["MX", "example.net"] = "10 mx.example.org"
    await relay(house, "bob", host="10.0.0.1:2525")
    assert (await house.receive(CAROL, to=BOB)).ok
    assert (await house.submit(ALICE, to=BOB)).ok
    await world.sleep(minutes=1)
    moved = sink()
    world.network.listen("10.0.0.2", 25, moved.serve)

    def move(tx: Tx) -> None:
        old = relays.get(tx, "example.net")
        values = (old.organisation, "10.0.0.2:25", "smtp", "list", 14, old.created)
        relays.change(tx, RelayDomain(old.name, *values))

    await house.house.store.write(move)
    await world.sleep(hours=1)
    assert sorted(str(one.reverse_path) for one in moved.received) == [ALICE, CAROL]


async def test_who_is_not_named_is_refused_as_ever(world: SimulatedWorld) -> None:
    house = await backup(world, "bob")
    assert (await house.receive(CAROL, to="bob@sub.example.net")).enhanced == "5.7.1"


# ---------------------------------------------------------------------- split


async def split(world: SimulatedWorld, *listed: str) -> tuple[SimulatedHouse, Remote]:
    """Half of example.org is here, the other half at the old server."""
    house = await world.house("example.org", ["alice"], aliases={"all": ["alice", "old"]})
    await relay(house, *listed, domain="example.org", host=f"{PRIMARY}:25")
    old = sink()
    world.network.listen(PRIMARY, 25, old.serve)
    return house, old


async def test_split_mail_from_outside(world: SimulatedWorld) -> None:
    house, old = await split(world, "alice", "old")
    for name in ("alice", "alice+tag", "old", "postmaster"):
        assert (await house.receive(CAROL, to=f"{name}@example.org")).ok
    assert (await house.receive(CAROL, to="nobody@example.org")).enhanced == "5.1.1"
    await world.sleep(minutes=1)
    assert len(await house.mailbox(ALICE)) == 3
    assert [str(one.recipients[0]) for one in old.received] == ["old@example.org"]


async def test_split_mail_of_our_own_people(world: SimulatedWorld) -> None:
    """They hear of failures, as always."""
    house, old = await split(world, "old", "gone")
    old.script = refuser(["gone@example.org"]).script
    assert (await house.submit(ALICE, to="nobody@example.org")).enhanced == "5.1.1"
    assert (await house.submit(ALICE, to="old@example.org")).ok
    assert (await house.submit(ALICE, to="gone@example.org")).ok
    await world.sleep(minutes=1)
    assert len(old.received) == 1
    assert "gone@example.org" in (await house.newest(ALICE)).text


async def test_split_aliases_reach_both_halves(world: SimulatedWorld) -> None:
    house, old = await split(world, "old")
    assert (await house.receive(CAROL, to="all@example.org")).ok
    await world.sleep(minutes=1)
    assert (len(await house.mailbox(ALICE)), len(old.received)) == (1, 1)


async def test_who_is_shut_out_here_is_not_looked_for_there(world: SimulatedWorld) -> None:
    house, _ = await split(world, "alice")
    await house.house.store.write(lambda tx: accounts.set_active(tx, ALICE, False))
    assert (await house.receive(CAROL, to=ALICE)).enhanced == "5.1.1"
    assert (await house.receive(CAROL, to="alice+tag@example.org")).enhanced == "5.1.1"


async def test_a_catch_all_and_a_split_exclude_each_other(world: SimulatedWorld) -> None:
    house, _ = await split(world)
    domain = parse_domain("example.org")
    with pytest.raises(Refusal, match=r"mailstead relay show example\.org"):
        await house.house.store.write(
            lambda tx: accounts.set_catch_all(tx, domain, parse_address(ALICE))
        )
    await house.house.store.write(lambda tx: relays.remove(tx, domain))
    await house.house.store.write(
        lambda tx: accounts.set_catch_all(tx, domain, parse_address(ALICE))
    )
    with pytest.raises(Refusal, match=r"catch-all example\.org --none"):
        await relay(house, domain="example.org")


# ---------------------------------------------------------------------- asking the primary


class Primary:
    """The server of example.net, with these addresses ("*": all)."""

    def __init__(self, world: SimulatedWorld, *names: str) -> None:
        self.world, self.names = world, set(names)
        self.asked: list[str] = []
        self.answer = Reply(550, "5.1.1", "No such user")
        self.remote = Remote(Script(rcpt=self.rcpt))
        self.up()

    def rcpt(self, recipient: Address) -> Reply:
        """What it says."""
        self.asked.append(recipient.local_part)
        known = recipient.local_part in self.names or "*" in self.names
        return replies.RECIPIENT_OK if known else self.answer

    def up(self) -> None:
        """It is there."""
        self.world.network.listen(PRIMARY, 25, self.remote.serve)

    def down(self) -> None:
        """It is not."""
        self.world.network.unlisten(PRIMARY, 25)


async def calling(world: SimulatedWorld, *names: str) -> tuple[SimulatedHouse, Primary]:
    house = await world.house("example.org", ["alice"])
    world.zone["MX", "example.net"] = ["10 primary.example.net", "20 mx.example.org"]
    world.zone["A", "primary.example.net"] = PRIMARY
    await relay(house, recipients="call")
    return house, Primary(world, *names)


async def code(house: SimulatedHouse, name: str) -> int:
    """The reply to RCPT, without a message."""
    async with SmtpClient(house.world.network, house.address, 25) as client:
        await client.command(f"MAIL FROM:<{CAROL}>")
        return (await client.command(f"RCPT TO:<{name}@example.net>")).code


async def test_the_primary_is_asked_once(world: SimulatedWorld) -> None:
    house, primary = await calling(world, "bob")
    assert [await code(house, name) for name in ("bob", "nobody", "BOB", "nobody")] == [
        250,
        550,
        250,
        550,
    ]
    asked = [name for name in primary.asked if not name.startswith("x")]
    assert (asked, len(primary.asked)) == (["bob", "nobody"], 3)  # and one that nobody has
    assert primary.remote.received == []


async def test_answers_grow_old(world: SimulatedWorld) -> None:
    """A new address works after an hour, one that is gone is refused after a day."""
    house, primary = await calling(world, "bob")
    assert [await code(house, name) for name in ("bob", "dave")] == [250, 550]
    primary.names = {"dave"}
    await world.sleep(minutes=59)
    assert [await code(house, name) for name in ("bob", "dave")] == [250, 550]
    await world.sleep(minutes=2)
    assert [await code(house, name) for name in ("bob", "dave")] == [250, 250]
    await world.sleep(hours=23)
    assert [await code(house, name) for name in ("bob", "dave")] == [550, 250]


async def test_while_the_primary_is_down_who_was_known_is_taken(world: SimulatedWorld) -> None:
    house, primary = await calling(world, "bob")
    assert await code(house, "bob") == 250
    primary.down()
    await world.sleep(days=29)
    assert [await code(house, name) for name in ("bob", "never-seen")] == [250, 451]
    await world.sleep(days=3)
    assert await code(house, "bob") == 451
    assert await code(house, "postmaster") == 250
    primary.up()
    await world.sleep(minutes=2)
    assert [await code(house, name) for name in ("bob", "never-seen")] == [250, 550]


async def test_what_is_known_outlives_a_restart(world: SimulatedWorld) -> None:
    house, primary = await calling(world, "bob")
    assert [await code(house, name) for name in ("bob", "nobody")] == [250, 550]
    primary.down()
    await house.stop()
    await house.start()
    assert [await code(house, name) for name in ("bob", "nobody")] == [250, 550]


async def test_a_silent_primary_is_left_alone_for_a_while(world: SimulatedWorld) -> None:
    """The first sender waits ten seconds, the next not at all."""
    house, _ = await calling(world, "bob")
    world.network.dark.add(PRIMARY)
    waited = []
    for _ in range(3):
        before = world.clock.now()
        assert await code(house, f"somebody{len(waited)}") == 451
        took = world.clock.now() - before - GREETING_PAUSE
        waited.append(round(took.total_seconds()))
    assert waited == [10, 0, 0]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Reply(550, "5.1.1", "No such user"), 550),
        (Reply(550, "", "No"), 550),
        (Reply(450, "4.7.1", "Greylisted"), 451),
        (Reply(552, "5.2.2", "Mailbox full"), 451),
        (Reply(554, "5.7.1", "Service unavailable; client host blocked"), 451),
        (Reply(421, "4.3.2", "Shutting down"), 451),
    ],
)
async def test_only_what_is_about_the_address_refuses_it(
    world: SimulatedWorld, answer: Reply, expected: int
) -> None:
    house, primary = await calling(world)
    primary.answer = answer
    assert await code(house, "bob") == expected


async def test_a_primary_that_takes_anybody_is_noticed(world: SimulatedWorld) -> None:
    house, primary = await calling(world, "*")
    keys = ["bob@example.net", "@example.net"]
    assert await code(house, "bob") == 250
    found = await house.house.store.read(lambda tx: call_ahead.find(tx, keys))
    assert [(one.address, one.taken) for one in found.values()] == [("@example.net", True)]
    primary.down()
    await world.sleep(days=2)
    assert await code(house, "never-seen") == 250
    primary.up()
    primary.names = {"bob"}
    await world.sleep(minutes=2)
    assert [await code(house, name) for name in ("bob", "another")] == [250, 550]
    found = await house.house.store.read(lambda tx: call_ahead.find(tx, keys))
    assert [found[key].taken for key in keys] == [True, False]


async def test_one_call_for_all_who_wait(world: SimulatedWorld) -> None:
    house, primary = await calling(world, "bob")
    codes = await asyncio.gather(*(code(house, "bob") for _ in range(10)))
    assert set(codes) == {250}
    assert primary.asked.count("bob") == 1


async def test_few_calls_at_a_time(world: SimulatedWorld) -> None:
    house, _ = await calling(world)
    open_, most = 0, 0

    async def serve(stream: Stream) -> None:
        nonlocal open_, most
        open_, most = open_ + 1, max(most, open_ + 1)
        await asyncio.sleep(1)
        open_ -= 1

    world.network.listen(PRIMARY, 25, serve)
    await asyncio.gather(*(code(house, f"name{number}") for number in range(15)))
    assert most == 5


async def test_split_and_asked(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    primary = Primary(world, "old")
    await relay(house, domain="example.org", host=f"{PRIMARY}:25", recipients="call")
    for name, expected in (("alice", 250), ("old", 250), ("nobody", 550)):
        assert (await house.receive(CAROL, to=f"{name}@example.org")).code == expected
        assert (await house.submit(ALICE, to=f"{name}@example.org")).code == expected
    assert "alice" not in primary.asked


async def test_old_answers_are_forgotten(world: SimulatedWorld) -> None:
    house, _ = await calling(world, "bob")
    await code(house, "bob")
    await code(house, "nobody")
    counts = []
    for days in (0, 2, 28, 2):
        await world.sleep(days=days)
        await house.house.housekeeping.tidy()
        count = await house.house.store.read(lambda tx: tx.value("SELECT count(*) FROM call_ahead"))
        counts.append(count)
    assert counts == [3, 1, 1, 0]


# ---------------------------------------------------------------------- LMTP


def lmtp_server(world: SimulatedWorld, script: Script) -> Remote:
    remote = Remote(msgspec.structs.replace(script, options=ServerOptions("store", lmtp=True)))
    world.network.listen("10.0.0.1", 24, remote.serve)
    return remote


async def behind(world: SimulatedWorld, *names: str) -> SimulatedHouse:
    house = await world.house("example.org", ["alice"])
    await relay(house, *names, host="10.0.0.1:24", transport="lmtp")
    return house


@pytest.mark.rfc("2033 section 4.2")
async def test_lmtp_settles_each_recipient_by_itself(world: SimulatedWorld) -> None:
    """One is full for a while, one is refused, the third has it at once, and only once."""
    house = await behind(world, "full", "gone", "ok")
    full = iter([Reply(452, "4.2.2", "Over quota")])
    ends = {"full": lambda: next(full, replies.OK), "gone": lambda: Reply(550, "5.1.1", "Gone")}
    script = Script(end_each=lambda one: ends.get(one.local_part, lambda: replies.OK)())
    remote = lmtp_server(world, script)
    to = [f"{name}@example.net" for name in ("full", "gone", "ok")]
    assert (await house.receive(CAROL, to=to)).ok
    await world.sleep(hours=1)
    assert [one.recipients for one in remote.received] == [
        (parse_address("ok@example.net"),),
        (parse_address("full@example.net"),),
    ]
    assert sorted(outcomes(house)) == ["deferred", "failed", "relayed", "relayed"]
    assert {entry.route for _, entry in house.told if isinstance(entry, Attempted)} == {"lmtp"}


async def test_lmtp_that_breaks_between_replies_repeats_only_the_rest(
    world: SimulatedWorld,
) -> None:
    house = await behind(world, "bob", "dave")
    broken = iter([replies.OK, HangUp()])
    script = Script(end_each=lambda _: next(broken, replies.OK))
    remote = lmtp_server(world, script)
    assert (await house.receive(CAROL, to=[BOB, "dave@example.net"])).ok
    await world.sleep(hours=1)
    assert [len(one.recipients) for one in remote.received] == [2, 1]
    assert remote.received[1].recipients == (parse_address("dave@example.net"),)


async def test_lmtp_is_asked_ahead_too(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    await relay(house, host="10.0.0.1:24", transport="lmtp", recipients="call")
    lmtp_server(world, refuser(["nobody@example.net"]).script)
    assert [await code(house, name) for name in ("bob", "nobody")] == [250, 550]


# ---------------------------------------------------------------------- ETRN


async def say(house: SimulatedHouse, *lines: str) -> list[str]:
    async with SmtpClient(house.world.network, house.address, 25) as client:
        return [str(await client.command(line)) for line in lines]


@pytest.mark.rfc("1985 section 5.1")
async def test_etrn_sends_what_waits(world: SimulatedWorld) -> None:
    """Whatever it waits for, and once a minute at most."""
    house = await backup(world, "bob")
    full = refuser([BOB], Reply(452, "4.2.2", "Mailbox full"))
    world.network.listen(PRIMARY, 25, full.serve)
    for _ in range(2):
        assert (await house.receive(CAROL, to=BOB)).ok
    await world.sleep(hours=20)
    primary = sink()
    world.network.listen(PRIMARY, 25, primary.serve)
    assert await say(house, "ETRN Example.NET", "ETRN example.net") == [
        "253 2.0.0 OK, 2 pending messages for node example.net started",
        "250 2.0.0 OK, queuing for node example.net started",
    ]
    await world.sleep(seconds=10)
    assert len(primary.received) == 2
    await world.sleep(minutes=1)
    assert await say(house, "ETRN example.net") == [
        "251 2.0.0 OK, no messages waiting for node example.net"
    ]


@pytest.mark.rfc("1985 section 5")
async def test_etrn_that_does_nothing(world: SimulatedWorld) -> None:
    house = await backup(world, "bob")
    lines = ("ETRN", "ETRN @example.net", "ETRN example.com", "ETRN example.org")
    told = await say(house, *lines, f"MAIL FROM:<{CAROL}>", "ETRN example.net")
    assert [one[:3] for one in told] == ["501", "501", "458", "458", "250", "503"]


async def test_relayed_mail_that_leaves_from_a_source_is_flushed_too(
    world: SimulatedWorld,
) -> None:
    """Its lane is the domain and the source, however often it was tried."""
    house = await backup(world, "bob", "dave")

    def arrange(tx: Tx) -> None:
        owner = accounts.first_organisation(tx)
        assert owner is not None
        sources.add(tx, Source("one", ("203.0.113.25",), "", tx.now))
        sources.put_in(tx, "pool", "one")
        sources.use(tx, PoolUse(owner, "", "", "pool"))

    world.zone["PTR", "25.113.0.203.in-addr.arpa"] = "mx.example.org"
    await house.house.store.write(arrange)
    assert (await house.receive(CAROL, to=BOB)).ok
    await world.sleep(days=2)
    (row,) = await waiting(house)
    assert row.lane == "example.net/one"
    primary = sink()
    world.network.listen(PRIMARY, 25, primary.serve)
    assert (await house.receive(CAROL, to="dave@example.net")).ok
    await world.sleep(seconds=30)
    assert len(primary.received) == 2
