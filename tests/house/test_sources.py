"""Mail that leaves from addresses of its own: pools, PTR records, and new addresses warmed up."""

import ipaddress
from datetime import datetime, timedelta

from mailstead.model.entries import Attempted, Departed
from mailstead.model.numbers import OrganisationId, TraceId
from mailstead.storage import accounts, queue, sources
from mailstead.storage.blobs import MemoryBody
from mailstead.storage.plan import Enqueue, Plan, QueuedRecipient
from mailstead.storage.queue import Filter, Waiting
from mailstead.storage.sources import EVERYBODY, PoolUse, Source
from mailstead.storage.store import Tx
from mailstead.testing.cast.greylister import greylister
from mailstead.testing.cast.refuser import NOT_NOW, refuser
from mailstead.testing.cast.remote import Remote
from mailstead.testing.cast.sink import sink
from mailstead.testing.house import SimulatedHouse, SimulatedWorld

ALICE, BOB = "alice@example.org", "bob@example.net"
A, B = "198.51.100.1", "198.51.100.2"


def point(world: SimulatedWorld, address: str, name: str) -> None:
    """PTR and A records that confirm each other."""
    pointer = ipaddress.ip_address(address).reverse_pointer
    world.zone["PTR", pointer] = name
    world.zone["AAAA" if ":" in address else "A", name] = address


async def add_source(
    house: SimulatedHouse, name: str, *addresses: str, pool: str = "pool", warming: bool = False
) -> None:
    """A source whose name is confirmed, in a pool."""
    for address in addresses:
        point(house.world, address, f"{name}.example.org")

    def work(tx: Tx) -> None:
        since = tx.now if warming else None
        sources.add(tx, Source(name, addresses, f"{name}.example.org", tx.now, since))
        sources.put_in(tx, pool, name)

    await house.house.store.write(work)


async def use(
    house: SimulatedHouse, pool: str, organisation: OrganisationId = EVERYBODY, domain: str = ""
) -> None:
    wanted = PoolUse(organisation, domain, "", pool)
    await house.house.store.write(lambda tx: sources.use(tx, wanted))


def listen(world: SimulatedWorld, remote: Remote, host: str = "mx.example.net") -> Remote:
    """The server that takes the mail of example.net."""
    world.zone["MX", "example.net"] = f"10 {host}"
    world.zone["A", host] = "192.0.2.1"
    world.network.listen("192.0.2.1", 25, remote.serve)
    return remote


async def waiting(house: SimulatedHouse) -> list[Waiting]:
    found = await house.house.store.read(lambda tx: queue.find(tx, Filter(), 1000))
    return [row for row, _ in found]


def attempts(house: SimulatedHouse) -> list[Attempted]:
    return [entry for _, entry in house.told if isinstance(entry, Attempted)]


