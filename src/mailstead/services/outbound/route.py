"""Where mail for a domain goes: a route, a smarthost, or the hosts its MX records name.

RFC 5321 section 5.1: by preference, equal ones shuffled; without MX the domain's own addresses;
RFC 7505 for domains that take no mail. A host that is ourselves ends the list, or mail would go in
circles. Pure: asks the DNS by yielding questions, gets chance as an argument.
Not here: MTA-STS and DANE (tls_policy), connections.
"""

import enum
import re
from collections.abc import Generator, Mapping
from itertools import groupby
from operator import attrgetter
from typing import TypeVar

import msgspec

from mailstead.model.address import Domain
from mailstead.model.dns import Answer, Mx, Question, Status
from mailstead.model.reply import Reply
from mailstead.model.world import Endpoint, Random
from mailstead.services.outbound.targets import Targets

T = TypeVar("T")
Lookup = Generator[Question, Answer, T]

SMTP_PORT = 25
HOSTS_LIMIT = 10  # MX hosts of one domain that are looked at
ADDRESSES_LIMIT = 8  # addresses of one host that are looked at
ENOUGH_ADDRESSES = 5  # one attempt tries no more, so further hosts need not be looked up

NO_SUCH_DOMAIN = Reply(550, "5.1.2", "The domain does not exist")
NULL_MX = Reply(556, "5.1.10", "The domain takes no mail (null MX)")  # RFC 7505 section 4.2
NO_ADDRESS = Reply(550, "5.4.4", "The DNS names no host that takes mail for the domain")
LOOP = Reply(554, "5.4.6", "The DNS says that this server takes mail for the domain; it does not")
FORBIDDEN = Reply(
    550, "5.4.4", "The DNS names only addresses that cannot be used (private, loopback or special)"
)
LITERAL = Reply(550, "5.4.4", "Mail to a bare IP address is not sent")


class Security(enum.StrEnum):
    """What is asked of the connection."""

    OPPORTUNISTIC = "opportunistic"  # TLS with any certificate if offered (RFC 7435)
    STARTTLS = "starttls"  # TLS with a valid certificate, by STARTTLS (RFC 3207)
    IMPLICIT = "implicit"  # the same from the first octet (RFC 8314 section 3.3)
    NONE = "none"  # in the clear


class Smarthost(msgspec.Struct, frozen=True):
    """A server that takes our outgoing mail; with a login only over TLS."""

    endpoint: Endpoint
    security: Security = Security.STARTTLS
    login: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Smarthost({self.endpoint}, {self.security.value}, {self.login!r})"


class Way(msgspec.Struct, frozen=True):
    """By what rule a domain's mail leaves; without an endpoint, the DNS says where to."""

    name: str  # "mx", "route", "smarthost", "relay", "lmtp"
    endpoint: Endpoint | None = None
    security: Security = Security.OPPORTUNISTIC
    login: str = ""
    password: str = ""
    lmtp: bool = False

    def __repr__(self) -> str:
        return f"Way({self.name}, {self.endpoint}, {self.security.value}, {self.login!r})"


class MxHost(msgspec.Struct, frozen=True):
    """One host that takes mail for the domain, and its addresses in the order to be tried."""

    name: str
    addresses: tuple[str, ...]
    preference: int = -1
    secure: bool = False  # DNSSEC vouches for the addresses


class Hosts(msgspec.Struct, frozen=True):
    """All hosts, best first, at least one."""

    hosts: tuple[MxHost, ...]
    port: int
    route: str  # "mx", "implicit mx", "literal", "route", "smarthost"
    secure: bool = False  # DNSSEC vouches for the names

    @property
    def public(self) -> bool:
        """Whether the DNS names the hosts, so that what is published about their TLS counts."""
        return self.route in ("mx", "implicit mx")


def choose_way(
    domain: Domain, reroute: str, routes: Mapping[str, Endpoint], smarthost: Smarthost | None
) -> Way:
    """The way of a domain: what an operator said of this recipient, routes, smarthost, MX.

    A route is of the domain itself, else of its nearest parent ("*.example.net"), else of all
    ("*"). `reroute` is "host:port" or empty; ValueError if it is neither.
    """
    if reroute:
        return Way("route", parse_route(reroute))
    for pattern in _patterns(domain):
        if endpoint := routes.get(pattern):
            return Way("route", endpoint)
    if smarthost is None:
        return Way("mx")
    s = smarthost
    return Way("smarthost", s.endpoint, s.security, s.login, s.password)


def _patterns(domain: str) -> list[str]:
    labels = domain.split(".")
    parents = ["*." + ".".join(labels[at:]) for at in range(1, len(labels))]
    return [domain, *parents, "*"]


_ROUTE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})")


def parse_route(text: str) -> Endpoint:
    """Host and port of "host:port" or "[ipv6]:port"; ValueError if it is neither."""
    found = _ROUTE.fullmatch(text)
    if found is None or not 0 < int(found[3]) < 65536:
        raise ValueError(f"{text!r} is not host:port")
    return Endpoint(found[1] or found[2].lower(), int(found[3]))


