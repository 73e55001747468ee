"""Whether mail can leave this machine: asked of the world, without sending any.

Mail hosts that everybody writes to are looked up and greeted at port 25, over IPv4 and over IPv6;
a smarthost is logged in to instead, where there is one. PTR records of our addresses: see ptr.
Holds: it ends within DNS_LIMIT and GREETING_LIMIT together, and never raises for what it finds.
"""

import asyncio
import enum
import errno
import ssl
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from typing import TypeVar

import msgspec

from mailstead.model.address import Domain
from mailstead.model.reply import Reply
from mailstead.model.world import Network, World
from mailstead.protocol.smtp.replies import CONNECTION_LOST, GARBLED
from mailstead.services.outbound.asking import answer
from mailstead.services.outbound.connect import Connection, Dialer, Target, Trouble
from mailstead.services.outbound.ptr import Ptr, PtrVerdict, check_ptr, find_addresses
from mailstead.services.outbound.route import (
    Hosts,
    Lookup,
    Smarthost,
    Way,
    choose_way,
    find_hosts,
)
from mailstead.services.outbound.targets import Targets

T = TypeVar("T")

# Domains with mail hosts of their own, of different owners, on IPv4 and on IPv6.
DOMAINS = (Domain("gmail.com"), Domain("outlook.com"), Domain("yahoo.com"), Domain("mailbox.org"))
DNS_LIMIT = timedelta(seconds=3)  # for all look-ups together
GREETING_LIMIT = timedelta(seconds=4)  # for connection and greeting, or the smarthost's log-in
ADDRESSES_LIMIT = 4  # of our own that are looked at

_NO_WAY = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Verdict(enum.StrEnum):
    """What became of port 25, over one address family."""

    OPEN = "open"  # a mail server greeted us
    REFUSED = "refused"  # mail servers answer, and turn us away
    BLOCKED = "blocked"  # none can be reached
    ABSENT = "absent"  # this machine has no way out by this family
    UNKNOWN = "unknown"  # there was no host to try, as without DNS


class Tried(msgspec.Struct, frozen=True):
    """One address of one host, and what it said, or what went wrong."""

    host: str
    address: str
    verdict: Verdict
    said: str


class Port(msgspec.Struct, frozen=True):
    """Port 25 over one address family; `reason` says why nothing was tried."""

    family: str  # "IPv4", "IPv6"
    verdict: Verdict
    tried: tuple[Tried, ...] = ()
    reason: str = ""


class Relay(msgspec.Struct, frozen=True):
    """The smarthost: whether it lets us in, and what it said if not."""

    host: str
    works: bool
    said: str = ""


class Outgoing(msgspec.Struct, frozen=True):
    """All that was found; with a smarthost, port 25 is not asked about."""

    ports: tuple[Port, ...]
    smarthost: Relay | None
    ptr: tuple[Ptr, ...]

    @property
    def needs_smarthost(self) -> bool:
        """Mail to the many hosts that have IPv4 alone cannot leave from here."""
        shut = (Verdict.REFUSED, Verdict.BLOCKED, Verdict.ABSENT)
        return any(port.family == "IPv4" and port.verdict in shut for port in self.ports)

    @property
    def unknown(self) -> bool:
        """Whether the DNS kept something back, so that the same may be answered later."""
        four = any(port.family == "IPv4" and port.verdict is Verdict.UNKNOWN for port in self.ports)
        return four or any(one.verdict is PtrVerdict.UNKNOWN for one in self.ptr)


class Subject(msgspec.Struct, frozen=True):
    """Whose mail it is about; without addresses, the DNS is asked for those of the hostname."""

    hostname: str
    addresses: Sequence[str] = ()
    smarthost: Smarthost | None = None
    targets: Targets = Targets()
    verifying: ssl.SSLContext | None = None
    domains: Sequence[Domain] = DOMAINS


async def probe(world: World, subject: Subject) -> Outgoing:
    """Port 25 or the smarthost, and the PTR records, all at once."""
    async with asyncio.TaskGroup() as group:
        ptr = group.create_task(_check_ptr(world, subject))
        if subject.smarthost:
            relay = group.create_task(_log_in(world, subject, subject.smarthost))
        else:
            ports = group.create_task(_probe_port(world, subject))
    if subject.smarthost:
        return Outgoing((), relay.result(), ptr.result())
    return Outgoing(ports.result(), None, ptr.result())


async def _together(works: Sequence[Awaitable[T]]) -> list[T]:
    async def do(work: Awaitable[T]) -> T:
        return await work

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(do(work)) for work in works]
    return [task.result() for task in tasks]


# ---------------------------------------------------------------------- port 25


