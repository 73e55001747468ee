"""Lists in the DNS: tables of what they are asked, and what their answers mean."""

import ipaddress

import pytest

from mailstead.model.address import Domain
from mailstead.model.dns import Answer, Question, Status
from mailstead.msgauth.dnsbl import (
    REASON_LIMIT,
    Alarm,
    Bit,
    Hash,
    Health,
    Kind,
    Listed,
    Lookup,
    Meaning,
    NotListed,
    Subject,
    T,
    Unanswered,
    Zone,
    check_health,
    hash_of,
    look_up,
    query_name,
)

BAD = Zone(
    "bad",
    "bad.example.com",
    (Kind.IPV4, Kind.IPV6),
    (Meaning("127.0.0.2", "spam"), Meaning("127.0.0.4", "taken over")),
)
BITS = Zone("bits", "bits.example", (Kind.DOMAIN,), bits=(Bit(2, "black"), Bit(4, "grey")))
GOOD = Zone("good", "good.example", (Kind.IPV4,), (Meaning("127.0.*.3", "high"),), allows=True)
CLIENT = ipaddress.ip_address("192.0.2.99")
NAME = "99.2.0.192.bad.example.com"


def found(*records: str) -> Answer:
    return Answer(Status.NOERROR, records)


def run(lookup: Lookup[T], zone: dict[tuple[str, str], Answer]) -> tuple[T, list[Question]]:
    asked = []
    try:
        question = next(lookup)
        while True:
            asked.append(question)
            nothing = Answer(Status.NXDOMAIN)
            question = lookup.send(zone.get((question.type, question.name), nothing))
    except StopIteration as end:
        return end.value, asked


SIX = "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bad.example.com"
MAPPED = "2.0.0.0.0.0.f.7.f.f.f.f." + "0." * 20 + "bad.example.com"


@pytest.mark.rfc("5782 section 2.1")
@pytest.mark.rfc("5782 section 2.4")
@pytest.mark.rfc("5782 section 3")
@pytest.mark.parametrize(
    ("zone", "subject", "name"),
    [
        (BAD, CLIENT, NAME),
        (BAD, ipaddress.ip_address("2001:db8:1:2:3:4:567:89ab"), SIX),
        (BAD, ipaddress.ip_address("::ffff:7f00:2"), MAPPED),
        (BITS, Domain("Invalid.edu"), "invalid.edu.bits.example"),
        (BITS, Hash(Kind.SHA1, "abcd"), "abcd.bits.example"),
    ],
)
def test_names(zone: Zone, subject: Subject, name: str) -> None:
    assert query_name(zone, subject) == name


