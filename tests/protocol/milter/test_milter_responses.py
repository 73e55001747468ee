"""Packets of a filter, and packets that are none."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.model.reply import Reply
from mailstead.protocol.milter.responses import (
    PACKET_LIMIT,
    REPLY_LINES_LIMIT,
    Accept,
    AddHeader,
    AddRecipient,
    ChangeFrom,
    ChangeHeader,
    ConnectionFailure,
    Continue,
    DeleteRecipient,
    Discard,
    InsertHeader,
    Malformed,
    Negotiation,
    Progress,
    Quarantine,
    Refuse,
    Reject,
    ReplaceBody,
    Response,
    ResponseReader,
    ShutDown,
    Skip,
    TempFail,
    parse,
)

ONE, SIX = b"\0\0\0\1", b"\0\0\0\6"
RESPONSES = [
    (b"c", Continue()),
    (b"a", Accept()),
    (b"r", Reject()),
    (b"t", TempFail()),
    (b"d", Discard()),
    (b"s", Skip()),
    (b"p", Progress()),
    (b"4", ShutDown()),
    (b"f", ConnectionFailure()),
    (b"hX-Spam\0yes\0", AddHeader("X-Spam", b"yes")),
    (b"hX-Empty\0\0", AddHeader("X-Empty", b"")),
    (b"i\0\0\0\0X\0a\n\tb\0", InsertHeader(0, "X", b"a\n\tb")),
    (b"m" + ONE + b"Subject\0\0", ChangeHeader(1, "Subject", b"")),
    (b"+<bob@example.org>\0", AddRecipient("<bob@example.org>")),
    (b"2<b@example.org>\0NOTIFY=NEVER\0", AddRecipient("<b@example.org>", "NOTIFY=NEVER")),
    (b"2<b@example.org>\0", AddRecipient("<b@example.org>")),
    (b"-<bob@example.org>\0", DeleteRecipient("<bob@example.org>")),
    (b"e<>\0", ChangeFrom("<>")),
    (b"e<a@example.org>\0SIZE=1\0", ChangeFrom("<a@example.org>", "SIZE=1")),
    (b"b\0body\r\n", ReplaceBody(b"\0body\r\n")),
    (b"b", ReplaceBody(b"")),
    (b"qlooks\x07odd\0", Quarantine("looks odd")),
    (b"y550 5.7.1 100%% no\0", Refuse(Reply(550, "5.7.1", "100% no"))),
    (b"y421 later\0", Refuse(Reply(421, "", "later"))),
    (b"y450\0", Refuse(Reply(450, "", ""))),
    (b"y554-5.7.1 one\r\n554 5.7.1 two\0", Refuse(Reply(554, "5.7.1", "one\ntwo"))),
    (b"O" + SIX + b"\0\0\0\x11\0\0\0\x80", Negotiation(6, 0x11, 0x80)),
    (
        b"O" + SIX + ONE + ONE + ONE + b"j {client_ptr}\0" + SIX + b"\0",
        Negotiation(6, 1, 1, ((1, ("j", "{client_ptr}")), (6, ()))),
    ),
]


def framed(packet: bytes) -> bytes:
    return len(packet).to_bytes(4, "big") + packet


@pytest.mark.parametrize(("packet", "response"), RESPONSES)
def test_responses(packet: bytes, response: Response) -> None:
    assert parse(packet) == response
    assert ResponseReader().receive(framed(packet)) == [response]


@pytest.mark.parametrize(
    "packet",
    [
        b"?",
        b"cx",
        b"h",
        b"hX-Spam",
        b"hX-Spam\0",
        b"hX-Spam\0yes",
        b"hX-Spam\0yes\0more\0",
        b"hX Spam\0yes\0",
        b"hX:\0yes\0",
        b"h\0yes\0",
        b"hX\r\nBcc\0yes\0",
        b"h" + b"X" * 999 + b"\0yes\0",
        b"i\0\0\0",
        b"i\xff\xff\xff\xffX\0y\0",
        b"m\0\0\0\1Subject\0",
        b"+",
        b"+\0",
        b"+<a@example.org>\r\nRCPT\0",
        b"2\0",
        b"q",
        b"y",
        b"y250 fine\0",
        b"y550 4.7.1 both\0",
        b"y550-5.7.1 one\r\n551 5.7.1 two\0",
        b"y550 bell\x07\0",
        b"y55\0",
        b"y" + b"550-5.7.1 x\r\n" * (REPLY_LINES_LIMIT + 1) + b"\0",
        b"O\0\0\0\6",
        b"O" + SIX * 3 + b"abc",
        b"O" + SIX * 3 + (ONE + b"\0") * 101,
    ],
)
def test_what_makes_no_sense(packet: bytes) -> None:
    reader = ResponseReader()
    (found,) = reader.receive(framed(packet) + framed(b"c"))
    assert isinstance(found, Malformed)
    assert reader.receive(framed(b"c")) == []


@pytest.mark.parametrize("size", [0, PACKET_LIMIT + 1, 2**32 - 1])
def test_sizes_that_cannot_be(size: int) -> None:
    (found,) = ResponseReader().receive(size.to_bytes(4, "big"))
    assert isinstance(found, Malformed)


PACKETS = st.sampled_from([framed(packet) for packet, _ in RESPONSES] + [b"\0\0\0\0", b"x"])


@settings(deadline=None, max_examples=100)
@given(st.lists(PACKETS, max_size=8), st.lists(st.integers(1, 40)))
def test_any_split_gives_the_same_responses(packets: list[bytes], cuts: list[int]) -> None:
    data = b"".join(packets)
    reader, found, at = ResponseReader(), [], 0
    for cut in [*cuts, len(data)]:
        found += reader.receive(data[at : at + cut])
        at += cut
    assert found == ResponseReader().receive(data)
