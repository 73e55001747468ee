"""The server's side of an IMAP connection: octets in, commands out (RFC 3501 section 2.2).

`receive` stops behind a command after which the octets mean something else (STARTTLS, LOGIN,
AUTHENTICATE, IDLE, APPEND, LOGOUT and more) and behind each SASL response. The session then calls
the method of the new state, if it takes the command, and `receive(b"")` goes on:
    while events := engine.receive(data): handle(events); data = b""
Holds: any split of the same octets gives the same events, chunks of a message put together. Only
commands are kept in memory, never messages, and what is refused is passed over without being kept.
"""

import enum
import re
from typing import assert_never

import msgspec

from mailstead.protocol.imap import commands
from mailstead.protocol.imap.appending import announces_message, parse_append, parse_next_message
from mailstead.protocol.imap.arguments import TAG_LIMIT
from mailstead.protocol.imap.commands import Tag
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
from mailstead.protocol.imap.lexer import (
    LITERAL_MARK,
    NOTHING,
    BadSyntax,
    Enabled,
    Unacceptable,
)
from mailstead.protocol.imap.parser import find_tag, parse_base64, parse_command

LINE_LIMIT = 64 * 1024  # octets up to a line end, without literals
COMMAND_LIMIT = 128 * 1024  # octets of a command, with the literals that are not messages
STRANGER_LIMIT = 8 * 1024  # octets of either before log-in
SASL_LIMIT = 16 * 1024  # octets of one SASL response, encoded
APPEND_LIMIT = 50 * 1024 * 1024  # octets of a message
MESSAGES_LIMIT = 100  # messages of one APPEND
MESSAGES_SIZE = 2  # times the octets that one message may have, for all of them
_TAIL = 32  # octets at the end of an overlong line that may announce a literal

# A number of more than 20 digits announces nothing; the line is then bad syntax.
_LITERAL = re.compile(rb"\{([0-9]{1,20})(\+?)\}\Z")


_STOPPING = (
    commands.StartTls,
    commands.Authenticate,
    commands.Login,
    commands.Idle,
    commands.Compress,
    commands.Enable,
    commands.Unauthenticate,
    commands.Logout,
)


class _Mode(enum.Enum):
    """What the next octets are."""

    COMMAND = enum.auto()  # lines of a command
    SASL = enum.auto()
    IDLE = enum.auto()
    LITERAL = enum.auto()
    APPEND = enum.auto()  # nothing yet: the session looks at an Append
    MESSAGE = enum.auto()
    TAIL = enum.auto()  # the line end behind a message
    DISCARD = enum.auto()  # a literal of a refused command


class _Draft(msgspec.Struct):
    """A command under way; `refused` once nothing more of it counts, `answer` is then due."""

    text: bytearray = msgspec.field(default_factory=bytearray)
    literals: list[bytes] = msgspec.field(default_factory=list)
    octets: int = 0
    refused: bool = False
    answer: BadCommand | RefusedCommand | None = None

    def refuse(self, answer: BadCommand | RefusedCommand | None) -> None:
        """Keep the first answer and drop what was gathered."""
        if not self.refused:
            self.refused, self.answer = True, answer
            self.text.clear()
            self.literals.clear()


