"""LMTP from a host in front of us (RFC 2033)."""

import msgspec
import pytest

from mailstead.model.address import Address, parse_domain
from mailstead.model.entries import Connected, Refused
from mailstead.model.errors import TemporaryFailure
from mailstead.protocol.smtp import replies
from mailstead.server.config import Config
from mailstead.services.delivery.relaying import Relays, Standing
from mailstead.services.inbound.site import Role
from mailstead.sessions import smtp
from mailstead.storage import accounts, relays
from mailstead.storage.relays import RelayDomain
from mailstead.storage.store import Tx
from mailstead.testing.house import SimulatedHouse, SimulatedWorld, compose, compose_elsewhere
from mailstead.testing.smtp import SmtpClient

ALICE, BOB, CAROL = "alice@example.org", "bob@example.org", "carol@example.net"


async def deliver(
    house: SimulatedHouse, *recipients: str, source: str = "127.0.0.1"
) -> tuple[list[int], list[int]]:
    """The codes of the replies to RCPT, and of those after the dot."""
    network = house.world.network
    async with SmtpClient(network, house.address, 24, source) as client:
        await client.command("LHLO front.example")
        await client.command(f"MAIL FROM:<{CAROL}>")
        rcpts = [await client.command(f"RCPT TO:<{one}>") for one in recipients]
        taken = sum(one.ok for one in rcpts)
        if taken:
            await client.command("DATA")
            client.stream.send(compose(CAROL, recipients, "Hello", "Hi!\r\n") + b".\r\n")
        ends = [await client.reply() for _ in range(taken)]
        return [one.code for one in rcpts], [one.code for one in ends]


@pytest.mark.rfc("2033 section 4.2")
async def test_each_recipient_has_an_answer(world: SimulatedWorld) -> None:
    house = await world.house(
        "example.org", ["alice", "bob", "full"], aliases={"both": [ALICE, BOB]}
    )
    await house.house.store.write(lambda tx: accounts.set_quota(tx, "full@example.org", 1))
    await house.receive(CAROL, to="full@example.org")
    names = ("alice", "full", "nobody", "both", "alice+tag", "postmaster")
    codes = await deliver(house, *(f"{name}@example.org" for name in names))
    assert codes == ([250, 452, 550, 250, 250, 250], [250] * 4)
    assert [len(await house.mailbox(one)) for one in (ALICE, BOB)] == [1, 1]
    header = (await house.newest(ALICE)).header
    assert b"with LMTP id" in header
    assert b"front.example ([127.0.0.1])" in header
    connected = [entry for _, entry in house.told if isinstance(entry, Connected)]
    assert connected[-1].role == "lmtp"


@pytest.mark.rfc("2033 section 4.2")
async def test_who_became_full_since_rcpt_is_put_off_alone(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice", "bob", "full", "gone"])
    to = [f"{name}@example.org" for name in ("alice", "full", "gone", "bob")]
    async with SmtpClient(world.network, house.address, 24, "127.0.0.1") as client:
        await client.command("LHLO front.example")
        await client.command(f"MAIL FROM:<{CAROL}>")
        assert [(await client.command(f"RCPT TO:<{one}>")).code for one in to] == [250] * 4
        await client.command("DATA")
        await house.house.store.write(lambda tx: accounts.set_quota(tx, "full@example.org", 1))
        await house.receive(CAROL, to="full@example.org")
        await house.house.store.write(lambda tx: accounts.set_active(tx, "gone@example.org", False))
        client.stream.send(compose(CAROL, to, "Hello", "Hi!\r\n") + b".\r\n")
        ends = [await client.reply() for _ in to]
    assert [(one.code, one.enhanced) for one in ends] == [
        (250, "2.0.0"),
        (452, "4.2.2"),
        (550, "5.1.1"),
        (250, "2.0.0"),
    ]
    assert [len(await house.mailbox(one)) for one in to] == [1, 1, 0, 1]
    refused = [entry for _, entry in house.told if isinstance(entry, Refused)]
    assert [(one.stage, one.recipient) for one in refused] == [("data", to[1]), ("data", to[2])]


async def test_only_hosts_of_ours_are_let_in(world: SimulatedWorld) -> None:
    config = Config(
        hostname="mx.example.org",
        database=world.database("example.org") or f"sqlite://{world.folder}/front.db",
        data=str(world.folder),
        relay_from=("192.0.2.7/32",),
    )
    house = await world.house("example.org", ["alice"], config=config)
    for source in ("192.0.2.7", "::1"):
        assert await deliver(house, ALICE, source=source) == ([250], [250])
    client = SmtpClient(world.network, house.address, 24, "192.0.2.8")
    client.stream = await world.network.connect(house.address, 24, "192.0.2.8")
    assert await client.reply() == replies.NOT_LISTED
    with pytest.raises(ConnectionError):
        await client.reply()
    refused = [entry.reason for _, entry in house.told if isinstance(entry, Refused)]
    assert refused[0].startswith("lmtp: 192.0.2.8:")


async def test_nothing_is_relayed(world: SimulatedWorld) -> None:
    """Not even to relay domains: whoever is in front of us would come back to itself."""
    house = await world.house("example.org", ["alice"])

    def work(tx: Tx) -> None:
        owner = accounts.first_organisation(tx)
        assert owner is not None
        for name in ("example.org", "example.net"):
            domain = parse_domain(name)
            relays.add(tx, RelayDomain(domain, owner, "10.0.0.1:25", "smtp", "list", 1, tx.now))
            relays.add_recipients(tx, domain, ["bob"])

    await house.house.store.write(work)
    assert await deliver(house, BOB, "bob@example.net", ALICE) == ([550, 550, 250], [250])


async def test_a_front_may_name_many_who_do_not_exist(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    unknown = [f"name{number}@example.org" for number in range(60)]
    codes, _ = await deliver(house, *unknown, ALICE)
    assert codes == [550] * 60 + [250]


async def test_a_recipient_put_off_does_not_cost_the_others(world: SimulatedWorld) -> None:
    """Who was taken before it gets the message."""
    house = await world.house("example.org", ["alice", "bob"])

    async def busy(domain: RelayDomain, address: Address) -> Standing:
        raise TemporaryFailure("the database is busy")

    def split(tx: Tx) -> None:
        owner, domain = accounts.first_organisation(tx), parse_domain("example.org")
        assert owner is not None
        relays.add(tx, RelayDomain(domain, owner, "10.0.0.1:25", "smtp", "call", 1, tx.now))

    await house.house.store.write(split)
    site = msgspec.structs.replace(house.house.site, relays=Relays(house.house.store, busy))
    door = smtp.Door(Role.MX)
    world.network.listen(house.address, 26, lambda stream: smtp.serve(stream, site, door))
    async with SmtpClient(world.network, house.address, 26) as client:
        await client.command(f"MAIL FROM:<{CAROL}>")
        to = (ALICE, "old@example.org", BOB)
        codes = [(await client.command(f"RCPT TO:<{one}>")).code for one in to]
        await client.command("DATA")
        message = compose_elsewhere(CAROL, to, "Hello", "Hi!\r\n").decode()
        end = await client.command(f"{message}.")
    assert (codes, end.code) == ([250, 451, 250], 250)
    assert [len(await house.mailbox(one)) for one in (ALICE, BOB)] == [1, 1]
