"""The MTA's side of the milter protocol: dialogues with one filter over one connection.

A dialogue yields Send and Keep. Send: put the octets out, and if `answered`, send the next Response
into the dialogue (Lost, if the filter is gone), else None. Keep: a piece of the new body, for None.
`negotiate` makes the Filter; its methods follow the stages of SMTP, send nothing that the filter
does not want, and each comes to one verdict. What the filter may change is said when all is over.
Not here: which filters there are, what to do when one fails, timeouts.
Holds: whatever a filter says, a dialogue ends; after Failed nothing more is sent.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from mailstead.model.world import Endpoint
from mailstead.protocol.milter import responses as said
from mailstead.protocol.milter.options import (
    ALL_ACTIONS,
    ALL_STEPS,
    NO_MACROS,
    OLDEST_VERSION,
    VERSION,
    Actions,
    Macros,
    Options,
    Stage,
    Steps,
)

MODIFICATIONS_LIMIT = 1000  # of one message
PROGRESS_LIMIT = 1000  # signs of life in place of one answer
NEW_HEADER_LIMIT = 256 * 1024  # octets of all fields that a filter adds to a message
NEW_BODY_LIMIT = 100 * 1024 * 1024  # octets of a new body
MACRO_LIMIT = 1000  # octets of one macro's value

T = TypeVar("T")


class Send(msgspec.Struct, frozen=True):
    """Put this out, if it is anything; `answered`: then the filter's next response is due."""

    data: bytes
    answered: bool = True


class Keep(msgspec.Struct, frozen=True):
    """A piece of the new body; those of a message come in order."""

    piece: bytes


class Lost(msgspec.Struct, frozen=True):
    """In place of a response: the filter closed, or took too long."""

    problem: str


class Failed(msgspec.Struct, frozen=True):
    """The filter is of no use any more on this connection."""

    problem: str


Request = Send | Keep
Heard = said.Response | Lost | None
Dialogue = Generator[Request, Heard, T]
Verdict = (
    said.Continue
    | said.Accept
    | said.Reject
    | said.TempFail
    | said.Discard
    | said.Refuse
    | said.ShutDown
    | said.ConnectionFailure
    | Failed
)
Change = (
    said.HeaderChange | said.AddRecipient | said.DeleteRecipient | said.ChangeFrom | said.Quarantine
)


class Judged(msgspec.Struct, frozen=True):
    """What came of a message. Nothing is to be changed unless it goes on or is accepted."""

    verdict: Verdict
    changes: tuple[Change, ...] = ()
    new_body: bool = False  # what was kept is the body now, even if it was nothing


def negotiate(
    actions: Actions = ALL_ACTIONS, steps: Steps = ALL_STEPS
) -> "Dialogue[Filter | Failed]":
    """The filter, ready for a connection; Failed if it wants more than we offer."""
    numbers = (VERSION, actions, steps)
    heard = yield Send(packet(b"O", b"".join(number.to_bytes(4, "big") for number in numbers)))
    if not isinstance(heard, said.Negotiation):
        return _failure(heard)
    if not OLDEST_VERSION <= heard.version <= VERSION:
        return Failed(f"the filter speaks version {heard.version}")
    # As numbers: the complement of a flag knows only the bits that have a name.
    if more := heard.actions & ~int(actions):
        return Failed(f"the filter wants actions {more:#x} too")
    if more := heard.protocol & ~int(steps):
        return Failed(f"the filter wants steps {more:#x} too")
    return Filter(
        Options(heard.version, Actions(heard.actions), Steps(heard.protocol), dict(heard.macros))
    )


