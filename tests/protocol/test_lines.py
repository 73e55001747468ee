"""Lines with limits, and line ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstead.protocol.lines import LineBuffer, LineFault, has_only_crlf, normalise_newlines

LIMIT = 10


def read(*blocks: bytes) -> list[bytes | LineFault]:
    buffer, lines = LineBuffer(), []
    for block in blocks:
        buffer.data += block
        while (line := buffer.line(LIMIT)) is not None:
            lines.append(line)
    return lines


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (b"", []),
        (b"a", []),
        (b"a\r", []),
        (b"a\r\n", [b"a"]),
        (b"\r\n\r\n", [b"", b""]),
        (b"a\r\nb\r\nc", [b"a", b"b"]),
        (b"12345678\r\n", [b"12345678"]),
        (b"123456789\r\na\r\n", [LineFault.TOO_LONG, b"a"]),
        (b"1234567890\na\r\n", [LineFault.TOO_LONG, b"a"]),
        (b"x" * 1000 + b"\r\na\r\n", [LineFault.TOO_LONG, b"a"]),
        (b"x" * 1000, []),
        (b"a\n", [LineFault.BARE_NEWLINE]),
        (b"\n", [LineFault.BARE_NEWLINE]),
        (b"a\rb\r\n", [LineFault.BARE_NEWLINE]),
        (b"\r\r\n", [LineFault.BARE_NEWLINE]),
        (b"\0\xff\r\n", [b"\0\xff"]),
    ],
)
def test_lines(wire, expected):
    assert read(wire) == expected
    assert read(*(bytes([octet]) for octet in wire)) == expected


def test_clear_forgets_a_line_being_passed_over():
    buffer = LineBuffer()
    buffer.data += b"x" * 1000
    assert buffer.line(LIMIT) is None
    buffer.clear()
    buffer.data += b"a\r\n"
    assert buffer.line(LIMIT) == b"a"


@given(st.lists(st.binary() | st.sampled_from([b"\r", b"\n", b"\r\n", b"aaaaaaaa"])))
def test_any_split_gives_the_same_lines(blocks):
    assert read(*blocks) == read(b"".join(blocks))


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a"])).map(b"".join))
def test_newlines(text):
    counts = {text.count(b"\r\n"), text.count(b"\r"), text.count(b"\n")}
    assert has_only_crlf(text) == (len(counts) == 1)
    expected = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    assert normalise_newlines(text) == expected
