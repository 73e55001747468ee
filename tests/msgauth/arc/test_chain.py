"""Chains that we seal ourselves, whole and broken in every place."""

import hashlib
import re
import time
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstead.message.header import split
from mailstead.model.address import Domain
from mailstead.model.dns import Answer, Question, Status
from mailstead.msgauth.arc import validate as arc
from mailstead.msgauth.arc.chain import NAMES, Broken, Chain, parse_chain
from mailstead.msgauth.arc.seal import seal
from mailstead.msgauth.arc.validate import Sealer, Validation, questions, validate
from mailstead.msgauth.authres import AuthenticationResults, Result
from mailstead.msgauth.dkim.canonical import BodyHash, Form, relaxed_field
from mailstead.msgauth.dkim.key import SigningKey
from mailstead.msgauth.dkim.record import PublicKey, check_value
from mailstead.msgauth.dkim.sign import sign
from mailstead.msgauth.dkim.signature import Fields, unsigned
from mailstead.msgauth.dkim.tags import parse_base64, parse_tags
from mailstead.msgauth.dkim.verify import body_hashes

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MESSAGE = b"From: Alice <a@example.org>\r\nSubject: Hi\r\nTo: list@hop1.example\r\n\r\nHi Bob!\r\n"
PASS, FAIL = arc.Status.PASS, arc.Status.FAIL
T = TypeVar("T")
Zone = dict[Question, Answer]


def ask(lookup: Generator[Question, Answer, T], zone: Zone) -> tuple[T, list[Question]]:
    """What it comes to, and what it asked."""
    asked = []
    try:
        question = next(lookup)
        while True:
            asked.append(question)
            question = lookup.send(zone.get(question, Answer(Status.NXDOMAIN)))
    except StopIteration as end:
        return end.value, asked


def look(message: bytes, zone: Zone, now: datetime = NOW) -> Validation:
    header, body = split(message)
    found = parse_chain(header)
    hashes = body_hashes(found.messages if isinstance(found, Chain) else [])
    hashes.add(body)
    return ask(validate(found, hashes.finish(), now), zone)[0]


class Hops(msgspec.Struct, frozen=True):
    """Hosts with keys of their own names."""

    key: SigningKey
    zone: Zone

    def at(self, number: int) -> SigningKey:
        return SigningKey(Domain(f"hop{number}.example"), "s", self.key.pem)

    def seal(self, message: bytes, number: int, as_found: Validation | None = None) -> bytes:
        """What the host passes on."""
        header, body = split(message)
        validation = as_found or look(message, self.zone)
        hashed = BodyHash()
        hashed.add(body)
        results = AuthenticationResults(
            f"hop{number}.example", (Result("arc", validation.status.value),)
        )
        found, key = parse_chain(header), self.at(number)
        return seal(header, hashed.finish(), found, validation, results, key, NOW) + message

    def chain(self, length: int, change: Callable[[bytes], bytes] = lambda one: one) -> bytes:
        message = MESSAGE
        for number in range(1, length + 1):
            message = self.seal(change(message), number)
        return message


@pytest.fixture
def hops(key: SigningKey) -> Hops:
    answer = Answer(Status.NOERROR, (key.record,))
    names = [f"s._domainkey.hop{number}.example" for number in range(1, 60)]
    return Hops(key, {Question("TXT", name): answer for name in names})


@pytest.mark.rfc("8617 section 5.1")
@pytest.mark.rfc("8617 section 5.2")
@pytest.mark.parametrize("length", [1, 2, 3, 5, 50])
def test_whole_chains(hops: Hops, length: int) -> None:
    found = look(hops.chain(length), hops.zone)
    sealers = tuple(Sealer(at, f"hop{at}.example", "s") for at in range(1, length + 1))
    assert found == Validation(PASS, "", sealers, 0)


def test_no_chain(hops: Hops) -> None:
    assert look(MESSAGE, {}) == Validation(arc.Status.NONE)


