"""What a mail program or a platform may ask for when it hands a message in."""

import email
import email.policy
import hashlib
from datetime import UTC, datetime

import pytest

from mailstead.model.address import parse_address
from mailstead.model.entries import AnyEntry, Attempted, Connected, Delivered
from mailstead.model.reply import Reply
from mailstead.net.tls import opportunistic_context
from mailstead.protocol.smtp.server import ServerOptions
from mailstead.server.config import Config
from mailstead.storage import accounts
from mailstead.storage.queue import Filter
from mailstead.testing.cast.refuser import refuser
from mailstead.testing.cast.remote import Remote, Script
from mailstead.testing.cast.sink import sink
from mailstead.testing.certificates import Authority
from mailstead.testing.house import PASSWORD, SimulatedHouse, SimulatedWorld, compose
from mailstead.testing.smtp import SmtpClient

ALICE, BOB, CAROL = "alice@example.org", "bob@example.net", "carol@example.org"


async def submit(house: SimulatedHouse, to: list[str], about: str, header: bytes = b"") -> Reply:
    """A submission with parameters to MAIL, inside TLS if the house has it."""
    async with SmtpClient(house.world.network, house.address, 587) as client:
        if house.tls:
            await client.start_tls(opportunistic_context())
        await client.log_in(ALICE, PASSWORD)
        lines = (f"MAIL FROM:<{ALICE}> {about}".strip(), *(f"RCPT TO:<{one}>" for one in to))
        for line in (*lines, "DATA"):
            reply = await client.command(line)
            if not reply.ok:
                return reply
        client.stream.send(header + compose(ALICE, to, "Hello", "Hi!\r\n") + b".\r\n")
        return await client.reply()


def remote(world: SimulatedWorld, server: Remote) -> Remote:
    """Bob's server."""
    world.zone["A", "example.net"] = "198.51.100.1"
    world.network.listen("198.51.100.1", 25, server.serve)
    return server


def told(house: SimulatedHouse, kind: type[AnyEntry]) -> list[AnyEntry]:
    return [entry for _, entry in house.told if isinstance(entry, kind)]


# ---------------------------------------------------------------------- FUTURERELEASE


@pytest.mark.rfc("4865 section 4.2")
async def test_a_message_for_later_leaves_later(world: SimulatedWorld) -> None:
    server = remote(world, sink())
    house = await world.house("example.org", ["alice", "carol"])
    assert (await submit(house, [BOB, CAROL], "HOLDFOR=604800")).ok
    await world.sleep(days=6, hours=23)
    assert server.received == []
    assert await house.mailbox(CAROL) == []
    await world.sleep(hours=2)
    assert [str(one) for one in server.received[0].recipients] == [BOB]
    (filed,) = await house.mailbox(CAROL)
    assert b"Subject: Hello" in filed.header
    assert [one.recipient for one in told(house, Delivered)] == [CAROL]  # type: ignore[attr-defined]
    assert await house.house.operators.count() == 0


@pytest.mark.rfc("4865 section 4.2")
async def test_until_a_time(world: SimulatedWorld) -> None:
    server = remote(world, sink())
    house = await world.house("example.org", ["alice"])
    at = world.clock.now().replace(microsecond=0)
    at = at.replace(day=at.day + 1) if at.day < 28 else at.replace(month=at.month % 12 + 1, day=1)
    assert (await submit(house, [BOB], f"HOLDUNTIL={at:%Y-%m-%dT%H:%M:%SZ}")).ok
    await house.house.operators.retry(Filter())  # an operator may let it go before its time
    await world.sleep(minutes=1)
    assert len(server.received) == 1


