"""Messages on their way out: stuffed dots, TOP, and headers in ASCII."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstead.protocol.pop3.content import Lines, Stuffing, stuff


@pytest.mark.rfc("1939 section 3")
@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.b\r\n..c\r\n", b"a\r\n..b\r\n...c\r\n.\r\n"),
        (b"a\n", b"a\n\r\n.\r\n"),
        (b"a.b\r\n", b"a.b\r\n.\r\n"),
        (b"a\n.\nb\r\n", b"a\n..\nb\r\n.\r\n"),  # nobody takes this for the end
    ],
)
def test_dots(message, expected):
    assert stuff(message) == expected


MESSAGES = st.lists(st.sampled_from([b"\r\n", b".", b"a", b"\n", b"\r"]), max_size=30).map(b"".join)


@given(MESSAGES, st.lists(st.integers(0, 40), max_size=5))
def test_in_pieces_as_in_one(message, cuts):
    places = sorted({min(cut, len(message)) for cut in cuts} | {0, len(message)})
    stuffing = Stuffing()
    sent = b"".join(stuffing.take(message[a:b]) for a, b in itertools.pairwise(places))
    assert sent + stuffing.end() == stuff(message)


@given(MESSAGES.filter(bool))
def test_the_end_is_where_it_ends(message):
    sent = stuff(message)
    assert re.search(rb"(\A|\n)\.\r?\n", sent).end() == len(sent)
    received = re.sub(rb"(?m)^\.", b"", sent[: -len(b".\r\n")])
    assert received in (message, message + b"\r\n")


@pytest.mark.rfc("1939 section 7")
@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, b""), (1, b"a\r\n"), (2, b"a\r\n\r\n"), (3, b"a\r\n\r\nbc"), (9, b"a\r\n\r\nbc")],
)
def test_top(count, expected):
    body = b"a\r\n\r\nbc"
    for size in range(1, len(body) + 1):
        lines = Lines(count)
        pieces = [body[n : n + size] for n in range(0, len(body), size)]
        assert b"".join(lines.take(piece) for piece in pieces) == expected