@pytest.mark.parametrize("domain", ["", "a" * 250])
def test_what_makes_no_name(domain: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        query_name(BITS, Domain(domain))


def test_hashes() -> None:
    assert hash_of(Kind.SHA1, "ABC").digest == "a9993e364706816aba3e25717850c26c9cd0d89d"
    assert hash_of(Kind.SHA256, "abc").digest[:8] == "ba7816bf"


@pytest.mark.rfc("5782 section 2.3")
@pytest.mark.parametrize(
    ("zone", "answer", "expected"),
    [
        (BAD, found("127.0.0.2"), Listed("bad", ("spam",), ("127.0.0.2",))),
        (
            BAD,
            found("127.0.0.4", "127.0.0.2"),
            Listed("bad", ("taken over", "spam"), ("127.0.0.4", "127.0.0.2")),
        ),
        (
            BAD,
            found("127.0.0.2", "127.0.0.77"),
            Listed("bad", ("spam",), ("127.0.0.2", "127.0.0.77"), strange=("127.0.0.77",)),
        ),
        (GOOD, found("127.0.9.3"), Listed("good", ("high",), ("127.0.9.3",), allows=True)),
        (BAD, found(), NotListed("bad")),
        (BAD, Answer(Status.NXDOMAIN), NotListed("bad")),
        (BAD, Answer(Status.SERVFAIL), Unanswered("bad")),
        (BAD, Answer(Status.TIMEOUT), Unanswered("bad")),
    ],
)
def test_answers(zone: Zone, answer: Answer, expected: object) -> None:
    name = query_name(zone, CLIENT)
    assert run(look_up(zone, CLIENT), {("A", name): answer})[0] == expected


@pytest.mark.rfc("5782 section 2.3")
@pytest.mark.parametrize(
    ("record", "labels"),
    [("127.0.0.2", ("black",)), ("127.0.0.6", ("black", "grey")), ("127.0.0.12", ("grey",))],
)
def test_bits(record: str, labels: tuple[str, ...]) -> None:
    zone = {("A", "spam.example.bits.example"): found(record)}
    listed, _ = run(look_up(BITS, Domain("spam.example")), zone)
    assert listed == Listed("bits", labels, (record,))


@pytest.mark.parametrize(
    "records",
    [
        ("127.255.255.254",),
        ("127.255.255.255", "127.0.0.2"),
        ("127.0.0.2", "127.0.0.1"),
        ("127.0.0.255",),
        ("127.0.1.255",),
        ("127.0.0.77",),
        ("203.0.113.9",),
        ("nonsense",),
    ],
)
@pytest.mark.parametrize("zone", [BAD, GOOD])
def test_every_other_answer_is_an_alarm_and_no_evidence(
    zone: Zone, records: tuple[str, ...]
) -> None:
    alarm, asked = run(look_up(zone, CLIENT), {("A", query_name(zone, CLIENT)): found(*records)})
    assert isinstance(alarm, Alarm)
    assert (alarm.records, len(asked)) == (records, 1)
    assert alarm.problem


def test_a_refusal_is_none_of_the_bits() -> None:
    """127.0.0.255 has all bits, 127.0.0.1 the lowest."""
    for record in ("127.0.0.255", "127.0.0.1", "127.255.255.2"):
        zone = {("A", "spam.example.bits.example"): found(record)}
        assert isinstance(run(look_up(BITS, Domain("spam.example")), zone)[0], Alarm)


@pytest.mark.rfc("5782 section 2.1")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "Dynamic address, see http://bad.example.com",
            "Dynamic address, see http://bad.example.com",
        ),
        ("\x1b[31mred\r\n", "[31mred"),
        ("x" * 1000, "x" * REASON_LIMIT),
    ],
)
def test_the_reason_is_bounded_and_harmless(text: str, reason: str) -> None:
    listed, asked = run(
        look_up(BAD, CLIENT), {("A", NAME): found("127.0.0.2"), ("TXT", NAME): found(text)}
    )
    assert listed == Listed("bad", ("spam",), ("127.0.0.2",), reason=reason)
    assert asked == [Question("A", NAME), Question("TXT", NAME)]


def test_an_ipv4_address_inside_an_ipv6_one_is_asked_for_as_such() -> None:
    _, asked = run(look_up(BAD, ipaddress.ip_address("::ffff:192.0.2.99")), {})
    assert asked == [Question("A", NAME)]


def test_a_zone_is_not_asked_for_what_it_does_not_list() -> None:
    with pytest.raises(ValueError, match="does not list"):
        next(look_up(BITS, CLIENT))


TEST4, TEST6 = ("A", "2.0.0.127.bad.example.com"), ("A", MAPPED)
NEVER4 = ("A", "1.0.0.127.bad.example.com")
SOUND = {TEST4: found("127.0.0.2"), TEST6: found("127.0.0.2")}


@pytest.mark.rfc("5782 section 5")
@pytest.mark.parametrize(
    ("answers", "word"),
    [
        ({}, "127.0.0.2 must be listed"),
        ({TEST4: found("127.0.0.2")}, "must be listed"),
        (SOUND | {NEVER4: found("127.0.0.2")}, "127.0.0.1 must not be listed"),
        (SOUND | {TEST4: found("127.255.255.254")}, "refuses"),
        (SOUND | {NEVER4: found("127.0.0.1")}, "refuses"),
        (SOUND | {TEST4: found("203.0.113.9")}, "the zone is gone"),
        (SOUND | {TEST4: Answer(Status.TIMEOUT)}, "does not answer"),
    ],
)
def test_a_zone_that_is_not_sound(answers: dict, word: str) -> None:
    health, _ = run(check_health(BAD), answers)
    assert not health.good
    assert word in " ".join(health.problems)
    assert health.temporary == (word == "does not answer")


@pytest.mark.rfc("5782 section 5")
def test_sound_zones() -> None:
    assert run(check_health(BAD), SOUND)[0] == Health("bad")
    answers = {("A", "test.bits.example"): found("127.0.0.6")}
    health, asked = run(check_health(BITS), answers)
    assert health.good
    assert [question.name for question in asked] == ["invalid.bits.example", "test.bits.example"]
