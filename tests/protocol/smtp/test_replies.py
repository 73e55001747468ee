"""Replies, written and read."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.model.reply import Reply
from mailstead.protocol.smtp import replies
from mailstead.protocol.smtp.replies import GARBLED, ReplyReader, format_reply

CONSTANTS = [value for value in vars(replies).values() if isinstance(value, Reply)]


@pytest.mark.rfc("2034 section 4")
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(250, "2.0.0", "OK"), b"250 2.0.0 OK\r\n"),
        (Reply(354, "", "go"), b"354 go\r\n"),
        (Reply(334, "", ""), b"334 \r\n"),
        (Reply(550, "5.7.1", "a\nb"), b"550-5.7.1 a\r\n550 5.7.1 b\r\n"),
        (Reply(250, "", "mx\nSIZE 1"), b"250-mx\r\n250 SIZE 1\r\n"),
        (Reply(550, "5.1.1", "a\rb\0ü"), b"550 5.1.1 a?b??\r\n"),
        (Reply(550, "5.1.1", "\ud800\x85\u2028"), b"550 5.1.1 ???\r\n"),
        (Reply(550, "5.1.1", "x" * 600), b"550 5.1.1 " + b"x" * 500 + b"\r\n"),
    ],
)
def test_format(reply, expected):
    assert expected == format_reply(reply)


@pytest.mark.parametrize("reply", CONSTANTS)
def test_constants_agree_with_themselves(reply):
    assert not reply.enhanced or reply.enhanced[0] == str(reply.code)[0]
    assert len(format_reply(reply)) <= replies.REPLY_LINE_LIMIT
    assert ReplyReader().receive(format_reply(reply)) == [reply]


@pytest.mark.rfc("4954 section 4")
def test_challenge():
    assert format_reply(replies.challenge(b"Username:")) == b"334 VXNlcm5hbWU6\r\n"


@pytest.mark.rfc("5321 section 4.2.1")
@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (b"250 ok\r\n", [Reply(250, "", "ok")]),
        (b"250\r\n", [Reply(250, "", "")]),
        (b"250 \r\n", [Reply(250, "", "")]),
        (b"250 ok\n", [Reply(250, "", "ok")]),
        (b"250 2.1.5 ok\r\n", [Reply(250, "2.1.5", "ok")]),
        (b"250 2.1.5\r\n", [Reply(250, "2.1.5", "")]),
        (b"250 5.1.5 ok\r\n", [Reply(250, "", "5.1.5 ok")]),
        (b"250 2.1.5ok\r\n", [Reply(250, "", "2.1.5ok")]),
        (b"550 5.1000.5 no\r\n", [Reply(550, "", "5.1000.5 no")]),
        (b"550-5.7.1 a\r\n550 5.7.1 b\r\n", [Reply(550, "5.7.1", "a\nb")]),
        (b"550-5.7.1 a\r\n550 b\r\n", [Reply(550, "5.7.1", "a\nb")]),
        (b"250-a\r\n250-\r\n250 b\r\n", [Reply(250, "", "a\n\nb")]),
        (b"250-a\r\n550 b\r\n", [Reply(550, "", "a\nb")]),
        (b"250 a\r\n354 b\r\n", [Reply(250, "", "a"), Reply(354, "", "b")]),
        (b"550 \xff\0\x1b[2J\r\n", [Reply(550, "", "\ufffd??[2J")]),
        (b"250-a\r\n", []),
        (b"250 a", []),
        (b"HTTP/1.1 400 Bad\r\n250 ok\r\n", [GARBLED]),
        (b"250 a\r\nxyz\r\n", [Reply(250, "", "a"), GARBLED]),
        (b"25\r\n", [GARBLED]),
        (b"250x\r\n", [GARBLED]),
        (b"199 a\r\n", [GARBLED]),
        (b"\r\n", [GARBLED]),
        ("٢٥٠ a\r\n".encode(), [GARBLED]),
        (b"250-a\r\n" * 99 + b"250 a\r\n", [Reply(250, "", "\n".join("a" * 100))]),
        (b"250-a\r\n" * 100 + b"250 a\r\n", [GARBLED]),
        (b"250 " + b"x" * 66_000 + b"\r\n", [GARBLED]),
        (b"250 " + b"x" * 66_000, [GARBLED]),
        ((b"250-" + b"x" * 1000 + b"\r\n") * 70, [GARBLED]),
    ],
)
def test_read(wire, expected):
    assert ReplyReader().receive(wire) == expected
    reader = ReplyReader()
    assert [r for i in range(0, len(wire), 7) for r in reader.receive(wire[i : i + 7])] == expected


LINES = st.lists(
    st.sampled_from([b"250 a\r\n", b"250-a\n", b"250", b"x\n", b"\r", b"\n"]) | st.binary()
)


@settings(deadline=None)
@given(LINES, st.integers(1, 9))
def test_any_split_gives_the_same_replies(lines, size):
    wire = b"".join(lines)
    reader = ReplyReader()
    pieces = [reader.receive(wire[i : i + size]) for i in range(0, len(wire), size)]
    assert ReplyReader().receive(wire) == [reply for piece in pieces for reply in piece]
