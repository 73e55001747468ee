import base64
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.model.flags import SEEN
from mailstead.protocol.imap import commands as c
from mailstead.protocol.imap.events import (
    AppendChunk,
    AppendEnd,
    AppendNext,
    BadCommand,
    Continue,
    Event,
    IdleDone,
    RefusedCommand,
    SaslResponse,
)
from mailstead.protocol.imap.numset import STAR, NumSet
from mailstead.protocol.imap.server import (
    COMMAND_LIMIT,
    LINE_LIMIT,
    MESSAGES_LIMIT,
    SASL_LIMIT,
    STRANGER_LIMIT,
    ImapServer,
)

APPEND_LIMIT = 1000


def engine(known: bool = True) -> ImapServer:
    server = ImapServer(append_limit=APPEND_LIMIT)
    if known:
        server.authenticated()
    return server


def drive(server: ImapServer, pieces: Iterable[bytes]) -> list[Event]:
    """What a session sees that takes every change of state; chunks of a message put together."""
    seen: list[Event] = []
    for piece in pieces:
        events = server.receive(piece)
        while events:
            for event in events:
                react(server, event)
                note(seen, event)
            events = server.receive(b"")
    return seen


def react(server: ImapServer, event: Event) -> None:
    match event:
        case c.Authenticate():
            server.begin_authentication()
        case SaslResponse(b"end"):
            server.end_authentication()
        case c.Idle():
            server.begin_idle()
        case c.Login():
            server.authenticated()
        case (
            c.Append(mailbox="refused")
            | c.Replace(mailbox="refused")
            | AppendNext(_, c.NewMessage(size=0))
        ):
            server.refuse_append()


def note(seen: list[Event], event: Event) -> None:
    if isinstance(event, AppendChunk) and seen and isinstance(seen[-1], AppendChunk):
        seen[-1] = AppendChunk(seen[-1].data + event.data)
    else:
        seen.append(event)


def events_of(*pieces: bytes) -> list[Event]:
    return drive(engine(), pieces)


def appended(mailbox: str, size: int, system: int = 0) -> c.Append:
    return c.Append(b"a", mailbox, c.NewMessage(system, "", None, size))


def another(size: int, system: int = 0, moment: datetime | None = None) -> AppendNext:
    return AppendNext(b"a", c.NewMessage(system, "", moment, size))


LOGIN = c.Login(b"a", "x", "y z")


@pytest.mark.rfc("3501 section 2.2.1")
@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"a NOOP\r\n", [c.Noop(b"a")]),
        (b"a NOOP\n", [c.Noop(b"a")]),
        (b"a NOOP\r\nb NOOP\nc CHECK\r\n", [c.Noop(b"a"), c.Noop(b"b"), c.Check(b"c")]),
        (b"a NOOP", []),
        (b"\r\n", [BadCommand(b"", "Expected a tag and a command")]),
        (b"a\r\n", [BadCommand(b"a", "Expected a tag and a command")]),
        (b"a FROB\r\nb NOOP\r\n", [BadCommand(b"a", "Unknown command"), c.Noop(b"b")]),
        (b"a NOOP\rb NOOP\r\n", [BadCommand(b"a", "Too many arguments")]),
        (b"a LOGIN x \0\r\n", [BadCommand(b"a", "A NUL in the command")]),
        (b"{2+}\r\n\0ab NOOP\r\n", [BadCommand(b"", "A NUL in a literal")]),
        (
            b"a SEARCH CHARSET X ALL\r\n",
            [RefusedCommand(b"a", "BADCHARSET (UTF-8 US-ASCII)", "Unknown charset")],
        ),
    ],
)
def test_lines(octets: bytes, expected: list[Event]) -> None:
    assert expected == events_of(octets)