def find_hosts(
    domain: Domain, way: Way, hostname: str, targets: Targets, random: Random
) -> Lookup[Hosts | Reply]:
    """The hosts to be tried, or the reply that says why there are none, for now or for good."""
    if way.endpoint is not None:
        return (yield from _find_given(way.name, way.endpoint))
    if domain.startswith("["):
        return _find_literal(domain, targets)
    answer = yield Question("MX", domain)
    if answer.failed:
        return _try_later(f"MX {domain}", answer)
    if answer.status is Status.NXDOMAIN:
        return NO_SUCH_DOMAIN
    records = answer.mx()
    if records and all(_is_null(mx) for mx in records):
        return NULL_MX
    route = "mx" if records else "implicit mx"
    search = _Search(hostname.lower(), targets, random)
    found = yield from search.find([mx for mx in records if not _is_null(mx)] or [Mx(0, domain)])
    if isinstance(found, Reply):
        return found
    return Hosts(found, SMTP_PORT, route, answer.authenticated)


def _is_null(mx: Mx) -> bool:
    return mx.exchange in ("", ".")


def _find_given(name: str, endpoint: Endpoint) -> Lookup[Hosts | Reply]:
    """The host of a route or smarthost: the operator named it, so any address will do."""
    host = endpoint.address
    if _is_address(host):
        return Hosts((MxHost(host, (host,)),), endpoint.port, name)
    found = yield from find_addresses(host)
    if found.addresses:
        return Hosts((MxHost(host, found.addresses),), endpoint.port, name)
    # A wrong route is the operator's to mend; the mail waits meanwhile.
    return found.failure or Reply(451, "4.4.4", f"The host {host} of the {name} has no address")


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _find_literal(domain: str, targets: Targets) -> Hosts | Reply:
    """user@[192.0.2.1]: only where the operator allowed it (RFC 5321 section 4.1.3)."""
    address = domain.strip("[]").lower().removeprefix("ipv6:")
    if not targets.is_allowed(address):
        return LITERAL
    if targets.is_own(address):
        return LOOP
    return Hosts((MxHost(domain, (address,)),), SMTP_PORT, "literal")


class _Search:
    """Goes through MX records, and remembers why there may be no host in the end."""

    def __init__(self, hostname: str, targets: Targets, random: Random) -> None:
        self.hostname, self.targets, self.random = hostname, targets, random
        self.failure: Reply | None = None  # of the DNS, for now
        self.forbidden = self.looped = False

    def find(self, records: list[Mx]) -> Lookup[tuple[MxHost, ...] | Reply]:
        """The usable hosts, best first; looks no further once there are enough addresses."""
        found: list[MxHost] = []
        for _, group in groupby(sorted(records)[:HOSTS_LIMIT], attrgetter("preference")):
            equals = list(group)
            self.random.shuffle(equals)
            hosts = yield from self._find_equals(equals)
            if self.looped:
                break
            found += hosts
            if sum(len(host.addresses) for host in found) >= ENOUGH_ADDRESSES:
                break
        return tuple(found) or self._why_none()

    def _find_equals(self, equals: list[Mx]) -> Lookup[list[MxHost]]:
        hosts: list[MxHost] = []
        # Being one of several equals means that the others pass it on to us (RFC 5321 section 5.1).
        self.looped = any(mx.exchange.lower() == self.hostname for mx in equals)
        for mx in equals:
            if self.looped:
                break
            found = yield from find_addresses(mx.exchange.lower())
            self.failure = self.failure or found.failure
            self.looped = any(map(self.targets.is_own, found.addresses))
            usable = tuple(filter(self.targets.is_usable, found.addresses))
            self.forbidden |= len(usable) < len(found.addresses)
            if usable:
                hosts.append(MxHost(mx.exchange.lower(), usable, mx.preference, found.secure))
        return hosts

    def _why_none(self) -> Reply:
        if self.failure is not None:
            return self.failure
        if self.looped:
            return LOOP
        return FORBIDDEN if self.forbidden else NO_ADDRESS


class Addresses(msgspec.Struct, frozen=True):
    """Where a host is; `failure` says that the DNS kept some of it back."""

    addresses: tuple[str, ...] = ()
    failure: Reply | None = None
    secure: bool = False  # authenticated, with all CNAME records before them


def find_addresses(name: str) -> Lookup[Addresses]:
    """IPv4 and IPv6 addresses in turn."""
    four = yield Question("A", name)
    if four.status is Status.NXDOMAIN:
        return Addresses()
    six = yield Question("AAAA", name)
    failed = [f"{kind} {name}" for kind, answer in (("A", four), ("AAAA", six)) if answer.failed]
    failure = _try_later(failed[0], four if four.failed else six) if failed else None
    secure = all(one.authenticated for one in (four, six) if one.records)
    found = _interleave(six.records, four.records)[:ADDRESSES_LIMIT]
    return Addresses(found, failure, secure and bool(found))


def _interleave(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    """In turn, so that a broken address family costs at most every other try."""
    both = [
        address
        for at in range(max(len(first), len(second)))
        for address in (*first[at : at + 1], *second[at : at + 1])
    ]
    return tuple(both)


def _try_later(question: str, answer: Answer) -> Reply:
    return Reply(451, "4.4.3", f"The DNS does not answer now: {question} ({answer.status.value})")
