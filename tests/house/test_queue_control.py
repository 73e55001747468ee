"""Whose mail leaves first, and what is held: priorities, organisations, rules."""

from mailstead.model.address import parse_address
from mailstead.model.numbers import OrganisationId
from mailstead.services.outbound.providers import profile_of_host
from mailstead.services.tracing import new_trace
from mailstead.storage import hold_rules
from mailstead.storage.blobs import MemoryBody
from mailstead.storage.plan import Enqueue, Plan, QueuedRecipient
from mailstead.storage.queue import Filter
from mailstead.testing.cast.remote import Remote
from mailstead.testing.cast.sink import sink
from mailstead.testing.house import SimulatedHouse, SimulatedWorld

HEADER = b"From: news@example.org\r\nSubject: News\r\nMessage-ID: <1@example.org>\r\n\r\n"
BULK, URGENT = 20, 10


async def enqueue(
    house: SimulatedHouse, *recipients: str, priority: int = BULK, organisation: int = 1
) -> None:
    """A message for each recipient."""
    services = house.house
    for one in recipients:
        queued = QueuedRecipient(one, "smtp", parse_address(one).domain, services.world.clock.now())
        step = Enqueue(HEADER, "news@example.org", (queued,), priority=priority)
        trace, owner = new_trace(services.world), OrganisationId(organisation)
        await services.store.apply(Plan((step,), trace, owner, MemoryBody(b"Hi!\r\n")))
    services.watch.wake_queue()


def site(world: SimulatedWorld, domain: str, address: str, remote: Remote) -> Remote:
    """A domain and its server."""
    world.zone["MX", domain] = [f"10 mx.{domain}"]
    world.zone["A", f"mx.{domain}"] = address
    world.network.listen(address, 25, remote.serve)
    return remote


def names(remote: Remote) -> list[str]:
    return [one.recipients[0].local_part for one in remote.received]


LIMITED = "mail.google.com"  # so many messages a second, as its provider's profile says
RATE = profile_of_host(f"mx.{LIMITED}").limits.messages_a_minute // 60


async def test_the_urgent_overtakes_a_backlog(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    remote = site(world, LIMITED, "198.51.100.1", sink())
    await enqueue(house, *(f"bulk{n}@{LIMITED}" for n in range(900)))
    await world.sleep(seconds=5)
    already = len(remote.received)
    assert already == 5 * RATE
    await enqueue(house, f"receipt@{LIMITED}", priority=URGENT)
    await world.sleep(seconds=1)
    assert already <= names(remote).index("receipt") <= already + 1


async def test_who_sends_little_does_not_wait_for_who_sends_much(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    remote = site(world, LIMITED, "198.51.100.1", sink())
    await enqueue(house, *(f"much{n}@{LIMITED}" for n in range(900)))
    await enqueue(house, *(f"little{n}@{LIMITED}" for n in range(20)), organisation=2)
    await world.sleep(minutes=1)
    assert sum(name.startswith("little") for name in names(remote)) == 20
    await world.sleep(minutes=3)
    assert len(remote.received) == 920


async def test_a_big_slow_site_holds_up_nobody_else(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    big = site(world, LIMITED, "198.51.100.1", sink())
    small = site(world, "example.net", "198.51.100.2", sink())
    await enqueue(house, *(f"much{n}@{LIMITED}" for n in range(900)))
    await world.sleep(seconds=1)
    await enqueue(house, "bob@example.net")
    await world.sleep(seconds=1)
    assert (names(small), len(big.received)) == (["bob"], 2 * RATE)


async def test_a_rule_holds_what_waits_until_it_is_released(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    remote = site(world, "example.net", "198.51.100.1", sink())
    store, operators = house.house.store, house.house.operators
    rule = await store.write(
        lambda tx: hold_rules.add(tx, OrganisationId(0), "", "", "@example.net", "looks odd")
    )
    await enqueue(house, "bob@example.net", "carol@example.net")
    await world.sleep(days=1)
    assert remote.received == []
    held = await operators.find(Filter(held=True))
    assert [row.recipient for row, _ in held] == ["bob@example.net", "carol@example.net"]
    await store.write(lambda tx: hold_rules.remove(tx, rule))
    await operators.release(Filter(recipient="bob@example.net"))
    await world.sleep(minutes=1)
    assert names(remote) == ["bob"]
