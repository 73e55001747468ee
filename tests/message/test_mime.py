"""The MIME index: offsets, defaults, limits, IMAP numbering."""

import mmap
import tempfile

import pytest

from mailstead.message.header import split
from mailstead.message.mime import (
    BOUNDARY_LIMIT,
    DEPTH_LIMIT,
    PART_LIMIT,
    Part,
    decode_body,
    find_part,
    scan,
)
from mailstead.message.parameters import decode_parameter


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("latin-1")


def index(text: str) -> tuple[Part, bytes]:
    header, body = split(crlf(text))
    return scan(header, body), body


def outline(part: Part, body: bytes) -> object:
    """Types, and the octets of leaves: enough to see what was found."""
    name = f"{part.type}/{part.subtype}"
    if part.children:
        return name, [outline(child, body) for child in part.children]
    return name, body[part.body_start : part.body_end]


NESTED = """\
Content-Type: multipart/mixed; boundary=outer

preamble
--outer
Content-Type: multipart/alternative; boundary="outer-inner"

--outer-inner

plain
--outer-inner
Content-Type: text/html

<p>
--outer-inner--
epilogue
--outer \t
Content-Type: message/rfc822

From: bob@example.net
Content-Type: multipart/mixed; boundary=x

--x

one
--x
Content-Type: image/png
Content-Transfer-Encoding: base64

AAAA
--x--

--outer
Content-Type: message/rfc822

Subject: plain

text
--outer--
--outer
not a part
"""


@pytest.mark.rfc("2046 section 5.1.1")
def test_nested_parts_and_where_they_lie():
    part, body = index(NESTED)
    expected = (
        "multipart/mixed",
        [
            ("multipart/alternative", [("text/plain", b"plain"), ("text/html", b"<p>")]),
            (
                "message/rfc822",
                [("multipart/mixed", [("text/plain", b"one"), ("image/png", b"AAAA")])],
            ),
            ("message/rfc822", [("text/plain", b"text")]),
        ],
    )
    assert expected == outline(part, body)
    html = part.children[0].children[1]
    header = body[html.header_start : html.header_start + html.header_size]
    assert header == b"Content-Type: text/html\r\n\r\n"
    assert (part.header_start, part.body_start) == (-1, 0)


@pytest.mark.rfc("9051 section 6.4.5.1")
@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ((), "multipart/mixed"),
        ((1,), "multipart/alternative"),
        ((1, 1), "text/plain"),
        ((1, 2), "text/html"),
        ((1, 2, 1), None),
        ((2,), "message/rfc822"),
        ((2, 1), "text/plain"),
        ((2, 2), "image/png"),
        ((2, 3), None),
        ((3,), "message/rfc822"),
        ((3, 1), "text/plain"),
        ((3, 1, 1), None),
        ((3, 2), None),
        ((4,), None),
        ((0,), None),
        ((-1,), None),
        ((2**32,), None),
    ],
)
def test_sections(section, expected):
    found = find_part(index(NESTED)[0], section)
    assert expected == (f"{found.type}/{found.subtype}" if found else None)


@pytest.mark.rfc("9051 section 6.4.5.1")
def test_a_message_that_is_no_multipart_is_its_own_part_1():
    part, _ = index("Subject: x\n\ntext\n")
    assert part == find_part(part, (1,))
    assert find_part(part, (1, 1)) is None
    assert find_part(part, (2,)) is None


