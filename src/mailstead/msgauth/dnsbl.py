"""Block lists and allow lists in the DNS, of addresses, domains and hashes (RFC 5782).

Pure: asks the DNS by yielding questions. A zone says which answers mean listed, and what; every
other answer, a refusal above all, is an alarm and never evidence.
Not here: which zones there are, and what a listing counts.
Holds: one A question for a look-up and one TXT question if it is listed.
"""

import enum
import hashlib
import ipaddress
import re
from collections.abc import Generator
from typing import TypeVar

import msgspec

from mailstead.model.address import Domain
from mailstead.model.dns import Answer, Question, Status

T = TypeVar("T")
Lookup = Generator[Question, Answer, T]

RECORDS_LIMIT = 16  # A records of one answer that are looked at
REASON_LIMIT = 200  # characters of a TXT record
NAME_LIMIT = 253  # characters of a name in the DNS

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Kind(enum.StrEnum):
    """What a zone has entries of."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    DOMAIN = "domain"
    SHA1 = "sha1"  # of a whole e-mail address, in lower case
    SHA256 = "sha256"


class Hash(msgspec.Struct, frozen=True):
    """A value that is looked for by its digest, in hexadecimal."""

    kind: Kind
    digest: str


Subject = IpAddress | Domain | Hash


class Meaning(msgspec.Struct, frozen=True):
    """An answer that means listed, and on which sublist; a "*" octet is any."""

    code: str  # "127.0.0.4", "127.0.*.3"
    label: str


class Bit(msgspec.Struct, frozen=True):
    """A bit of the last octet of 127.0.0.x that means listed, and on which sublist."""

    mask: int
    label: str


class Zone(msgspec.Struct, frozen=True):
    """A list: where it lies, what its answers mean, and what to test it with."""

    name: str
    suffix: str
    kinds: tuple[Kind, ...]
    codes: tuple[Meaning, ...] = ()
    bits: tuple[Bit, ...] = ()
    allows: bool = False  # being listed speaks for the client, not against it
    test_domain: str = "test"  # has to be listed (RFC 5782 section 5); "" where there is none

    def labels(self, record: str) -> tuple[str, ...]:
        """The sublists that an A record stands for; none if the zone says nothing of it."""
        octets = record.split(".")
        found = [one.label for one in self.codes if _matches(one.code.split("."), octets)]
        if self.bits and octets[:3] == ["127", "0", "0"]:
            found += [bit.label for bit in self.bits if int(octets[3]) & bit.mask]
        return tuple(found)


class Listed(msgspec.Struct, frozen=True):
    """There is an entry; `strange` are records beside it that the zone says nothing of."""

    zone: str
    labels: tuple[str, ...]
    records: tuple[str, ...]
    allows: bool = False
    reason: str = ""  # the zone's own words
    strange: tuple[str, ...] = ()


class NotListed(msgspec.Struct, frozen=True):
    """There is no entry."""

    zone: str


class Alarm(msgspec.Struct, frozen=True):
    """An answer that is no evidence: the operator has to look."""

    zone: str
    records: tuple[str, ...]
    problem: str


class Unanswered(msgspec.Struct, frozen=True):
    """The DNS does not answer now."""

    zone: str


Result = Listed | NotListed | Alarm | Unanswered


class Health(msgspec.Struct, frozen=True):
    """Whether a zone answers as a list has to; `temporary` if the DNS was silent."""

    zone: str
    problems: tuple[str, ...] = ()
    temporary: bool = False

    @property
    def good(self) -> bool:
        """The zone may be used."""
        return not self.problems


# ---------------------------------------------------------------------- looking up


def look_up(zone: Zone, subject: Subject) -> Lookup[Result]:
    """Whether the zone lists the subject, and why; ValueError if it lists no such thing."""
    if isinstance(subject, ipaddress.IPv6Address):
        subject = subject.ipv4_mapped or subject
    if kind_of(subject) not in zone.kinds:
        raise ValueError(f"{zone.name} does not list {subject}")
    name = query_name(zone, subject)
    found = judge(zone, (yield Question("A", name)))
    if isinstance(found, Listed) and not zone.allows:
        answer = yield Question("TXT", name)
        return msgspec.structs.replace(found, reason=_reason(answer))
    return found


def judge(zone: Zone, answer: Answer) -> Result:
    """What the A records of an answer mean."""
    if answer.failed:
        return Unanswered(zone.name)
    records = answer.records[:RECORDS_LIMIT]
    # RFC 5782 section 6 would have any record mean listed. Lists have since begun to answer with
    # codes of refusal, and lists that closed with an entry for everybody.
    if answer.status is Status.NXDOMAIN or not records:
        return NotListed(zone.name)
    for record in records:
        if problem := _refusal(record):
            return Alarm(zone.name, records, problem)
    meanings = {record: zone.labels(record) for record in records}
    labels = tuple(dict.fromkeys(label for each in meanings.values() for label in each))
    strange = tuple(record for record, each in meanings.items() if not each)
    if not labels:
        return Alarm(zone.name, records, f"{strange[0]} means nothing that is known")
    return Listed(zone.name, labels, records, zone.allows, strange=strange)


def query_name(zone: Zone, subject: Subject) -> str:
    """The name to ask for (RFC 5782 sections 2.1, 2.4 and 3); ValueError if it is too long."""
    match subject:
        case ipaddress.IPv4Address() | ipaddress.IPv6Address():
            entry = subject.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")
        case Hash():
            entry = subject.digest
        case _:
            entry = subject.lower().removesuffix(".")
    name = f"{entry}.{zone.suffix}"
    if not entry or len(name) > NAME_LIMIT:
        raise ValueError(f"{entry!r} makes no name below {zone.suffix}")
    return name


def kind_of(subject: Subject) -> Kind:
    """What a zone has to list to be asked for the subject."""
    match subject:
        case ipaddress.IPv4Address():
            return Kind.IPV4
        case ipaddress.IPv6Address():
            return Kind.IPV6
        case Hash():
            return subject.kind
        case _:
            return Kind.DOMAIN


def hash_of(kind: Kind, text: str) -> Hash:
    """The digest of a text in lower case, as lists of e-mail addresses have it."""
    data = text.lower().encode("utf-8", "replace")
    if kind is Kind.SHA1:
        return Hash(kind, hashlib.sha1(data, usedforsecurity=False).hexdigest())
    if kind is Kind.SHA256:
        return Hash(kind, hashlib.sha256(data).hexdigest())
    raise ValueError(f"{kind} is no digest")


def _matches(pattern: list[str], octets: list[str]) -> bool:
    pairs = zip(pattern, octets, strict=False)
    return len(pattern) == len(octets) and all(want in ("*", have) for want, have in pairs)


_LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
_REFUSED = ipaddress.ip_network("127.255.255.0/24")
# What lists say to resolvers that they do not serve, though it looks like an entry.
_REFUSALS = frozenset({"127.0.0.1", "127.0.0.255", "127.0.1.255"})


def _refusal(record: str) -> str:
    """Why a record cannot be an entry, or nothing."""
    try:
        address = ipaddress.IPv4Address(record)
    except ValueError:
        return "the answer is no IPv4 address"
    if address in _REFUSED or record in _REFUSALS:
        return f"the list refuses our questions: {record}"
    if address not in _LOOPBACK:
        return f"{record} is not in 127.0.0.0/8: the zone is gone, or somebody rewrites answers"
    return ""


_UNPRINTABLE = re.compile(r"[^ -~]+")


def _reason(answer: Answer) -> str:
    texts = answer.records[:1]
    return _UNPRINTABLE.sub(" ", texts[0])[:REASON_LIMIT].strip() if texts else ""


# ---------------------------------------------------------------------- health

_LISTED: dict[Kind, Subject] = {
    Kind.IPV4: ipaddress.IPv4Address("127.0.0.2"),
    Kind.IPV6: ipaddress.IPv6Address("::ffff:7f00:2"),
}
_NOT_LISTED: dict[Kind, Subject] = {
    Kind.IPV4: ipaddress.IPv4Address("127.0.0.1"),
    Kind.IPV6: ipaddress.IPv6Address("::ffff:7f00:1"),
    Kind.DOMAIN: Domain("invalid"),
}


def check_health(zone: Zone) -> Lookup[Health]:
    """Whether the zone lists what it must, and not what it must not (RFC 5782 section 5).

    A zone that has gone, a wildcard and a refusal all show here, before they cost mail.
    """
    problems: list[str] = []
    for kind in zone.kinds:
        if subject := _NOT_LISTED.get(kind):
            found = judge(zone, (yield Question("A", query_name(zone, subject))))
            problems += _complaint(found, subject, must=False)
        listed = _LISTED.get(kind)
        if kind is Kind.DOMAIN and zone.test_domain:
            listed = Domain(zone.test_domain)
        if listed:
            found = judge(zone, (yield Question("A", query_name(zone, listed))))
            problems += _complaint(found, listed, must=True)
    return Health(zone.name, tuple(problems), _SILENCE in problems)


_SILENCE = "the DNS does not answer"


def _complaint(found: Result, subject: Subject, *, must: bool) -> list[str]:
    match found:
        case Unanswered():
            return [_SILENCE]
        case Alarm(_, _, problem):
            return [problem]
        case Listed() if not must:
            return [f"{subject} must not be listed, and is: the zone lists everything"]
        case NotListed() if must:
            return [f"{subject} must be listed, and is not: the zone is empty, or hidden from us"]
    return []