class Filter:
    """One filter, while one client is connected to us."""

    __slots__ = ("_connection_over", "_message_over", "_open", "_skipped", "options")

    def __init__(self, options: Options) -> None:
        self.options = options
        self._connection_over: Verdict | None = None  # why nothing is sent any more
        self._message_over: Verdict | None = None  # the same until the next MAIL
        self._open = False  # the filter knows of a message that has not ended
        self._skipped: set[Stage] = set()

    @property
    def failed(self) -> bool:
        """The connection to the filter is of no use any more."""
        return isinstance(self._connection_over, Failed)

    def connect(
        self, hostname: str, client: Endpoint | None, macros: Macros = NO_MACROS
    ) -> Dialogue[Verdict]:
        """The client's name, "[192.0.2.1]" where it has none, and its address."""
        data = _string(hostname)
        if client is None:
            data += b"U"
        else:
            family = b"6" if ":" in client.address else b"4"
            port = client.port.to_bytes(2, "big")
            data += family + port + _string(client.address.partition("%")[0])
        verdict = yield from self._step(Stage.CONNECT, data, macros)
        return self._end_connection(verdict)

    def helo(self, name: str, macros: Macros = NO_MACROS) -> Dialogue[Verdict]:
        """What the client calls itself; the verdict is on the connection."""
        return self._end_connection((yield from self._step(Stage.HELO, _string(name), macros)))

    def mail(
        self, path: str, parameters: Sequence[str] = (), macros: Macros = NO_MACROS
    ) -> Dialogue[Verdict]:
        """A message begins; the path as in MAIL, "<>" or "<alice@example.org>"."""
        self._message_over, self._skipped = None, set()
        if self._connection_over is None:
            self._open = True
        verdict = yield from self._step(Stage.MAIL, _strings(path, *parameters), macros)
        return self._end_message(verdict)

    def rcpt(
        self, path: str, parameters: Sequence[str] = (), macros: Macros = NO_MACROS
    ) -> Dialogue[Verdict]:
        """One recipient: a refusal is of this one, all else is of the message."""
        verdict = yield from self._step(Stage.RCPT, _strings(path, *parameters), macros)
        if isinstance(verdict, said.Reject | said.TempFail | said.Refuse):
            return verdict
        return self._end_message(verdict)

    def refused_rcpt(self, path: str, reply: str, macros: Macros = NO_MACROS) -> Dialogue[Verdict]:
        """A recipient that we have refused; only for filters that want those too."""
        if Steps.REFUSED_RCPT not in self.options.steps:
            return said.Continue()
        why = {"{rcpt_mailer}": "error", "{rcpt_host}": reply[:3], "{rcpt_addr}": reply}
        told = Macros({**macros.values, **why})
        verdict = yield from self._step(Stage.RCPT, _string(path), told)
        return verdict if isinstance(verdict, Failed) else said.Continue()

    def data(self, macros: Macros = NO_MACROS) -> Dialogue[Verdict]:
        """The client has said DATA."""
        return self._end_message((yield from self._step(Stage.DATA, b"", macros)))

    def header(self, fields: Iterable[tuple[str, bytes]]) -> Dialogue[Verdict]:
        """Names and all that is after their colons, folds included, from top to bottom."""
        verdict: Verdict = said.Continue()
        for name, value in fields:
            data = _string(name) + self._value(name, value)
            verdict = yield from self._step(Stage.HEADER, data, NO_MACROS)
            if self._end_message(verdict) != said.Continue():
                break
        return verdict

    def end_of_header(self, macros: Macros = NO_MACROS) -> Dialogue[Verdict]:
        """The empty line."""
        return self._end_message((yield from self._step(Stage.END_OF_HEADER, b"", macros)))

    def body(self, piece: bytes) -> Dialogue[Verdict]:
        """The next piece of the body, with CRLF."""
        verdict: Verdict = said.Continue()
        for at in range(0, len(piece), self.options.chunk):
            chunk = piece[at : at + self.options.chunk]
            verdict = yield from self._step(Stage.BODY, chunk, NO_MACROS)
            if self._end_message(verdict) != said.Continue() or Stage.BODY in self._skipped:
                break
        return verdict

    def end_of_message(self, macros: Macros = NO_MACROS) -> Dialogue[Judged]:
        """The verdict on the whole, and what the filter changes."""
        if over := self._connection_over or self._message_over:
            self._open = False
            return Judged(over)
        yield from self._tell(Stage.END_OF_MESSAGE, macros)
        judged = yield from _Ending(self.options).listen(packet(b"E", b""))
        self._open = False
        self._end_message(judged.verdict)
        if isinstance(judged.verdict, Failed):
            self._connection_over = judged.verdict
        return judged

    def unknown(self, line: str) -> Dialogue[Verdict]:
        """A command that SMTP does not know."""
        return (yield from self._step(Stage.UNKNOWN, _string(line), NO_MACROS))

    def abort(self) -> Dialogue[None]:
        """The message will not be finished (RSET, or somebody refused it): forget it."""
        if self._open and not isinstance(self._connection_over, Failed):
            yield Send(packet(b"A", b""), answered=False)
        self._open, self._message_over = False, None

    def quit(self) -> Dialogue[None]:
        """The client has gone; afterwards the connection to the filter is closed."""
        if not self.failed:
            yield Send(packet(b"Q", b""), answered=False)

    def quit_for_next(self) -> Dialogue[bool]:
        """The client has gone and another comes; whether the connection to the filter stays.

        Not for every filter: OpenDKIM 2.11 then forgets what was agreed on, and its signatures
        break at the space after the colon.
        """
        if self.failed or self.options.version < VERSION:
            yield from self.quit()
            return False
        yield Send(packet(b"K", b""), answered=False)
        self._connection_over = self._message_over = None
        self._open = False
        return True

    # ------------------------------------------------------------------ parts

    def _step(self, stage: Stage, data: bytes, macros: Macros) -> Dialogue[Verdict]:
        if over := self._connection_over or self._message_over:
            return over
        if stage in self._skipped or not self.options.sends(stage):
            return said.Continue()
        yield from self._tell(stage, macros)
        silent = bool(stage.silent & self.options.steps)
        heard = yield Send(packet(stage.letter, data), answered=not silent)
        if silent:
            return said.Continue()
        heard = yield from _patiently(heard)
        match heard:
            case said.Skip():
                self._skipped.add(stage)
                return said.Continue()
            case _ if isinstance(heard, _VERDICTS):
                return heard
        self._connection_over = _failure(heard)
        return self._connection_over

    def _tell(self, stage: Stage, macros: Macros) -> Dialogue[None]:
        """The macros of a stage; those the filter wants, if it said which."""
        values: Mapping[str, str] = macros.values
        wanted = self.options.macros.get(stage.number)
        if wanted is not None:
            values = {name: values[name] for name in wanted if name in values}
        if values:
            data = b"".join(_macro(each) for pair in values.items() for each in pair)
            yield Send(packet(b"D", stage.letter + data), answered=False)

    def _value(self, name: str, value: bytes) -> bytes:
        """A field's value as the filter wants it: lines parted by LF, as much as has room."""
        value = value.replace(b"\r\n", b"\n").replace(b"\0", b" ").rstrip(b"\n")
        if Steps.LEADING_SPACE not in self.options.steps:
            value = value.lstrip(b" \t")
        return value[: max(self.options.chunk - len(name) - 2, 0)] + b"\0"

    def _end_connection(self, verdict: Verdict) -> Verdict:
        if verdict != said.Continue():
            self._connection_over = verdict
        return verdict

    def _end_message(self, verdict: Verdict) -> Verdict:
        if verdict != said.Continue():
            self._message_over = verdict
        return verdict


