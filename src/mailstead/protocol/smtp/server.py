"""The server's side of an SMTP or LMTP session: bytes in, events out; replies in, bytes out.

`receive` gives events up to the first that wants a reply (see events), and nothing while that
reply is owed; after `send`, `receive(b"")` goes on with what came meanwhile. So pipelining
(RFC 2920) needs no care elsewhere, and what a reply decides is decided before the next byte.
Owns: the order of commands, the limits on lines, content and counts. Not here: who may do what.
"""

import enum
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from mailstead.message.dates import format_utc
from mailstead.model.envelope import Release
from mailstead.model.reply import Reply
from mailstead.protocol import sasl
from mailstead.protocol.lines import LineBuffer, LineFault
from mailstead.protocol.smtp import grammar, replies
from mailstead.protocol.smtp.content import ChunkReader, Content, DataReader
from mailstead.protocol.smtp.events import (
    Auth,
    AuthResponse,
    ChunkTaken,
    Data,
    Declined,
    Etrn,
    Event,
    Expn,
    Helo,
    Help,
    Mail,
    Malformed,
    MessageEnd,
    MessageRefused,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
)

COMMAND_LINE_LIMIT = 2048  # RFC 5321 section 4.5.3.1.4 asks for 512, extensions for more
AUTH_LINE_LIMIT = 12288  # RFC 4954 section 4; for every command of a session that offers AUTH

_CLOSING_CODES = (421, 521)  # RFC 5321 section 3.8, RFC 7504
_OTHER_PROTOCOLS = frozenset(("GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT"))


class BareNewlines(enum.Enum):
    """What to do with a bare LF or CR in the content."""

    NORMALISE = enum.auto()
    REFUSE = enum.auto()


class ServerOptions(msgspec.Struct, frozen=True):
    """What one listener offers; 0 for no limit of RFC 9422."""

    hostname: str
    size_limit: int = 50 * 1024 * 1024
    tls_available: bool = False
    auth_mechanisms: tuple[str, ...] = ()
    auth_needs_tls: bool = True
    lmtp: bool = False
    recipients_limit: int = 0  # RCPTMAX
    mail_limit: int = 0  # MAILMAX
    smtputf8: bool = True
    chunking: bool = True
    dsn: bool = False
    etrn: bool = False
    require_tls: bool = False  # offered inside TLS
    future_release: timedelta | None = None  # how far ahead, at most
    xclient: bool = False  # the peer may say whom it speaks for
    bare_newlines: BareNewlines = BareNewlines.NORMALISE


class _Mode(enum.Enum):
    COMMAND = enum.auto()
    AUTH = enum.auto()
    DATA = enum.auto()
    CHUNK = enum.auto()
    SWALLOW = enum.auto()  # the octets of a BDAT that was refused
    CLOSED = enum.auto()  # also between the 220 to STARTTLS and the end of the handshake


