"""A message on its way to a POP3 client: dots stuffed, cut by TOP.

RFC 1939 section 3 and 7. Bodies come in pieces of any size.
"""


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