_VERDICTS = (
    said.Continue,
    said.Accept,
    said.Reject,
    said.TempFail,
    said.Discard,
    said.Refuse,
    said.ShutDown,
    said.ConnectionFailure,
)


def _patiently(heard: Heard) -> Dialogue[Heard]:
    """The response that comes after all signs of life; a filter has so many of them."""
    for _ in range(PROGRESS_LIMIT):
        if not isinstance(heard, said.Progress):
            return heard
        heard = yield Send(b"")
    return Lost("the filter is always about to answer")


def _failure(heard: Heard) -> Failed:
    match heard:
        case said.Malformed(problem) | Lost(problem):
            return Failed(problem)
    return Failed(f"{type(heard).__name__} is no answer here")


# ---------------------------------------------------------------------- the end of a message

_NEEDED: dict[type, Actions] = {
    said.AddHeader: Actions.ADD_HEADERS,
    said.InsertHeader: Actions.ADD_HEADERS | Actions.CHANGE_HEADERS,
    said.ChangeHeader: Actions.CHANGE_HEADERS,
    said.AddRecipient: Actions.ADD_RECIPIENTS | Actions.ADD_RECIPIENTS_WITH_PARAMETERS,
    said.DeleteRecipient: Actions.DELETE_RECIPIENTS,
    said.ChangeFrom: Actions.CHANGE_FROM,
    said.ReplaceBody: Actions.CHANGE_BODY,
    said.Quarantine: Actions.QUARANTINE,
}


