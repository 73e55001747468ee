"""The POP3 engine: bytes in, events out (RFC 1939 section 3).

One event at a time, so that what the session makes of it (TLS, an exchange of AUTH) is in force
for the next line. Holds: memory stays below the limit of a line and what came in at once; any
split of the same bytes gives the same events; never raises, whatever the bytes.
"""

import enum

from mailstead.protocol import sasl
from mailstead.protocol.lines import LineBuffer, LineFault
from mailstead.protocol.pop3.commands import BAD_BASE64, Event, Malformed, SaslResponse, parse

COMMAND_LINE_LIMIT = 16_384  # RFC 2449 section 4 asks for 255; but tokens come in AUTH's line too
SASL_LINE_LIMIT = 16_384  # RFC 5034 section 4: as long as our mechanisms need

TOO_LONG = Malformed("That line is too long")
BARE_NEWLINE = Malformed("Lines end in CRLF")


class _Mode(enum.Enum):
    COMMAND = enum.auto()
    SASL = enum.auto()
    CLOSED = enum.auto()


class Pop3Server:
    """The engine of one session."""

    def __init__(self) -> None:
        self._lines = LineBuffer()
        self._mode = _Mode.COMMAND

    @property
    def buffered(self) -> int:
        """Octets that wait here."""
        return len(self._lines.data)

    def receive(self, data: bytes) -> list[Event]:
        """The next event, if one is complete; called with b"" to go on after it."""
        self._lines.data += data
        match self._mode:
            case _Mode.COMMAND:
                return self._read_command()
            case _Mode.SASL:
                return self._read_response()
            case _Mode.CLOSED:
                self._lines.clear()
                return []

    def begin_authentication(self) -> None:
        """After Auth: the next lines are SASL responses."""
        self._mode = _Mode.SASL

    def end_authentication(self) -> None:
        """The next line is a command again."""
        self._mode = _Mode.COMMAND

    def start_tls(self) -> None:
        """TLS is there. What came before it in the clear must not count (CVE-2021-33515)."""
        self._lines.clear()

    def close(self) -> None:
        """Nothing more is read."""
        self._mode = _Mode.CLOSED
        self._lines.clear()

    def _read_command(self) -> list[Event]:
        line = self._lines.line(COMMAND_LINE_LIMIT)
        if line is None:
            return []
        return [_fault(line) if isinstance(line, LineFault) else parse(line)]

    def _read_response(self) -> list[Event]:
        line = self._lines.line(SASL_LINE_LIMIT)
        if line is None:
            return []
        if isinstance(line, LineFault):
            self._mode = _Mode.COMMAND
            return [_fault(line)]
        if line == b"*":
            return [SaslResponse(None)]
        data = sasl.decode(line)
        if data is None:
            self._mode = _Mode.COMMAND
            return [BAD_BASE64]
        return [SaslResponse(data)]


def _fault(fault: LineFault) -> Malformed:
    return TOO_LONG if fault is LineFault.TOO_LONG else BARE_NEWLINE
