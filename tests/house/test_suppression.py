"""Whom we do not write to any more: refused where it is submitted, and told why."""

import pytest

from mailstead.model.address import parse_address
from mailstead.model.entries import Attempted
from mailstead.model.reply import Reply
from mailstead.server.config import Config
from mailstead.storage import accounts, suppression
from mailstead.storage.store import Tx
from mailstead.storage.suppression import Suppression
from mailstead.testing.cast.remote import Remote, Script
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


async def refuse(world: SimulatedWorld, reply: Reply) -> SimulatedHouse:
    """A house whose mail to Bob gets this reply."""
    house = await world.house("example.org", ["alice"], aliases={"away": [BOB]})
    world.zone["A", "example.net"] = "198.51.100.1"
    remote = Remote(Script(rcpt=lambda _: reply))
    world.network.listen("198.51.100.1", 25, remote.serve)
    return house


GONE = Reply(550, "5.1.1", "<bob@example.net>: Recipient address rejected: User unknown")
FULL = Reply(552, "5.2.2", "Mailbox full")
BLOCKED = Reply(550, "5.7.1", "Service unavailable; client host blocked using zen.spamhaus.org")


@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        (GONE, "recipient-gone", 550),
        (FULL, "mailbox-full", 250),
        (Reply(452, "4.2.2", "Mailbox full"), "mailbox-full", 250),
        (BLOCKED, "reputation", 250),
    ],
    ids=["gone", "full", "full for now", "blocked"],
)
async def test_only_who_is_gone_is_suppressed(
    world: SimulatedWorld, reply: Reply, kind: str, code: int
) -> None:
    house = await refuse(world, reply)
    assert (await house.submit(ALICE, to=BOB)).ok
    await world.sleep(minutes=1)
    (tried,) = [entry for _, entry in house.told if isinstance(entry, Attempted)]
    assert (tried.kind, bool(tried.rule)) == (kind, True)
    assert (await house.submit(ALICE, to=BOB)).code == code
    await world.sleep(days=91)
    assert (await house.submit(ALICE, to=BOB)).ok  # an address may come back


async def test_forwards_suppress_nobody(world: SimulatedWorld) -> None:
    house = await refuse(world, GONE)
    assert (await house.receive("carol@example.com", to="away@example.org")).ok
    await world.sleep(minutes=1)
    assert (await house.submit(ALICE, to=BOB)).ok


async def test_what_may_pass_has_to_fail_twice_a_day_apart(world: SimulatedWorld) -> None:
    house = await refuse(world, Reply(550, "5.1.2", "Host unknown"))
    codes = []
    for wait in (0.1, 0.1, 1.1, 0.1):  # days
        codes.append((await house.submit(ALICE, to=BOB)).code)
        await world.sleep(days=wait)
    codes.append((await house.submit(ALICE, to=BOB)).code)
    assert codes == [250, 250, 250, 250, 550]


async def test_a_printer_is_refused_as_well(world: SimulatedWorld) -> None:
    """What relay_from lets through is the organisation's mail, too."""
    config = Config(
        hostname="mx.example.org",
        database=world.database("example.org") or f"sqlite://{world.folder}/printer.db",
        data=str(world.folder),
        relay_from=("192.0.2.0/24",),
    )
    house = await world.house("example.org", ["alice"], config=config)
    await suppress(house, BOB, "")
    assert (await house.receive(ALICE, to="carol@example.net")).ok
    assert (await house.receive(ALICE, to=BOB)).code == 550