@pytest.mark.rfc("4865 section 4.2")
async def test_too_far_ahead(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    assert (await submit(house, [CAROL], "HOLDFOR=7776001")).code == 501
    assert (await submit(house, [CAROL], "HOLDUNTIL=9999-01-01T00:00:00Z")).code == 501
    async with SmtpClient(world.network, house.address, 587) as client:
        limit = world.clock.now().timestamp() + 7776000
        latest = datetime.fromtimestamp(limit, UTC)
        assert f"FUTURERELEASE 7776000 {latest:%Y-%m-%dT%H:%M:%SZ}" in client.ehlo.text
    async with SmtpClient(world.network, house.address, 25) as client:
        assert "FUTURERELEASE" not in client.ehlo.text
        assert (await client.command("MAIL FROM:<> HOLDFOR=60")).code == 555


@pytest.mark.rfc("4865 section 5.1.2")
async def test_the_time_in_the_queue_begins_with_the_release(world: SimulatedWorld) -> None:
    refusing = remote(world, refuser(reply=Reply(450, "4.2.1", "Not now")))
    house = await world.house("example.org", ["alice"])
    assert (await submit(house, [BOB], "HOLDFOR=864000")).ok  # twice as long as mail waits
    await world.sleep(days=10, hours=1)
    assert refusing.sessions > 1
    assert await house.mailbox(ALICE) == []  # neither given up nor late
    await world.sleep(days=6)
    delayed, failed = await house.mailbox(ALICE)
    assert (delayed.subject, failed.subject) == ("Delayed: Hello", "Not delivered: Hello")
    parsed = email.message_from_bytes(failed.header + failed.body, policy=email.policy.default)
    about = parsed.get_payload()[1].get_payload()[0]  # type: ignore[index,union-attr]
    assert about["Future-Release-Request"] == "for;864000"
    assert about["Arrival-Date"]


@pytest.mark.rfc("4865 section 4.2")
async def test_who_is_gone_at_the_release(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"], aliases={"friends": ["alice"]})
    assert (await submit(house, ["friends@example.org"], "HOLDFOR=3600")).ok
    await house.house.store.write(
        lambda tx: accounts.delete_alias(tx, parse_address("friends@example.org"))
    )
    await world.sleep(hours=2)
    (notice,) = await house.mailbox(ALICE)
    assert "5.1.1" in notice.text


# ---------------------------------------------------------------------- REQUIRETLS


CA = Authority()
SECURE = ServerOptions("mx.example.net", require_tls=True)


def secure(world: SimulatedWorld, options: ServerOptions = SECURE) -> Remote:
    """Bob's server, whom DNSSEC and a TLSA record vouch for."""
    issued = CA.issue("mx.example.net")
    world.zone["MX", "example.net"] = "10 mx.example.net"
    world.zone["A", "mx.example.net"] = "198.51.100.1"
    world.zone["TLSA", "_25._tcp.mx.example.net"] = (
        f"3 1 1 {hashlib.sha256(issued.spki).hexdigest()}"
    )
    world.zone.authenticated |= {"example.net", "mx.example.net", "_25._tcp.mx.example.net"}
    server = Remote(Script(tls=issued.context(), options=options))
    world.network.listen("198.51.100.1", 25, server.serve)
    return server


@pytest.mark.rfc("8689 section 2")
@pytest.mark.rfc("8689 section 4.1")
async def test_tls_all_of_the_way(world: SimulatedWorld) -> None:
    server = secure(world)
    house = await world.house("example.org", ["alice"], tls=CA.issue("mx.example.org").context())
    assert (await submit(house, [BOB], "REQUIRETLS")).ok
    await world.sleep(minutes=1)
    assert [(bool(one.tls), one.require_tls) for one in server.received] == [(True, True)]
    (attempted,) = told(house, Attempted)
    assert attempted.hosts[0].wanted == "dane"  # type: ignore[attr-defined]


@pytest.mark.rfc("8689 section 4.2.1")
@pytest.mark.rfc("8689 section 5")
async def test_a_host_without_requiretls(world: SimulatedWorld) -> None:
    server = secure(world, ServerOptions("mx.example.net"))
    house = await world.house("example.org", ["alice"], tls=CA.issue("mx.example.org").context())
    assert (await submit(house, [BOB], "REQUIRETLS RET=FULL")).ok
    await world.sleep(minutes=1)
    assert server.received == []
    notice = await house.newest(ALICE)
    assert "5.7.30" in notice.text
    assert "Hi!" not in notice.text  # RET=FULL is disregarded


@pytest.mark.rfc("8689 section 2")
async def test_it_is_offered_only_inside_tls(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"], tls=CA.issue("mx.example.org").context())
    for port in (25, 587):
        async with SmtpClient(world.network, house.address, port) as client:
            assert "REQUIRETLS" not in client.ehlo.text
            assert (await client.command("MAIL FROM:<> REQUIRETLS")).code in (530, 555)
            await client.start_tls(opportunistic_context())
            assert "REQUIRETLS" in client.ehlo.text


@pytest.mark.rfc("8689 section 4.2.2")
async def test_tls_or_not(world: SimulatedWorld) -> None:
    """The recipient's certificate is wrong, and the message is to tell them so."""
    server = secure(world)
    world.zone["TLSA", "_25._tcp.mx.example.net"] = f"3 1 1 {'00' * 32}"
    house = await world.house("example.org", ["alice"])
    assert (await submit(house, [BOB], "")).ok
    assert (await submit(house, [BOB], "", b"TLS-Required: No\r\n")).ok
    await world.sleep(minutes=1)
    assert [b"TLS-Required" in one.content for one in server.received] == [True]


@pytest.mark.rfc("3461 section 4.3")
async def test_the_whole_message_goes_back(world: SimulatedWorld) -> None:
    remote(world, refuser(reply=Reply(550, "5.7.1", "No")))
    house = await world.house("example.org", ["alice"])
    assert (await submit(house, [BOB], "RET=FULL", b"X-Odd: \xc3\xa4\r\n")).ok
    await world.sleep(minutes=1)
    notice = await house.newest(ALICE)
    parsed = email.message_from_bytes(notice.header + notice.body, policy=email.policy.default)
    returned = parsed.get_payload()[2]  # type: ignore[index]
    assert returned.get_content_type() == "message/rfc822"  # type: ignore[union-attr]
    assert returned["Content-Transfer-Encoding"] == "8bit"  # type: ignore[index,call-overload]
    assert returned.get_payload()[0].get_content().strip() == "Hi!"  # type: ignore[union-attr,index]


# ---------------------------------------------------------------------- XCLIENT


async def behind(world: SimulatedWorld) -> SimulatedHouse:
    """A house that believes 192.0.2.7."""
    folder = world.folder / "example.org"
    config = Config(
        hostname="mx.example.org",
        database=f"sqlite://{folder / 'mailstead.db'}",
        data=str(folder),
        xclient_from=("192.0.2.7",),
    )
    return await world.house("example.org", ["alice"], config=config)


async def test_a_trusted_host_speaks_for_a_client(world: SimulatedWorld) -> None:
    house = await behind(world)
    async with SmtpClient(world.network, house.address, 25, "192.0.2.7") as client:
        assert "XCLIENT NAME ADDR PORT PROTO HELO LOGIN" in client.ehlo.text
        assert (await client.command("XCLIENT ADDR=198.51.100.9 PORT=4711")).code == 220
        assert (await client.command("MAIL FROM:<bob@example.net>")).code == 503  # EHLO first
        await client.command("EHLO other.example")
        message = compose("bob@example.net", [ALICE], "Hello", "Hi!\r\n")
        assert (await client.send_message("bob@example.net", [ALICE], message)).ok
    (connected,) = told(house, Connected)
    assert connected.peer == "198.51.100.9:4711"  # type: ignore[attr-defined]
    assert b"[198.51.100.9]" in (await house.newest(ALICE)).header


async def test_a_trusted_host_says_who_logged_in(world: SimulatedWorld) -> None:
    house = await behind(world)
    async with SmtpClient(world.network, house.address, 587, "192.0.2.7") as client:
        assert (await client.command("XCLIENT LOGIN=nobody@example.org")).code == 535
        assert (await client.command("XCLIENT ADDR=198.51.100.9 LOGIN=alice@example.org")).ok
        await client.command("EHLO other.example")
        assert (await client.command("MAIL FROM:<carol@example.org>")).code == 553
        assert (await client.command("MAIL FROM:<alice@example.org>")).ok
        assert (await client.command("XCLIENT ADDR=198.51.100.9")).code == 503


async def test_nobody_else_is_believed(world: SimulatedWorld) -> None:
    house = await behind(world)
    async with SmtpClient(world.network, house.address, 25, "192.0.2.8") as client:
        assert "XCLIENT" not in client.ehlo.text
        assert (await client.command("XCLIENT ADDR=192.0.2.1")).code == 500
