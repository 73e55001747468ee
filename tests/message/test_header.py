"""Header octets: splitting, finding, changing, folding, encoded words."""

import email.header

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.message import header as h

HEADER = (
    b"Received: from a\r\n\tby b\r\n"
    b"Subject : two\r\n words \r\n"
    b"no field at all\r\n"
    b"X-Empty:\r\n"
    b"subject:other\r\n"
    b"\r\n"
)


@pytest.mark.rfc("5322 section 2.1")
@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"A: b\r\n\r\nbody\r\n", (b"A: b\r\n\r\n", b"body\r\n")),
        (b"\r\nbody", (b"\r\n", b"body")),
        (b"A: b\r\n", (b"A: b\r\n", b"")),
        (b"A: b", (b"A: b", b"")),
        (b"", b""),
        (b"A: b\r\n\r\n\r\n\r\nbody", (b"A: b\r\n\r\n", b"\r\n\r\nbody")),
        (b"A: b\n\nbody\r\n\r\nx", (b"A: b\n\nbody\r\n\r\n", b"x")),
        (b"A: b\r\n \r\n\r\nx", (b"A: b\r\n \r\n\r\n", b"x")),
        (b"A: b\r\r\n\n\r\n\r\nx", (b"A: b\r\r\n\n\r\n\r\n", b"x")),
    ],
)
def test_split(message, expected):
    assert h.split(message) == (expected or (b"", b""))


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_split_loses_nothing(message):
    assert b"".join(h.split(message)) == message


@pytest.mark.rfc("5322 section 2.2.3")
def test_fields():
    expected = [
        ("Received", b"from a\tby b"),
        ("Subject", b"two words"),
        ("X-Empty", b""),
        ("subject", b"other"),
    ]
    assert [(field.name, field.value) for field in h.fields(HEADER)] == expected
    assert h.fields(HEADER)[0].raw == b"Received: from a\r\n\tby b\r\n"


@pytest.mark.rfc("5322 section 4.5.8")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Subject", [b"two words", b"other"]),
        ("RECEIVED", [b"from a\tby b"]),
        ("x-empty", [b""]),
        ("X", []),
        ("no field at all", []),
        ("", []),
        (".*", []),
        ("Sübject", []),
        ("\ud800", []),
    ],
)
def test_get(name, expected):
    assert h.get_all(HEADER, name) == expected
    assert h.get(HEADER, name) == (expected[0] if expected else None)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Subject",), True),
        (("X", "RECEIVED"), True),
        (("X", "words"), False),  # on a line of its own, it is still a value
        (("x-empty",), True),
        ((".*",), False),
        (("Sübject", "\ud800"), False),
    ],
)
def test_has_any(names, expected):
    assert h.has_any(HEADER, names) is expected


@pytest.mark.parametrize("header", [b"", b"\r\n", b"\n", b"A", b":", b": x\r\n", b"\0\xff\r\r\n\n"])
def test_nothing_to_find(header):
    assert (h.fields(header), h.get(header, "A")) == ([], None)


def test_remove():
    expected = b"Received: from a\r\n\tby b\r\nno field at all\r\nX-Empty:\r\n\r\n"
    assert h.remove(HEADER, ["SUBJECT", "Bcc"]) == expected
    assert h.remove(b"Bcc: x", ["bcc"]) == b""


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"A: b\r\n\r\n", b"A: b\r\nX: y\r\n\r\n"),
        (b"\r\n", b"X: y\r\n\r\n"),
        (b"", b"X: y\r\n"),
        (b"A: b", b"A: b\r\nX: y\r\n"),
    ],
)
def test_append_field(header, expected):
    assert h.append_field(header, "X", "y") == expected


@pytest.mark.rfc("5321 section 2.3.8")
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", b""),
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\nb\rc\r\n", b"a\r\nb\r\nc\r\n"),
        (b"\n\r", b"\r\n\r\n"),
        (b"\r\r\n", b"\r\n\r\n"),
        (b"\n\n", b"\r\n\r\n"),
    ],
)
def test_ensure_crlf(data, expected):
    assert h.ensure_crlf(data) == expected


