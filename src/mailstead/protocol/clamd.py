"""The client's side of clamd: a message is streamed to it, and it says whether that is malware.

`Scan` turns pieces of a message into octets for clamd (INSTREAM, in its form that ends with NUL),
and what clamd says into one answer. Not here: the connection and how long to wait.
Holds: never more than LIMIT octets of an answer are kept; any split of it gives the same answer.
"""

import re
from collections.abc import Iterator

import msgspec

START = b"zINSTREAM\0"
END = b"\0\0\0\0"  # a chunk of length 0
CHUNK = 65536  # octets of a chunk
LIMIT = 4096  # octets of an answer; the names of malware are short

_FOUND = re.compile(r"stream: (.{1,255}) FOUND", re.S)
_UNPRINTABLE = re.compile(r"[^ -~]+")
_TOO_BIG = "INSTREAM size limit exceeded"


class Clean(msgspec.Struct, frozen=True):
    """Nothing was found."""


class Malware(msgspec.Struct, frozen=True):
    """The message is malware of this name."""

    name: str


class TooBig(msgspec.Struct, frozen=True):
    """The message is longer than clamd takes (StreamMaxLength); it was not looked at whole."""


class Failed(msgspec.Struct, frozen=True):
    """clamd could not say."""

    problem: str


Verdict = Clean | Malware | TooBig | Failed


class Scan:
    """One message and its verdict.

    clamd may answer before the end, if the message is too big: then `verdict` is there, and the
    rest need not be sent.
    """

    __slots__ = ("_said", "verdict")

    def __init__(self) -> None:
        self._said = bytearray()
        self.verdict: Verdict | None = None

    def receive(self, data: bytes) -> Verdict | None:
        """What came from clamd; b"" when it has closed. The verdict, once there is one."""
        if self.verdict is not None:
            return self.verdict
        room = LIMIT + 1 - len(self._said)
        self._said += data[:room]
        end = self._said.find(b"\0")
        if end >= 0 or not data:
            self.verdict = parse(bytes(self._said[: end if end >= 0 else None]))
        elif len(self._said) > LIMIT:
            self.verdict = Failed("clamd says more than can be its answer")
        return self.verdict


def chunks(piece: bytes) -> Iterator[bytes]:
    """A piece of the message as it goes out; START goes before the first, END after the last."""
    for at in range(0, len(piece), CHUNK):
        part = piece[at : at + CHUNK]
        yield len(part).to_bytes(4, "big")
        yield part


def parse(said: bytes) -> Verdict:
    """The verdict in one answer of clamd."""
    text = _UNPRINTABLE.sub(" ", said.decode("ascii", "replace")).strip()
    if text == "stream: OK":
        return Clean()
    if found := _FOUND.fullmatch(text):
        return Malware(found[1])
    if text.startswith(_TOO_BIG):
        return TooBig()
    return Failed(text.removesuffix("ERROR").strip() or "clamd closed without an answer")
