"""Messages that the server writes, read by somebody else's parser."""

import email
import email.policy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.message.compose import compose, format_field, multipart, part
from mailstead.message.header import fields


def read(message: bytes):
    return email.message_from_bytes(message, policy=email.policy.default)


def content(message: bytes) -> str:
    return read(message).get_content().replace("\r\n", "\n").rstrip("\n")


@pytest.mark.rfc("5322 section 3.6")
def test_compose():
    message = compose([("From", "a@example.org"), ("Subject", "Hi")], "Hello\nworld")
    assert message == (
        b"From: a@example.org\r\nSubject: Hi\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
        b"Hello\r\nworld\r\n"
    )


@given(
    st.text(
        alphabet=st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Zl", "Zp"]),
        max_size=1200,
    )
)
@settings(deadline=None)
def test_any_text_is_read_back(text):
    message = compose([("Subject", "x")], text)
    assert message.isascii()
    assert max(map(len, message.split(b"\r\n"))) <= 998
    assert b"\n" not in message.replace(b"\r\n", b"")
    assert content(message) == text.rstrip("\n")


@pytest.mark.parametrize("text", ["a\rb", "a\0b", ".", "From x\n.\n", "ü" * 5000, "x" * 5000])
def test_odd_text(text):
    message = compose([], text)
    assert message.isascii()
    assert b"\0" not in message
    assert content(message) == text.replace("\r", "\n").rstrip("\n")


@pytest.mark.rfc("2047 section 5")
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("Subject", "Grüße an", b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe_an?=\r\n"),
        ("To", "Jürgen <j@example.org>", b"To: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\n"),
        ("To", '"a, b" <a@b>, ü <c@d>', b'To: "a, b" <a@b>, =?utf-8?b?w7w=?= <c@d>\r\n'),
        ("Cc", "ü: a@b, c@d;", b"Cc: =?utf-8?b?w7w=?=: a@b, c@d;\r\n"),
        ("To", "ü@example.org", "To: ü@example.org\r\n".encode()),
        ("To", "a@b\r\nBcc: c@d", b"To: a@b Bcc: c@d\r\n"),
    ],
)
def test_format_field(name, value, expected):
    assert format_field(name, value) == expected
    assert len(fields(expected)) == 1


@pytest.mark.rfc("2046 section 5.1.1")
def test_multipart():
    parts = [part("text/plain", b"one"), part("text/x-two", b"--=_\ntwo\xff")]
    message = read(b"Subject: x\r\n" + multipart("mixed; x=y", parts))
    assert [(one.get_content_type(), one.get_payload(decode=True)) for one in message.walk()] == [
        ("multipart/mixed", None),
        ("text/plain", b"one\r\n"),
        ("text/x-two", b"--=_\r\ntwo\xff\r\n"),
    ]
    assert (message.get_param("x"), [one.defects for one in message.walk()]) == ("y", [[], [], []])
