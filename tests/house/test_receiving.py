"""Mail comes in on port 25."""

import pytest

from mailstead.storage import accounts
from mailstead.testing.house import SimulatedWorld


async def test_a_message_comes_in(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    reply = await house.receive("bob@example.net", to="alice@example.org", subject="First")
    assert (reply.code, reply.enhanced) == (250, "2.0.0")
    filed = await house.newest("alice@example.org")
    assert filed.subject == "First"
    assert filed.body == b"Hi!\r\n"
    assert filed.header.startswith(
        b"Return-Path: <bob@example.net>\r\nDelivered-To: alice@example.org\r\n"
        b"X-Spam-Status: No, score="
    )
    assert b"\r\nAuthentication-Results: mx.example.org;" in filed.header
    assert (
        b"\r\nReceived: from client.example ([192.0.2.200])\r\n\tby mx.example.org with ESMTP id "
    ) in filed.header


@pytest.mark.parametrize(
    ("recipient", "code", "enhanced"),
    [
        ("alice@example.org", 250, "2.0.0"),
        ("ALICE@EXAMPLE.ORG", 250, "2.0.0"),
        ("alice+news@example.org", 250, "2.0.0"),
        ("postmaster@example.org", 250, "2.0.0"),
        ("nobody@example.org", 550, "5.1.1"),
        ("bob@example.net", 550, "5.7.1"),
        ("bob%example.net@example.org", 550, "5.1.1"),
        ("example.net!bob@example.org", 550, "5.1.1"),
        ('"bob@example.net"@example.org', 550, "5.1.1"),
        ("@example.org:bob@example.net", 550, "5.7.1"),
        ("@example.net:alice@example.org", 250, "2.0.0"),
        ("alice@[203.0.113.25]", 550, "5.7.1"),
    ],
)
async def test_who_is_taken(
    world: SimulatedWorld, recipient: str, code: int, enhanced: str
) -> None:
    house = await world.house("example.org", accounts=["alice"])
    reply = await house.receive("bob@example.net", to=recipient)
    assert (reply.code, reply.enhanced) == (code, enhanced)


@pytest.mark.rfc("5321 section 4.5.1")
@pytest.mark.parametrize("recipient", ["postmaster", "Postmaster@example.org", "abuse@example.org"])
async def test_roles_are_read_and_never_refused(world: SimulatedWorld, recipient: str) -> None:
    house = await world.house("example.org", accounts=["alice", "bob"])
    await house.house.store.write(lambda tx: accounts.set_quota(tx, "alice@example.org", 1))
    assert (await house.receive("x@example.net", to="alice@example.org")).ok  # used: nothing yet
    full = await house.receive("x@example.net", to="alice@example.org")
    assert (full.code, full.enhanced) == (452, "4.2.2")
    assert (await house.receive("x@example.net", to=recipient)).ok
    assert len(await house.mailbox("alice@example.org")) == 2
