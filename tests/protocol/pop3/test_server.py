"""The POP3 engine: commands, lines that are none, and that any split gives the same events."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstead.protocol.pop3 import commands
from mailstead.protocol.pop3.commands import (
    Auth,
    Capa,
    Dele,
    Event,
    Lang,
    List,
    Malformed,
    Noop,
    Pass,
    Quit,
    Retr,
    Rset,
    SaslResponse,
    Stat,
    Stls,
    Top,
    Uidl,
    User,
    Utf8,
)
from mailstead.protocol.pop3.server import (
    BARE_NEWLINE,
    COMMAND_LINE_LIMIT,
    SASL_LINE_LIMIT,
    TOO_LONG,
    Pop3Server,
)


def feed(engine: Pop3Server, *pieces: bytes) -> list[Event]:
    """All events; AUTH begins an exchange that its first response ends."""
    found: list[Event] = []
    for piece in pieces:
        data = piece
        while events := engine.receive(data):
            data = b""
            for event in events:
                found.append(event)
                if isinstance(event, Auth) and event.mechanism and event.initial is None:
                    engine.begin_authentication()
                elif isinstance(event, SaslResponse):
                    engine.end_authentication()
    return found


def event_of(line: bytes) -> Event:
    """The one event of a line."""
    (event,) = feed(Pop3Server(), line + b"\r\n")
    return event


@pytest.mark.rfc("1939 section 5")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"STAT", Stat()),
        (b"stat", Stat()),
        (b"LIST", List()),
        (b"LIST 7", List(7)),
        (b"RETR 1", Retr(1)),
        (b"DELE 4294967295", Dele(4294967295)),
        (b"NOOP", Noop()),
        (b"RSET", Rset()),
        (b"QUIT ", Quit()),
    ],
)
def test_commands(line, expected):
    assert event_of(line) == expected


@pytest.mark.rfc("1939 section 7")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"TOP 1 0", Top(1, 0)),
        (b"top 10  25", Top(10, 25)),
        (b"UIDL", Uidl()),
        (b"UIDL 3", Uidl(3)),
        (b"USER mrose@example.org", User("mrose@example.org")),
        ("USER jürgen".encode(), User("jürgen")),
        (b"PASS secret", Pass("secret")),
        (b"PASS two words ", Pass("two words ")),
        (b"PASS  x", Pass(" x")),
    ],
)
def test_optional_commands(line, expected):
    assert event_of(line) == expected


@pytest.mark.rfc("5034 section 4")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"AUTH PLAIN", Auth("PLAIN")),
        (b"AUTH plain =", Auth("PLAIN", b"")),
        (b"AUTH PLAIN dGVzdAB0ZXN0AHRlc3Q=", Auth("PLAIN", b"test\0test\0test")),
        (b"AUTH", Auth()),
        (b"AUTH PLAIN =AAA", commands.BAD_BASE64),
        (b"AUTH PLAIN AAA=BBB", commands.BAD_BASE64),
    ],
)
def test_auth(line, expected):
    assert event_of(line) == expected


@pytest.mark.rfc("5034 section 4")
def test_responses_of_sasl():
    said = b"AUTH PLAIN\r\ndGVzdA==\r\nNOOP\r\nAUTH LOGIN\r\n*\r\nAUTH LOGIN\r\n!\r\nNOOP\r\n"
    assert feed(Pop3Server(), said) == [
        Auth("PLAIN"),
        SaslResponse(b"test"),
        Noop(),
        Auth("LOGIN"),
        SaslResponse(None),
        Auth("LOGIN"),
        commands.BAD_BASE64,
        Noop(),
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"CAPA", Capa()),
        (b"STLS", Stls()),
        (b"UTF8", Utf8()),
        (b"LANG", Lang()),
        (b"LANG en-GB", Lang("en-GB")),
        (b"LANG *", Lang("*")),
    ],
)
def test_extensions(line, expected):
    assert event_of(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"HELO",
        b"APOP mrose c4c9334bac560ecc979e58001b3e22fb",
        b"LAST",
        b"RETR",
        b"RETR 0",
        b"RETR -1",
        b"RETR 1 2",
        b"RETR 12345678901",
        "RETR ٣".encode(),
        b"LIST x",
        b"TOP 1",
        b"TOP 1 -1",
        b"STAT 1",
        b"USER",
        b"PASS",
        b"PASS ",
        b"USER " + b"x" * (commands.NAME_LIMIT + 1),
        b"USER \xff",
        b"LANG a b",
        b"\0",
    ],
)
def test_what_is_no_command(line):
    assert isinstance(event_of(line), Malformed)


@pytest.mark.rfc("2449 section 4")
def test_long_lines():
    engine = Pop3Server()
    long = b"NOOP " + b"x" * COMMAND_LINE_LIMIT
    assert feed(engine, long, b"\r\nNOOP\r\n") == [TOO_LONG, Noop()]
    for _ in range(100):
        assert feed(engine, b"x" * 10_000) == []
    assert engine.buffered <= COMMAND_LINE_LIMIT + 10_000
    longest = b"AUTH PLAIN\r\n" + b"A" * (SASL_LINE_LIMIT - 4) + b"\r\n"
    (_, response) = feed(Pop3Server(), longest)
    assert isinstance(response, SaslResponse)


@pytest.mark.parametrize("line", [b"NOOP\n", b"NO\rOP\r\n"])
def test_bare_newlines(line):
    assert feed(Pop3Server(), line + b"QUIT\r\n") == [BARE_NEWLINE, Quit()]


@pytest.mark.rfc("2595 section 4")
def test_what_came_before_tls_is_forgotten():
    engine = Pop3Server()
    assert engine.receive(b"STLS\r\nUSER mallory\r\n") == [Stls()]
    engine.start_tls()
    assert engine.receive(b"NOOP\r\n") == [Noop()]


def test_after_the_end_nothing_is_read():
    engine = Pop3Server()
    assert engine.receive(b"QUIT\r\nDELE 1\r\n") == [Quit()]
    engine.close()
    assert engine.receive(b"DELE 2\r\n") == []
    assert engine.buffered == 0


def test_passwords_are_not_printed():
    for said in (Pass("secret"), Auth("PLAIN", b"secret"), SaslResponse(b"secret")):
        assert "secret" not in repr(said)


LINES = st.lists(
    st.sampled_from(
        [
            b"STAT\r\n",
            b"AUTH PLAIN\r\n",
            b"AAAA\r\n",
            b"*\r\n",
            b"RETR 1\n",
            b"\r\r\n",
            b"PASS  \r\n",
        ]
    )
    | st.binary(max_size=40),
    max_size=12,
).map(b"".join)


@given(LINES, st.lists(st.integers(0, 300), max_size=8))
def test_any_split_gives_the_same_events(data, cuts):
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    assert feed(Pop3Server(), *pieces) == feed(Pop3Server(), data)
