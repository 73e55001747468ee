"""Can mail leave this machine? Stories about the world outside, and what is said of it."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mailstead.model.address import Domain
from mailstead.model.dns import Status
from mailstead.model.reply import Reply
from mailstead.model.world import Endpoint, Stream, World
from mailstead.net.tls import verifying_context
from mailstead.protocol.smtp import replies
from mailstead.protocol.smtp.server import ServerOptions
from mailstead.server.certificates import ca_file, own_context
from mailstead.services.outbound.probe import (
    DNS_LIMIT,
    GREETING_LIMIT,
    Outgoing,
    Relay,
    Subject,
    Verdict,
    probe,
)
from mailstead.services.outbound.ptr import Ptr, PtrVerdict
from mailstead.services.outbound.route import Security, Smarthost
from mailstead.testing.cast.broken import silent
from mailstead.testing.cast.refuser import closed_door
from mailstead.testing.cast.remote import HangUp, Remote, Script
from mailstead.testing.cast.sink import sink
from mailstead.testing.clock import InlineOffload, LocalBus

US, OURS = "mx.example.org", "203.0.113.25"
# Not of the networks for examples where those count as special: these are dialled.
FOUR = ("198.51.101.1", "198.51.101.2")
SIX = ("2a00:db8::1", "2a00:db8::2")
DOMAINS = (Domain("one.example"), Domain("two.example"))
SUBJECT = Subject(US, (OURS,), domains=DOMAINS)
LIMIT = DNS_LIMIT + GREETING_LIMIT
GRACE = timedelta(milliseconds=100)


def big_hosts(world: Any, four: Any = sink, six: Any = sink) -> None:
    """Two domains whose mail hosts behave like this; None: nobody listens."""
    for domain, v4, v6 in zip(DOMAINS, FOUR, SIX, strict=True):
        world.zone["MX", domain] = f"10 mx.{domain}"
        world.zone["A", f"mx.{domain}"] = v4
        world.zone["AAAA", f"mx.{domain}"] = v6
        for address, make in ((v4, four), (v6, six)):
            if make is not None:
                world.network.listen(address, 25, make().serve)


async def look(world: Any, subject: Subject = SUBJECT, network: Any = None) -> Outgoing:
    """What is found; in time, whatever the world does."""
    began = world.clock.now()
    found = await probe(
        World(
            clock=world.clock,
            random=world.random,
            resolver=world.zone,
            network=network or world.network,
            bus=LocalBus(),
            offload=InlineOffload(),
        ),
        subject,
    )
    assert world.clock.now() - began <= LIMIT + GRACE
    return found


def verdicts(found: Outgoing) -> list[tuple[str, Verdict]]:
    return [(port.family, port.verdict) for port in found.ports]


# ---------------------------------------------------------------------- port 25


async def test_open(world: Any) -> None:
    hosts = [sink(), sink()]
    big_hosts(world)
    for address, host in zip(FOUR, hosts, strict=True):
        world.network.listen(address, 25, host.serve)
    found = await look(world)
    await world.sleep(seconds=1)
    assert verdicts(found) == [("IPv4", Verdict.OPEN), ("IPv6", Verdict.OPEN)]
    assert [one.address for one in found.ports[0].tried] == list(FOUR)
    assert [host.commands for host in hosts] == [["Quit"], ["Quit"]]  # no EHLO, no mail
    assert not found.needs_smarthost


async def test_dark_is_blocked(world: Any) -> None:
    big_hosts(world)
    world.network.dark |= {*FOUR, *SIX}
    found = await look(world)
    assert verdicts(found) == [("IPv4", Verdict.BLOCKED), ("IPv6", Verdict.BLOCKED)]
    assert {one.said for one in found.ports[0].tried} == {"no answer in 4 s"}
    assert found.needs_smarthost
    assert not found.ports[0].reason


async def test_ipv4_open_ipv6_blocked(world: Any) -> None:
    big_hosts(world, six=None)
    found = await look(world)
    assert verdicts(found) == [("IPv4", Verdict.OPEN), ("IPv6", Verdict.BLOCKED)]
    assert not found.needs_smarthost


async def test_ipv6_alone_is_not_enough(world: Any) -> None:
    big_hosts(world, four=None)
    found = await look(world)
    assert verdicts(found) == [("IPv4", Verdict.BLOCKED), ("IPv6", Verdict.OPEN)]
    assert found.needs_smarthost


async def test_one_host_of_two_is_enough(world: Any) -> None:
    big_hosts(world, four=None)
    world.network.listen(FOUR[1], 25, sink().serve)
    assert (await look(world)).ports[0].verdict is Verdict.OPEN


async def test_a_554_greeting_is_open_but_refused(world: Any) -> None:
    reply = Reply(554, "5.7.1", "Your address has a bad name")
    big_hosts(world, four=lambda: closed_door(reply), six=None)
    found = await look(world)
    assert verdicts(found) == [("IPv4", Verdict.REFUSED), ("IPv6", Verdict.BLOCKED)]
    assert found.ports[0].tried[0].said == str(reply)
    assert found.needs_smarthost


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (silent, "no answer in 4 s"),
        (lambda: Remote(Script(greet=HangUp)), "connection reset by peer"),
    ],
)
async def test_a_connection_without_a_greeting_is_blocked(world: Any, host: Any, said: str) -> None:
    big_hosts(world, four=host)
    found = await look(world)
    assert found.ports[0].verdict is Verdict.BLOCKED
    assert {one.said for one in found.ports[0].tried} == {said}


async def test_what_does_not_speak_smtp_is_blocked(world: Any) -> None:
    async def portal(stream: Stream) -> None:
        stream.send(b"HTTP/1.1 200 OK\r\n\r\n")

    big_hosts(world, four=None)
    for address in FOUR:
        world.network.listen(address, 25, portal)
    assert (await look(world)).ports[0].verdict is Verdict.BLOCKED


async def test_a_machine_without_ipv6(world: Any) -> None:
    big_hosts(world)

    class FourAlone:
        async def connect(self, address: str, port: int, source: str | None = None) -> Stream:
            if ":" in address:
                raise OSError(101, "Network is unreachable")
            stream: Stream = await world.network.connect(address, port, source)
            return stream

    found = await look(world, network=FourAlone())
    assert verdicts(found) == [("IPv4", Verdict.OPEN), ("IPv6", Verdict.ABSENT)]


@pytest.mark.parametrize("status", [Status.SERVFAIL, Status.TIMEOUT])
async def test_without_dns_nothing_can_be_said(world: Any, status: Status) -> None:
    for domain in DOMAINS:
        world.zone.fail(domain, status)
    found = await look(world)
    assert verdicts(found) == [("IPv4", Verdict.UNKNOWN), ("IPv6", Verdict.UNKNOWN)]
    assert "The DNS does not answer now: MX one.example" in found.ports[0].reason
    assert found.unknown
    assert not found.needs_smarthost
    assert world.network.dials == []


async def test_a_dns_that_never_answers(world: Any) -> None:
    class Mute:
        async def ask(self, question: object) -> object:
            await world.sleep(hours=1)
            raise AssertionError

    world.zone = Mute()
    found = await look(world, msgspec.structs.replace(SUBJECT, addresses=()))
    assert {port.verdict for port in found.ports} == {Verdict.UNKNOWN}
    assert found.ptr == ()


async def test_a_portal_that_answers_for_all_names_is_not_asked(world: Any) -> None:
    big_hosts(world)
    for domain in DOMAINS:
        world.zone["A", f"mx.{domain}"] = "10.0.0.1"
    found = await look(world)
    assert found.ports[0].verdict is Verdict.UNKNOWN
    assert "10.0.0.1" not in [dial.address for dial in world.network.dials]


# ---------------------------------------------------------------------- PTR


async def test_ptr_of_our_own_addresses(world: Any) -> None:
    world.zone["PTR", "25.113.0.203.in-addr.arpa"] = US
    world.zone["A", US] = OURS
    assert (await look(world)).ptr == (Ptr(OURS, PtrVerdict.RIGHT, US, True),)


async def test_behind_nat_the_addresses_of_the_hostname_count(world: Any) -> None:
    world.zone["A", US] = OURS
    found = await look(world, msgspec.structs.replace(SUBJECT, addresses=()))
    assert found.ptr == (Ptr(OURS, PtrVerdict.MISSING),)


# ---------------------------------------------------------------------- smarthost


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The smarthost's context, and ours, which trusts it."""
    folder: Path = tmp_path_factory.mktemp("tls")
    context = own_context(folder, ["smtp.example.net"], datetime.now(UTC))  # noqa: TID251 OpenSSL looks at it
    return context, verifying_context(str(ca_file(folder)))