@pytest.mark.rfc("3501 section 4.3")
@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"a LOGIN {1}\r\nx {3}\r\ny z\r\n", [Continue(), Continue(), LOGIN]),
        (b'a LOGIN "x" {3+}\r\ny z\r\n', [LOGIN]),  # RFC 7888
        (b"a LOGIN {1+}\nx {3+}\ny z\n", [LOGIN]),
        (b'a LOGIN {0+}\r\n "y z"\r\n', [c.Login(b"a", "", "y z")]),
        (b"a LOGIN x {4+}\r\n{3}\n\r\n", [c.Login(b"a", "x", "{3}\n")]),
        (b"a LOGIN x {2+}\r\n\r\n\r\n", [c.Login(b"a", "x", "\r\n")]),
        (b"a LOGIN x {3}\r\n", [Continue()]),
        (b"a LOGIN x {3}\r\ny", [Continue()]),
        (
            b"a LOGIN x {3+}\r\na\0b\r\nb NOOP\r\n",
            [BadCommand(b"a", "A NUL in a literal"), c.Noop(b"b")],
        ),
        (b'a LOGIN "x {3+}\r\nabc\r\n', [BadCommand(b"a", "Expected a string")]),
        (b"a SELECT ~{3+}\r\nabc\r\n", [BadCommand(b"a", "Too many arguments")]),
        (b"a NOOP{3+}\r\nabc\r\n", [BadCommand(b"a", "Too many arguments")]),
        (b"a SELECT {x}\r\n", [BadCommand(b"a", "Expected a string")]),
        (b"a SELECT {-1}\r\n", [BadCommand(b"a", "Expected a string")]),
        (b"a SELECT {}\r\n", [BadCommand(b"a", "Expected a string")]),
        (
            b"{3+}\r\nabc\r\nb NOOP\r\n",
            [BadCommand(b"", "Expected a tag and a command"), c.Noop(b"b")],
        ),
    ],
)
def test_literals(octets: bytes, expected: list[Event]) -> None:
    assert expected == events_of(octets)