class ImapServer:
    """The engine of one connection."""

    def __init__(
        self, literal_limit: int = COMMAND_LIMIT, append_limit: int = APPEND_LIMIT
    ) -> None:
        self._literal_limit = literal_limit
        self._append_limit = append_limit
        self._line_limit = self._command_limit = STRANGER_LIMIT
        self._buffer = bytearray()
        self._scanned = 0  # octets of the buffer that have no line end
        self._expected = 0  # octets of a literal still to come
        self._messages = self._messages_size = 0  # of the APPEND under way
        self._synchronising = False  # whether the client waits before the message
        self._enabled = NOTHING
        self._closing = b""  # what has to follow the message
        self._only_one = False  # message may come: it is a REPLACE
        self._tag: Tag = b""  # of the command that put us into this mode
        self._mode = _Mode.COMMAND
        self._draft = _Draft()
        self._events: list[Event] = []
        self._stopped = False

    @property
    def buffered(self) -> int:
        """Octets that wait here."""
        draft = self._draft
        return len(self._buffer) + len(draft.text) + sum(map(len, draft.literals))

    def receive(self, data: bytes) -> list[Event]:
        """What the octets amount to; b"" goes on after a stop. Never raises."""
        self._buffer += data
        self._events = []
        self._stopped = False
        while not self._stopped and self._step():
            pass
        return self._events

    def start_tls(self) -> None:
        """Begin anew inside TLS."""
        self.start_compression()

    def start_compression(self) -> None:
        """Begin anew: from here on octets mean something else (RFC 4978 section 3)."""
        # Bytes sent after STARTTLS in the clear must not be run inside TLS (CVE-2021-33515).
        self._buffer.clear()
        self._scanned = 0
        self._reset()

    def begin_authentication(self) -> None:
        """After Authenticate: the next lines are SASL responses."""
        self._mode = _Mode.SASL

    def end_authentication(self) -> None:
        """The exchange is over, however it ended: commands again."""
        self._reset()

    def authenticated(self) -> None:
        """The client logged in and may send longer commands."""
        self._line_limit, self._command_limit = LINE_LIMIT, COMMAND_LIMIT

    def enable(self, enabled: Enabled) -> None:
        """After Enable: how commands are read from here on."""
        self._enabled = enabled

    def unauthenticated(self) -> None:
        """After Unauthenticate: what follows, if only in the buffer, is a stranger's again."""
        self._enabled = NOTHING
        self._line_limit = self._command_limit = STRANGER_LIMIT

    def begin_idle(self) -> None:
        """After Idle: the next line is DONE."""
        self._mode = _Mode.IDLE

    def refuse_append(self) -> None:
        """Right after Append, Replace or AppendNext: the session has said NO; no more will be told.

        A client that waits for a continuation does not send the message; else it is discarded.
        Without effect any later: then let the events pass and say NO at AppendEnd.
        """
        if self._mode is not _Mode.APPEND:
            return
        if self._synchronising:
            self._reset()
            return
        self._draft.refuse(None)
        self._mode = _Mode.DISCARD

    def _step(self) -> bool:
        """Take one thing off the buffer; False if it is not all there."""
        match self._mode:
            case _Mode.LITERAL:
                return self._read_literal()
            case _Mode.APPEND:
                return self._await_message()
            case _Mode.MESSAGE:
                return self._read_message()
            case _Mode.DISCARD:
                return self._discard()
            case _Mode.COMMAND | _Mode.SASL | _Mode.IDLE | _Mode.TAIL:
                return self._read_line()
            case _:
                assert_never(self._mode)

    def _emit(self, event: Event, stop: bool = False) -> None:
        self._events.append(event)
        self._stopped = stop

    def _reset(self) -> None:
        self._mode = _Mode.COMMAND
        self._draft = _Draft()

    # Lines

    def _read_line(self) -> bool:
        end = self._buffer.find(b"\n", self._scanned)
        limit = max(self._line_limit, SASL_LIMIT) if self._mode is _Mode.SASL else self._line_limit
        if max(end, len(self._buffer) if end < 0 else 0) > limit:
            self._draft.refuse(BadCommand(self._find_tag(), "Line too long"))
        if end < 0:
            if self._draft.refused:
                del self._buffer[:-_TAIL]
            self._scanned = len(self._buffer)
            return False
        self._scanned = 0
        self._on_line(self._take(end + 1).removesuffix(b"\n").removesuffix(b"\r"))
        return True

    def _find_tag(self) -> Tag:
        if self._mode is not _Mode.COMMAND:
            return self._tag
        start = self._draft.text if self._draft.octets else self._buffer
        return find_tag(bytes(start[: TAG_LIMIT + 1]))

    def _on_line(self, line: bytes) -> None:
        match self._mode:
            case _Mode.SASL:
                self._on_sasl(line)
            case _Mode.IDLE:
                self._on_idle(line)
            case _Mode.TAIL:
                self._on_tail(line)
            case _:
                self._on_command(line)

    def _on_sasl(self, line: bytes) -> None:
        if self._draft.refused:
            self._end_refused()
        elif line == b"*":
            self._reset()
            self._emit(SaslResponse(None), stop=True)
        else:
            try:
                self._emit(SaslResponse(parse_base64(line)), stop=True)
            except ValueError:
                self._draft.refuse(BadCommand(self._tag, "Not base64"))
                self._end_refused()

    def _on_idle(self, line: bytes) -> None:
        if not self._draft.refused and line.upper() == b"DONE":
            self._reset()
            self._emit(IdleDone(self._tag))
            return
        self._draft.refuse(BadCommand(self._tag, "Expected DONE"))
        self._end_refused()

    def _on_tail(self, line: bytes) -> None:
        draft = self._draft
        if not draft.refused and not line.startswith(self._closing):
            draft.refuse(BadCommand(self._tag, "Expected a closing parenthesis"))
        line = line.removeprefix(self._closing)
        literal = _find_literal(line)
        if not line and not draft.refused:
            self._reset()
            self._emit(AppendEnd(self._tag))
            return
        message = None if draft.refused else self._parse_next(line, literal)
        if message and literal:
            self._expected = message.size
            self._begin_message(AppendNext(self._tag, message), not literal[2])
        else:  # the literals of what is refused have to be passed over
            self._on_command(line)

    def _parse_next(
        self, line: bytes, literal: re.Match[bytes] | None
    ) -> commands.NewMessage | None:
        """Another message of the same APPEND (RFC 3502), if that is what the line says."""
        if self._only_one:  # RFC 8508 section 4.7
            self._draft.refuse(BadCommand(self._tag, "REPLACE has only one message"))
            return None
        if literal is None:
            self._draft.refuse(BadCommand(self._tag, "Expected another message or the end"))
            return None
        try:
            message = parse_next_message(line[: literal.start()], int(literal[1]))
        except BadSyntax as error:
            self._draft.refuse(BadCommand(self._tag, error.text, error.code))
            return None
        return message if self._fits(self._tag, message.size) else None

    def _on_command(self, line: bytes) -> None:
        draft = self._draft
        literal = _find_literal(line)
        if not draft.refused:
            draft.text += line[: literal.start()] if literal else line
            draft.octets += len(line)
            if LITERAL_MARK in line:
                self._refuse("A NUL in the command")
            elif draft.octets > self._command_limit:
                self._refuse("Command too long")
        if literal:
            self._on_literal(int(literal[1]), synchronising=not literal[2])
        elif draft.refused:
            self._end_refused()
        else:
            self._end_command()

    def _refuse(self, text: str, code: str = "") -> None:
        self._draft.refuse(BadCommand(self._find_tag(), text, code))

    def _end_refused(self) -> None:
        answer = self._draft.answer
        self._reset()
        if answer:
            self._emit(answer)

    def _end_command(self) -> None:
        text, literals = bytes(self._draft.text), self._draft.literals
        self._reset()
        try:
            command = parse_command(text, literals, self._enabled)
        except BadSyntax as error:
            self._emit(BadCommand(find_tag(text), error.text, error.code))
        except Unacceptable as error:
            self._emit(RefusedCommand(find_tag(text), error.code, error.text))
        else:
            self._tag = command.tag
            self._emit(command, stop=isinstance(command, _STOPPING))

    # Literals (RFC 3501 section 4.3, RFC 7888)

    def _on_literal(self, size: int, synchronising: bool) -> None:
        draft = self._draft
        message = not draft.refused and announces_message(draft.text)
        if not draft.refused and not message:
            self._check_literal(size)
        append = self._parse_append(size) if message else None
        self._expected = size
        if append:
            self._begin_message(append, synchronising)
        elif not draft.refused:
            self._mode = _Mode.LITERAL
            if synchronising:
                self._emit(Continue())
        elif synchronising:
            self._end_refused()  # the client waits for leave that it does not get
        else:
            self._mode = _Mode.DISCARD

    def _check_literal(self, size: int) -> None:
        if size > self._literal_limit or self._draft.octets + size > self._command_limit:
            self._refuse("Literal too long", "TOOBIG")

    def _parse_append(self, size: int) -> commands.Append | commands.Replace | None:
        draft = self._draft
        text = bytes(draft.text)
        try:
            append = parse_append(text, draft.literals, size, self._enabled)
        except BadSyntax as error:
            draft.refuse(BadCommand(find_tag(text), error.text, error.code))
            return None
        self._messages = self._messages_size = 0
        return append if self._fits(append.tag, size) else None

    def _fits(self, tag: Tag, size: int) -> bool:
        """Whether a message of that size may come, too."""
        self._messages += 1
        self._messages_size += size
        if size > self._append_limit:
            self._draft.refuse(RefusedCommand(tag, "TOOBIG", "Message too long"))
        elif self._messages_size > self._append_limit * MESSAGES_SIZE:
            self._draft.refuse(RefusedCommand(tag, "LIMIT", "Too much in one command"))
        elif self._messages > MESSAGES_LIMIT:
            text = f"More than {MESSAGES_LIMIT} messages in one command"
            self._draft.refuse(RefusedCommand(tag, "LIMIT", text))
        return not self._draft.refused

    def _begin_message(
        self, event: commands.Append | commands.Replace | AppendNext, synchronising: bool
    ) -> None:
        self._draft = _Draft()
        self._tag = event.tag
        self._only_one = isinstance(event, commands.Replace)
        self._closing = b")" if event.message.utf8 else b""
        self._mode = _Mode.APPEND
        self._synchronising = synchronising
        self._emit(event, stop=True)

    def _await_message(self) -> bool:
        self._mode = _Mode.MESSAGE
        if self._synchronising:
            self._emit(Continue())
        return True

    def _read_literal(self) -> bool:
        if len(self._buffer) < self._expected:
            return False
        literal = self._take(self._expected)
        self._mode = _Mode.COMMAND
        self._draft.octets += len(literal)
        self._draft.literals.append(literal)
        binary = self._draft.text.endswith(b"~")  # literal8 (RFC 5464 section 5)
        if b"\x00" in literal and not binary:  # RFC 3501 section 9: CHAR8
            self._refuse("A NUL in a literal")
        else:
            self._draft.text += LITERAL_MARK
        return True

    def _read_message(self) -> bool:
        if self._expected:
            if not self._buffer:
                return False
            chunk = self._take(self._expected)
            self._expected -= len(chunk)
            self._emit(AppendChunk(chunk))
        if not self._expected:
            self._mode = _Mode.TAIL
        return True

    def _discard(self) -> bool:
        passed = min(self._expected, len(self._buffer))
        del self._buffer[:passed]
        self._expected -= passed
        if self._expected:
            return False
        self._mode = _Mode.COMMAND
        return True

    def _take(self, count: int) -> bytes:
        """The first octets of the buffer, so many or all."""
        if count >= len(self._buffer):
            taken = bytes(self._buffer)
            self._buffer.clear()
            return taken
        with memoryview(self._buffer) as view:
            taken = bytes(view[:count])
        del self._buffer[:count]
        return taken


def _find_literal(line: bytes) -> re.Match[bytes] | None:
    """The announcement of a literal at the end of the line."""
    return _LITERAL.match(line, line.rfind(b"{")) if line.endswith(b"}") else None
