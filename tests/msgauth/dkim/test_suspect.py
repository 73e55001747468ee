"""What was probably done to a message: each thing that lists and relays do is found out."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from mailstead.message import header as fields
from mailstead.model.dns import Answer, Status
from mailstead.msgauth.dkim.bodyhash import BodyHashes, Cover
from mailstead.msgauth.dkim.canonical import Form
from mailstead.msgauth.dkim.key import SigningKey
from mailstead.msgauth.dkim.sign import complete, sign, signed_data
from mailstead.msgauth.dkim.suspect import TRIES_LIMIT, find_added_text, find_header_change

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HEADER = b"From: Alice <a@example.org>\r\nTo: list@example.net\r\nSubject: Re: Hi you\r\n\r\n"
Change = tuple[bytes, bytes]


def simply_signed(key: SigningKey) -> bytes:
    """In the simple form, with copies of the fields."""
    own = (
        b"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=m1; h=from:to:subject;\r\n"
        b" z=From:Alice=20<a@example.org>|To:list@example.net|\r\n Subject:Re:=20Hi=20you;\r\n"
        b" bh=%s; b=" % base64.b64encode(bytes(32))
    )
    data = signed_data([one.raw for one in fields.fields(HEADER)], own, Form.SIMPLE)
    return complete(own, data, key)


@pytest.mark.parametrize(
    ("simple", "change", "words"),
    [
        (False, (b"Subject: Re: ", b"Subject: Re: [List] "), "a prefix was put into Subject"),
        (False, (b"Subject: ", b"Subject: [List]  "), "a prefix was put into Subject"),
        (False, (b"To: ", b"Reply-To: x@example.com\r\nTo: "), "a field Reply-To was added"),
        (False, (b"To: ", b"To: x@example.com\r\nTo: "), "a field To was added"),
        (False, (b"Hi you", b"Bye"), ""),
        (False, (b"To: list@example.net\r\n", b""), ""),
        (True, (b"Hi you", b"Hi\r\n\tyou"), "white space was changed in Subject"),
        (True, (b"Hi you", b"Bye"), "changed: Subject"),
        (True, (b"Alice", b"Eve"), "changed: From"),
    ],
)
def test_headers(key: SigningKey, simple: bool, change: Change, words: str) -> None:
    own = simply_signed(key) if simple else sign(HEADER, b"x" * 32, key, NOW)
    answer = Answer(Status.NOERROR, (key.record,))
    changed = HEADER.replace(*change)
    assert changed != HEADER
    assert find_header_change(own + changed, own, answer) == words


def test_a_header_of_any_size_is_given_up_on(key: SigningKey) -> None:
    own = sign(HEADER, b"x" * 32, key, NOW)
    header = own + b"To: x\r\n" * TRIES_LIMIT + HEADER
    assert find_header_change(header, own, Answer(Status.NOERROR, (key.record,))) == ""


def hashed(form: Form, body: bytes) -> bytes:
    hashes = BodyHashes([Cover(form)])
    hashes.add(body)
    return hashes.finish()[Cover(form)].hash


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize(
    ("change", "added"),
    [
        (lambda body: body + b"--\r\nList\r\n", b"--\r\nList\r\n"),
        (lambda body: body + b"\r\n--\r\nList\r\n\r\n", b"\r\n--\r\nList\r\n"),
        (lambda body: b"First\r\n" + body, b""),
        (lambda body: body.replace(b"b", b"x"), b""),
    ],
)
def test_bodies(form: Form, change: Callable[[bytes], bytes], added: bytes) -> None:
    body = b"a\r\n\r\nb\r\n"
    assert find_added_text(change(body), Cover(form), hashed(form, body)) == added
