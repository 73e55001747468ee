"""The tokens of a message: what they are, and that nobody makes them many."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstead.message.header import split
from mailstead.message.mime import scan
from mailstead.spam.sight import look
from mailstead.spam.tokens import (
    HEADER_TOKEN_LIMIT,
    TEXT_TOKEN_LIMIT,
    TOKEN_LENGTH,
    is_of_header,
    named_tokens,
    pair_of,
    token_of,
    tokens,
)

LIMIT = HEADER_TOKEN_LIMIT + TEXT_TOKEN_LIMIT


def of(message: bytes) -> dict[int, str]:
    header, body = split(message)
    return named_tokens(look(header, scan(header, body), body))


def texts(message: str) -> set[str]:
    return set(of(message.replace("\n", "\r\n").encode()).values())


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Subject: Free Offer!\n\n", {"subject:free", "subject:offer!", "subject:free offer!"}),
        ("Subject: =?utf-8?q?=C3=9CBER?=\n\n", {"subject:über"}),
        ("Subject: BUY THIS NOW\n\n", {"subject-capitals:4"}),
        (
            'From: "Bob Example" <bob@mail.example.net>\n\n',
            {"from:bob@mail.example.net", "from-domain:mail.example.net"}
            | {"from-domain:example.net", "from-name:bob", "from-name:example"},
        ),
        ("To: a@b.example, c@d.example\n\n", {"to-count:2", "to-name:none", "with:to"}),
        ("X-Mailer: Fancy Mailer\n\n", {"mailer:fancy", "mailer:mailer"}),
        ("X-Priority: 1\n\n", {"x-priority:1", "without:list-id"}),
        ("Date: Thu, 1 Jan 2026 00:00:00 +0900\n\n", {"zone:+0900"}),
        ("Message-ID: <2026abC@mx.example.org>\n\n", {"message-id:0aC"}),
        (
            "Received: from mx.example.org (unknown [192.0.2.7]) by us; x\n\n",
            {"received:mx.example.org", "received:example.org", "received:unknown"}
            | {"received:192.0.2.7", "received:192.0.2", "received:192.0"},
        ),
        ("\nBuy It now\n", {"buy", "it", "now", "buy it", "it now"}),
        ("\n" + "x" * 40 + "\n", {"long:6"}),
        ("\n特価品\n", {"特価", "価品"}),
        (
            "\nhttps://shop.example.co.uk:81/buy/now\n",
            {"url:shop.example.co.uk", "url:example.co.uk", "url:co.uk", "url-odd:port"}
            | {"url-path:buy", "url-path:now"},
        ),
        ("\nhttp://bank.example@192.0.2.7/\n", {"url:192.0.2.7", "url-odd:login"}),
        (
            "Content-Type: text/html\n\n<p>Vi<b>agra</b><p hidden>poem</p>\n",
            {"viagra", "hidden:poem", "tag:p", "tag:b", "part:text/html"},
        ),
        ("\n<html><body>Vi<b></b>agra</body>\n", {"viagra", "tag:html"}),
        ("Content-Type: text/html\n\n<img src=cid:1>\n", {"link:cid"}),
        (
            "Content-Type: text/plain; charset=koi8-r\n"
            "Content-Transfer-Encoding: base64\n\n8NLJ18XU\n",
            {"charset:koi8-r", "encoding:text/plain:base64", "привет"},
        ),
        (
            "Content-Type: multipart/mixed; boundary=x\n\n--x\n\nhello\n--x\n"
            "Content-Type: application/zip; name=Invoice.pdf.exe\n"
            "Content-Disposition: attachment\n\nPK\n--x--\n",
            {"shape:mixed(text/plain,application/zip)", "part:application/zip", "hello"}
            | {"extension:exe", "file:invoice", "file:pdf", "disposition:zip:attachment"},
        ),
    ],
)
def test_tokens(message, expected):
    assert expected - texts(message) == set()


@pytest.mark.parametrize(
    ("message", "unexpected"),
    [
        ("\nhttps://example.org/secret\n", {"https", "secret", "example"}),
        ("Content-Type: text/html\n\n<p hidden>poem</p>\n", {"poem"}),
        ("Content-Type: application/zip\n\nhello\n", {"hello"}),
        ("X-Spam-Status: Yes\n\n", {"with:x-spam-status"}),
    ],
)
def test_no_tokens(message, unexpected):
    assert unexpected & texts(message) == set()


def test_counts_outlive_the_code():
    found = [token_of("free"), token_of("free", "subject"), pair_of("free", "offer")]
    assert found == [1135692734542409690, 1514082449344989857, 4252831340992031942]


def test_numbers_fit_a_bigint_and_say_where_from():
    header, text = token_of("free", "subject"), token_of("free")
    assert (is_of_header(header), is_of_header(text)) == (True, False)
    pairs = [pair_of(str(n), str(n + 1), "subject") for n in range(1000)]
    assert all(0 <= pair < 2**63 for pair in pairs)
    assert pair_of("one", "two") != pair_of("two", "one")


def test_numbers_and_names_are_of_the_same_tokens():
    message = b"Subject: free offer, it's\r\n\r\nThe -offer- http://a.example/b 'is' good_ "
    header, body = split(message)
    assert tokens(look(header, scan(header, body), body)) == list(of(message))
    expected = {token_of("offer", "subject"), pair_of("free", "offer", "subject")}
    expected |= {token_of("offer"), pair_of("the", "offer"), token_of("good")}
    assert expected - set(of(message)) == set()
    assert {"subject:it's", "offer", "the offer", "good"} - set(of(message).values()) == set()


def test_what_was_read_before_does_not_matter():
    """A word and a whole value may look alike; the hashes of both are remembered."""
    named = of(b"X-Mailer: x\r\nFrom: a@ends-with-.example\r\n\r\n")
    again = of(b"Subject: ends-with-.example\r\n\r\n" + b"a" * 30 + b" ends-with-.example")
    assert named == of(b"X-Mailer: x\r\nFrom: a@ends-with-.example\r\n\r\n")
    assert again[token_of("ends-with", "subject")] == "subject:ends-with"


def test_header_and_text_are_told_apart():
    found = of(b"Subject: free\r\n\r\noffer\r\n")
    assert {text: is_of_header(token) for token, text in found.items()} == {
        text: text != "offer" for text in found.values()
    }


def test_links_are_not_pushed_out():
    words = b" ".join(b"w%d" % n for n in range(10_000))
    found = of(b"\r\n" + words + b"\r\nhttps://example.org/\r\n").values()
    assert "url:example.org" in found


HOSTILE = {
    "one word": b"\r\n" + b"a" * 4_000_000,
    "all different": b"\r\n" + b" ".join(b"%x" % n for n in range(400_000)),
    "tags": b"Content-Type: text/html\r\n\r\n" + b"<" * 4_000_000,
    "links": b"\r\n" + b"http://a.b.c.d.e/f/g/h " * 100_000,
    "one link": b"\r\nhttp://" + b"a." * 1_000_000,
    "subject": b"Subject: " + b"a b " * 500_000 + b"\r\n\r\n",
    "names": b"".join(b"X-%d: a\r\n" % n for n in range(100_000)) + b"\r\n",
    "addresses": b"From: " + b"a@b.c, " * 300_000 + b"\r\n\r\n",
    "received": b"Received: from " + b"a." * 500_000 + b"\r\n\r\n",
    "spaces": b"Subject:" + b" " * 1_000_000 + b"\r\n\r\n" + b" " * 1_000_000,
    "marks": b"\r\na" + "\u0316\u0301".encode() * 500_000,
    "ligature": b"\r\n" + "\ufdfa".encode() * 500_000,
    "ideographs": b"\r\n" + "特".encode() * 500_000,
    "unclosed": b"Content-Type: text/html\r\n\r\n" + b"<a href='" * 300_000,
    "parts": b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
    + b"--x\r\n\r\nhello\r\n" * 50_000,
    "deep": b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(3000)
    ),
    "nested": b"Content-Type: message/rfc822\r\n\r\n" * 30_000,
    "types": b"Content-Type: a/" + b"b" * 30_000 + b"\r\n\r\n",
    "quoted": b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=" * 1_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name):
    message = HOSTILE[name]
    start = time.process_time()
    found = of(message)
    assert time.process_time() - start < 10
    assert len(found) <= LIMIT
    assert all(len(text) <= 3 * TOKEN_LENGTH for text in found.values())


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_never_raises(header, body):
    found = tokens(look(header, scan(header, body), body))
    assert len(found) <= LIMIT


FIELDS = st.sampled_from(
    ["Subject", "From", "Received", "Message-ID", "Date", "Content-Type", "X-Mailer", "To"]
)


@given(st.lists(st.tuples(FIELDS, st.text(alphabet='ab@<>.,;="?/*0: \t\0ü%', max_size=60))))
def test_fields_never_raise(values):
    header = "".join(f"{name}: {value}\r\n" for name, value in values).encode() + b"\r\n"
    found = named_tokens(look(header, scan(header, b""), b""))
    assert all(text for text in found.values())


@given(st.text(max_size=300))
def test_same_message_same_tokens(text):
    message = b"Content-Type: text/html; charset=utf-8\r\n\r\n" + text.encode()
    assert list(of(message).items()) == list(of(message).items())