@pytest.mark.rfc("9051 section 6.4.5.1")
def test_a_message_that_is_a_message_is_part_1_and_holds_part_1_1():
    part, body = index("Content-Type: message/rfc822\n\nSubject: in\n\ntext\n")
    assert part == find_part(part, (1,))
    inner = find_part(part, (1, 1))
    assert inner == part.children[0]
    assert body[inner.body_start : inner.body_end] == b"text\r\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # RFC 2045 section 5.2: no Content-Type, or one that is none
        ("\nhello", ("text/plain", b"hello")),
        ("Content-Type: nonsense\n\nhello", ("text/plain", b"hello")),
        ("Content-Type: TEXT/Html (a (nested) comment); charset=x\n\n", ("text/html", b"")),
        ("Content-Type: text (c) / (c) html\n\n", ("text/html", b"")),
        ("Content-Type: image/png\nContent-Type: text/html\n\n", ("image/png", b"")),
        ("Content-type :\n image/png\n\n", ("image/png", b"")),
        # no boundary, an empty one, one that never comes
        ("Content-Type: multipart/mixed\n\n--x\n", ("text/plain", b"--x\r\n")),
        ('Content-Type: multipart/mixed; boundary=""\n\n--\n', ("text/plain", b"--\r\n")),
        ("Content-Type: multipart/mixed; boundary=x\n\n--y\n", ("text/plain", b"--y\r\n")),
        ("Content-Type: multipart/mixed; boundary=x\n\n--x--\n", ("text/plain", b"--x--\r\n")),
        # no closing delimiter
        (
            "Content-Type: multipart/mixed; boundary=x\n\n--x\n\none\n--x\n\ntwo\n",
            ("multipart/mixed", [("text/plain", b"one"), ("text/plain", b"two\r\n")]),
        ),
        # a delimiter that ends the message without a line end
        (
            "Content-Type: multipart/mixed; boundary=x\n\n--x\n\none\n--x--",
            ("multipart/mixed", [("text/plain", b"one")]),
        ),
        # a boundary that begins another one, and one within a line
        (
            "Content-Type: multipart/mixed; boundary=x\n\n--x\n\n--xy\n --x\n--x--y\n--x--\n",
            ("multipart/mixed", [("text/plain", b"--xy\r\n --x\r\n--x--y")]),
        ),
        # parts without body, without header, without anything
        (
            "Content-Type: multipart/mixed; boundary=x\n\n"
            "--x\nContent-Type: text/html\n\n--x\n\n--x\n--x\nContent-Type: image/png\n--x--\n",
            (
                "multipart/mixed",
                [("text/html", b""), ("text/plain", b""), ("image/png", b"")],
            ),
        ),
        # text that forgot its empty line
        (
            "Content-Type: multipart/mixed; boundary=x\n\n--x\nHello\n\na: b\n--x--\n",
            ("multipart/mixed", [("text/plain", b"Hello\r\n\r\na: b")]),
        ),
        # RFC 2046 section 5.1.5
        (
            "Content-Type: multipart/digest; boundary=x\n\n--x\n\nSubject: a\n\nA\n--x--\n",
            ("multipart/digest", [("message/rfc822", [("text/plain", b"A")])]),
        ),
        # the outer boundary ends what the inner one forgot
        (
            "Content-Type: multipart/mixed; boundary=x\n\n--x\n"
            "Content-Type: multipart/mixed; boundary=y\n\n--y\n\nin\n--x\n\nout\n--x--\n",
            (
                "multipart/mixed",
                [("multipart/mixed", [("text/plain", b"in")]), ("text/plain", b"out")],
            ),
        ),
        # RFC 6532: message/global is a message too; message/partial is not
        ("Content-Type: message/global\n\n\nx", ("message/global", [("text/plain", b"x")])),
        ("Content-Type: message/partial\n\n\nx", ("message/partial", b"\r\nx")),
    ],
)
@pytest.mark.rfc("2046 section 5.1")
def test_odd_messages(text, expected):
    assert expected == outline(*index(text))


def test_bare_line_feeds():
    body = b"--x\n\none\n--x\nContent-Type: text/html\n\ntwo\n--x--\n"
    part = scan(b"Content-Type: multipart/mixed; boundary=x\n\n", body)
    expected = ("multipart/mixed", [("text/plain", b"one"), ("text/html", b"two")])
    assert expected == outline(part, body)


@pytest.mark.rfc("2045 section 5.1")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text/plain", ()),
        ("text/plain;", ()),
        ("text/plain; charset=utf-8", (("charset", b"utf-8"),)),
        ('text/plain; CHARSET = "utf-8" (x); a="b;\\"c"', (("charset", b"utf-8"), ("a", b'b;"c'))),
        ("text/plain; a=1; a=2", (("a", b"1"),)),
        ("text/plain; name=two words.txt; a=b", (("name", b"two words.txt"), ("a", b"b"))),
        ('text/plain; a="never closed', (("a", b"never closed"),)),
        ("text/plain; =x; ; a", ()),
        # RFC 2231 section 3: continuations in any order; section 4.1: some of them encoded
        ("text/plain; t*1=lo; t*0=hel", (("t", b"hello"),)),
        (
            "text/plain; t*0*=us-ascii'en'a%20b; t*1=c d%; t*2*=%2a",
            (("t*", b"us-ascii'en'a%20bc%20d%25%2a"),),
        ),
        ("text/plain; t*=utf-8''%e2%82%ac", (("t*", b"utf-8''%e2%82%ac"),)),
        ("text/plain; t*1=gap", (("t", b""),)),
    ],
)
def test_parameters(value, expected):
    assert expected == index(f"Content-Type: {value}\n\n")[0].params