@pytest.mark.rfc("7888 section 4")
def test_a_literal_too_long() -> None:
    too_long = BadCommand(b"a", "Literal too long", "TOOBIG")
    size = COMMAND_LIMIT + 1
    # A client that waits gets BAD at once and does not send it.
    assert events_of(b"a LOGIN x {%d}\r\nb NOOP\r\n" % size) == [too_long, c.Noop(b"b")]
    assert events_of(b"a LOGIN x {99999999999}\r\n") == [too_long]
    # One that does not wait has its octets passed over, whatever they look like.
    octets = b"x NOOP\r\n" * (size // 8) + b"y"
    command = b"a LOGIN x {%d+}\r\n%b\r\nb NOOP\r\n" % (len(octets), octets)
    assert events_of(command) == [too_long, c.Noop(b"b")]
    # Nor is more of the same command kept.
    command = b"a LOGIN {%d+}\r\n%b {1+}\r\ny {5}\r\nb NOOP\r\n" % (len(octets), octets)
    assert events_of(command) == [too_long, c.Noop(b"b")]


def test_a_discarded_literal_is_not_kept() -> None:
    server = engine()
    assert server.receive(b"a LOGIN x {99999999999999999999+}\r\n") == []
    for _ in range(50):
        assert server.receive(b"x" * 100_000) == []
    assert len(server._buffer) == 0


@pytest.mark.rfc("3501 section 4.3")
def test_all_literals_together_are_limited() -> None:
    many = b"a LOGIN " + b"{1000+}\r\n%b" % (b"x" * 1000) * 200 + b"\r\nb NOOP\r\n"
    assert events_of(many) == [BadCommand(b"a", "Literal too long", "TOOBIG"), c.Noop(b"b")]
    empty = b"a LOGIN " + b"{0+}\r\n" * 50_000 + b"\r\nb NOOP\r\n"
    assert events_of(empty) == [BadCommand(b"a", "Command too long"), c.Noop(b"b")]


def test_a_line_too_long() -> None:
    too_long = BadCommand(b"a", "Line too long")
    longest = b"a LOGIN x " + b"y" * (LINE_LIMIT - 10)
    assert events_of(longest + b"\n") == [c.Login(b"a", "x", "y" * (LINE_LIMIT - 10))]
    assert events_of(longest + b"y\nb NOOP\r\n") == [too_long, c.Noop(b"b")]
    assert events_of(b"x" * 1_000_000 + b"\r\nb NOOP\r\n") == [
        BadCommand(b"", "Line too long"),
        c.Noop(b"b"),
    ]
    # Its literal is passed over too, so that its octets are not taken for commands.
    assert events_of(longest + b"yy {8+}\r\nx NOOP\r\n\r\nb NOOP\r\n") == [too_long, c.Noop(b"b")]
    assert events_of(longest + b"yy {8}\r\nb NOOP\r\n") == [too_long, c.Noop(b"b")]


@pytest.mark.rfc("8437 section 3")
def test_who_logged_out_has_less_room_again() -> None:
    server = engine()
    login = b"b LOGIN x " + b"y" * STRANGER_LIMIT + b"\r\n"
    assert server.receive(b"a UNAUTHENTICATE\r\n" + login) == [c.Unauthenticate(b"a")]
    server.unauthenticated()
    assert server.receive(b"") == [BadCommand(b"b", "Line too long")]


def test_an_endless_line_is_not_kept() -> None:
    server = engine()
    for _ in range(50):
        assert server.receive(b"x" * 100_000) == []
    assert len(server._buffer) < 100


@pytest.mark.rfc("7888 section 4")
def test_the_literal_of_an_endless_line_is_passed_over() -> None:
    announced = b" {00000000000000000008+}\r"  # as long as an announcement gets
    for cut in range(len(announced)):
        pieces = [b"a SELECT " + b"x" * LINE_LIMIT + announced[:cut], announced[cut:] + b"\n"]
        found = events_of(*pieces, b"x NOOP\r\n", b"\r\nb NOOP\r\n")
        assert found == [BadCommand(b"a", "Line too long"), c.Noop(b"b")]


def test_a_stranger_has_less_room() -> None:
    server = engine(known=False)
    long_login = b"a LOGIN x " + b"y" * STRANGER_LIMIT + b"\r\n"
    assert server.receive(long_login) == [BadCommand(b"a", "Line too long")]
    literal = b"a LOGIN x {%d+}\r\n" % STRANGER_LIMIT + b"y" * STRANGER_LIMIT + b"\r\n"
    assert server.receive(literal) == [BadCommand(b"a", "Literal too long", "TOOBIG")]
    server.authenticated()
    assert server.receive(long_login) == [c.Login(b"a", "x", "y" * STRANGER_LIMIT)]


@pytest.mark.rfc("3501 section 6.3.11")
@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (
            b"a APPEND saved (\\Seen) {5}\r\nhello\r\nb NOOP\r\n",
            [
                appended("saved", 5, SEEN),
                Continue(),
                AppendChunk(b"hello"),
                AppendEnd(b"a"),
                c.Noop(b"b"),
            ],
        ),
        (
            b"a APPEND saved {7+}\r\n\r\n{3}\r\n\r\nb NOOP\r\n",
            [appended("saved", 7), AppendChunk(b"\r\n{3}\r\n"), AppendEnd(b"a"), c.Noop(b"b")],
        ),
        (
            b"a append {5+}\r\ninbox {3+}\r\n\0\0\0\r\n",
            [appended("INBOX", 3), AppendChunk(b"\0\0\0"), AppendEnd(b"a")],
        ),
        (
            b"a APPEND {5}\r\nsaved {0}\r\n\r\n",
            [Continue(), appended("saved", 0), Continue(), AppendEnd(b"a")],
        ),
        (
            b"a APPEND saved x {5}\r\nb NOOP\r\n",
            [BadCommand(b"a", "Too many arguments"), c.Noop(b"b")],
        ),
        (
            b"a APPEND saved x {7+}\r\nx NOOP\n\r\nb NOOP\r\n",
            [BadCommand(b"a", "Too many arguments"), c.Noop(b"b")],
        ),
        (
            b"a APPEND saved {3+}\r\nabc {8+}\r\nx NOOP\r\n {8}\r\nb NOOP\r\n",
            [
                appended("saved", 3),
                AppendChunk(b"abc"),
                another(8),
                AppendChunk(b"x NOOP\r\n"),
                another(8),
                Continue(),
                AppendChunk(b"b NOOP\r\n"),
            ],
        ),
        (
            b"a APPEND saved {3+}\r\nabcdef\r\nb NOOP\r\n",
            [
                appended("saved", 3),
                AppendChunk(b"abc"),
                BadCommand(b"a", "Expected another message or the end"),
                c.Noop(b"b"),
            ],
        ),
        (
            b"a APPEND saved {1001}\r\nb NOOP\r\n",
            [RefusedCommand(b"a", "TOOBIG", "Message too long"), c.Noop(b"b")],
        ),
        (
            b"a APPEND saved {1001+}\r\n" + b"x NOOP\n\n" * 125 + b"x\r\nb NOOP\r\n",
            [RefusedCommand(b"a", "TOOBIG", "Message too long"), c.Noop(b"b")],
        ),
        (b"a APPEND refused {5}\r\nb NOOP\r\n", [appended("refused", 5), c.Noop(b"b")]),
        (
            b"a APPEND refused {9+}\r\nx NOOP\r\n\n\r\nb NOOP\r\n",
            [appended("refused", 9), c.Noop(b"b")],
        ),
        (b"a APPEND saved\r\n", [BadCommand(b"a", "APPEND needs a message as a literal")]),
    ],
)
def test_append(octets: bytes, expected: list[Event]) -> None:
    assert expected == events_of(octets)


