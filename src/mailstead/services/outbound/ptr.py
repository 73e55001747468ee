"""Whether the DNS gives our own address the name that we greet others with (RFC 1035 section 3.5).

Receivers refuse mail from addresses without a PTR record, or with one whose name does not lead back
to the address. Only who has the address can set it: the provider. Pure: asks by yielding questions.
"""

import enum
import ipaddress

import msgspec

from mailstead.model.dns import Answer, Question
from mailstead.services.outbound.route import Lookup

NAMES_LIMIT = 10  # names of one address that are looked at


class PtrVerdict(enum.StrEnum):
    """What the PTR record says about the server's name."""

    RIGHT = "right"  # the name is ours, and leads back to the address
    UNCONFIRMED = "unconfirmed"  # the name is ours, but does not lead to the address
    OTHER = "other"  # another name
    MISSING = "missing"  # none at all
    UNKNOWN = "unknown"  # the DNS does not answer now


class Ptr(msgspec.Struct, frozen=True):
    """What was found for one address; `confirmed`: the name leads back to it."""

    address: str
    verdict: PtrVerdict
    name: str = ""
    confirmed: bool = False


def find_addresses(hostname: str) -> Lookup[tuple[str, ...]]:
    """The addresses of the name, for a machine that does not know its public ones (NAT)."""
    four = yield Question("A", hostname)
    six = yield Question("AAAA", hostname)
    return (*four.records, *six.records)


def check_ptr(address: str, hostname: str) -> Lookup[Ptr]:
    """What the PTR record of the address says, and whether that name leads back to it."""
    answer = yield Question("PTR", ipaddress.ip_address(address).reverse_pointer)
    names = [name.lower() for name in answer.records[:NAMES_LIMIT]]
    if not names:
        verdict = PtrVerdict.UNKNOWN if answer.failed else PtrVerdict.MISSING
        return Ptr(address, verdict)
    ours = hostname.lower() in names
    name = hostname.lower() if ours else names[0]
    forward = yield Question("AAAA" if ":" in address else "A", name)
    confirmed = _leads_to(forward, address)
    if not ours:
        return Ptr(address, PtrVerdict.OTHER, name, confirmed)
    if forward.failed:
        return Ptr(address, PtrVerdict.UNKNOWN, name)
    verdict = PtrVerdict.RIGHT if confirmed else PtrVerdict.UNCONFIRMED
    return Ptr(address, verdict, name, confirmed)


def _leads_to(answer: Answer, address: str) -> bool:
    wanted = ipaddress.ip_address(address)
    return any(ipaddress.ip_address(record) == wanted for record in answer.records)
