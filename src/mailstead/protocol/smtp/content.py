"""The content of a message on its way in: where it ends, its dots, its line ends, its limits.

Only CRLF "." CRLF ends DATA, and only a dot after CRLF is taken away (RFC 5321 section 4.5.2): a
bare LF or CR beside a dot is content, so nothing can be smuggled past us. What is let through
has CRLF only, whatever came, so nothing can be smuggled through us either.
Holds: what was found wrong is decided by the bytes alone, not by how they were split.
"""

import re

from mailstead.model.reply import Reply
from mailstead.protocol.lines import has_only_crlf, normalise_newlines
from mailstead.protocol.smtp import replies
from mailstead.protocol.smtp.events import Chunk, Event, HeaderEnd, MessageEnd, MessageRefused

BLOCK = 64 * 1024  # octets of DATA that are looked at together
HEADER_LIMIT = 256 * 1024  # octets of the header, with its empty line

_END_OF_DATA = b"\r\n.\r\n"
_DOT = re.compile(rb"\r\n\.")
_BARE_NEWLINE = re.compile(rb"(?<!\r)\n|\r(?!\n)")


class DataReader:
    """Takes the content of DATA off a buffer: finds its end, takes its dots away."""

    __slots__ = ("_held", "_started")

    def __init__(self) -> None:
        # The CRLF of the DATA command itself: a dot right after it stands at a line's start.
        self._held = b"\r\n"
        self._started = False

    def read(self, buffer: bytearray) -> tuple[bytes, bool]:
        """Some content, and whether it is all; never ends between CR and LF."""
        # No more at once: each of many small messages in one buffer must not copy all the others.
        block = buffer if len(buffer) <= BLOCK else buffer[:BLOCK]
        window = b"".join((self._held, block))
        end = window.find(_END_OF_DATA)
        if end >= 0:
            del buffer[: end + 5 - len(self._held)]
            return self._content(window[: end + 2]), True
        del buffer[: len(block)]
        border = len(window) - _undecided(window)
        self._held = window[border:]
        return self._content(window[:border]), False

    def _content(self, raw: bytes) -> bytes:
        # The search costs half of a replace that finds nothing, which is nearly always the case.
        content = raw.replace(b"\r\n.", b"\r\n") if _DOT.search(raw) else raw
        if self._started or not content:
            return content
        self._started = True
        return content[2:]


def _undecided(window: bytes) -> int:
    """How many octets at the end may belong to the end of data."""
    if window[-1:] not in b"\r\n.":
        return 0
    return next((n for n in (4, 3, 2, 1) if window.endswith(_END_OF_DATA[:n])), 0)


class ChunkReader:
    """Takes the content of BDAT chunks off a buffer by count (RFC 3030 section 2)."""

    __slots__ = ("_held", "last", "remaining", "size")

    def __init__(self) -> None:
        self._held = b""
        self.size, self.remaining, self.last = 0, 0, False

    def begin(self, size: int, last: bool) -> None:
        """The next chunk has so many octets."""
        self.size, self.remaining, self.last = size, size, last

    def read(self, buffer: bytearray) -> tuple[bytes, bool]:
        """Some content, and whether the chunk is complete; never ends between CR and LF."""
        taken = buffer[: self.remaining]
        del buffer[: self.remaining]
        self.remaining -= len(taken)
        content = b"".join((self._held, taken))
        self._held = b""
        if content.endswith(b"\r") and not (self.last and not self.remaining):
            content, self._held = content[:-1], b"\r"
        return content, not self.remaining


class Content:
    """One message as it comes in: pieces in, HeaderEnd and Chunk out, one verdict at the end."""

    __slots__ = ("_header", "_header_done", "_refuse_bare", "_refused", "_room")

    def __init__(self, size_limit: int, refuse_bare: bool) -> None:
        self._room = size_limit
        self._refuse_bare = refuse_bare
        self._refused: Reply | None = None
        self._header = bytearray()
        self._header_done = False

    def take(self, piece: bytes) -> list[Event]:
        """What the piece brings; nothing once the message is refused."""
        if self._refused or not piece:
            return []
        piece = self._cut(self._normalise(piece))
        if self._header_done:
            return [Chunk(piece)] if piece else []
        return self._take_header(piece)

    def end(self) -> list[Event]:
        """What is left, then MessageEnd or MessageRefused."""
        if self._refused:
            return [MessageRefused(self._refused)]
        if self._header_done:
            return [MessageEnd()]
        return [HeaderEnd(bytes(self._header)), MessageEnd()]

    @property
    def refused(self) -> Reply | None:
        """Why the message cannot be taken, as soon as that is known."""
        return self._refused

    def _normalise(self, piece: bytes) -> bytes:
        if has_only_crlf(piece):
            return piece
        if self._refuse_bare and (found := _BARE_NEWLINE.search(piece)):
            self._refused = replies.BARE_NEWLINE_IN_CONTENT
            return piece[: found.start()]
        return normalise_newlines(piece)

    def _cut(self, piece: bytes) -> bytes:
        if len(piece) > self._room:
            piece = piece[: self._room]
            self._refused = replies.TOO_BIG
        self._room -= len(piece)
        return piece

    def _take_header(self, piece: bytes) -> list[Event]:
        searched = max(0, len(self._header) - 3)
        self._header += piece
        # A message may begin with the empty line: then it has no header fields.
        end = 2 if self._header.startswith(b"\r\n") else self._find_end(searched)
        if end > HEADER_LIMIT or (not end and len(self._header) > HEADER_LIMIT):
            self._refused = replies.HEADER_TOO_BIG
            self._header.clear()
        elif end:
            return self._end_header(end)
        return []

    def _find_end(self, start: int) -> int:
        found = self._header.find(b"\r\n\r\n", start)
        return found + 4 if found >= 0 else 0

    def _end_header(self, end: int) -> list[Event]:
        events: list[Event] = [HeaderEnd(bytes(self._header[:end]))]
        if len(self._header) > end:
            events.append(Chunk(bytes(self._header[end:])))
        self._header_done = True
        self._header.clear()
        return events
