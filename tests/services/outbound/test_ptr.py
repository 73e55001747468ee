"""PTR records: a table of zones, and what they say about our address."""

from collections.abc import Sequence

import pytest

from mailstead.model.dns import Answer, Question, Status
from mailstead.services.outbound.ptr import Ptr, PtrVerdict, check_ptr

US = "mx.example.org"
FOUR, SIX = "203.0.113.25", "2001:db8::25"
PTR4 = ("PTR", "25.113.0.203.in-addr.arpa")
PTR6 = ("PTR", "5.2" + ".0" * 22 + ".8.b.d.0.1.0.0.2.ip6.arpa")
RIGHT, OTHER, MISSING = PtrVerdict.RIGHT, PtrVerdict.OTHER, PtrVerdict.MISSING
Zone = dict[tuple[str, str], Sequence[str] | Status]


def check(address: str, zone: Zone) -> Ptr:
    lookup = check_ptr(address, US)
    try:
        question = next(lookup)
        while True:
            question = lookup.send(reply_to(question, zone))
    except StopIteration as end:
        found: Ptr = end.value
        return found


def reply_to(question: Question, zone: Zone) -> Answer:
    found = zone.get((question.type, question.name), ())
    return Answer(found) if isinstance(found, Status) else Answer(Status.NOERROR, tuple(found))


@pytest.mark.rfc("1035 section 3.5")
@pytest.mark.parametrize(
    ("address", "zone", "verdict", "name", "confirmed"),
    [
        (FOUR, {PTR4: [US], ("A", US): [FOUR]}, RIGHT, US, True),
        (SIX, {PTR6: [US], ("AAAA", US): ["2001:DB8:0::25"]}, RIGHT, US, True),
        (FOUR, {PTR4: ["MX.example.org"], ("A", US): [FOUR]}, RIGHT, US, True),
        (FOUR, {PTR4: ["a.example", US], ("A", US): [FOUR]}, RIGHT, US, True),
        (FOUR, {PTR4: [US], ("A", US): ["203.0.113.26"]}, PtrVerdict.UNCONFIRMED, US, False),
        (FOUR, {PTR4: [US], ("A", US): Status.TIMEOUT}, PtrVerdict.UNKNOWN, US, False),
        (FOUR, {PTR4: ["a.example"], ("A", "a.example"): [FOUR]}, OTHER, "a.example", True),
        (FOUR, {PTR4: ["a.example"]}, OTHER, "a.example", False),
        (FOUR, {}, MISSING, "", False),
        (FOUR, {PTR4: Status.NXDOMAIN}, MISSING, "", False),
        (FOUR, {PTR4: Status.SERVFAIL}, PtrVerdict.UNKNOWN, "", False),
    ],
)
def test_ptr(address: str, zone: Zone, verdict: PtrVerdict, name: str, confirmed: bool) -> None:
    assert Ptr(address, verdict, name, confirmed) == check(address, zone)


def test_many_names_are_not_looked_through() -> None:
    names = [f"host{number}.example" for number in range(1000)]
    assert check(FOUR, {PTR4: [*names, US]}) == Ptr(FOUR, OTHER, "host0.example")