LATER = datetime(1994, 2, 8, 6, 43, 4, tzinfo=UTC)
FIRST = [appended("saved", 3, SEEN), Continue(), AppendChunk(b"abc")]


@pytest.mark.rfc("3502 section 6.3.11")
@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (
            b'de (\\Seen) " 7-Feb-1994 22:43:04 -0800" {2}\r\nb NOOP\r\n',
            [BadCommand(b"a", "Expected a space"), c.Noop(b"b")],
        ),
        (
            b' (\\Seen) " 7-Feb-1994 22:43:04 -0800" {2}\r\nde\r\nb NOOP\r\n',
            [
                another(2, SEEN, LATER),
                Continue(),
                AppendChunk(b"de"),
                AppendEnd(b"a"),
                c.Noop(b"b"),
            ],
        ),
        (
            b" {2+}\r\nde (\\Seen) {2}\r\nfg\r\n",
            [
                another(2),
                AppendChunk(b"de"),
                another(2, SEEN),
                Continue(),
                AppendChunk(b"fg"),
                AppendEnd(b"a"),
            ],
        ),
        # Taken back with an empty message; what else is under way is passed over.
        (b" {0}\r\nb NOOP\r\n", [another(0), c.Noop(b"b")]),
        (b" {0+}\r\n\r\nb NOOP\r\n", [another(0), c.Noop(b"b")]),
        (b" {0+}\r\n {6+}\r\nNOOP\r\n\r\nb NOOP\r\n", [another(0), c.Noop(b"b")]),
        (
            b" {1001}\r\nb NOOP\r\n",
            [RefusedCommand(b"a", "TOOBIG", "Message too long"), c.Noop(b"b")],
        ),
        (
            b" {1001+}\r\n" + b"x NOOP\n\n" * 125 + b"x\r\nb NOOP\r\n",
            [RefusedCommand(b"a", "TOOBIG", "Message too long"), c.Noop(b"b")],
        ),
        (
            b" {1000+}\r\n" + b"x" * 1000 + b" {998+}\r\n" + b"y" * 998 + b"\r\nb NOOP\r\n",
            [
                another(1000),
                AppendChunk(b"x" * 1000),
                RefusedCommand(b"a", "LIMIT", "Too much in one command"),
                c.Noop(b"b"),
            ],
        ),
        (
            b' "40-Feb-1994 22:43:04 -0800" {7+}\r\nx NOOP\n\r\nb NOOP\r\n',
            [BadCommand(b"a", "There is no such date and time"), c.Noop(b"b")],
        ),
        (
            b" (\\Seen)\r\nb NOOP\r\n",
            [BadCommand(b"a", "Expected another message or the end"), c.Noop(b"b")],
        ),
        (b" " + b"x" * LINE_LIMIT + b"\r\n", [BadCommand(b"a", "Line too long")]),
    ],
)
def test_several_messages(octets: bytes, expected: list[Event]) -> None:
    assert [*FIRST, *expected] == events_of(b"a APPEND saved (\\Seen) {3}\r\nabc" + octets)