def relay(tls: ssl.SSLContext) -> Remote:
    """Lets in "me" with the password "secret"."""
    good = ("me", "secret")
    return Remote(
        Script(
            tls=tls,
            log_in=lambda *both: replies.AUTH_OK if both == good else replies.AUTH_FAILED,
            options=ServerOptions("smtp.example.net", auth_mechanisms=("PLAIN",)),
        )
    )


@pytest.mark.parametrize(
    ("password", "works", "said"),
    [
        ("secret", True, ""),
        ("wrong", False, f"{replies.AUTH_FAILED}; Connection refused"),
    ],
)
async def test_a_smarthost_is_logged_in_to(
    world: Any,
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
    password: str,
    works: bool,
    said: str,
) -> None:
    remote = relay(tls[0])
    world.zone["A", "smtp.example.net"] = "198.51.100.9"
    world.zone["AAAA", "smtp.example.net"] = "2001:db8::9"  # nobody listens there
    world.network.listen("198.51.100.9", 587, remote.serve)
    endpoint = Endpoint("smtp.example.net", 587)
    smarthost = Smarthost(endpoint, Security.STARTTLS, "me", password)
    subject = msgspec.structs.replace(SUBJECT, smarthost=smarthost, verifying=tls[1])
    found = await look(world, subject)
    assert found.ports == ()
    assert found.smarthost == Relay("smtp.example.net:587", works, said)
    assert "Mail" not in remote.commands


async def test_a_smarthost_that_is_dark(world: Any) -> None:
    world.network.dark.add("198.51.100.9")
    smarthost = Smarthost(Endpoint("198.51.100.9", 587))
    found = await look(world, msgspec.structs.replace(SUBJECT, smarthost=smarthost))
    assert found.smarthost is not None
    assert (found.smarthost.works, found.smarthost.said) == (False, "no answer in 4 s")


async def test_a_smarthost_without_an_address(world: Any) -> None:
    smarthost = Smarthost(Endpoint("smtp.example.net", 587))
    found = await look(world, msgspec.structs.replace(SUBJECT, smarthost=smarthost))
    assert found.smarthost is not None
    assert "has no address" in found.smarthost.said
