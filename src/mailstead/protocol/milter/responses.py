"""What a filter says: packets of the milter protocol, version 2 to 6, as values.

A packet is its length in four octets, a letter, and data. Not here: what is sent to a filter, and
what may be said at which point (client).
Holds: memory stays below PACKET_LIMIT whatever a filter sends; any split of the same octets gives
the same responses; the first that makes no sense is Malformed, and nothing comes after it.
"""

import re
from collections.abc import Callable

import msgspec

from mailstead.model.reply import Reply

PACKET_LIMIT = 1024 * 1024  # octets of a packet; most filters send 64 KiB at most
NAME_LIMIT = 998  # octets of the name of a header field
ARGUMENTS_LIMIT = 100  # strings in one packet
REPLY_LINES_LIMIT = 32
REPLY_LINE_LIMIT = 500  # characters


# ---------------------------------------------------------------------- verdicts


class Continue(msgspec.Struct, frozen=True):
    """Nothing against it; go on."""


class Accept(msgspec.Struct, frozen=True):
    """The filter wants to see no more: of the connection at its start, else of the message."""


class Reject(msgspec.Struct, frozen=True):
    """Refuse it for good."""


class TempFail(msgspec.Struct, frozen=True):
    """Refuse it for now."""


class Discard(msgspec.Struct, frozen=True):
    """Take the message and throw it away."""


class Skip(msgspec.Struct, frozen=True):
    """No more of this kind, body chunks mostly; go on with what comes after."""


class Refuse(msgspec.Struct, frozen=True):
    """Refuse it with these words."""

    reply: Reply


class ShutDown(msgspec.Struct, frozen=True):
    """Answer 421 and close the connection."""


class ConnectionFailure(msgspec.Struct, frozen=True):
    """Close the connection to the client."""


# ---------------------------------------------------------------------- modifications


class AddHeader(msgspec.Struct, frozen=True):
    """One more field; `value` is all after the colon, its lines parted by LF."""

    name: str
    value: bytes


class InsertHeader(msgspec.Struct, frozen=True):
    """A field before the one at this place, 0 being the first of all."""

    index: int
    name: str
    value: bytes


class ChangeHeader(msgspec.Struct, frozen=True):
    """Another value for a field, counted from 1 among those of its name; b"" deletes it."""

    index: int
    name: str
    value: bytes


class AddRecipient(msgspec.Struct, frozen=True):
    """One more recipient, as in RCPT: "<bob@example.org>" mostly."""

    path: str
    parameters: str = ""


class DeleteRecipient(msgspec.Struct, frozen=True):
    """One recipient less."""

    path: str


class ChangeFrom(msgspec.Struct, frozen=True):
    """Another reverse-path, as in MAIL."""

    path: str
    parameters: str = ""


class ReplaceBody(msgspec.Struct, frozen=True):
    """The next piece of the body that takes the place of the old one."""

    piece: bytes


class Quarantine(msgspec.Struct, frozen=True):
    """Hold the message until somebody has looked at it."""

    reason: str


# ---------------------------------------------------------------------- the rest


class Negotiation(msgspec.Struct, frozen=True):
    """What the filter will do, and wants; `macros` are names by stage, if it has wishes."""

    version: int
    actions: int
    protocol: int
    macros: tuple[tuple[int, tuple[str, ...]], ...] = ()


class Progress(msgspec.Struct, frozen=True):
    """The filter is at work: wait on."""


class Malformed(msgspec.Struct, frozen=True):
    """What the filter said makes no sense; nothing after it can be trusted."""

    problem: str


HeaderChange = AddHeader | InsertHeader | ChangeHeader
Modification = HeaderChange | AddRecipient | DeleteRecipient | ChangeFrom | ReplaceBody | Quarantine
Response = (
    Continue
    | Accept
    | Reject
    | TempFail
    | Discard
    | Skip
    | Refuse
    | ShutDown
    | ConnectionFailure
    | Modification
    | Negotiation
    | Progress
    | Malformed
)


class ResponseReader:
    """Octets of a filter in, responses out."""

    __slots__ = ("_broken", "_buffer")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._broken = False

    def receive(self, data: bytes) -> list[Response]:
        """The responses that are now complete."""
        if self._broken:
            return []
        self._buffer += data
        found: list[Response] = []
        while not self._broken and (response := self._next()) is not None:
            found.append(response)
        return found

    def _next(self) -> Response | None:
        if len(self._buffer) < 4:
            return None
        size = int.from_bytes(self._buffer[:4], "big")
        if not 0 < size <= PACKET_LIMIT:
            return self._break(f"a packet of {size} octets")
        if len(self._buffer) < 4 + size:
            return None
        packet = bytes(self._buffer[4 : 4 + size])
        del self._buffer[: 4 + size]
        try:
            return parse(packet)
        except ValueError as error:
            return self._break(str(error))

    def _break(self, problem: str) -> Malformed:
        self._broken = True
        self._buffer.clear()
        return Malformed(problem)


