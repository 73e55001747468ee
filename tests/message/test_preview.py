import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstead.message.mime import scan
from mailstead.message.preview import ENCODED_LIMIT, PREVIEW_LIMIT, find_text, preview


def preview_of(message: bytes) -> str:
    head, _, body = message.partition(b"\r\n\r\n")
    header = head + b"\r\n\r\n"
    part = find_text(scan(header, body))
    return preview(part, body[part.body_start : part.body_end]) if part else "-"


def html_of(text: bytes) -> bytes:
    return b"Content-Type: text/html; charset=utf-8\r\n\r\n" + text


def mixed(kind: bytes, *parts: bytes) -> bytes:
    inner = b"".join([b"--b\r\n" + part + b"\r\n" for part in parts])
    return b"Content-Type: multipart/" + kind + b"; boundary=b\r\n\r\n" + inner + b"--b--\r\n"


PLAIN = b"Content-Type: text/plain\r\n\r\nplain"
HTML = html_of(b"<p>html")
IMAGE = b"Content-Type: image/png\r\n\r\nabc"
ATTACHED = b"Content-Disposition: attachment\r\n\r\nattached"
EMPTY = b"Content-Type: text/plain\r\n\r\n"


@pytest.mark.rfc("8970 section 3")
@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"A: b\r\n\r\nHello\r\n\r\n  dear\tworld \r\n", "Hello dear world"),
        (b"A: b\r\n\r\n" + b"x" * 500, "x" * PREVIEW_LIMIT),
        (b"Content-Transfer-Encoding: base64\r\n\r\nR3LDvMOf\r\nZQ==", "Gr\u00fc\u00dfe"),
        (b"Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=\r\nn", "Gr\u00fcn"),
        (b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\n\xe9", "\u00e9"),
        (b"A: b\r\n\r\na\x07b\x00c\xe2\x80\x8bd", "a bc d"),
        (b"A: b\r\n\r\n", "-"),
        (
            html_of(b"<html><title>t</title><style>p {}</style><p>One<br>t<b>w</b>o &amp; 3"),
            "One two & 3",
        ),
        (html_of(b"a <!-- b --> c <script>d"), "a c"),
        (html_of(b"1 < 2 <p"), "1 < 2"),
        (mixed(b"alternative", HTML, PLAIN), "plain"),
        (mixed(b"alternative", EMPTY, HTML), "html"),
        (mixed(b"mixed", IMAGE, HTML, PLAIN), "html"),
        (mixed(b"mixed", ATTACHED, PLAIN), "plain"),
        (mixed(b"mixed", IMAGE), "-"),
        (IMAGE, "-"),
    ],
)
def test_preview(message: bytes, expected: str) -> None:
    assert expected == preview_of(message)


def test_the_beginning_of_a_long_text_ends_between_characters() -> None:
    line = "\u00fc".encode() * 100 + b"\r\n"
    found = preview_of(b"A: b\r\n\r\na\r\n" + line * (ENCODED_LIMIT // 100))
    assert found == "a " + "\u00fc" * 100 + " " + "\u00fc" * (PREVIEW_LIMIT - 103)


HOSTILE = [
    b"<",
    b"<a",
    b"<!--",
    b"</style ",
    b"<style>",
    b"&#1114112;",
    b"\xff",
    b"<a x",
    b"&#xd800;",
]


@given(st.lists(st.sampled_from(HOSTILE) | st.binary(max_size=10), max_size=50))
def test_nothing_raises(pieces: list[bytes]) -> None:
    found = preview_of(html_of(b"".join(pieces)))
    assert len(found) <= PREVIEW_LIMIT
    found.encode("utf-8")