class _Ending:
    """What a filter says between the end of a message and its verdict."""

    __slots__ = ("_changes", "_count", "_header", "_new_body", "_options", "_size")

    def __init__(self, options: Options) -> None:
        self._options = options
        self._changes: list[Change] = []
        self._count = self._header = self._size = 0
        self._new_body = False

    def listen(self, end: bytes) -> Dialogue[Judged]:
        """The verdict that comes last, and all changes before it."""
        heard = yield Send(end)
        while True:
            heard = yield from _patiently(heard)
            if isinstance(heard, _VERDICTS):
                return self._judged(heard)
            if problem := self._problem(heard):
                return Judged(Failed(problem))
            yield from self._take(heard)
            heard = yield Send(b"")

    def _judged(self, verdict: Verdict) -> Judged:
        if isinstance(verdict, said.Continue | said.Accept):
            return Judged(verdict, tuple(self._changes), self._new_body)
        return Judged(verdict)

    def _take(self, heard: Heard) -> Dialogue[None]:
        match heard:
            case said.ReplaceBody(piece):
                self._new_body = True
                if piece:
                    yield Keep(piece)
            case said.AddHeader() | said.InsertHeader() | said.ChangeHeader():
                self._changes.append(self._with_space(heard))
            case (
                said.AddRecipient() | said.DeleteRecipient() | said.ChangeFrom() | said.Quarantine()
            ):
                self._changes.append(heard)

    def _with_space(self, change: said.HeaderChange) -> said.HeaderChange:
        """The change with the space after the colon, which the filter leaves to us or not."""
        if Steps.LEADING_SPACE in self._options.steps or not change.value:
            return change
        return msgspec.structs.replace(change, value=b" " + change.value)

    def _problem(self, heard: Heard) -> str:
        """Why this must not be done, or nothing."""
        needed = _NEEDED.get(type(heard))
        if needed is None:
            return _failure(heard).problem
        if not needed & self._options.actions:
            return f"the filter said nothing of {type(heard).__name__} before"
        self._count += not isinstance(heard, said.ReplaceBody)
        match heard:
            case said.ReplaceBody(piece):
                self._size += len(piece)
            case said.AddHeader() | said.InsertHeader() | said.ChangeHeader():
                self._header += len(heard.name) + len(heard.value) + 4
        if (
            self._count > MODIFICATIONS_LIMIT
            or self._header > NEW_HEADER_LIMIT
            or self._size > NEW_BODY_LIMIT
        ):
            return "the filter changes too much"
        return ""


# ---------------------------------------------------------------------- octets


def packet(letter: bytes, data: bytes) -> bytes:
    """A command as it goes over the wire."""
    return (1 + len(data)).to_bytes(4, "big") + letter + data


def _string(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape").replace(b"\0", b"") + b"\0"


def _macro(text: str) -> bytes:
    return _string(text)[:-1][:MACRO_LIMIT] + b"\0"


def _strings(*texts: str) -> bytes:
    return b"".join(map(_string, texts))