@pytest.mark.rfc("8617 section 4.1.2")
@pytest.mark.rfc("8617 section 4.1.3")
def test_the_fields(hops: Hops) -> None:
    signature = sign(split(MESSAGE)[0], b"x" * 32, hops.at(9), NOW)
    sealed = hops.seal(signature + MESSAGE, 1)
    names = re.findall(rb"^(ARC-[^:]+): i=1; ", sealed, re.M)
    assert names == [b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"]
    first = re.search(rb"ARC-Seal: ([^\r]*)\r\n\t([^\r]*)", sealed)
    assert first is not None
    assert first[1] == b"i=1; a=rsa-sha256; cv=none;"
    assert first[2] == b"d=hop1.example; s=s; t=1795262400;"
    assert re.search(rb"[:\t]dkim-signature;", sealed)
    assert b"ARC-Authentication-Results: i=1; hop1.example;\r\n arc=none\r\n" in sealed
    assert max(map(len, sealed.split(b"\r\n"))) <= 80
    assert look(sealed, hops.zone).status is PASS


# ---------------------------------------------------------------------- broken chains


def dropped(name: str, instance: int) -> Callable[[bytes], bytes]:
    return lambda message: re.sub(_field(name, instance), b"", message, count=1)


def doubled(name: str, instance: int) -> Callable[[bytes], bytes]:
    return lambda message: re.sub(_field(name, instance), rb"\g<0>\g<0>", message, count=1)


def altered(name: str, instance: int, old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(message: bytes) -> bytes:
        match = re.search(_field(name, instance), message)
        assert match is not None
        field = re.sub(old, new, match[0], count=1)
        assert field != match[0]
        return message.replace(match[0], field, 1)

    return change


def _field(name: str, instance: int) -> bytes:
    return rb"ARC-%s: i=%d;[^\r]*\r\n(?:[ \t][^\r]*\r\n)*" % (name.encode(), instance)


AAR, AMS, SEAL = "Authentication-Results", "Message-Signature", "Seal"


@pytest.mark.rfc("8617 section 5.2")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (dropped(AAR, 1), "the set i=1 has 0 fields arc-authentication-results"),
        (dropped(AMS, 2), "the set i=2 has 0 fields arc-message-signature"),
        (dropped(SEAL, 3), "the set i=3 has 0 fields arc-seal"),
        (doubled(AAR, 3), "the set i=3 has 2 fields arc-authentication-results"),
        (doubled(SEAL, 1), "the set i=1 has 2 fields arc-seal"),
        (altered(AMS, 3, b"i=3", b"i=4"), "the set i=3 has 0 fields arc-message-signature"),
        (altered(AMS, 3, b"i=3", b"i=0"), "an arc-message-signature field has no i= from 1 to 50"),
        (altered(AAR, 3, b"i=3", b"i=51"), "an arc-authentication-results field has no i= from"),
        (altered(AAR, 3, b"i=3; ", b""), "an arc-authentication-results field has no i= from"),
        (altered(SEAL, 3, b"i=3", b"i=3; i=3"), "i= is there twice"),
        (altered(SEAL, 3, b"cv=pass", b"cv=fail"), "it was broken already when i=3 was added"),
        (altered(SEAL, 3, b"cv=pass", b"cv=none"), "the seal i=3 is malformed: cv= is none, not"),
        (altered(SEAL, 2, b"cv=pass", b"cv=fail"), "the seal i=2 is malformed: cv= is fail, not"),
        (altered(SEAL, 1, b"cv=none", b"cv=pass"), "the seal i=1 is malformed: cv= is pass, not"),
        (altered(SEAL, 1, b"cv=none; *", b""), "the seal i=1 is malformed: cv= is missing"),
        (altered(SEAL, 2, b"cv=", b"h=from; cv="), "the seal i=2 is malformed: h= is not allowed"),
        (altered(SEAL, 2, b"256", b"1"), "the seal i=2 is malformed: a=rsa-sha1 is unknown, or"),
        (altered(SEAL, 2, b"b=", b"b=!"), "the seal i=2 is malformed: b= is no base64"),
        (altered(SEAL, 1, b"t=1", b"t=2"), "the seal i=3 is not good: header fields were changed"),
        (altered(SEAL, 3, b"t=1", b"t=2"), "the seal i=3 is not good: header fields were changed"),
        (altered(AAR, 1, b"none", b"pass"), "the seal i=3 is not good: header fields were changed"),
        (altered(AAR, 2, b"pass", b"fail"), "the seal i=3 is not good: header fields were changed"),
        (altered(AMS, 1, b"t=1", b"t=2"), "the seal i=3 is not good: header fields were changed"),
        (altered(AMS, 3, b"t=1", b"t=2"), "the message is not as i=3 signed it: it was made in"),
        (altered(AMS, 3, b"from:", b""), "the message is not as i=3 signed it: header fields"),
        (
            altered(AMS, 3, b"\th=", b"\th=arc-seal:"),
            "the message is not as i=3 signed it: h= covers",
        ),
        (altered(AMS, 3, b"bh=", b"xx="), "the message is not as i=3 signed it: bh= is missing"),
        (lambda one: one.replace(b"Hi Bob", b"Hi Eve"), "the message is not as i=3 signed it: the"),
        (lambda one: one.replace(b"Alice", b"Eve"), "the message is not as i=3 signed it: header"),
        (lambda one: b"ARC-Seal: nothing\r\n" + one, "'nothing' is no tag with a value"),
        (lambda one: b"ARC-Seal: i=1\r\n" * 51 + one, "there are more than 50 sets"),
        (lambda one: b"ARC-Seal: i=1; x=%s\r\n" % (b"x" * 17_000) + one, "an arc-seal field is lo"),
    ],
)
def test_broken_chains(hops: Hops, change: Callable[[bytes], bytes], reason: str) -> None:
    message = hops.chain(3)
    changed = change(message)
    assert changed != message
    found = look(changed, hops.zone)
    assert (found.status, found.reason[: len(reason)]) == (FAIL, reason)


