"""Lists and forwarders: a believed host says what it saw, and we say what we pass on."""

import msgspec
import pytest

from mailstead.message import header as fields
from mailstead.message.header import split
from mailstead.model.address import Domain
from mailstead.model.entries import Authenticated
from mailstead.msgauth.arc import validate as chains
from mailstead.msgauth.arc.chain import Chain, parse_chain
from mailstead.msgauth.arc.seal import seal
from mailstead.msgauth.arc.validate import Validation
from mailstead.msgauth.authres import AuthenticationResults, Result
from mailstead.msgauth.dkim.canonical import BodyHash
from mailstead.msgauth.dkim.key import SigningKey
from mailstead.msgauth.dkim.verify import body_hashes
from mailstead.services import signing
from mailstead.services.outbound.asking import answer
from mailstead.storage import arc_sealers, switches
from mailstead.storage.arc_sealers import EVERYBODY
from mailstead.storage.switches import SEALING, Switch
from mailstead.testing.cast.sink import sink
from mailstead.testing.clock import InlineOffload
from mailstead.testing.house import SimulatedHouse, SimulatedWorld, compose_elsewhere
from mailstead.testing.smtp import SmtpClient

ALICE, BOB = "alice@example.org", "bob@example.net"
LIST_HOST, LIST = "192.0.2.80", Domain("lists.example.com")


class Post(msgspec.Struct, frozen=True):
    """A message that a list passes on, with its footer, and the key that it seals with."""

    header: bytes
    body: bytes
    key: SigningKey

    def sealed(self, world: SimulatedWorld, dmarc: str = "pass") -> bytes:
        hashing = BodyHash()
        hashing.add(self.body)
        results = AuthenticationResults("mx.example.com", (Result("dmarc", dmarc),))
        none = Validation(chains.Status.NONE)
        now = world.clock.now()
        top = seal(self.header, hashing.finish(), None, none, results, self.key, now)
        return top + self.header + self.body


async def post(world: SimulatedWorld) -> Post:
    """From a domain that asks to refuse what it has not signed."""
    world.zone["TXT", "example.net"] = "v=spf1 ip4:192.0.2.5 -all"
    world.zone["TXT", "_dmarc.example.net"] = "v=DMARC1; p=reject"
    key = SigningKey(LIST, "s", await signing.make_key(InlineOffload(), "ed25519"))
    world.zone["TXT", key.name] = key.record
    header, body = split(compose_elsewhere(BOB, ["friends@lists.example.com"], "Hello", "Hi!\r\n"))
    return Post(b"List-Id: <friends.lists.example.com>\r\n" + header, body + b"-- \r\n", key)


async def receive(house: SimulatedHouse, message: bytes, source: str = LIST_HOST) -> int:
    async with SmtpClient(house.world.network, house.address, 25, source) as client:
        path = "friends-bounces@lists.example.com"
        return (await client.send_message(path, [ALICE], message)).code


async def believe(house: SimulatedHouse, domain: Domain = LIST) -> None:
    await house.house.store.write(lambda tx: arc_sealers.add(tx, EVERYBODY, domain))


@pytest.mark.rfc("8617 section 7.2.1")
@pytest.mark.rfc("8617 section 10.2")
async def test_a_list_that_is_believed(world: SimulatedWorld) -> None:
    message = (await post(world)).sealed(world)
    house = await world.house("example.org", ["alice"])
    assert await receive(house, message) == 250
    assert len(await house.mailbox(ALICE, "Junk")) == 1
    await believe(house, Domain("example.com"))
    assert await receive(house, message) == 250
    filed = await house.newest(ALICE)
    results = b" ".join((fields.get(filed.header, "Authentication-Results") or b"").split())
    assert b"dmarc=fail" in results
    assert b"arc=pass smtp.remote-ip=192.0.2.80 header.oldest-pass=0" in results
    entry = [one for _, one in house.told if isinstance(one, Authenticated)][-1]
    assert (entry.action, "lists.example.com" in entry.reason) == ("inbox", True)


@pytest.mark.parametrize("how", ["changed", "it failed there too", "not its seal"])
async def test_what_a_believed_list_does_not_vouch_for(world: SimulatedWorld, how: str) -> None:
    found = await post(world)
    house = await world.house("example.org", ["alice"])
    if how != "not its seal":
        await believe(house)
    message = found.sealed(world, "fail" if how == "it failed there too" else "pass")
    if how == "changed":
        message += b"Buy!\r\n"
    assert await receive(house, message) == 250
    assert await house.mailbox(ALICE) == []
    assert len(await house.mailbox(ALICE, "Junk")) == 1


@pytest.mark.rfc("8617 section 5.1")
@pytest.mark.parametrize("sealing", ["on", "off"])
async def test_what_we_forward_is_sealed(world: SimulatedWorld, sealing: str) -> None:
    target = sink()
    world.zone["A", "example.com"] = "198.51.100.2"
    world.network.listen("198.51.100.2", 25, target.serve)
    house = await world.house("example.org", ["alice"], aliases={"away": ["carol@example.com"]})
    store = house.house.store
    key = await signing.ensure_key(store, InlineOffload(), Domain("example.org"))
    switch = Switch(EVERYBODY, "", sealing)
    await store.write(lambda tx: switches.put(tx, SEALING, switch))
    world.zone["TXT", "example.net"] = "v=spf1 ip4:192.0.2.5 -all"
    message = compose_elsewhere(BOB, ["away@example.org"], "Hello", "Hi!\r\n")
    async with SmtpClient(world.network, house.address, 25, "192.0.2.5") as client:
        assert (await client.send_message(BOB, ["away@example.org"], message)).ok
    await world.sleep(minutes=1)
    (received,) = target.received
    header, body = split(received.content)
    found = parse_chain(header)
    if sealing == "off":
        assert found is None
        return
    assert isinstance(found, Chain)
    hashes = body_hashes(found.messages)
    hashes.add(body)
    world.zone["TXT", key.name] = key.record
    lookup = chains.validate(found, hashes.finish(), world.clock.now())
    assert (await answer(lookup, world.zone)).status is chains.Status.PASS
    assert b"spf=pass" in found.sets[0].fields[0]