class SmtpServer:
    """The engine of one session."""

    def __init__(self, options: ServerOptions, tls: bool = False) -> None:
        self._options = options
        self._lines = LineBuffer()
        self._awaited = 0  # replies owed by the session
        self._asked: Event | None = None  # for this
        self._tls = tls
        self._mechanisms = options.auth_mechanisms
        self._line_limit = AUTH_LINE_LIMIT if options.auth_mechanisms else COMMAND_LINE_LIMIT
        self._start_session()

    @property
    def closing(self) -> bool:
        """The session is over: flush and close."""
        return self._closing

    @property
    def buffered(self) -> int:
        """Octets that wait here; while a reply is owed, stop reading when they are many."""
        return len(self._lines.data)

    @property
    def owed(self) -> int:
        """Replies that the peer waits for: one, but after an LMTP message one a recipient."""
        return self._awaited

    def receive(self, data: bytes) -> list[Event]:
        """The events up to the first that wants a reply; never raises, whatever the bytes."""
        self._lines.data += data
        if self._awaited:
            return []
        events: list[Event] = []
        while not self._awaited and (step := self._read()) is not None:
            events += step
        return events

    def send(self, reply: Reply) -> bytes:
        """The reply as bytes; if it answers an event, the state moves on with it."""
        if self._awaited:
            self._awaited -= 1
            if not self._awaited and self._asked is not None:
                self._settle(self._asked, reply)
        if reply.code in _CLOSING_CODES:
            self._close()
        return replies.format_reply(reply)

    def start_tls(self) -> None:
        """The handshake is done: all that was said before is forgotten.

        Bytes that came in the clear after STARTTLS are dropped (RFC 3207 section 4.2).
        """
        self._lines.clear()
        self._tls = True
        self._start_session()

    def ehlo_reply(self, now: datetime | None = None) -> Reply:
        """The reply to Helo(extended=True), to be built when it is sent (RFC 5321 4.1.1.1)."""
        o = self._options
        lines = [
            o.hostname,
            "PIPELINING",
            f"SIZE {o.size_limit}",
            "8BITMIME",
            "ENHANCEDSTATUSCODES",
        ]
        lines += ["SMTPUTF8"] * o.smtputf8 + ["CHUNKING"] * o.chunking + ["DSN"] * o.dsn
        lines += ["ETRN"] * o.etrn
        lines += ["STARTTLS"] * (o.tls_available and not self._tls)
        lines += ["REQUIRETLS"] * ("REQUIRETLS" in self._offered)
        if o.future_release and now:
            latest = format_utc(now + o.future_release)
            lines.append(f"FUTURERELEASE {int(o.future_release.total_seconds())} {latest}")
        lines += [f"XCLIENT {' '.join(grammar.XCLIENT_ATTRIBUTES)}"] * o.xclient
        if self._may_auth():
            lines.append(f"AUTH {' '.join(self._mechanisms)}")
        limits = [("RCPTMAX", o.recipients_limit), ("MAILMAX", o.mail_limit)]
        announced = " ".join(f"{name}={limit}" for name, limit in limits if limit)
        return Reply(250, "", "\n".join([*lines, f"LIMITS {announced}"] if announced else lines))

    # --- state

    def offer(self, mechanisms: tuple[str, ...]) -> None:
        """From now on these are the mechanisms of AUTH; for a session that has any at all."""
        if self._options.auth_mechanisms:
            self._mechanisms = mechanisms

    def adopt(self) -> None:
        """The 220 to XCLIENT was sent: the session begins anew, TLS stays."""
        self._start_session()

    def _start_session(self) -> None:
        self._mode = _Mode.COMMAND
        self._closing = False
        self._greeted = False
        self._authenticated = False
        self._mails = 0  # MAIL commands, whatever became of them
        self._offered = _parameters_of(self._options, self._tls)
        self._reset()

    def _reset(self) -> None:
        self._mail: Mail | None = None
        self._recipients = 0  # accepted
        self._content: Content | None = None
        self._data_reader = DataReader()
        self._chunks: ChunkReader | None = None
        self._swallow_reply = replies.MAIL_FIRST

    def _close(self) -> None:
        self._closing = True
        self._mode = _Mode.CLOSED
        self._lines.clear()

    def _ask(self, event: Event, replies_wanted: int = 1) -> Event:
        self._asked = event
        self._awaited = replies_wanted
        return event

    def _settle(self, event: Event, reply: Reply) -> None:
        """What the reply to the event changes."""
        positive = 200 <= reply.code < 300
        match event:
            case Mail() if positive:
                self._mail = event
            case Rcpt() if positive:
                self._recipients += 1
            case Data() if reply.code == 354:
                self._mode = _Mode.DATA
                self._content = self._new_content()
            case MessageEnd() | MessageRefused() | Rset():
                self._reset()
            case ChunkTaken() if not positive:
                self._reset()
            case Helo() if positive:
                self._greeted = True
                self._reset()
            case _:
                self._settle_session(event, reply)

    def _settle_session(self, event: Event, reply: Reply) -> None:
        match event:
            case Auth() | AuthResponse():
                self._mode = _Mode.AUTH if reply.code == 334 else _Mode.COMMAND
                self._authenticated = reply.code == 235
            case StartTls() if reply.code == 220:
                self._mode = _Mode.CLOSED
            case Quit():
                self._close()
            case _:
                pass

    # --- reading

    def _read(self) -> list[Event] | None:
        """The next events, or None if more bytes are needed."""
        match self._mode:
            case _Mode.COMMAND:
                return self._read_command()
            case _Mode.DATA:
                return self._read_data()
            case _Mode.CHUNK:
                return self._read_chunk()
            case _Mode.SWALLOW:
                return self._read_swallowed()
            case _Mode.AUTH:
                return self._read_auth()
            case _Mode.CLOSED:
                self._lines.clear()
                return None

    def _read_command(self) -> list[Event] | None:
        line = self._lines.line(self._line_limit)
        if line is None:
            return None
        event = self._parse_fault(line) if isinstance(line, LineFault) else self._parse(line)
        return [] if event is None else [self._ask(event)]

    def _read_auth(self) -> list[Event] | None:
        line = self._lines.line(AUTH_LINE_LIMIT)
        if line is None:
            return None
        if isinstance(line, LineFault):
            self._mode = _Mode.COMMAND
            return [self._ask(self._parse_fault(line))]
        data = None if line == b"*" else sasl.decode(line)
        if data is None and line != b"*":
            self._mode = _Mode.COMMAND
            return [self._ask(Malformed(replies.BAD_BASE64))]
        return [self._ask(AuthResponse(data))]

    def _read_data(self) -> list[Event] | None:
        assert self._content is not None
        if not self._lines.data:
            return None
        piece, ended = self._data_reader.read(self._lines.data)
        events = self._content.take(piece)
        return self._end_content(events) if ended else events

    def _read_chunk(self) -> list[Event] | None:
        assert self._content is not None
        assert self._chunks is not None
        if self._chunks.remaining and not self._lines.data:
            return None
        piece, complete = self._chunks.read(self._lines.data)
        events = self._content.take(piece)
        if not complete:
            return events
        if self._chunks.last:
            return self._end_content(events)
        self._mode = _Mode.COMMAND
        refused = self._content.refused
        taken = replies.chunk_taken(self._chunks.size)
        return [*events, self._ask(MessageRefused(refused) if refused else ChunkTaken(taken))]

    def _end_content(self, events: list[Event]) -> list[Event]:
        assert self._content is not None
        self._mode = _Mode.COMMAND
        events += self._content.end()
        self._ask(events[-1], self._recipients if self._options.lmtp else 1)
        return events

    def _read_swallowed(self) -> list[Event] | None:
        assert self._chunks is not None
        if self._chunks.remaining and not self._lines.data:
            return None
        _, complete = self._chunks.read(self._lines.data)
        if not complete:
            return []
        self._mode = _Mode.COMMAND
        self._chunks = None
        return [self._ask(Malformed(self._swallow_reply))]

    def _new_content(self) -> Content:
        refuse = self._options.bare_newlines is BareNewlines.REFUSE
        return Content(self._options.size_limit, refuse)

    # --- commands

    def _parse_fault(self, fault: LineFault) -> Event:
        too_long = fault is LineFault.TOO_LONG
        return Malformed(replies.LINE_TOO_LONG if too_long else replies.BARE_NEWLINE)

    def _parse(self, line: bytes) -> Event | None:
        """The event of a command line; None for BDAT, whose octets come next."""
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            return Malformed(replies.NOT_UTF8)
        verb, _, argument = text.partition(" ")
        parse = _COMMANDS.get(verb.upper())
        if parse is not None:
            return parse(self, argument)
        other = verb.upper() in _OTHER_PROTOCOLS
        return Malformed(replies.NOT_SMTP if other else replies.UNKNOWN_COMMAND)

    def _helo(self, argument: str, verb: str) -> Event:
        if (verb == "LHLO") != self._options.lmtp:
            return Malformed(replies.UNKNOWN_COMMAND)
        return _event(grammar.parse_helo(argument, verb != "HELO"))

    def _parse_mail(self, argument: str) -> Event:
        o = self._options
        if not self._greeted:
            return Malformed(replies.EHLO_FIRST)
        if self._mail is not None:
            return Malformed(replies.NESTED_MAIL)
        self._mails += 1
        if o.mail_limit and self._mails > o.mail_limit:
            return Declined(replies.TOO_MANY_MESSAGES)
        event = grammar.parse_mail(argument, self._offered)
        if isinstance(event, Mail) and event.size is not None and event.size > o.size_limit:
            return Declined(replies.TOO_BIG)
        if isinstance(event, Mail) and event.release and self._too_far(event.release):
            return Malformed(replies.RELEASE_TOO_FAR)
        return _event(event)

    def _too_far(self, release: Release) -> bool:
        """RFC 4865 section 4.2; what needs the clock is for the session."""
        limit = self._options.future_release
        return limit is not None and release.after is not None and release.after > limit

    def _parse_rcpt(self, argument: str) -> Event:
        if self._mail is None:
            return Malformed(replies.MAIL_FIRST)
        if self._chunks is not None:
            return Malformed(replies.BDAT_BEGUN)
        if 0 < self._options.recipients_limit <= self._recipients:
            return Declined(replies.TOO_MANY_RECIPIENTS)
        return _event(grammar.parse_rcpt(argument, self._mail.smtputf8, self._options.dsn))

    def _parse_data(self, argument: str) -> Event:
        if argument:
            return Malformed(replies.NO_ARGUMENT_ALLOWED)
        if self._chunks is not None:
            return Malformed(replies.BDAT_BEGUN)
        refusal = self._no_content_yet()
        return Malformed(refusal) if refusal else Data()

    def _no_content_yet(self) -> Reply | None:
        if self._mail is None:
            return replies.MAIL_FIRST
        return None if self._recipients else replies.NO_RECIPIENTS

    def _parse_bdat(self, argument: str) -> Event | None:
        if not self._options.chunking:
            return Malformed(replies.NOT_OFFERED)
        size_and_last = grammar.parse_bdat(argument)
        if size_and_last is None:
            # What follows cannot be told from commands, so the session ends here.
            return Malformed(replies.BAD_BDAT)
        refusal = self._no_content_yet()
        self._mode = _Mode.SWALLOW if refusal else _Mode.CHUNK
        self._swallow_reply = refusal or self._swallow_reply
        self._content = self._content or self._new_content()
        self._chunks = self._chunks or ChunkReader()
        self._chunks.begin(*size_and_last)
        return None

    def _parse_starttls(self, argument: str) -> Event:
        if argument:
            return Malformed(replies.NO_ARGUMENT_ALLOWED)
        if not self._options.tls_available:
            return Malformed(replies.NOT_OFFERED)
        return Malformed(replies.TLS_ACTIVE) if self._tls else StartTls()

    def _parse_xclient(self, argument: str) -> Event:
        if not self._options.xclient:
            return Malformed(replies.UNKNOWN_COMMAND)
        if self._mail is not None:
            return Malformed(replies.IN_TRANSACTION)
        return _event(grammar.parse_xclient(argument))

    def _parse_etrn(self, argument: str) -> Event:
        if not self._options.etrn:
            return Malformed(replies.NOT_OFFERED)
        if self._mail is not None:
            return Malformed(replies.IN_TRANSACTION)
        return Etrn(argument) if argument.strip() else Malformed(replies.ARGUMENT_NEEDED)

    def _parse_auth(self, argument: str) -> Event:
        if refusal := self._no_auth_now():
            return Malformed(refusal)
        name, _, initial = argument.strip(" ").partition(" ")
        mechanism = name.upper()
        if mechanism not in self._mechanisms:
            return Malformed(replies.UNKNOWN_MECHANISM)
        if not initial:
            return Auth(mechanism, None)
        data = b"" if initial == "=" else sasl.decode(initial.encode("utf-8"))
        return Malformed(replies.BAD_BASE64) if data is None else Auth(mechanism, data)

    def _no_auth_now(self) -> Reply | None:
        if not self._options.auth_mechanisms:
            return replies.NOT_OFFERED
        if not self._may_auth():
            return replies.MUST_STARTTLS
        if not self._greeted:
            return replies.EHLO_FIRST
        if self._authenticated:
            return replies.LOGGED_IN_ALREADY
        return replies.IN_TRANSACTION if self._mail else None

    def _may_auth(self) -> bool:
        return bool(self._options.auth_mechanisms) and (
            self._tls or not self._options.auth_needs_tls
        )


