"""Content on its way in: its end, its dots, its line ends, its limits, and BDAT."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.model.reply import Reply
from mailstead.protocol.smtp import replies
from mailstead.protocol.smtp.content import BLOCK, HEADER_LIMIT
from mailstead.protocol.smtp.events import (
    Auth,
    AuthResponse,
    Chunk,
    ChunkTaken,
    Data,
    Declined,
    Event,
    HeaderEnd,
    Malformed,
    MessageEnd,
    MessageRefused,
    Noop,
    Quit,
    Rset,
    StartTls,
)
from mailstead.protocol.smtp.server import BareNewlines, ServerOptions, SmtpServer

OPTIONS = ServerOptions("mx.example.org", size_limit=1000)
REFUSING = ServerOptions("mx.example.org", bare_newlines=BareNewlines.REFUSE)
ENVELOPE = b"EHLO x\r\nMAIL FROM:<bob@example.net>\r\nRCPT TO:<alice@example.org>\r\n"
BARE = MessageRefused(replies.BARE_NEWLINE_IN_CONTENT)


def answer(event: Event) -> Reply | None:
    match event:
        case HeaderEnd() | Chunk():
            return None
        case Malformed(reply) | Declined(reply) | MessageRefused(reply) | ChunkTaken(reply):
            return reply
        case Data():
            return replies.START_DATA
        case StartTls():
            return replies.TLS_UNAVAILABLE
        case Auth():
            return replies.challenge(b"")
        case AuthResponse():
            return replies.AUTH_OK
        case _:
            return replies.OK


def play(server: SmtpServer, *blocks: bytes) -> list[Event]:
    """All events, each answered; chunks that follow each other are joined."""
    heard: list[Event] = []
    for block in blocks:
        events = server.receive(block)
        while events:
            for event in events:
                if isinstance(event, Chunk) and heard and isinstance(heard[-1], Chunk):
                    heard[-1] = Chunk(heard[-1].data + event.data)
                else:
                    heard.append(event)
                if (reply := answer(event)) is not None:
                    server.send(reply)
            events = server.receive(b"")
    return heard


def content(wire: bytes, options: ServerOptions = OPTIONS) -> tuple[bytes, list[Event]]:
    """Header and body together, and the events after them."""
    server = SmtpServer(options)
    play(server, ENVELOPE + b"DATA\r\n")
    events = play(server, wire)
    parts = [e.header if isinstance(e, HeaderEnd) else e.data for e in events if is_content(e)]
    return b"".join(parts), [e for e in events if not is_content(e)]


def is_content(event: Event) -> bool:
    return isinstance(event, HeaderEnd | Chunk)


@pytest.mark.rfc("5321 section 4.5.2")
@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),
        (b"a\r\n..\r\n..b\r\n...c\r\n.\r\n", b"a\r\n.\r\n.b\r\n..c\r\n"),
        (b"a.\r\n.\r\n", b"a.\r\n"),
        (b"a\r\n. \r\n.\r\n", b"a\r\n \r\n"),
        (b"a\0b\xff\r\n.\r\n", b"a\0b\xff\r\n"),
    ],
)
def test_dots(wire, expected):
    assert content(wire) == (expected, [MessageEnd()])


# Every way to write line end, dot, line end, other than the one that ends the message.
ENDS = [b"\r\n", b"\n", b"\r", b"\n\r", b"\r\r\n", b"\0\r\n", b"\r\0\n"]
SMUGGLING = [(a, b) for a in ENDS for b in ENDS if not (a.endswith(b"\r\n") and b == b"\r\n")]
INJECTED = b"MAIL FROM:<eve@example.net>\r\n"


@pytest.mark.rfc("5321 section 4.1.1.4")
@pytest.mark.parametrize(("before", "after"), SMUGGLING)
def test_nothing_is_smuggled_in(before, after):
    kept, rest = content(b"a" + before + b"." + after + INJECTED + b"\r\n.\r\nNOOP\r\n")
    assert kept.endswith(INJECTED + b"\r\n")
    assert rest == [MessageEnd(), Noop()]


@pytest.mark.parametrize(("before", "after"), SMUGGLING)
def test_nothing_is_smuggled_through(before, after):
    kept, _ = content(b"a" + before + b"." + after + INJECTED + b"\r\n.\r\n")
    assert kept.count(b"\r\n") == kept.count(b"\r") == kept.count(b"\n")


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (b"a\nb\r\n.\r\n", b"a\r\nb\r\n"),
        (b"a\rb\r\n.\r\n", b"a\r\nb\r\n"),
        (b"a\n.\r\n.\r\n", b"a\r\n.\r\n"),  # the dot is content and stays
        (b"a\n..\r\n.\r\n", b"a\r\n..\r\n"),
        (b"a\r\n.\n.\r\n.\r\n", b"a\r\n\r\n.\r\n"),  # after CRLF it is taken away
        (b"a\n\nb\n\r\n.\r\n", b"a\r\n\r\nb\r\n\r\n"),
        (b"\n\r\n.\r\n", b"\r\n\r\n"),
        (b"a\n\r.\r\n.\r\n", b"a\r\n\r\n.\r\n"),
    ],
)
def test_bare_newlines_are_normalised(wire, expected):
    assert content(wire) == (expected, [MessageEnd()])


@pytest.mark.parametrize("wire", [b"a\nb", b"\n", b"a\rb", b"a\r\n\r\nb\n.\nc", b"a\r\r\n"])
def test_bare_newlines_are_refused_by_option(wire):
    assert content(wire + b"\r\n.\r\nNOOP\r\n", REFUSING)[1] == [BARE, Noop()]


@pytest.mark.parametrize(
    ("wire", "header", "body"),
    [
        (b"A: b\r\n\r\nbody\r\n", b"A: b\r\n\r\n", b"body\r\n"),
        (b"A: b\n\nbody\n", b"A: b\r\n\r\n", b"body\r\n"),
        (b"A: b\r\n\r\n", b"A: b\r\n\r\n", b""),
        (b"A: b\r\n", b"A: b\r\n", b""),
        (b"\r\nbody\r\n", b"\r\n", b"body\r\n"),
        (b"\r\n\r\nbody\r\n", b"\r\n", b"\r\nbody\r\n"),
        (b"", b"", b""),
    ],
)
def test_where_the_header_ends(wire, header, body):
    server = SmtpServer(OPTIONS)
    play(server, ENVELOPE + b"DATA\r\n")
    ending = b".\r\n" if wire.endswith(b"\r\n") or not wire else b"\r\n.\r\n"
    expected = (
        [HeaderEnd(header), Chunk(body), MessageEnd()]
        if body
        else [HeaderEnd(header), MessageEnd()]
    )
    if wire.endswith(b"\n") and not wire.endswith(b"\r\n"):
        expected = [HeaderEnd(header), Chunk(body + b"\r\n"), MessageEnd()]
    assert play(server, wire + ending) == expected


class TestLimits:
    @pytest.mark.rfc("1870 section 6.3")
    @pytest.mark.parametrize("block", [1, 7, 10**6])
    @pytest.mark.parametrize(
        ("size", "fits"), [(999, True), (1000, True), (1001, False), (9999, False)]
    )
    def test_size(self, size, fits, block):
        message = b"A: b\r\n\r\n" + b"x" * (size - 10) + b"\r\n"
        wire = message + b".\r\nNOOP\r\n"
        server = SmtpServer(OPTIONS)
        play(server, ENVELOPE + b"DATA\r\n")
        events = play(server, *(wire[i : i + block] for i in range(0, len(wire), block)))
        ending = MessageEnd() if fits else MessageRefused(replies.TOO_BIG)
        assert events == [HeaderEnd(b"A: b\r\n\r\n"), Chunk(message[8:1000]), ending, Noop()]

    @pytest.mark.parametrize("block", [1000, 10**6])
    @pytest.mark.parametrize(("size", "fits"), [(HEADER_LIMIT, True), (HEADER_LIMIT + 1, False)])
    def test_header(self, size, fits, block):
        header = b"A: " + b"x" * (size - 7) + b"\r\n\r\n"
        wire = header + b"body\r\n.\r\n"
        server = SmtpServer(ServerOptions("mx.example.org"))
        play(server, ENVELOPE + b"DATA\r\n")
        events = play(server, *(wire[i : i + block] for i in range(0, len(wire), block)))
        taken = [HeaderEnd(header), Chunk(b"body\r\n"), MessageEnd()]
        assert events == (taken if fits else [MessageRefused(replies.HEADER_TOO_BIG)])

    def test_dots_and_the_end_do_not_count(self):
        wire = b"..\r\n" * 333 + b"\r\n.\r\n"
        assert content(wire)[1] == [MessageRefused(replies.TOO_BIG)]
        assert content(b"..\r\n" * 333 + b".\r\n") == (b".\r\n" * 333, [MessageEnd()])

    @pytest.mark.parametrize("excess", range(-6, 7))
    def test_much_at_once_comes_in_blocks(self, excess):
        body = b"x" * (BLOCK + excess) + b"\r\n.\r\r\n" + b"y" * 3 * BLOCK + b"\r\n"
        server = SmtpServer(ServerOptions("mx.example.org"))
        play(server, ENVELOPE + b"DATA\r\n")
        events = server.receive(b"\r\n" + body.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        pieces = [event.data for event in events if isinstance(event, Chunk)]
        assert b"".join(pieces) == body.replace(b"\r\r\n", b"\r\n\r\n")
        assert max(map(len, pieces)) <= BLOCK + 4
        assert events[-1] == MessageEnd()

    def test_what_is_refused_is_not_kept(self):
        server = SmtpServer(OPTIONS)
        play(server, ENVELOPE + b"DATA\r\n")
        for _ in range(100):
            play(server, b"x" * 1000)
            assert server.buffered == 0


class TestBdat:
    @pytest.mark.rfc("3030 section 4.1")
    def test_simple_chunking(self):
        message = b"To: Susan@random.com\r\nFrom: Sam@random.com\r\n"
        message += b"Subject: This is a bodyless test message\r\n"
        events = play(SmtpServer(OPTIONS), ENVELOPE + b"BDAT 86 LAST\r\n" + message + b"QUIT\r\n")
        assert events[3:] == [HeaderEnd(message), MessageEnd(), Quit()]

    @pytest.mark.rfc("3030 section 4.2")
    def test_pipelined_chunks(self):
        wire = b"BDAT 10\r\nA: b\r\n\r\n.\rBDAT 4\r\n\n.\r\nBDAT 0 LAST\r\nNOOP\r\n"
        assert play(SmtpServer(OPTIONS), ENVELOPE + wire)[3:] == [
            HeaderEnd(b"A: b\r\n\r\n"),
            Chunk(b"."),  # dots are as they are, and CR meets LF over the border
            ChunkTaken(replies.chunk_taken(10)),
            Chunk(b"\r\n.\r\n"),
            ChunkTaken(replies.chunk_taken(4)),
            MessageEnd(),
            Noop(),
        ]

    @pytest.mark.parametrize(
        ("wire", "expected"),
        [
            (b"BDAT 0 LAST\r\n", [HeaderEnd(b""), MessageEnd()]),
            (b"BDAT 0\r\n", [ChunkTaken(replies.chunk_taken(0))]),
            (b"BDAT 2 LAST\r\na\r", [HeaderEnd(b"a\r\n"), MessageEnd()]),
            (b"BDAT 2 LAST\r\na\n", [HeaderEnd(b"a\r\n"), MessageEnd()]),
            (
                b"BDAT 1\r\naDATA\r\n",
                [ChunkTaken(replies.chunk_taken(1)), Malformed(replies.BDAT_BEGUN)],
            ),
            (
                b"BDAT 1\r\naRCPT TO:<a@example.org>\r\n",
                [ChunkTaken(replies.chunk_taken(1)), Malformed(replies.BDAT_BEGUN)],
            ),
            (
                b"BDAT 1\r\naRSET\r\nBDAT 6\r\nNOOP\r\nRSET\r\n",
                [ChunkTaken(replies.chunk_taken(1)), Rset(), Malformed(replies.MAIL_FIRST), Rset()],
            ),
            (
                b"BDAT 1 LAST\r\naBDAT 6 LAST\r\nNOOP\r\nNOOP\r\n",
                [HeaderEnd(b"a"), MessageEnd(), Malformed(replies.MAIL_FIRST), Noop()],
            ),
            (b"BDAT x\r\nNOOP\r\n", [Malformed(replies.BAD_BDAT)]),
        ],
    )
    @pytest.mark.rfc("3030 section 2")
    def test_order(self, wire, expected):
        assert expected == play(SmtpServer(OPTIONS), ENVELOPE + wire)[3:]

    @pytest.mark.rfc("3030 section 2")
    def test_chunks_after_a_failure_are_swallowed(self):
        chunk = b"BDAT 600\r\n" + b"x" * 600
        wire = chunk + chunk + chunk + b"BDAT 6 LAST\r\nNOOP\r\nNOOP\r\n"
        assert play(SmtpServer(OPTIONS), ENVELOPE + wire)[3:] == [
            ChunkTaken(replies.chunk_taken(600)),
            MessageRefused(replies.TOO_BIG),
            Malformed(replies.MAIL_FIRST),
            Malformed(replies.MAIL_FIRST),
            Noop(),
        ]

    def test_a_chunk_that_the_house_cannot_take_ends_the_transaction(self):
        server = SmtpServer(OPTIONS)
        play(server, ENVELOPE)
        assert server.receive(b"BDAT 1\r\na") == [ChunkTaken(replies.chunk_taken(1))]
        server.send(replies.LOCAL_ERROR)
        wire = b"BDAT 6 LAST\r\nNOOP\r\n"
        assert play(server, wire + b"NOOP\r\n") == [Malformed(replies.MAIL_FIRST), Noop()]

    def test_without_recipients_the_chunk_is_swallowed(self):
        wire = b"EHLO x\r\nMAIL FROM:<>\r\nBDAT 6 LAST\r\nNOOP\r\nNOOP\r\n"
        assert play(SmtpServer(OPTIONS), wire)[2:] == [Malformed(replies.NO_RECIPIENTS), Noop()]

    def test_a_huge_chunk_is_not_kept(self):
        server = SmtpServer(OPTIONS)
        play(server, ENVELOPE + b"BDAT 99999999999999999999 LAST\r\n")
        for _ in range(100):
            play(server, b"x" * 1000)
            assert server.buffered == 0

    def test_bare_newlines_are_refused_by_option(self):
        wire = ENVELOPE + b"BDAT 2\r\na\rBDAT 2 LAST\r\nb\n"
        assert play(SmtpServer(REFUSING), wire)[3:] == [ChunkTaken(replies.chunk_taken(2)), BARE]


LINE_ENDS = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b".", b"\r\n.\r\n", b"\r\n\r\n", b"..", b"\0", b"ab"]
)
CONTENT = st.lists(LINE_ENDS, max_size=30).map(b"".join)
COMMANDS = st.sampled_from(
    [
        ENVELOPE,
        b"MAIL FROM:<>\r\n",
        b"RCPT TO:<postmaster>\r\n",
        b"RSET\r\nNOOP\r\n",
        b"NOOP\n",
        b"NOOP " + b"x" * 3000 + b"\r\n",
        b"STARTTLS\r\n",
        b"AUTH PLAIN\r\n",
        b"AGEAYg==\r\n",
        b"DATA\r\n",
    ]
)
MESSAGE = CONTENT.map(lambda c: ENVELOPE + b"DATA\r\nA: b\r\n\r\n" + c + b"\r\n.\r\n")
CHUNK = st.builds(
    lambda c, last: b"BDAT %d%s\r\n%s" % (len(c), b" LAST" if last else b"", c),
    CONTENT,
    st.booleans(),
)
SESSION = st.lists(COMMANDS | MESSAGE | CHUNK | CHUNK | st.binary(), max_size=8).map(b"".join)
BLOCKS = st.lists(st.integers(1, 40), min_size=1, max_size=40)
SMALL = ServerOptions(
    "mx.example.org", 60, True, ("PLAIN",), auth_needs_tls=False, bare_newlines=BareNewlines.REFUSE
)


def split(wire: bytes, lengths: list[int]) -> list[bytes]:
    blocks, start = [], 0
    while start < len(wire):
        length = lengths[len(blocks) % len(lengths)]
        blocks.append(wire[start : start + length])
        start += length
    return blocks


@settings(deadline=None)
@given(SESSION, BLOCKS, st.sampled_from([OPTIONS, SMALL, REFUSING]))
def test_any_split_gives_the_same_events(wire, lengths, options):
    assert play(SmtpServer(options), wire) == play(SmtpServer(options), *split(wire, lengths))


@settings(deadline=None)
@given(st.lists(st.binary(), max_size=10), st.sampled_from([OPTIONS, SMALL]))
def test_any_bytes_are_survived(blocks, options):
    play(SmtpServer(options), *blocks)
    play(SmtpServer(options), ENVELOPE + b"DATA\r\n", *blocks)