@pytest.mark.rfc("5322 section 2.1.1")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("short", b"X: short\r\n"),
        ("", b"X: \r\n"),
        ("a\r\nBcc: b\0c\nd", b"X: a Bcc: b c d\r\n"),
        ("w" * 100 + " x", b"X: " + b"w" * 100 + b"\r\n x\r\n"),
        (" ".join(["0123456789"] * 9), b"X:" + b" 0123456789" * 6 + b"\r\n" + b" 0123456789" * 3),
        ("a\tb", b"X: a b\r\n"),
        ("a" + " " * 3000 + "b", b"X: a" + b" " * 919 + b"\r\n b\r\n"),
        ("\t" * 3000, b"X: \r\n"),
        ("w" * 1000, b"X: " + b"w" * 920 + b"\r\n " + b"w" * 80 + b"\r\n"),
        ("ü", b"X: \xc3\xbc\r\n"),
    ],
)
def test_fold(value, expected):
    assert h.fold("X", value).rstrip(b"\r\n") == expected.rstrip(b"\r\n")


@given(st.text(alphabet="ab \t\r\n\0ü\ud800", max_size=3000))
@settings(deadline=None)
def test_folding_keeps_the_value_and_the_limits(value):
    folded = h.fold("Name", value)
    assert [field.raw for field in h.fields(folded)] == [folded]
    assert max(map(len, folded.split(b"\r\n"))) <= h.LINE_LIMIT
    assert all(line.strip() for line in folded[:-2].split(b"\r\n"))


@pytest.mark.rfc("2047 section 8")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", ""),
        (b"plain", "plain"),
        (b"=?utf-8?q?a_=E2=82=AC?= b", "a € b"),
        (b"=?UTF-8?B?4oKs?=", "€"),
        (b"(=?ISO-8859-1?Q?a?=)", "(a)"),
        (b"(=?ISO-8859-1?Q?a?= b)", "(a b)"),
        (b"(=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=)", "(ab)"),
        (b"=?ISO-8859-1?Q?a_?= =?ISO-8859-2?Q?_b?=", "a  b"),
        (b"=?utf-8?b?4oI=?=\t=?utf-8?b?rA==?=", "€"),  # a character cut in two
        (b"=?utf-8*de?q?=C3=BC?=", "ü"),  # RFC 2231 section 5
        (b"=?utf-8?q?with space?=", "with space"),
        (b"=?us-ascii?q?=80?=", "€"),
        (b"=?gb2312?b?xOO6ww==?=", "你好"),
        (b"=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "日本"),
        (b"=?zlib?q?a?= =?idna?q?b?=", "ab"),
        (b"=?utf-8?x?a?=", "=?utf-8?x?a?="),
        (b"=?utf-8?b?4oKs?", "=?utf-8?b?4oKs?"),
        (b"=?utf-8?b?!!!?=", ""),
        (b"=?utf-8?q?a=0?=", "a=0"),
        ("raw ü".encode(), "raw ü"),
        (b"raw \xfc", "raw ü"),
        (b"a\0b", "ab"),
    ],
)
def test_decode(value, expected):
    assert h.decode(value) == expected


@pytest.mark.rfc("2047 section 2")
@given(st.text(max_size=300))
@settings(deadline=None)
def test_encoded_text_is_read_by_others(text):
    encoded = h.encode_text(text)
    assert encoded.isascii()
    if not text.isascii():
        expected = text.encode("utf-8", "replace").decode()
        read = email.header.make_header(email.header.decode_header(encoded.decode("ascii")))
        assert str(read) == expected
        assert h.decode(encoded) == expected.replace("\0", "")
        assert max(map(len, encoded.split(b" "))) <= h.ENCODED_WORD_LIMIT


@pytest.mark.rfc("5322 section 3.2.2")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a (b (c) d) e", b"a   e"),
        (b'"(not)" (it\'s "one)', b'"(not)"  '),
        (b"a (b", b"a  "),
        (b"a ) b", b"a ) b"),
        (b"a \\( b", b"a \\( b"),
        (b'a "(', b'a " '),
    ],
)
def test_strip_comments(value, expected):
    assert h.strip_comments(value) == expected
