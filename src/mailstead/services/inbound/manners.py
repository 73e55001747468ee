"""How a client behaves and what it calls itself, as facts with a weight. Pure.

Each is common among the programs that send spam and rare among mail servers; none proves anything
alone. RFC 5321 sections 4.1.1.1 and 4.1.4 forbid to refuse mail for a HELO name that does not lead
back to the client, so that is not looked at.
"""

import ipaddress
import re
from collections.abc import Iterator

import msgspec

from mailstead.msgauth.iprev import Iprev
from mailstead.msgauth.iprev import Verdict as IprevVerdict
from mailstead.services.inbound.facts import Fact

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\Z", re.I)
_LOCAL_NAMES = (".local", ".localdomain", ".localhost", ".lan", ".home", ".internal", ".invalid")
# Names that a provider gives to all of its addresses.
_GENERIC = re.compile(
    r"(?:^|[.-])(?:dyn|dynamic|dhcp|dsl|adsl|vdsl|ppp|pppoe|dial|dialup|pool|cable|broadband|ftth"
    r"|client|clients|customer|cust|res|unassigned|unknown)(?:[.-]|\d|$)",
    re.I,
)


class Manners(msgspec.Struct, frozen=True):
    """What was seen of a client in this connection."""

    helo: str = ""
    pipelined: bool = False  # it sent on before it could know that it may (RFC 2920 section 3.1)


def facts_of(manners: Manners, address: str, hostname: str) -> Iterator[Fact]:
    """What the manners say; `hostname` is ours."""
    if helo := _judge_helo(manners.helo, address, hostname):
        yield helo
    if manners.pipelined:
        yield Fact("client.pipelined", 1.5, "it did not wait for our replies")


def _judge_helo(name: str, address: str, hostname: str) -> Fact | None:
    bare = name.lower().rstrip(".")
    if bare == hostname.lower():
        return Fact("helo.ours", 5.0, f"it calls itself {name}, which is our name")
    if bare.startswith("["):
        return _judge_literal(bare, address)
    if _ip(bare) is not None:
        return Fact("helo.address", 2.5, f"it calls itself {name}, an address without brackets")
    labels = bare.split(".")
    if len(labels) < 2 or bare.endswith(_LOCAL_NAMES):
        return Fact("helo.unqualified", 1.0, f"it calls itself {name[:100]}, no full name")
    if not all(map(_LABEL.match, labels)):
        return Fact("helo.malformed", 1.5, f"it calls itself {name[:100]}, which can be no name")
    return None


def _judge_literal(name: str, address: str) -> Fact | None:
    said = _ip(name.strip("[]").removeprefix("ipv6:"))
    if said is not None and said == _ip(address):
        return Fact("helo.literal", 0.8, "it calls itself by its address")
    return Fact("helo.wrong-literal", 2.5, f"it calls itself {name[:100]}, and is {address}")


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def facts_of_name(iprev: IprevVerdict) -> Iterator[Fact]:
    """What the client's name in the DNS says, and that it has none."""
    match iprev.result:
        case Iprev.PERMERROR:
            yield Fact("iprev.none", 1.8, iprev.problem)
        case Iprev.FAIL:
            yield Fact("iprev.fail", 1.0, iprev.problem)
        case Iprev.PASS if _is_generic(iprev.name, iprev.address):
            yield Fact("iprev.generic", 1.0, f"{iprev.name} is a name that a provider gives to all")
        case _:
            pass


def _is_generic(name: str, address: str) -> bool:
    host = name.partition(".")[0]
    octets = address.split(".")
    if len(octets) == 4:
        found = re.findall(r"\d+", name)
        if sum(octet in {part.lstrip("0") or "0" for part in found} for octet in octets) >= 3:
            return True
    return bool(_GENERIC.search(name)) and any(map(str.isdigit, host))