@pytest.mark.rfc("2231 section 4")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a/b; name*=utf-8'de'%e2%82%ac%20rate", "€ rate"),
        ("a/b; name*=iso-8859-1''%A3; name=pounds", "£"),
        ("a/b; name*0*=utf-8''%e2%82; name*1*=%ac; name*2=x", "€x"),
        ('a/b; name="=?utf-8?q?=E2=82=AC?="', "€"),
        ("a/b; name*=%e2%82%ac", "€"),
        ("a/b; name*='", "'"),
        ("a/b; name*=zlib''%e2%82%ac", "€"),
        ("a/b; other=x", None),
    ],
)
def test_decoded_parameters(value, expected):
    assert expected == decode_parameter(index(f"Content-Type: {value}\n\n")[0].params, "name")


def test_all_content_fields():
    part, _ = index(
        "Content-Type: image/png\n"
        "Content-ID: <a@b>\n"
        "Content-Description: a\n  picture\n"
        "Content-Transfer-Encoding: BASE64 (yes)\n"
        'Content-Disposition: Attachment; filename="a b.png"\n'
        "Content-MD5: abc\n"
        "Content-Language: en, de-AT (x)\n"
        "Content-Location: http://example.org/\n\nAAAA"
    )
    expected = Part(
        type="image",
        subtype="png",
        header_size=265,
        body_size=4,
        encoding="base64",
        id=b"<a@b>",
        description=b"a  picture",
        md5=b"abc",
        disposition="attachment",
        disposition_params=(("filename", b"a b.png"),),
        language=(b"en", b"de-AT"),
        location=b"http://example.org/",
    )
    assert expected == part


@pytest.mark.parametrize(
    ("text", "expected"), [("", 0), ("a", 1), ("a\n", 1), ("a\nb", 2), ("\n\n", 2)]
)
def test_lines(text, expected):
    assert expected == index("\n" + text)[0].lines


@pytest.mark.rfc("2045 section 6")
@pytest.mark.parametrize(
    ("encoding", "data", "expected"),
    [
        ("7bit", b"a=41", b"a=41"),
        ("x-unknown", b"a=41", b"a=41"),
        ("quoted-printable", b"a=41=\r\nb=\r\n", b"aAb"),
        ("quoted-printable", b"a=4", b"a=4"),
        ("base64", b"aGVsbG8=\r\n", b"hello"),
        ("base64", b"aGVs\r\nbG8", b"hello"),
        ("base64", b"a G*V\x00sbG8", b"hello"),
        ("base64", b"aGVsb", b"hel"),
        ("base64", b"=", b""),
    ],
)
def test_decode_body(encoding, data, expected):
    part = scan(b"Content-Transfer-Encoding: %b\r\n\r\n" % encoding.encode(), data)
    assert expected == decode_body(part, data)


def test_decode_body_with_a_limit():
    part, body = index("\nhello")
    assert decode_body(part, body, 3) == b"hel"


def test_a_mapped_file_gives_the_same():
    header, body = split(crlf(NESTED))
    with tempfile.TemporaryFile() as file:
        file.write(body)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert scan(header, body) == scan(header, mapped)


def depth(part: Part) -> int:
    return 1 + max(map(depth, part.children), default=0)


def count(part: Part) -> int:
    return 1 + sum(map(count, part.children))


def test_depth_has_a_limit():
    levels = 1000
    parts = [b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n" % n for n in range(levels)]
    body = b"".join(b"--b%d\r\n%b" % (n, parts[n + 1]) for n in range(levels - 1))
    part = scan(parts[0], body)
    assert depth(part) == DEPTH_LIMIT + 1
    messages = b"Content-Type: message/rfc822\r\n\r\n" * levels
    assert depth(scan(b"Content-Type: message/rfc822\r\n\r\n", messages)) == DEPTH_LIMIT + 1


def test_parts_have_a_limit():
    body = b"--x\r\n\r\na\r\n" * 100_000
    part = scan(b"Content-Type: multipart/mixed; boundary=x\r\n\r\n", body)
    assert count(part) == PART_LIMIT
    assert len(body) == part.children[-1].body_end


def test_parts_have_a_limit_in_all_levels_together():
    inner = b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n" + b"--y\r\n\r\na\r\n" * 50
    part = scan(b"Content-Type: multipart/mixed; boundary=x\r\n\r\n", inner * 900)
    assert count(part) <= PART_LIMIT


def test_a_boundary_has_a_limit():
    boundary = b"x" * (BOUNDARY_LIMIT + 1)
    part = scan(b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n" % boundary, b"--" + boundary)
    assert (part.type, part.children) == ("text", ())