def replaced(number: int, mailbox: str, size: int, uid: bool = False) -> c.Replace:
    message = c.NewMessage(0, "", None, size)
    return c.Replace(b"a", NumSet(((number, number),)), mailbox, message, uid)


NO_REPLACEMENT = "REPLACE needs the number of a message and another message as a literal"


@pytest.mark.rfc("8508 section 5")
@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (
            b"a REPLACE 4 Drafts {3}\r\nabc\r\nb NOOP\r\n",
            [
                replaced(4, "Drafts", 3),
                Continue(),
                AppendChunk(b"abc"),
                AppendEnd(b"a"),
                c.Noop(b"b"),
            ],
        ),
        (
            b"a uid replace * {6+}\r\nDrafts {3+}\r\nabc\r\n",
            [replaced(STAR, "Drafts", 3, uid=True), AppendChunk(b"abc"), AppendEnd(b"a")],
        ),
        (
            b"a REPLACE 4 refused {9+}\r\nx NOOP\r\n\n\r\nb NOOP\r\n",
            [replaced(4, "refused", 9), c.Noop(b"b")],
        ),
        (
            b"a REPLACE 1 D {1+}\r\na {8+}\r\nx NOOP\r\n\r\nb NOOP\r\n",
            [
                replaced(1, "D", 1),
                AppendChunk(b"a"),
                BadCommand(b"a", "REPLACE has only one message"),
                c.Noop(b"b"),
            ],
        ),
        (b"a REPLACE 4 Drafts\r\n", [BadCommand(b"a", NO_REPLACEMENT)]),
        (b"a REPLACE 1:2 D {1+}\r\nx\r\n", [BadCommand(b"a", NO_REPLACEMENT)]),
        (b"a REPLACE 0 D {1+}\r\nx\r\n", [BadCommand(b"a", NO_REPLACEMENT)]),
        (b"a UID REPLACE $ D {1+}\r\nx\r\n", [BadCommand(b"a", NO_REPLACEMENT)]),
        (
            b"a REPLACE 9999999999 D {1}\r\nb NOOP\r\n",
            [
                BadCommand(b"a", "Not a sequence set: a number of more than 32 bits"),
                c.Noop(b"b"),
            ],
        ),
        (
            b"a REPLACE 1 D {1001}\r\nb NOOP\r\n",
            [RefusedCommand(b"a", "TOOBIG", "Message too long"), c.Noop(b"b")],
        ),
    ],
)
def test_replace(octets: bytes, expected: list[Event]) -> None:
    assert expected == events_of(octets)


def test_so_many_messages_and_no_more() -> None:
    command = b"a APPEND saved {1+}\r\nx" + b" {1+}\r\nx" * (MESSAGES_LIMIT - 1)
    assert events_of(command + b"\r\n")[-1] == AppendEnd(b"a")
    refused = RefusedCommand(b"a", "LIMIT", f"More than {MESSAGES_LIMIT} messages in one command")
    assert events_of(command + b" {8+}\r\nx NOOP\r\n\r\nb NOOP\r\n")[-2:] == [
        refused,
        c.Noop(b"b"),
    ]
    # The next command counts anew.
    assert events_of(command + b"\r\n" + command + b"\r\n")[-1] == AppendEnd(b"a")


@pytest.mark.rfc("3501 section 6.3.11")
def test_a_message_is_never_kept() -> None:
    server = ImapServer(append_limit=10_000_000)
    server.receive(b"a APPEND x {10000000+}\r\n")
    for _ in range(100):
        assert server.receive(b"x" * 100_000) == [AppendChunk(b"x" * 100_000)]
        assert len(server._buffer) == 0
    assert server.receive(b"\r\n") == [AppendEnd(b"a")]


