"""What is fuzzed: each target takes octets and raises if something is wrong with what came of them.

Used by `script/fuzz` (atheris, for as long as one likes) and by test_targets (a short run in CI).
"""

from collections.abc import Callable

from mailstead.message.surrogate import surrogate
from mailstead.protocol import sasl, sasl_mechanisms, sasl_scram
from mailstead.protocol.pop3 import commands
from mailstead.protocol.pop3.content import Lines, Stuffing, stuff
from mailstead.protocol.pop3.server import COMMAND_LINE_LIMIT, SASL_LINE_LIMIT, Pop3Server

LIMIT = max(COMMAND_LINE_LIMIT, SASL_LINE_LIMIT)
NAMES = ("PLAIN", "LOGIN", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "EXTERNAL")
# What inputs are made of.
WORDS = [
    *(b"USER ", b"PASS ", b"AUTH ", b"PLAIN ", b"RETR 1", b"TOP 1 2", b"LIST", b"UIDL ", b"LANG *"),
    *(
        b"\r\n",
        b"\r",
        b"\n",
        b".",
        b"*",
        b"=",
        b"n,,n=user,r=abc",
        b"c=biws,r=abc",
        b",p=",
        b"\x01",
    ),
    *(b"auth=Bearer abc\x01\x01", b"\xff\x00", b"\0", "ü".encode()),
]
KEYS = sasl.Keys(b"salt", 1, (sasl_scram.derive("secret", b"salt", 1),))


def pop3(data: bytes) -> None:
    """The engine: no exception, bounded memory, the same events in pieces as in one."""
    size, data = (data[0] % 16 + 1, data[1:]) if data else (1, data)
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    if _feed(pieces) != _feed([data]):
        raise AssertionError("in pieces it is something else")
    for line in data.split(b"\r\n"):
        repr(commands.parse(line))


def _feed(pieces: list[bytes]) -> list[commands.Event]:
    engine, found = Pop3Server(), []
    for piece in pieces:
        rest = piece
        while events := engine.receive(rest):
            rest = b""
            found += events
            for event in events:
                if isinstance(event, commands.Auth) and event.mechanism:
                    engine.begin_authentication()
                elif isinstance(event, commands.SaslResponse):
                    engine.end_authentication()
        if engine.buffered > LIMIT + len(piece):
            raise AssertionError(f"{engine.buffered} octets are kept")
    return found


def pop3_content(data: bytes) -> None:
    """A message on its way out: one end, and the same octets when the dots are gone."""
    sent = stuff(data)
    stuffing = Stuffing()
    if sent != b"".join(stuffing.take(data[n : n + 3]) for n in range(0, len(data), 3)) + (
        stuffing.end()
    ):
        raise AssertionError("in pieces it is something else")
    if (b"\r\n" + sent).find(b"\r\n.\r\n") != len(sent) - 3:
        raise AssertionError("it ends twice")
    lines = Lines(2)
    if lines.take(data).count(b"\n") > 2 or not surrogate(data).isascii():
        raise AssertionError("TOP or UTF8 went wrong")


def sasl_exchange(data: bytes) -> None:
    """Every mechanism, with responses that a NUL octet of the input begins."""
    name = NAMES[data[0] % len(NAMES)] if data else "PLAIN"
    initial, *responses = data[1:].split(b"\xff\x00")
    exchange = sasl_mechanisms.begin(name, initial or None, b"random")
    found = sasl.advance(exchange, None)
    while isinstance(found, bytes | sasl.FindKeys | sasl.CheckToken):
        repr(found)
        if isinstance(found, sasl.FindKeys):
            found = sasl.advance(exchange, KEYS)
        elif isinstance(found, sasl.CheckToken):
            found = sasl.advance(exchange, sasl.TokenRefused("no"))
        elif not responses:
            return
        else:
            found = sasl.advance(exchange, responses.pop(0))
    if isinstance(found, sasl.Proven):
        raise AssertionError("somebody guessed a proof")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "pop3": pop3,
    "pop3-content": pop3_content,
    "sasl": sasl_exchange,
}
