"""Forwards: a return path of ours, by which bounces get home and nothing else gets anywhere."""

import msgspec
import pytest

from mailstead.model.address import Address, Domain, parse_address
from mailstead.services.delivery import srs
from mailstead.storage import accounts
from mailstead.testing.cast.remote import Remote
from mailstead.testing.cast.sink import sink
from mailstead.testing.house import SimulatedHouse, SimulatedWorld

AWAY, BOB, CAROL = "away@example.org", "bob@example.net", "carol@example.com"


async def forwarding(world: SimulatedWorld) -> tuple[SimulatedHouse, Remote, Remote]:
    """A house whose alias leads to Bob; Bob's server and Carol's."""
    house = await world.house("example.org", ["alice"], aliases={"away": [BOB]})
    servers = []
    for number, domain in enumerate(("example.net", "example.com"), 1):
        world.zone["A", domain] = f"198.51.100.{number}"
        servers.append(sink())
        world.network.listen(f"198.51.100.{number}", 25, servers[-1].serve)
    return house, servers[0], servers[1]


async def return_path(world: SimulatedWorld, house: SimulatedHouse, remote: Remote) -> Address:
    """What Carol's mail to the alias is passed on with."""
    assert (await house.receive(CAROL, to=AWAY)).ok
    await world.sleep(minutes=1)
    path = remote.received[-1].reverse_path
    assert path is not None
    return path


async def test_a_bounce_of_a_forward_gets_home(world: SimulatedWorld) -> None:
    house, bobs, carols = await forwarding(world)
    path = await return_path(world, house, bobs)
    assert (path.domain, srs.is_rewritten(path.local_part)) == ("example.org", True)
    assert (await house.receive("", to=str(path))).ok
    await world.sleep(minutes=1)
    received = carols.received[-1]
    assert (received.reverse_path, received.recipients) == (None, (parse_address(CAROL),))


async def test_a_sender_of_ours_keeps_the_path(world: SimulatedWorld) -> None:
    house, bobs, _ = await forwarding(world)
    assert (await house.submit("alice@example.org", to=AWAY)).ok
    await world.sleep(minutes=1)
    assert bobs.received[-1].reverse_path == parse_address("alice@example.org")


async def test_a_bounce_stays_without_a_path(world: SimulatedWorld) -> None:
    house, bobs, _ = await forwarding(world)
    assert (await house.receive("", to=AWAY)).ok
    await world.sleep(minutes=1)
    assert bobs.received[-1].reverse_path is None


@pytest.mark.parametrize("catch_all", [None, "alice@example.org"])
async def test_what_is_no_bounce_or_not_ours_is_refused(
    world: SimulatedWorld, catch_all: str | None
) -> None:
    house, bobs, carols = await forwarding(world)
    path = await return_path(world, house, bobs)
    if catch_all:
        await house.house.store.write(
            lambda tx: accounts.set_catch_all(tx, Domain("example.org"), parse_address(catch_all))
        )
    forged = msgspec.structs.replace(path, local_part=path.local_part[:-5] + "mallo")
    for sender, recipient in ((CAROL, path), ("", forged)):
        assert (await house.receive(sender, to=str(recipient))).code == 550
    await world.sleep(days=22)
    assert (await house.receive("", to=str(path))).code == 550
    assert carols.received == []


async def test_an_account_of_that_name_has_its_mail(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["srs0=x"])
    assert (await house.receive(CAROL, to="srs0=x@example.org")).ok
    assert len(await house.mailbox("srs0=x@example.org")) == 1
