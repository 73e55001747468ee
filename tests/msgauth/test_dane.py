"""DANE: tables of zones and what binds a host, of records and certificates that match or do not."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from mailstead.model.dns import Answer, Question, Status
from mailstead.msgauth import dane
from mailstead.msgauth.dane import Binding, Tlsa, Unknown, check_chain, find_binding
from mailstead.msgauth.tlsrpt import Result
from mailstead.testing.certificates import Authority, Issued

HOST = "mx.example.com"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
EE = "3 1 1 " + "ab" * 32
TLSA = ("TLSA", f"_25._tcp.{HOST}")
ALIAS = ("CNAME", HOST)
HOSTED = ("TLSA", "_25._tcp.mx.hoster.net")


def secure(*records: str) -> Answer:
    return Answer(Status.NOERROR, records, True)


def find(zone: dict[tuple[str, str], Answer], with_addresses: bool):
    """What binds the host; names that the zone does not have do not exist, securely."""
    lookup = find_binding(HOST, 25, with_addresses)
    try:
        question = next(lookup)
        while True:
            nothing = Answer(Status.NXDOMAIN, (), True)
            question = lookup.send(zone.get((question.type, question.name), nothing))
    except StopIteration as end:
        return end.value


def binding(*records: str, base: str = HOST) -> Binding:
    parsed = [dane.parse_record(record) for record in records]
    return Binding(base, records, tuple(one for one in parsed if one and dane.is_usable(one)))


@pytest.mark.rfc("7672 section 2.2.3")
@pytest.mark.parametrize(
    ("zone", "with_addresses", "expected"),
    [
        ({TLSA: secure(EE)}, True, binding(EE)),
        ({}, True, None),
        ({TLSA: secure()}, True, None),
        ({TLSA: Answer(Status.NOERROR, (EE,))}, True, None),  # insecure records say nothing
        ({TLSA: secure(EE)}, False, None),  # not even asked
        ({TLSA: secure("1 1 1 " + "ab" * 32)}, True, binding("1 1 1 " + "ab" * 32)),
    ],
)
def test_host(zone: dict, with_addresses: bool, expected: object) -> None:
    assert expected == find(zone, with_addresses)


@pytest.mark.rfc("7672 section 2.1.2")
@pytest.mark.parametrize("status", [Status.SERVFAIL, Status.TIMEOUT])
@pytest.mark.parametrize("question", [TLSA, ALIAS])
def test_a_failure_is_not_taken_for_no_records(status: Status, question: tuple[str, str]) -> None:
    found = find({question: Answer(status)}, True)
    assert found == Unknown(Question(*question), Answer(status))


@pytest.mark.rfc("7672 section 2.2.2")
@pytest.mark.parametrize(
    ("zone", "with_addresses", "expected"),
    [
        # Secure all the way: the name at the end first, then the one at the beginning.
        (
            {ALIAS: secure("mx.hoster.net"), HOSTED: secure(EE), TLSA: secure("3 0 0 00")},
            True,
            binding(EE, base="mx.hoster.net"),
        ),
        ({ALIAS: secure("mx.hoster.net"), TLSA: secure(EE)}, True, binding(EE)),
        # Only the alias is signed: the name at the end cannot vouch for anything.
        ({ALIAS: secure("mx.hoster.net"), TLSA: secure(EE)}, False, binding(EE)),
        ({ALIAS: secure("mx.hoster.net"), HOSTED: secure(EE)}, False, None),
        ({ALIAS: Answer(Status.NOERROR, ("mx.hoster.net",)), TLSA: secure(EE)}, False, None),
        (
            {ALIAS: secure("mx.hoster.net"), HOSTED: Answer(Status.SERVFAIL), TLSA: secure(EE)},
            True,
            Unknown(Question(*HOSTED), Answer(Status.SERVFAIL)),
        ),
    ],
)
def test_alias(zone: dict, with_addresses: bool, expected: object) -> None:
    assert expected == find(zone, with_addresses)


def test_aliases_in_a_circle_end() -> None:
    assert find({ALIAS: secure(HOST)}, True) is None


@pytest.mark.rfc("7672 section 3.1.3")
@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (Tlsa(3, 1, 1, bytes(32)), True),
        (Tlsa(3, 0, 2, bytes(64)), True),
        (Tlsa(2, 0, 1, bytes(32)), True),
        (Tlsa(0, 0, 1, bytes(32)), False),
        (Tlsa(1, 1, 1, bytes(32)), False),
        (Tlsa(4, 1, 1, bytes(32)), False),
        (Tlsa(255, 1, 1, bytes(32)), False),
        (Tlsa(3, 2, 1, bytes(32)), False),
        (Tlsa(3, 1, 3, bytes(32)), False),
        (Tlsa(3, 1, 255, bytes(32)), False),
        (Tlsa(3, 1, -1, bytes(32)), False),
        (Tlsa(3, 1, 1, bytes(31)), False),
        (Tlsa(3, 1, 2, bytes(32)), False),
        (Tlsa(2, 0, 0, b"no certificate"), False),
        (Tlsa(3, 1, 0, b"no key"), False),
    ],
)
def test_usable(record: Tlsa, expected: bool) -> None:
    assert expected == dane.is_usable(record)


@pytest.mark.rfc("6698 section 2.2")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 1 1 00ff", Tlsa(3, 1, 1, b"\x00\xff")),
        ("3 1 1 00 FF", Tlsa(3, 1, 1, b"\x00\xff")),
        ("3 1 1 0", None),
        ("3 1", None),
        ("a b c 00", None),
        ("", None),
    ],
)
def test_record(text: str, expected: Tlsa | None) -> None:
    assert expected == dane.parse_record(text)


@pytest.mark.rfc("7671 section 9")
def test_weaker_digests_of_the_same_kind_do_not_count() -> None:
    strong, weak = Tlsa(3, 1, 2, bytes(64)), Tlsa(3, 1, 1, bytes(32))
    other, whole = Tlsa(3, 0, 1, bytes(32)), Tlsa(3, 1, 0, b"key")
    assert dane.strongest([weak, strong, other, whole]) == (strong, other, whole)


# ---------------------------------------------------------------------- certificates

ROOT = Authority("Root")
MIDDLE = Authority("Middle", ROOT)
LEAF = MIDDLE.issue(HOST, "*.wild.example.com")
OTHER = Authority("Other")
LATE = MIDDLE.issue(
    HOST, valid=(datetime(2000, 1, 1, tzinfo=UTC), datetime(2001, 1, 1, tzinfo=UTC))
)


def tlsa(usage: int, selector: int, matching: int, issued: Issued) -> Tlsa:
    data = issued.spki if selector else issued.chain[0]
    digests: list[Callable[[bytes], bytes]] = [
        lambda whole: whole,
        lambda whole: hashlib.sha256(whole).digest(),
        lambda whole: hashlib.sha512(whole).digest(),
    ]
    return Tlsa(usage, selector, matching, digests[matching](data))


EVERY_WAY = [(selector, matching) for selector in (0, 1) for matching in (0, 1, 2)]


@pytest.mark.rfc("7672 section 3.1.1")
@pytest.mark.parametrize(("selector", "matching"), EVERY_WAY)
def test_end_entity(selector: int, matching: int) -> None:
    record = tlsa(3, selector, matching, LEAF)
    assert dane.is_usable(record)
    assert check_chain([record], LEAF.chain, ["elsewhere.example"], NOW) is Result.SUCCESS
    assert check_chain([record], LATE.chain, [HOST], NOW) is Result.VALIDATION_FAILURE
    assert check_chain([record], [], [HOST], NOW) is Result.VALIDATION_FAILURE
    late = tlsa(3, selector, matching, LATE)
    assert check_chain([late], LATE.chain, [], NOW) is Result.SUCCESS  # dates are not asked for


@pytest.mark.rfc("7672 section 3.1.2")
@pytest.mark.parametrize("anchor", [ROOT, MIDDLE])
@pytest.mark.parametrize(("selector", "matching"), EVERY_WAY)
def test_trust_anchor(anchor: Authority, selector: int, matching: int) -> None:
    record = tlsa(2, selector, matching, anchor.issued)
    assert dane.is_usable(record)
    assert check_chain([record], LEAF.chain, [HOST], NOW) is Result.SUCCESS
    assert check_chain([record], LEAF.chain, ["example.com"], NOW) is Result.HOST_MISMATCH
    assert check_chain([record], LATE.chain, [HOST], NOW) is Result.EXPIRED
    foreign = OTHER.issue(HOST)
    assert check_chain([record], foreign.chain, [HOST], NOW) is Result.NOT_TRUSTED
    # Showing the anchor does not make one its child.
    chain = [*foreign.chain, *anchor.issued.chain]
    assert check_chain([record], chain, [HOST], NOW) is Result.NOT_TRUSTED


@pytest.mark.rfc("7671 section 5.2")
@pytest.mark.parametrize("selector", [0, 1])
def test_an_anchor_whole_in_the_dns_need_not_be_sent(selector: int) -> None:
    record = tlsa(2, selector, 0, ROOT.issued)
    assert check_chain([record], LEAF.chain[:-1], [HOST], NOW) is Result.SUCCESS
    digest = tlsa(2, selector, 1, ROOT.issued)
    assert check_chain([digest], LEAF.chain[:-1], [HOST], NOW) is Result.NOT_TRUSTED


def test_an_anchor_is_above_the_leaf() -> None:
    record = tlsa(2, 0, 1, LEAF)
    assert check_chain([record], LEAF.chain, [HOST], NOW) is Result.NOT_TRUSTED


@pytest.mark.rfc("7672 section 3.2.3")
def test_one_of_several_names_and_records_is_enough() -> None:
    records = [tlsa(3, 1, 1, LATE), tlsa(2, 0, 1, OTHER.issued), tlsa(2, 0, 1, ROOT.issued)]
    names = ["example.com", "mx.example.com"]
    assert check_chain(records, LEAF.chain, names, NOW) is Result.SUCCESS
    assert check_chain(records, LEAF.chain, ["a.wild.example.com"], NOW) is Result.SUCCESS
    assert check_chain(records, LEAF.chain, ["a.b.wild.example.com"], NOW) is Result.HOST_MISMATCH


def test_rubbish_is_no_certificate() -> None:
    records = [tlsa(3, 1, 1, LEAF), tlsa(2, 0, 1, ROOT.issued)]
    for chain in ([b""], [b"\x30\x03"], [b"rubbish", *LEAF.chain]):
        assert check_chain(records, chain, [HOST], NOW) is Result.NOT_TRUSTED
    chain = [LEAF.chain[0], b"rubbish", *LEAF.chain[1:]]
    assert check_chain(records[1:], chain, [HOST], NOW) is Result.SUCCESS
