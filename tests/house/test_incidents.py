"""A site says that it is about us (T9): the recipient is not to blame, the operator hears of it."""

from mailstead.model.entries import AnyEntry, Incident
from mailstead.model.reply import Reply
from mailstead.protocol.smtp import replies
from mailstead.storage import accounts, incidents, suppression
from mailstead.testing.cast.remote import Remote, Script
from mailstead.testing.cast.sink import sink
from mailstead.testing.house import SimulatedHouse, SimulatedWorld

ALICE = "alice@example.org"
LISTED = Reply(550, "5.7.1", "Service unavailable; client host is listed at zen.example")


async def start(world: SimulatedWorld) -> tuple[SimulatedHouse, list[Reply]]:
    """Alice's house, and what the server of example.net answers to RCPT."""
    answers = [LISTED]
    remote = Remote(Script(rcpt=lambda _: answers[0]))
    world.zone["A", "example.net"] = "198.51.100.1"
    world.network.listen("198.51.100.1", 25, remote.serve)
    return await world.house("example.org", ["alice"]), answers


def told(house: SimulatedHouse) -> list[AnyEntry]:
    return [entry for _, entry in house.told if isinstance(entry, Incident)]


async def send(house: SimulatedHouse, number: int) -> None:
    assert (await house.submit(ALICE, to=f"bob{number}@example.net")).ok
    await house.world.sleep(minutes=1)


async def test_a_block_opens_an_incident(world: SimulatedWorld) -> None:
    house, _ = await start(world)
    await send(house, 1)
    (entry,) = told(house)
    assert isinstance(entry, Incident)
    assert (entry.state, entry.site, entry.kind) == ("opened", "example.net", "reputation")
    assert "listed at zen.example" in entry.said
    (one,) = await house.house.store.read(incidents.list_open)
    assert (one.key.site, one.times) == ("example.net", 1)
    page = await house.house.store.read(
        lambda tx: suppression.page(tx, accounts.first_organisation(tx) or 0)  # type: ignore[arg-type]
    )
    assert page == []


async def test_t9_that_site_is_left_alone_for_a_while_and_no_other(world: SimulatedWorld) -> None:
    house, _ = await start(world)
    other = sink()
    world.zone["A", "example.com"] = "198.51.100.2"
    world.network.listen("198.51.100.2", 25, other.serve)
    await send(house, 1)
    asked = len(world.network.dials)
    assert (await house.submit(ALICE, to="dora@example.net")).ok  # nobody there is to blame
    assert (await house.submit(ALICE, to="dora@example.com")).ok
    await world.sleep(minutes=8)
    assert [dial.address for dial in world.network.dials[asked:]].count("198.51.100.1") == 0
    assert len(other.received) == 1
    await world.sleep(minutes=10)
    assert [dial.address for dial in world.network.dials[asked:]].count("198.51.100.1") == 1


async def test_one_incident_for_all_that_is_refused(world: SimulatedWorld) -> None:
    house, _ = await start(world)
    for number in range(5):
        await send(house, number)
        await world.sleep(minutes=15)
    assert len(told(house)) == 1
    (one,) = await house.house.store.read(incidents.list_open)
    assert one.times > 1


async def test_it_is_over_when_mail_is_taken_again(world: SimulatedWorld) -> None:
    house, answers = await start(world)
    await send(house, 1)
    answers[0] = replies.RECIPIENT_OK
    await world.sleep(minutes=20)
    await send(house, 2)  # too early to tell
    assert len(await house.house.store.read(incidents.list_open)) == 1
    await world.sleep(hours=1)
    await send(house, 3)
    assert [entry.state for entry in told(house)] == ["opened", "closed"]  # type: ignore[attr-defined]
    assert await house.house.store.read(incidents.list_open) == []
    (one,) = await house.house.store.read(incidents.list_closed)
    assert one.closed is not None
    answers[0] = LISTED
    await send(house, 4)
    assert len(await house.house.store.read(incidents.list_open)) == 1  # a new one


async def test_what_is_not_about_us_opens_none(world: SimulatedWorld) -> None:
    house, answers = await start(world)
    for number, reply in enumerate(
        (
            Reply(550, "5.1.1", "No such user"),
            Reply(452, "4.2.2", "Mailbox full"),
            Reply(421, "4.3.2", "Shutting down"),
        )
    ):
        answers[0] = reply
        await send(house, number)
    assert told(house) == []