def test_refusing_too_late_changes_nothing() -> None:
    server = engine()
    server.receive(b"a APPEND x {3+}\r\nabc")
    assert server.receive(b"") == [AppendChunk(b"abc")]
    server.refuse_append()
    assert server.receive(b"\r\nb NOOP\r\n") == [AppendEnd(b"a"), c.Noop(b"b")]


@pytest.mark.rfc("3501 section 6.2.2")
@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (
            b"a AUTHENTICATE X\r\naGk=\r\n\r\nZW5k\r\nb NOOP\r\n",
            [
                c.Authenticate(b"a", "X", None),
                SaslResponse(b"hi"),
                SaslResponse(b""),
                SaslResponse(b"end"),
                c.Noop(b"b"),
            ],
        ),
        (
            b"a AUTHENTICATE X aGk=\n*\nb NOOP\n",
            [c.Authenticate(b"a", "X", b"hi"), SaslResponse(None), c.Noop(b"b")],
        ),
        (
            b"a AUTHENTICATE X\r\nb NOOP\r\nb NOOP\r\n",
            [c.Authenticate(b"a", "X", None), BadCommand(b"a", "Not base64"), c.Noop(b"b")],
        ),
        (
            b"a AUTHENTICATE X\r\n{3+}\r\nb NOOP\r\n",
            [c.Authenticate(b"a", "X", None), BadCommand(b"a", "Not base64"), c.Noop(b"b")],
        ),
        (
            b"a AUTHENTICATE X\r\n" + b"A" * (LINE_LIMIT + 1) + b"\r\nb NOOP\r\n",
            [c.Authenticate(b"a", "X", None), BadCommand(b"a", "Line too long"), c.Noop(b"b")],
        ),
    ],
)
def test_authenticate(octets: bytes, expected: list[Event]) -> None:
    assert expected == events_of(octets)


def test_a_stranger_may_send_a_long_sasl_response() -> None:
    data = b"t" * (SASL_LIMIT * 3 // 4 - 3)
    server = engine(known=False)
    server.receive(b"a AUTHENTICATE X\r\n")
    server.begin_authentication()
    assert server.receive(base64.b64encode(data) + b"\r\n") == [SaslResponse(data)]


@pytest.mark.rfc("2177 section 3")
@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"a IDLE\r\ndone\r\nb NOOP\r\n", [c.Idle(b"a"), IdleDone(b"a"), c.Noop(b"b")]),
        (
            b"a IDLE\r\nb NOOP\r\nc NOOP\r\n",
            [c.Idle(b"a"), BadCommand(b"a", "Expected DONE"), c.Noop(b"c")],
        ),
        (
            b"a IDLE\r\n" + b"x" * 1_000_000 + b"\r\nc NOOP\r\n",
            [c.Idle(b"a"), BadCommand(b"a", "Line too long"), c.Noop(b"c")],
        ),
    ],
)
def test_idle(octets: bytes, expected: list[Event]) -> None:
    assert expected == events_of(octets)


@pytest.mark.rfc("3501 section 6.2.1")
def test_what_came_before_tls_is_not_run_in_tls() -> None:
    server = engine(known=False)
    assert server.receive(b"a STARTTLS\r\nb NOOP\r\nc LO") == [c.StartTls(b"a")]
    server.start_tls()
    assert server.receive(b"") == []
    assert server.receive(b"d NOOP\r\n") == [c.Noop(b"d")]


def test_a_session_that_takes_no_change_of_state_goes_on_with_commands() -> None:
    server = engine()
    assert server.receive(b"a IDLE\r\nb NOOP\r\n") == [c.Idle(b"a")]
    assert server.receive(b"") == [c.Noop(b"b")]
    assert server.receive(b"a AUTHENTICATE X\r\nb NOOP\r\n") == [c.Authenticate(b"a", "X", None)]
    assert server.receive(b"") == [c.Noop(b"b")]
    assert server.receive(b"a LOGOUT\r\nb NOOP\r\n") == [c.Logout(b"a")]


