"""Text for SEARCH."""

import pytest

from mailstead.message.header import split
from mailstead.message.mime import scan
from mailstead.message.text import fold_case, header_text, searchable


@pytest.mark.rfc("5051 section 2")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("HELLO", "hello"),
        ("ÜBER", "über"),
        ("Straße", "STRASSE"),
        ("e\u0301t\u00e9", "\u00c9TE\u0301"),
        ("ﬁn", "FIN"),
        ("Ａ１", "a1"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
    ],
)
def test_fold_case(one, other):
    assert fold_case(one) == fold_case(other)


def test_fold_case_of_many_marks_is_linear():
    assert len(fold_case("a" + "\u0316\u0301" * 200_000)) > 300_000


def test_header_text():
    header = b"Subject: =?utf-8?q?=C3=9CBER?=\r\nsubject:\r\n b\xc3\x9c\r\n\r\n"
    assert header_text(header, "SUBJECT") == ["über", "bü"]


MESSAGE = """\
Subject: =?utf-8?b?R3LDvMOfZQ==?=
X-Folded: one
 TWO
Content-Type: multipart/mixed; boundary=x

Preamble
--x
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

F=FCR=
ALLE
--x
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: base64

PGI+w5w8L2I+
--x
Content-Type: application/octet-stream
Content-Disposition: attachment; filename*=utf-8''%C3%9Cbersicht.pdf

SECRET
--x
Content-Type: message/rfc822

Subject: Inner

Text
--x--
"""


@pytest.mark.rfc("9051 section 6.4.4")
def test_searchable():
    header, body = split(MESSAGE.replace("\n", "\r\n").encode())
    first, *rest = searchable(header, scan(header, body), body, 10_000)
    assert [line for line in first.split("\r\n") if line] == [
        "subject: grüsse",
        "x-folded: one two",
        "content-type: multipart/mixed; boundary=x",
        "content-type: text/plain; charset=iso-8859-1",
        "content-transfer-encoding: quoted-printable",
        "content-type: text/html; charset=utf-8",
        "content-transfer-encoding: base64",
        "content-type: application/octet-stream",
        "content-disposition: attachment; filename*=utf-8''%c3%9cbersicht.pdf",
        "übersicht.pdf",
        "content-type: message/rfc822",
    ]
    assert rest == ["füralle", "<b>ü</b>", "subject: inner\r\n\r\n", "text"]


@pytest.mark.parametrize("limit", [1, 10, 80, 90])
def test_searchable_has_a_limit(limit):
    header, body = split(MESSAGE.replace("\n", "\r\n").encode())
    assert sum(map(len, searchable(header, scan(header, body), body, limit))) == limit


@pytest.mark.parametrize("header", [b"", b"\0", b"Subject: \xff\0=?utf-7?q?+2AA-?=\r\n\r\n"])
def test_text_can_always_be_stored(header):
    text = "".join(searchable(header, scan(header, b"\0\xff"), b"\0\xff", 1000))
    assert "\0" not in text
    assert text.encode("utf-8")
