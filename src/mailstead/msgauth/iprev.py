"""iprev: whether a client's address has a name that leads back to it (RFC 8601 section 3).

Pure: asks the DNS by yielding questions. No means of authentication: one fact among others.
Holds: one PTR question, and at most NAMES_LIMIT questions for addresses.
"""

import enum
import ipaddress
from collections.abc import Generator
from typing import TypeVar

import msgspec

from mailstead.model.dns import Answer, Question

T = TypeVar("T")
Lookup = Generator[Question, Answer, T]

NAMES_LIMIT = 10  # names of one address that are looked at
NAME_LIMIT = 253  # characters of a name


class Iprev(enum.StrEnum):
    """What the check comes to (RFC 8601 section 2.7.3)."""

    PASS = "pass"
    FAIL = "fail"  # there are names, but none of them leads back
    TEMPERROR = "temperror"  # the DNS does not answer now
    PERMERROR = "permerror"  # there is no name


class Verdict(msgspec.Struct, frozen=True):
    """What was found; `name` is the one that leads back, else the first that does not, if any."""

    result: Iprev
    address: str
    name: str = ""
    problem: str = ""


def check(client: str) -> Lookup[Verdict]:
    """Whether one of the client's names leads back; ValueError if the client is no IP address."""
    address = ipaddress.ip_address(client.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    pointer = address.reverse_pointer
    answer = yield Question("PTR", pointer)
    names = _names(answer)
    if not names:
        result = Iprev.TEMPERROR if answer.failed else Iprev.PERMERROR
        words = "no answer for" if answer.failed else "there is no"
        return Verdict(result, str(address), problem=f"{words} PTR {pointer}")
    return (yield from _confirm(address, names))


def _names(answer: Answer) -> list[str]:
    names = [name.lower().removesuffix(".") for name in answer.records[:NAMES_LIMIT]]
    return [name for name in dict.fromkeys(names) if 0 < len(name) <= NAME_LIMIT]


def _confirm(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, names: list[str]
) -> Lookup[Verdict]:
    """Ask for the addresses of each name, until one of them is the client's."""
    kind = "AAAA" if address.version == 6 else "A"
    silent = []
    for name in names:
        answer = yield Question(kind, name)
        if answer.failed:
            silent.append(name)
        if any(ipaddress.ip_address(record) == address for record in answer.records):
            return Verdict(Iprev.PASS, str(address), name)
    if silent:
        problem = f"no answer for {kind} {silent[0]}"
        return Verdict(Iprev.TEMPERROR, str(address), silent[0], problem)
    problem = f"{', '.join(names)} does not lead back to {address}"
    return Verdict(Iprev.FAIL, str(address), names[0], problem)