async def test_without_pools_mail_leaves_as_the_kernel_chooses(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    remote = listen(world, sink())
    await add_source(house, "a", A)  # a pool that nobody uses
    await house.submit(ALICE, BOB)
    await world.sleep(minutes=1)
    assert [(one.helo, one.peer) for one in remote.received] == [("mx.example.org", "192.0.2.200")]
    assert [dial.source for dial in world.network.dials if dial.address == "192.0.2.1"] == [""]


async def test_an_organisation_may_have_addresses_of_its_own(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    remote = listen(world, sink())
    await add_source(house, "a", A, pool="shared")
    await add_source(house, "b", B, pool="own")
    await use(house, "shared")

    def another(tx: Tx) -> OrganisationId:
        return accounts.create_organisation(tx, "Another")

    other = await house.house.store.write(another)
    mine = await house.house.store.read(accounts.first_organisation)
    assert mine is not None
    await use(house, "own", other)
    await house.submit(ALICE, BOB)
    await world.sleep(minutes=1)
    await use(house, "own", mine)
    await world.sleep(minutes=1)  # what was known is looked up again
    await house.submit(ALICE, BOB)
    await world.sleep(minutes=1)
    assert [(one.peer, one.helo) for one in remote.received] == [
        (A, "a.example.org"),
        (B, "b.example.org"),
    ]


async def test_the_sources_of_a_pool_share_the_mail(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    remote = listen(world, sink())
    await add_source(house, "a", A)
    await add_source(house, "b", B)
    await use(house, "pool")
    for _ in range(40):
        await house.submit(ALICE, BOB)
    await world.sleep(minutes=1)
    peers = [one.peer for one in remote.received]
    assert len(peers) == 40
    assert 10 <= peers.count(A) <= 30
    # No connection was shared by both.
    assert {(one.peer, one.helo) for one in remote.received} == {
        (A, "a.example.org"),
        (B, "b.example.org"),
    }


async def test_a_recipient_keeps_its_source_for_its_retries(world: SimulatedWorld) -> None:
    """A greylister that knows us by our address lets us in at the second try."""
    house = await world.house("example.org", ["alice"])
    doors = {one: greylister(world.clock, timedelta(minutes=5)) for one in (A, B)}

    async def serve(stream) -> None:  # type: ignore[no-untyped-def]
        await doors[stream.peer.address].serve(stream)

    listen(world, sink())
    world.network.listen("192.0.2.1", 25, serve)
    await add_source(house, "a", A)
    await add_source(house, "b", B)
    await use(house, "pool")
    for number in range(10):
        await house.submit(ALICE, f"user{number}@example.net")
    await world.sleep(minutes=12)
    assert await waiting(house) == []
    assert all(len(door.received) >= 1 for door in doors.values())
    assert sum(len(door.received) for door in doors.values()) == 10


async def test_a_source_of_both_families_uses_the_one_that_fits(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    remote = sink()
    world.zone["MX", "example.net"] = "10 mx.example.net"
    world.zone["AAAA", "mx.example.net"] = "2001:db8:2::1"
    world.network.listen("2001:db8:2::1", 25, remote.serve)
    await add_source(house, "a", A, "2001:db8:1::1")
    await use(house, "pool")
    await house.submit(ALICE, BOB)
    await world.sleep(minutes=1)
    assert [one.peer for one in remote.received] == ["2001:db8:1::1"]


# ---------------------------------------------------------------------- PTR records


async def test_a_source_without_a_confirmed_name_gives_way_to_another(
    world: SimulatedWorld,
) -> None:
    house = await world.house("example.org", ["alice"])
    remote = listen(world, sink())
    await add_source(house, "a", A)
    await add_source(house, "b", B)
    world.zone["A", "a.example.org"] = "198.51.100.99"
    await use(house, "pool")
    for _ in range(10):
        await house.submit(ALICE, BOB)
    await world.sleep(minutes=1)
    assert [one.peer for one in remote.received] == [B] * 10


async def test_without_another_the_mail_waits_until_the_name_is_confirmed(
    world: SimulatedWorld,
) -> None:
    house = await world.house("example.org", ["alice"])
    remote = listen(world, sink())
    await add_source(house, "a", A)
    del world.zone["PTR", ipaddress.ip_address(A).reverse_pointer]
    await use(house, "pool")
    await house.submit(ALICE, BOB)
    await world.sleep(minutes=10)
    assert remote.sessions == 0
    assert "mailstead source check a" in attempts(house)[0].reply
    point(world, A, "a.example.org")
    await world.sleep(hours=2.5)  # it was remembered for an hour
    assert [one.peer for one in remote.received] == [A]


async def test_routes_do_not_ask_for_a_name(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    remote = listen(world, sink())
    await add_source(house, "a", A)
    del world.zone["PTR", ipaddress.ip_address(A).reverse_pointer]
    await use(house, "pool")
    await house.submit(ALICE, BOB)
    await world.sleep(minutes=1)
    (row,) = await waiting(house)
    await house.house.store.write(lambda tx: queue.set_route(tx, [row.id], "192.0.2.1:25"))
    house.house.watch.wake_queue()
    await world.sleep(minutes=1)
    assert [one.peer for one in remote.received] == [A]


# ---------------------------------------------------------------------- new addresses


async def test_a_new_source_sends_its_days_allowance_and_the_rest_tomorrow(
    world: SimulatedWorld,
) -> None:
    house = await world.house("example.org", ["alice"])
    remote = listen(world, sink(), "mx.l.google.com")
    await add_source(house, "a", A, warming=True)
    await use(house, "pool")
    for _ in range(53):
        await house.submit(ALICE, BOB)
    await world.sleep(minutes=10)
    assert len(remote.received) == 50
    late = attempts(house)[-1]
    assert "The source a is new and sent google its 50 of today" in late.reply
    rows = await waiting(house)
    midnight = world.clock.now().replace(hour=0, minute=0) + timedelta(days=1)
    assert all(midnight <= row.due <= midnight + timedelta(minutes=30) for row in rows)
    await world.sleep(hours=13)
    assert len(remote.received) == 53
    today = sources.day_of(world.clock.now())
    counted = [
        await house.house.store.read(lambda tx, day=day: sources.sent(tx, "a", day))  # type: ignore[misc]
        for day in (today - 1, today)
    ]
    assert counted == [{"google": 50}, {"google": 3}]


async def test_what_is_under_way_counts_before_it_is_written_down(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    remote = listen(world, sink(), "mx.qq.com")
    await add_source(house, "a", A, warming=True)
    await use(house, "pool")

    def queued(now: datetime) -> tuple[Enqueue, ...]:
        recipient = QueuedRecipient(BOB, "smtp", "example.net", now)
        return tuple(Enqueue(b"Subject: x\r\n\r\n", ALICE, (recipient,)) for _ in range(30))

    plan = Plan(queued(world.clock.now()), TraceId("t"), OrganisationId(1), MemoryBody(b"Hi!\r\n"))
    await house.house.store.apply(plan)
    house.house.watch.wake_queue()
    await world.sleep(minutes=10)
    assert len(remote.received) == 12
    assert len(await waiting(house)) == 18


async def test_who_moved_to_another_source_keeps_that_one(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    listen(world, refuser(reply=NOT_NOW))
    await add_source(house, "a", A)
    del world.zone["PTR", ipaddress.ip_address(A).reverse_pointer]
    await use(house, "pool")
    await house.submit(ALICE, BOB)
    await world.sleep(minutes=1)
    await add_source(house, "b", B)
    await world.sleep(minutes=10)
    (row,) = await waiting(house)
    assert (row.source, row.attempts) == ("b", 2)


async def test_what_a_new_source_may_not_send_leaves_from_another(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    remote = listen(world, sink(), "mx.qq.com")
    await add_source(house, "a", A, warming=True)
    await add_source(house, "b", B)
    await use(house, "pool")
    for _ in range(60):
        await house.submit(ALICE, BOB)
    await world.sleep(minutes=10)
    peers = [one.peer for one in remote.received]
    assert (peers.count(A), peers.count(B)) == (12, 48)
    departed = [entry for _, entry in house.told if isinstance(entry, Departed)]
    instead = {(one.source, one.instead) for one in departed}
    why = "The source a is new and sent qq its 12 of today"
    assert instead == {("a", ""), ("b", ""), ("b", why)}
