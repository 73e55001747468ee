"""What senders hear of their mail, as they asked for it (RFC 3461)."""

import email
import email.policy
from email.message import EmailMessage

import pytest

from mailstead.model.reply import Reply
from mailstead.protocol.smtp.server import ServerOptions
from mailstead.testing.cast.refuser import refuser
from mailstead.testing.cast.remote import Remote, Script
from mailstead.testing.cast.sink import sink
from mailstead.testing.house import PASSWORD, SimulatedHouse, SimulatedWorld, compose
from mailstead.testing.smtp import SmtpClient

ALICE, BOB, CAROL = "alice@example.org", "bob@example.net", "carol@example.org"


async def submit(house: SimulatedHouse, to: str, wish: str, about: str = "") -> Reply:
    """A submission with parameters to MAIL and RCPT; the reply to its end, or the refusal."""
    async with SmtpClient(house.world.network, house.address, 587) as client:
        await client.log_in(ALICE, PASSWORD)
        lines = (f"MAIL FROM:<{ALICE}> {about}".strip(), f"RCPT TO:<{to}> {wish}".strip(), "DATA")
        for line in lines:
            reply = await client.command(line)
            if not reply.ok:
                return reply
        client.stream.send(compose(ALICE, [to], "Hello", "Hi!\r\n") + b".\r\n")
        return await client.reply()


async def told(house: SimulatedHouse) -> list[dict[str, str]]:
    """The fields for the recipient of every DSN that Alice got, with those for the message."""
    found = []
    for filed in await house.mailbox(ALICE):
        parsed = email.message_from_bytes(filed.header + filed.body, policy=email.policy.default)
        if parsed.get_content_type() == "multipart/report":
            status = parsed.get_payload()[1]
            assert isinstance(status, EmailMessage)
            about, *recipients = status.get_payload()
            found += [{**dict(about), **dict(one)} for one in recipients]
    return found


def remote(world: SimulatedWorld, server: Remote) -> Remote:
    """Bob's server."""
    world.zone["A", "example.net"] = "198.51.100.1"
    world.network.listen("198.51.100.1", 25, server.serve)
    return server


@pytest.mark.rfc("3461 section 5.2.6")
async def test_success_here(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice", "carol"])
    wish = "NOTIFY=SUCCESS ORCPT=rfc822;Carol+2BX@example.org"
    assert (await submit(house, CAROL, wish, "ENVID=QQ+2B1 RET=HDRS")).ok
    (one,) = await told(house)
    assert (one["Action"], one["Status"], one["Final-Recipient"]) == (
        "delivered",
        "2.1.5",
        f"rfc822; {CAROL}",
    )
    assert one["Original-Recipient"] == "rfc822;Carol+X@example.org"
    assert one["Original-Envelope-Id"] == "QQ+1"


@pytest.mark.rfc("3461 section 5.2.7")
async def test_success_of_an_alias(world: SimulatedWorld) -> None:
    """Nobody further on is asked to tell: our word is the last."""
    aliases = {"away": [BOB], "all": [BOB, CAROL]}
    house = await world.house("example.org", ["alice", "carol"], aliases=aliases)
    bobs = remote(world, sink(options=ServerOptions("sink.example", dsn=True)))
    for name in aliases:
        assert (await submit(house, f"{name}@example.org", "NOTIFY=SUCCESS,FAILURE")).ok
    await world.sleep(minutes=1)
    assert [one["Action"] for one in await told(house)] == ["relayed", "expanded"]
    assert [one.wishes for one in bobs.received] == [("",), ("",)]


@pytest.mark.rfc("3461 section 5.2.1")
async def test_a_server_that_understands_is_asked_to_tell(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    bobs = remote(world, sink(options=ServerOptions("sink.example", dsn=True)))
    assert (await submit(house, BOB, "NOTIFY=SUCCESS,DELAY")).ok
    await world.sleep(minutes=1)
    assert [one.wishes for one in bobs.received] == [("SUCCESS,DELAY",)]
    assert await told(house) == []


@pytest.mark.rfc("3461 section 5.2.2")
async def test_one_that_does_not_is_told_of_by_us(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    remote(world, sink())
    assert (await submit(house, BOB, "NOTIFY=SUCCESS")).ok
    await world.sleep(minutes=1)
    (one,) = await told(house)
    assert (one["Action"], one["Remote-MTA"]) == ("relayed", "dns; example.net")


@pytest.mark.rfc("3461 section 4.1")
@pytest.mark.parametrize(
    ("wish", "actions"),
    [
        ("", ["failed"]),
        ("NOTIFY=FAILURE", ["failed"]),
        ("NOTIFY=SUCCESS,DELAY", []),
        ("NOTIFY=NEVER", []),
    ],
)
async def test_failures(world: SimulatedWorld, wish: str, actions: list[str]) -> None:
    house = await world.house("example.org", ["alice"])
    remote(world, refuser([BOB]))
    assert (await submit(house, BOB, wish)).ok
    await world.sleep(minutes=1)
    assert [one["Action"] for one in await told(house)] == actions


@pytest.mark.rfc("3461 section 4.1")
@pytest.mark.parametrize(
    ("wish", "actions"),
    [
        ("", ["delayed", "failed"]),
        ("NOTIFY=FAILURE", ["failed"]),
        ("NOTIFY=DELAY", ["delayed"]),
        ("NOTIFY=NEVER", []),
    ],
)
async def test_delays(world: SimulatedWorld, wish: str, actions: list[str]) -> None:
    house = await world.house("example.org", ["alice"])
    busy = Reply(451, "4.3.2", "Busy")
    remote(world, Remote(Script(rcpt=lambda _: busy)))
    assert (await submit(house, BOB, wish)).ok
    await world.sleep(days=6)
    assert [one["Action"] for one in await told(house)] == actions


async def test_only_those_who_log_in_can_ask(world: SimulatedWorld) -> None:
    """A stranger's reverse-path may be forged: what would go there is backscatter."""
    house = await world.house("example.org", ["alice"])
    async with SmtpClient(world.network, house.address, 25) as client:
        assert "DSN" not in client.ehlo.text.split("\n")
        await client.command("MAIL FROM:<x@example.com>")
        assert (await client.command(f"RCPT TO:<{ALICE}> NOTIFY=SUCCESS")).code == 555
    async with SmtpClient(world.network, house.address, 587) as client:
        assert "DSN" in client.ehlo.text.split("\n")