@pytest.mark.rfc("8617 section 5.2.1")
@pytest.mark.parametrize("status", [Status.SERVFAIL, Status.NXDOMAIN])
@pytest.mark.parametrize("hop", [1, 2, 3])
def test_a_key_that_is_missing_breaks_it_for_good(hops: Hops, hop: int, status: Status) -> None:
    question = Question("TXT", f"s._domainkey.hop{hop}.example")
    found = look(hops.chain(3), hops.zone | {question: Answer(status)})
    assert found.status is FAIL


@pytest.mark.rfc("8617 section 5.2")
def test_since_when_the_message_is_as_it_is(hops: Hops) -> None:
    """A list may change a message: that breaks older signatures, and not the chain."""
    message = hops.chain(2)
    changed = message.replace(b"Subject: ", b"Subject: [List] ") + b"Footer\r\n"
    assert look(changed, hops.zone).status is FAIL
    as_found = look(message, hops.zone)
    sealed = hops.seal(hops.seal(changed, 3, as_found), 4)
    found = look(sealed, hops.zone)
    assert (found.status, found.oldest_pass) == (PASS, 3)


@pytest.mark.rfc("8617 section 5.1.2")
@pytest.mark.rfc("8617 section 5.1.3")
def test_a_broken_chain_is_sealed_as_broken_and_then_left_alone(hops: Hops) -> None:
    broken = hops.chain(2).replace(b"Alice", b"Eve")
    sealed = hops.seal(broken, 3)
    assert b"ARC-Seal: i=3; a=rsa-sha256; cv=fail;" in sealed
    assert look(sealed, hops.zone).reason == "it was broken already when i=3 was added"
    assert hops.seal(sealed, 4) == sealed
    assert covers_only_its_own_set(sealed, hops)


@pytest.mark.rfc("8617 section 5.1.2")
def test_fields_that_are_no_chain_are_sealed_as_broken(hops: Hops) -> None:
    sealed = hops.seal(b"ARC-Seal: i=1; cv=none\r\n" + MESSAGE, 2)
    assert b"ARC-Seal: i=2; a=rsa-sha256; cv=fail;" in sealed
    assert covers_only_its_own_set(sealed, hops)


def covers_only_its_own_set(message: bytes, hops: Hops) -> bool:
    """The newest seal is good for the newest three fields, as if no others were there."""
    there = Fields(split(message)[0])
    results, signature, own = (there.named(name)[0] for name in NAMES)
    covered = relaxed_field(results) + relaxed_field(signature) + unsigned(own, Form.RELAXED)
    value = parse_base64(parse_tags(own.partition(b":")[2])["b"], "b")
    answer = Answer(Status.NOERROR, (hops.key.record,))
    hashed = hashlib.sha256(covered).digest()
    return isinstance(check_value(hashed, value, "rsa-sha256", answer), PublicKey)


def test_a_full_chain_is_left_alone(hops: Hops) -> None:
    full = hops.chain(50)
    assert hops.seal(full, 51) == full


def test_questions_are_asked_from_the_newest_and_no_more_than_needed(hops: Hops) -> None:
    header, body = split(hops.chain(3))
    found = parse_chain(header)
    names = [f"s._domainkey.hop{number}.example" for number in (3, 2, 1)]
    assert [one.name for one in questions(found)] == names
    assert questions(None) == questions(Broken("", 1)) == []
    assert isinstance(found, Chain)
    hashes = body_hashes(found.messages)
    hashes.add(body + b"changed")
    _, asked = ask(validate(found, hashes.finish(), NOW), hops.zone)
    assert [one.name for one in asked] == names[:1]


_PIECES = (
    *(b"ARC-Seal:", b"ARC-Message-Signature:", b"ARC-Authentication-Results:", b"i=1;", b"i=2;"),
    *(b"cv=none;", b"cv=fail", b"a=rsa-sha256;", b"d=x.y;", b"s=s;", b"b=AAAA;", b"h=from;"),
    *(b"\r\n", b"\r\n ", b";", b":", b"=", b"\0", b"\xff", b"(", b"99", b"From: x\r\n"),
)


@given(header=st.lists(st.sampled_from(_PIECES), max_size=40).map(b"".join))
def test_any_header_is_read(header: bytes) -> None:
    assert parse_chain(header) is None or isinstance(parse_chain(header), Chain | Broken)


def test_the_work_is_bounded(hops: Hops) -> None:
    message = hops.chain(50)
    long = message.replace(b"Subject: Hi", b"Subject: " + b"x " * 100_000)
    before = time.process_time()
    look(long, hops.zone)
    assert time.process_time() - before < 2