def _parameters_of(options: ServerOptions, tls: bool) -> frozenset[str]:
    """The extensions whose parameters MAIL may have."""
    offered = {
        "SMTPUTF8": options.smtputf8,
        "DSN": options.dsn,
        "REQUIRETLS": options.require_tls and tls,
        "FUTURERELEASE": options.future_release is not None,
    }
    return frozenset(name for name, known in offered.items() if known)


def _event(parsed: Event | Reply) -> Event:
    return Malformed(parsed) if isinstance(parsed, Reply) else parsed


def _bare(event: Event) -> Callable[[SmtpServer, str], Event]:
    """A command that takes no argument (RFC 5321 section 4.1.1)."""
    return lambda _, argument: Malformed(replies.NO_ARGUMENT_ALLOWED) if argument else event


def _asking(kind: type[Vrfy] | type[Expn]) -> Callable[[SmtpServer, str], Event]:
    return lambda _, text: kind(text) if text.strip() else Malformed(replies.ARGUMENT_NEEDED)


_COMMANDS: dict[str, Callable[[SmtpServer, str], Event | None]] = {
    "HELO": lambda server, argument: server._helo(argument, "HELO"),
    "EHLO": lambda server, argument: server._helo(argument, "EHLO"),
    "LHLO": lambda server, argument: server._helo(argument, "LHLO"),
    "MAIL": SmtpServer._parse_mail,
    "RCPT": SmtpServer._parse_rcpt,
    "DATA": SmtpServer._parse_data,
    "BDAT": SmtpServer._parse_bdat,
    "STARTTLS": SmtpServer._parse_starttls,
    "AUTH": SmtpServer._parse_auth,
    "XCLIENT": SmtpServer._parse_xclient,
    "RSET": _bare(Rset()),
    "QUIT": _bare(Quit()),
    "NOOP": lambda _, __: Noop(),
    "HELP": lambda _, text: Help(text),
    "VRFY": _asking(Vrfy),
    "EXPN": _asking(Expn),
    "ETRN": SmtpServer._parse_etrn,
}
