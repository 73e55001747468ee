"""T11: SPF, DKIM and ARC with every policy: what becomes of a message, and one field says why."""

import itertools

import pytest

from mailstead.message import header as fields
from mailstead.model.address import Domain
from mailstead.msgauth.arc.seal import seal
from mailstead.msgauth.arc.validate import Status as ArcStatus
from mailstead.msgauth.arc.validate import Validation
from mailstead.msgauth.authres import AuthenticationResults, Property, Result
from mailstead.msgauth.dkim.canonical import BodyHash
from mailstead.msgauth.dkim.key import SigningKey
from mailstead.msgauth.dkim.sign import sign
from mailstead.services import signing
from mailstead.storage import arc_sealers
from mailstead.storage.arc_sealers import EVERYBODY
from mailstead.testing.clock import InlineOffload
from mailstead.testing.house import SimulatedHouse, SimulatedWorld, compose_elsewhere
from mailstead.testing.smtp import SmtpClient

ALICE, BOB = "alice@example.org", "bob@example.net"
BOBS_HOST, OTHER_HOST = "192.0.2.5", "192.0.2.66"
SPF, DKIM, ARC = ("pass", "fail", "none"), ("pass", "fail", "none"), ("believed", "none")
POLICIES = ("none", "quarantine", "reject")


def expected(spf: str, dkim: str, arc: str, policy: str) -> str:
    """Where the message lands, by postmaster's rules for what fails DMARC."""
    if "pass" in (spf, dkim) or policy == "none" or arc == "believed":
        return "inbox"
    # p=reject refuses only with a second fact: SPF says no, and nobody is on the way.
    return "refused" if policy == "reject" and spf == "fail" else "junk"


class Sender:
    """Bob's domain and a list, with their keys."""

    def __init__(self, world: SimulatedWorld, pem: bytes) -> None:
        self.world = world
        self.keys = {
            name: SigningKey(Domain(name), "s", pem)
            for name in ("example.net", "lists.example.com")
        }
        for key in self.keys.values():
            world.zone["TXT", key.name] = key.record

    def publish(self, spf: str, policy: str) -> None:
        """What the DNS says of Bob's domain."""
        record = "v=spf1 -all" if spf == "fail" else f"v=spf1 ip4:{BOBS_HOST} -all"
        self.world.zone["TXT", "example.net"] = "nothing" if spf == "none" else record
        self.world.zone["TXT", "_dmarc.example.net"] = f"v=DMARC1; p={policy}"
        self.world.zone["A", "example.net"] = "198.51.100.1"

    def message(self, dkim: str, arc: str) -> bytes:
        """A message of Bob's, signed or not, and sealed by the list if it is to be."""
        now = self.world.clock.now()
        octets = compose_elsewhere(BOB, [ALICE], "Hello", "Hi!\r\n")
        header, body = fields.split(octets)
        digest = BodyHash()
        digest.add(body)
        hashed = digest.finish()
        if dkim != "none":
            header = sign(header, hashed, self.keys["example.net"], now) + header
        if dkim == "fail":  # whoever passed it on changed it
            header = header.replace(b"Subject: Hello", b"Subject: Hallo")
        if arc == "believed":
            passed = Result("dmarc", "pass", (Property("header", "from", "example.net"),))
            seen = AuthenticationResults("lists.example.com", (passed,))
            none = Validation(ArcStatus.NONE)
            key = self.keys["lists.example.com"]
            header = seal(header, hashed, None, none, seen, key, now) + header
        return header + body


async def arrive(house: SimulatedHouse, source: str, message: bytes) -> str:
    """Where it landed; then nothing lies there any more."""
    before = {box: len(await house.mailbox(ALICE, box)) for box in ("INBOX", "Junk")}
    async with SmtpClient(house.world.network, house.address, 25, source) as client:
        reply = await client.send_message(BOB, [ALICE], message)
    after = {box: await house.mailbox(ALICE, box) for box in before}
    for box, filed in after.items():
        if len(filed) > before[box]:
            named = [
                one
                for one in fields.fields(filed[-1].header)
                if one.name == "Authentication-Results"
            ]
            assert len(named) == 1, "one field says what was found"
            return "inbox" if box == "INBOX" else "junk"
    assert reply.code == 550, reply
    return "refused"


@pytest.mark.rfc("9989 section 7.4")
@pytest.mark.parametrize(("spf", "arc"), list(itertools.product(SPF, ARC)))
async def test_the_matrix(world: SimulatedWorld, spf: str, arc: str) -> None:
    house = await world.house("example.org", ["alice"])
    sender = Sender(world, await signing.make_key(InlineOffload(), "ed25519"))
    believed = Domain("lists.example.com")
    await house.house.store.write(lambda tx: arc_sealers.add(tx, EVERYBODY, believed))
    found, wanted = {}, {}
    for dkim, policy in itertools.product(DKIM, POLICIES):
        sender.publish(spf, policy)
        await world.sleep(hours=2)  # the resolver forgets
        source = BOBS_HOST if spf == "pass" else OTHER_HOST
        found[dkim, policy] = await arrive(house, source, sender.message(dkim, arc))
        wanted[dkim, policy] = expected(spf, dkim, arc, policy)
    assert found == wanted