PIECES = st.sampled_from(
    [
        b"a NOOP\r\n",
        b"b check\n",
        b"\r\n",
        b"a LOGIN {1}\r\nx {3+}\r\ny z\r\n",
        b"a LOGIN {1+}\nx\n",
        b"a LOGIN x {9999999}\r\n",
        b"a LOGIN x {140000+}\r\n" + b"x NOOP\r\n" * 17500 + b"\r\n",
        b"a SELECT " + b"x" * (LINE_LIMIT + 5) + b" {3+}\r\nabc\r\n",
        b"a APPEND saved (\\Seen) {12}\r\nab\r\nc {3+}\r\n\r\n",
        b"a APPEND {5+}\r\nsaved {3+}\r\nabc\n",
        b"a APPEND saved {3+}\r\nabc {3+}\r\nxyz\r\n",
        b"a APPEND saved {1001+}\r\n" + b"y" * 1001 + b"\r\n",
        b"a APPEND saved {2}\r\nab (\\Seen) {1+}\r\nc {0+}\r\n {2+}\r\nde\r\n",
        b"a APPEND refused {4+}\r\nabcd\r\n",
        b"a APPEND refused {4}\r\n",
        b"a UID REPLACE 7 {3+}\r\nbox {4+}\r\nabcd\r\n",
        b"a AUTHENTICATE X\r\naGk=\r\nZW5k\r\n",
        b"a AUTHENTICATE X =\r\n*\r\n",
        b"a AUTHENTICATE X\r\n!\r\n",
        b"a IDLE\r\nDONE\r\n",
        b"a IDLE\r\nNOOP\r\n",
        b"a FROB {3+}\r\nabc\r\n",
        b"a UID FETCH 1:* (UID FLAGS)\r\n",
        b"\0\r\n",
        b"a NO",
        b"\r",
        b"{2+}\r\n",
    ]
)


@given(st.lists(PIECES, max_size=6), st.data())
@settings(deadline=None, max_examples=300)
def test_any_split_gives_the_same_events(pieces: list[bytes], data: st.DataObject) -> None:
    octets = b"".join(pieces)
    cuts = data.draw(st.lists(st.integers(0, len(octets)), max_size=12).map(sorted))
    edges = [0, *cuts, len(octets)]
    parts = [octets[low:high] for low, high in pairwise(edges)]
    assert events_of(octets) == drive(engine(), parts)


@given(st.lists(PIECES.filter(lambda piece: len(piece) < 100), max_size=5))
@settings(deadline=None, max_examples=60)
def test_octet_by_octet(pieces: list[bytes]) -> None:
    octets = b"".join(pieces)
    assert events_of(octets) == drive(engine(), (bytes([octet]) for octet in octets))


WORDS = st.sampled_from(
    [
        b"a ",
        b"UID ",
        b"FETCH ",
        b"SEARCH ",
        b"STORE ",
        b"LIST ",
        b"APPEND ",
        b"1:* ",
        b"(",
        b")",
        b"{3}\r\n",
        b"{3+}\r\n",
        b'"',
        b"\\",
        b"[",
        b"]",
        b"<",
        b"BODY",
        b"BODY.PEEK[",
        b"NOT ",
        b"OR ",
        b"\r\n",
        b" ",
        b"FLAGS",
        b"CHARSET ",
        b"utf-7 ",
        b"&",
        b"-",
        b"\xed\xa0\x80",
        b"\0",
        b"=",
        b"ID ",
    ]
)


@given(st.lists(st.binary(max_size=40) | WORDS | PIECES, max_size=20), st.booleans())
@settings(deadline=None, max_examples=300)
def test_nothing_raises(pieces: list[bytes], known: bool) -> None:
    server = engine(known)
    for event in drive(server, [*pieces, b"\r\n"]):
        assert not isinstance(event, BadCommand) or event.text
    assert len(server._buffer) <= COMMAND_LIMIT
