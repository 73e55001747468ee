"""The text of an SPF record: directives and modifiers (RFC 7208 sections 4.5, 4.6, 5 and 6).

A syntax error anywhere makes the whole record unusable, however early another term would match.
Not here: what the terms mean for a client (check).
Holds: linear in the size of the record; raises ValueError and nothing else.
"""

import enum
import functools
import ipaddress
import re

import msgspec

from mailstead.msgauth.spf import macro
from mailstead.msgauth.spf.macro import MacroString

RECORD_LIMIT = 16 * 1024  # characters of a record; real ones stay below 4,000
REMEMBERED_LIMIT = 1000  # characters of a record that is remembered when it was parsed

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class Spf(enum.StrEnum):
    """What a check comes to (RFC 7208 section 2.6)."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class All(msgspec.Struct, frozen=True):
    """Matches always."""


class Include(msgspec.Struct, frozen=True):
    """Matches if the check of the other domain passes."""

    domain: MacroString


class HostAddress(msgspec.Struct, frozen=True):
    """The mechanism "a": matches the addresses of the domain, or of their networks."""

    domain: MacroString | None
    ip4_prefix: int = 32
    ip6_prefix: int = 128


class Mx(msgspec.Struct, frozen=True):
    """Matches the addresses of the domain's MX hosts."""

    domain: MacroString | None
    ip4_prefix: int = 32
    ip6_prefix: int = 128


class Ptr(msgspec.Struct, frozen=True):
    """Matches a client whose validated name lies in the domain."""

    domain: MacroString | None


class Network(msgspec.Struct, frozen=True):
    """The mechanisms "ip4" and "ip6": match a client within the network."""

    network: IpNetwork


class Exists(msgspec.Struct, frozen=True):
    """Matches if the name has an A record, whatever it says."""

    domain: MacroString


Mechanism = All | Include | HostAddress | Mx | Ptr | Network | Exists


class Directive(msgspec.Struct, frozen=True):
    """A mechanism, what its match comes to, and how it was written."""

    result: Spf
    mechanism: Mechanism
    text: str


class Modifier(msgspec.Struct, frozen=True):
    """The modifier "redirect" or "exp", and how it was written."""

    domain: MacroString
    text: str


class Record(msgspec.Struct, frozen=True):
    """One domain's policy; `redirect` only if it counts: beside "all" it does not."""

    directives: tuple[Directive, ...]
    redirect: Modifier | None = None
    explanation: Modifier | None = None


_VERSION = re.compile(r"v=spf1(?: |\Z)", re.I)
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9._-]*)=(.*)", re.S)
_MECHANISM = re.compile(r"([+?~-]?)([A-Za-z0-9]+)((?:[:/].*)?)", re.S)
_RESULTS = {"": Spf.PASS, "+": Spf.PASS, "-": Spf.FAIL, "~": Spf.SOFTFAIL, "?": Spf.NEUTRAL}


def is_record(text: str) -> bool:
    """Whether it is of this version; letters may be of either case (RFC 7208 section 4.5)."""
    return _VERSION.match(text) is not None


def parse(text: str) -> Record:
    """The record; ValueError, with a sentence for people, if it breaks the syntax."""
    return _remembered(text) if len(text) <= REMEMBERED_LIMIT else _parse(text)


def _parse(text: str) -> Record:
    if len(text) > RECORD_LIMIT:
        raise ValueError(f"the record is longer than {RECORD_LIMIT} characters")
    directives: list[Directive] = []
    modifiers: dict[str, Modifier] = {}
    for term in text.split(" ")[1:]:
        if found := _MODIFIER.fullmatch(term):
            _add_modifier(modifiers, found[1].lower(), found[2], term)
        elif term:
            directives.append(_directive(term))
    ends = any(isinstance(one.mechanism, All) for one in directives)
    redirect = None if ends else modifiers.get("redirect")
    return Record(tuple(directives), redirect, modifiers.get("exp"))


_remembered = functools.lru_cache(maxsize=1024)(_parse)  # a provider's customers all include it


def _add_modifier(modifiers: dict[str, Modifier], name: str, value: str, term: str) -> None:
    if name not in ("redirect", "exp"):
        macro.parse(value)  # anything goes, but for its macros (RFC 7208 section 6)
    elif name in modifiers:
        raise ValueError(f"{name}= stands there twice")
    else:
        modifiers[name] = Modifier(macro.parse_domain_spec(value), term)


def _directive(term: str) -> Directive:
    found = _MECHANISM.fullmatch(term)
    if found is None:
        raise ValueError(f"{term!r} is no mechanism")
    return Directive(_RESULTS[found[1]], _mechanism(found[2].lower(), found[3], term), term)


def _mechanism(name: str, rest: str, term: str) -> Mechanism:
    match name:
        case "all" if not rest:
            return All()
        case "include" if rest:
            return Include(_domain(rest, term))
        case "exists" if rest:
            return Exists(_domain(rest, term))
        case "ptr":
            return Ptr(_domain(rest, term) if rest else None)
        case "a":
            return HostAddress(*_domain_and_prefixes(rest, term))
        case "mx":
            return Mx(*_domain_and_prefixes(rest, term))
        case "ip4" if found := _IP4.fullmatch(rest):
            return Network(_network(ipaddress.IPv4Address, found, term))
        case "ip6" if found := _IP6.fullmatch(rest):
            return Network(_network(ipaddress.IPv6Address, found, term))
    raise ValueError(f"{term!r} is no mechanism")


def _domain(rest: str, term: str) -> MacroString:
    if not rest.startswith(":"):
        raise ValueError(f"{term!r} names no domain")
    return macro.parse_domain_spec(rest[1:])


_PREFIX4 = r"/(0|[1-9][0-9]?)"
_PREFIX6 = r"/(0|[1-9][0-9]{0,2})"
_DUAL = re.compile(rf"(?:{_PREFIX4})?(?:/{_PREFIX6})?\Z")
_TAIL_LIMIT = len("/32//128")
_QNUM = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IP4 = re.compile(rf":({_QNUM}(?:\.{_QNUM}){{3}})(?:{_PREFIX4})?")
_IP6 = re.compile(rf":([0-9A-Fa-f:.]{{2,45}})(?:{_PREFIX6})?")


def _domain_and_prefixes(rest: str, term: str) -> tuple[MacroString | None, int, int]:
    """The domain, and the two prefix lengths at the end; a "/" elsewhere is part of the domain."""
    found = _DUAL.search(rest, max(0, len(rest) - _TAIL_LIMIT))
    start = found.start() if found else len(rest)
    four, six = (found[1], found[2]) if found else (None, None)
    domain = _domain(rest[:start], term) if start else None
    return domain, _prefix(four, 32, term), _prefix(six, 128, term)


def _prefix(text: str | None, longest: int, term: str) -> int:
    length = longest if text is None else int(text)
    if length > longest:
        raise ValueError(f"{term!r} has a prefix longer than {longest}")
    return length


def _network(
    kind: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address],
    found: "re.Match[str]",
    term: str,
) -> IpNetwork:
    try:
        address = kind(found[1])
    except ValueError:
        raise ValueError(f"{term!r} has no address") from None
    prefix = _prefix(found[2], address.max_prefixlen, term)
    if isinstance(address, ipaddress.IPv4Address):
        return ipaddress.IPv4Network((int(address), prefix), strict=False)
    return ipaddress.IPv6Network((int(address), prefix), strict=False)