async def _probe_port(world: World, subject: Subject) -> tuple[Port, ...]:
    way = Way("mx")
    found = await _together([_find(world, subject, domain, way) for domain in subject.domains])
    targets = {one.address: one for hosts in found for one in _first_of_each_family(hosts)}
    tried = await _together([_greet(world.network, target) for target in targets.values()])
    failure = next((one.text for one in found if isinstance(one, Reply)), "")
    four = [one for one in tried if ":" not in one.address]
    six = [one for one in tried if ":" in one.address]
    return _sum_up("IPv4", four, failure), _sum_up("IPv6", six, failure)


async def _find(world: World, subject: Subject, domain: Domain, way: Way) -> Hosts | Reply:
    """The hosts of the domain, or why there are none, in time."""
    lookup = find_hosts(domain, way, subject.hostname, subject.targets, world.random)
    late = Reply(451, "4.4.3", f"The DNS does not answer now: {domain} (timeout)")
    return await _ask(world, lookup, late)


async def _ask(world: World, lookup: Lookup[T], late: T) -> T:
    """What the lookup gives, or `late` if the DNS takes too long over it."""
    try:
        async with asyncio.timeout(DNS_LIMIT.total_seconds()):
            return await answer(lookup, world.resolver)
    except TimeoutError:
        return late
    finally:
        lookup.close()


def _first_of_each_family(found: Hosts | Reply) -> list[Target]:
    if isinstance(found, Reply):
        return []
    all_of_them = [
        Target(host.name, address, found.port) for host in found.hosts for address in host.addresses
    ]
    four = [one for one in all_of_them if ":" not in one.address]
    six = [one for one in all_of_them if ":" in one.address]
    return four[:1] + six[:1]


async def _greet(network: Network, target: Target) -> Tried:
    """Connect, hear the greeting, say goodbye."""
    seconds = GREETING_LIMIT.total_seconds()
    try:
        async with asyncio.timeout(seconds):
            stream = await network.connect(target.address, target.port)
            connection = Connection(stream, target)
            try:
                greeting = await connection.greeting()
            except BaseException:
                stream.abort()
                raise
    except TimeoutError:
        return Tried(target.host, target.address, Verdict.BLOCKED, f"no answer in {seconds:g} s")
    except OSError as error:
        verdict = Verdict.ABSENT if error.errno in _NO_WAY else Verdict.BLOCKED
        return Tried(target.host, target.address, verdict, error.strerror or str(error))
    await connection.quit()
    return _read(target, greeting, connection)


def _read(target: Target, greeting: Reply, connection: Connection) -> Tried:
    """What a greeting means; one that is no reply is from something in between."""
    if greeting.code == 220:
        verdict = Verdict.OPEN
    elif greeting in (GARBLED, CONNECTION_LOST):
        verdict = Verdict.BLOCKED
    else:
        verdict = Verdict.REFUSED
    said = connection.trouble if greeting == CONNECTION_LOST else str(greeting)
    return Tried(target.host, target.address, verdict, said)


def _sum_up(family: str, tried: Sequence[Tried], failure: str) -> Port:
    """The best that any host gave; blocked only if none could be reached."""
    for verdict in Verdict:
        if any(one.verdict is verdict for one in tried):
            return Port(family, verdict, tuple(tried))
    reason = failure or f"The DNS names no {family} address of any host that was asked about"
    return Port(family, Verdict.UNKNOWN, (), reason)


# ---------------------------------------------------------------------- smarthost and PTR


async def _log_in(world: World, subject: Subject, smarthost: Smarthost) -> Relay:
    """Connection, TLS and log-in, as every message would have them; one family is enough."""
    name = str(smarthost.endpoint)
    way = choose_way(Domain(subject.hostname), "", {}, smarthost)
    found = await _find(world, subject, Domain(subject.hostname), way)
    if isinstance(found, Reply):
        return Relay(name, False, found.text)
    dialer = Dialer(world, subject.hostname, subject.verifying)
    said = await _together([_dial(dialer, one, way) for one in _first_of_each_family(found)])
    return Relay(name, "" in said, "" if "" in said else "; ".join(dict.fromkeys(said)))


async def _dial(dialer: Dialer, target: Target, way: Way) -> str:
    """What is wrong, or nothing."""
    seconds = GREETING_LIMIT.total_seconds()
    try:
        async with asyncio.timeout(seconds):
            dialed = await dialer.dial(target, way)
    except TimeoutError:
        return f"no answer in {seconds:g} s"
    if isinstance(dialed, Trouble):
        return dialed.said
    await dialed.quit()
    return ""


async def _check_ptr(world: World, subject: Subject) -> tuple[Ptr, ...]:
    """One finding for each address; none if nobody knows one."""
    addresses = tuple(subject.addresses)
    if not addresses:
        nothing: tuple[str, ...] = ()
        addresses = await _ask(world, find_addresses(subject.hostname), nothing)
    return tuple(
        await _together(
            [
                _ask(world, check_ptr(one, subject.hostname), Ptr(one, PtrVerdict.UNKNOWN))
                for one in addresses[:ADDRESSES_LIMIT]
            ]
        )
    )