def parse(packet: bytes) -> Response:
    """The response in one packet without its length; ValueError if it makes no sense."""
    letter, data = packet[:1], packet[1:]
    if plain := _PLAIN.get(letter):
        if data:
            raise ValueError(f"data after response {letter!r}")
        return plain
    read = _WITH_DATA.get(letter)
    if read is None:
        raise ValueError(f"unknown response {letter!r}")
    return read(data)


_PLAIN: dict[bytes, Response] = {
    b"c": Continue(),
    b"a": Accept(),
    b"r": Reject(),
    b"t": TempFail(),
    b"d": Discard(),
    b"s": Skip(),
    b"4": ShutDown(),
    b"f": ConnectionFailure(),
    b"p": Progress(),
}


def _strings(data: bytes, least: int, most: int) -> list[bytes]:
    """Strings that each end with a NUL."""
    found = data.removesuffix(b"\0").split(b"\0", most) if data else []
    if not data.endswith(b"\0") or not least <= len(found) <= most:
        raise ValueError(f"not {least} to {most} strings")
    return found


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


_FIELD_NAME = re.compile(rb"[!-9;-~]+\Z")


def _field(data: bytes) -> tuple[str, bytes]:
    name, value = _strings(data, 2, 2)
    if len(name) > NAME_LIMIT or not _FIELD_NAME.match(name):
        raise ValueError("what can be no name of a header field")
    return name.decode("ascii"), value


def _index(data: bytes) -> int:
    if len(data) < 4:
        raise ValueError("no index")
    index = int.from_bytes(data[:4], "big")
    if index >= 2**31:
        raise ValueError("a negative index")
    return index


def _with_parameters(data: bytes) -> tuple[str, str]:
    path, *parameters = _strings(data, 1, ARGUMENTS_LIMIT)
    return _path(path), " ".join(_text(each) for each in parameters if each)


_NOT_IN_PATH = re.compile(r"[\x00-\x1f\x7f]")


def _path(data: bytes) -> str:
    text = _text(data)
    if not text or _NOT_IN_PATH.search(text):
        raise ValueError("what can be no path")
    return text


_REPLY_LINE = re.compile(
    r"([45][0-9]{2})(?:([- ])(?:([45]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$))?([ -~\t\u00a0-\uffff]*))?\Z"
)


def _refuse(data: bytes) -> Refuse:
    """A reply as SMTP has it, of one line or several; percent signs come doubled."""
    (said,) = _strings(data, 1, 1)
    lines = _text(said).replace("%%", "%").replace("\r\n", "\n").rstrip("\n").split("\n")
    if len(lines) > REPLY_LINES_LIMIT:
        raise ValueError("a reply of too many lines")
    found = [_REPLY_LINE.match(line) for line in lines]
    matches = [match for match in found if match]
    if len(matches) < len(lines) or len({match[1] for match in matches}) > 1:
        raise ValueError("what can be no reply")
    code, enhanced = matches[0][1], matches[0][3] or ""
    if enhanced and enhanced[0] != code[0]:
        raise ValueError("a reply whose codes contradict each other")
    text = "\n".join((match[4] or "")[:REPLY_LINE_LIMIT] for match in matches)
    return Refuse(Reply(int(code), enhanced, text))


def _negotiation(data: bytes) -> Negotiation:
    if len(data) < 12:
        raise ValueError("a negotiation cut off")
    version, actions, protocol = (int.from_bytes(data[at : at + 4], "big") for at in (0, 4, 8))
    return Negotiation(version, actions, protocol, _macros(data[12:]))


def _macros(data: bytes) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """The macros that the filter wants at each stage: a number, and names parted by spaces."""
    found: list[tuple[int, tuple[str, ...]]] = []
    while data:
        if len(found) >= ARGUMENTS_LIMIT or len(data) < 5 or b"\0" not in data[4:]:
            raise ValueError("a broken list of macros")
        names, _, rest = data[4:].partition(b"\0")
        wanted = _text(names).replace(",", " ").split()
        found.append((int.from_bytes(data[:4], "big"), tuple(wanted[:ARGUMENTS_LIMIT])))
        data = rest
    return tuple(found)


def _quarantine(data: bytes) -> Quarantine:
    (reason,) = _strings(data, 1, 1)
    return Quarantine(_NOT_IN_PATH.sub(" ", _text(reason))[:REPLY_LINE_LIMIT])


_WITH_DATA: dict[bytes, Callable[[bytes], Response]] = {
    b"h": lambda data: AddHeader(*_field(data)),
    b"i": lambda data: InsertHeader(_index(data), *_field(data[4:])),
    b"m": lambda data: ChangeHeader(_index(data), *_field(data[4:])),
    b"+": lambda data: AddRecipient(_path(_strings(data, 1, 1)[0])),
    b"2": lambda data: AddRecipient(*_with_parameters(data)),
    b"-": lambda data: DeleteRecipient(_path(_strings(data, 1, 1)[0])),
    b"e": lambda data: ChangeFrom(*_with_parameters(data)),
    b"b": ReplaceBody,
    b"q": _quarantine,
    b"y": _refuse,
    b"O": _negotiation,
}
