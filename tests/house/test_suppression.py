"""Whom we do not write to any more: refused where it is submitted, and told why."""

from mailstead.model.address import parse_address
from mailstead.storage import accounts, suppression
from mailstead.storage.store import Tx
from mailstead.storage.suppression import Suppression
from mailstead.testing.cast.sink import sink
from mailstead.testing.house import SimulatedHouse, SimulatedWorld

ALICE, BOB = "alice@example.org", "bob@example.net"


async def suppress(house: SimulatedHouse, address: str, evidence: str) -> None:
    def work(tx: Tx) -> None:
        organisation = accounts.first_organisation(tx)
        assert organisation is not None
        entry = Suppression(address, "gone", evidence, tx.now)
        suppression.add(tx, organisation, [entry])

    await house.house.store.write(work)


async def test_a_suppressed_recipient_is_refused_with_the_reason(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    await suppress(house, BOB, "550 5.1.1 kein Postfach für\r\n bob")
    reply = await house.submit(ALICE, to="Bob@Example.Net")
    assert (reply.code, reply.enhanced) == (550, "5.7.1")
    assert "gone 550 5.1.1 kein Postfach f?r bob" in reply.text


async def test_others_still_get_their_mail(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    remote = sink()
    world.zone["A", "example.net"] = "198.51.100.1"
    world.network.listen("198.51.100.1", 25, remote.serve)
    await suppress(house, BOB, "")
    assert (await house.submit(ALICE, to="carol@example.net")).ok
    await world.sleep(minutes=1)
    assert remote.received[0].recipients == (parse_address("carol@example.net"),)
