"""A message on its way to a POP3 client: dots stuffed, cut by TOP, put into ASCII where need be.

RFC 1939 section 3 and 7; RFC 6856 section 2.1. Bodies come in pieces of any size.
"""

import base64
import re

_WORD = re.compile(rb"[^ \t\r\n]*[^\x00-\x7f][^ \t\r\n]*")
ENCODED_WORD_OCTETS = 42  # of the text in one encoded-word, which has 75 characters at most


class Stuffing:
    """Doubles the dots at the beginnings of lines, over pieces; ends the message."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = b"\r\n"  # the last two octets

    def take(self, piece: bytes) -> bytes:
        """The piece as it is sent.

        A dot after a bare LF is doubled too: programs that take that for a line end must not see
        the end of the message where there is none.
        """
        if not piece:
            return piece
        stuffed = piece.replace(b"\n.", b"\n..")
        if self._last[-1:] == b"\n" and piece[:1] == b".":
            stuffed = b"." + stuffed
        self._last = (self._last + piece[-2:])[-2:]
        return stuffed

    def end(self) -> bytes:
        """The end of the message; a last line that has no CRLF gets one."""
        return b".\r\n" if self._last == b"\r\n" else b"\r\n.\r\n"


def stuff(message: bytes) -> bytes:
    """A whole message as it is sent, with its end."""
    stuffed = message.replace(b"\n.", b"\n..")
    dot = b"." if message[:1] == b"." else b""
    ended = not message or message.endswith(b"\r\n")
    return b"%b%b%b" % (dot, stuffed, b".\r\n" if ended else b"\r\n.\r\n")


class Lines:
    """The first lines of a body, over pieces."""

    __slots__ = ("left",)

    def __init__(self, count: int) -> None:
        self.left = count

    def take(self, piece: bytes) -> bytes:
        """What of the piece belongs to them; `left` is how many are wanted after it."""
        place = 0
        while self.left:
            found = piece.find(b"\n", place)
            if found < 0:
                return piece
            place, self.left = found + 1, self.left - 1
        return piece[:place]


def surrogate(header: bytes) -> bytes:
    """The header in ASCII, for a client that has not asked for UTF8 (RFC 6856 section 2.1).

    Words with other octets become encoded-words (RFC 2047), also where they were not allowed: the
    reader sees the text, and whoever wants the message as it is asks for UTF8.
    """
    if header.isascii():
        return header
    return _WORD.sub(lambda found: _encode(found[0]), header)


def _encode(word: bytes) -> bytes:
    try:
        text, charset = word.decode("utf-8"), b"UTF-8"
    except UnicodeDecodeError:
        text, charset = word.decode("latin-1"), b"unknown-8bit"
    pieces, piece = [], b""
    for character in text:
        octets = character.encode("latin-1" if charset == b"unknown-8bit" else "utf-8")
        if len(piece) + len(octets) > ENCODED_WORD_OCTETS:
            pieces.append(piece)
            piece = b""
        piece += octets
    pieces.append(piece)
    words = (b"=?%b?B?%b?=" % (charset, base64.b64encode(one)) for one in pieces)
    return b" ".join(words)
