"""The header of a message as it lies on disk: fields, folding, encoded words (RFC 5322, RFC 2047).

A header is octets with CRLF line ends, up to and including the empty line. It may be malformed:
lines that are no field stay where they are and belong to nobody.
Not here: what a field means (addresses, dates, mime).
Holds: linear in the size of the header, and never raises.
"""

import binascii
import functools
import re
from collections.abc import Callable, Collection

import msgspec

from mailstead.message.charset import decode_text

LINE_LENGTH = 78  # characters that a line should have at most (RFC 5322 section 2.1.1)
LINE_LIMIT = 998  # octets that a line must have at most (same section)
ENCODED_WORD_LIMIT = 75  # characters (RFC 2047 section 2)

# Name, value with its folds but without the last line end. A space before the colon is obsolete
# syntax (RFC 5322 section 4.5.8).
_FIELD = re.compile(rb"^([!-9;-~]+)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)(?:\n|\Z)", re.M)
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_UNSAFE = re.compile(rb"[\r\n\0]+|\t")
_ENCODED_WORD = re.compile(rb"=\?([^?\s]{1,80})\?([bBqQ])\?([^?\n]*)\?=")


class Field(msgspec.Struct, frozen=True):
    """One header field; `raw` is all of it, line ends included."""

    name: str
    raw: bytes

    @property
    def value(self) -> bytes:
        """What follows the colon, unfolded and stripped."""
        return unfold(self.raw[self.raw.find(b":") + 1 :])


def split(message: bytes) -> tuple[bytes, bytes]:
    """The header, with its empty line, and the body (RFC 5322 section 2.1).

    A message without an empty line is all header.
    """
    if message.startswith(b"\r\n"):
        return message[:2], message[2:]
    end = message.find(b"\r\n\r\n")
    if end < 0:
        return message, b""
    return message[: end + 4], message[end + 4 :]


def fields(header: bytes) -> list[Field]:
    """All fields in order; lines that are no field are passed over."""
    return [Field(match[1].decode("ascii"), match[0]) for match in _FIELD.finditer(header)]


def get_all(header: bytes, name: str) -> list[bytes]:
    """The values of all fields of that name, unfolded and stripped, from top to bottom."""
    return [unfold(value) for value in _named(name.lower()).findall(b"\n" + header)]


def get(header: bytes, name: str) -> bytes | None:
    """The value of the first field of that name."""
    match = _named(name.lower()).search(b"\n" + header)
    return unfold(match[1]) if match else None


def has_any(header: bytes, names: tuple[str, ...]) -> bool:
    """Whether there is a field of one of these names."""
    return _any_of(names).search(b"\n" + header) is not None


def unfold(value: bytes) -> bytes:
    """The value on one line (RFC 5322 section 2.2.3)."""
    if b"\n" in value:
        value = value.replace(b"\r\n", b"").replace(b"\n", b"")
    return value.strip()


@functools.lru_cache(maxsize=256)
def _any_of(names: tuple[str, ...]) -> "re.Pattern[bytes]":
    literals = b"|".join(re.escape(name.encode("utf-8", "replace")) for name in names)
    return re.compile(rb"\n(?:%b)[ \t]*:" % literals, re.I)


@functools.lru_cache(maxsize=256)
def _named(name: str) -> "re.Pattern[bytes]":
    # A pattern that begins with "\n", not with "^", is searched for ten times faster.
    literal = re.escape(name.encode("utf-8", "replace"))
    return re.compile(rb"\n" + literal + rb"[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)", re.I)


def remove(header: bytes, names: Collection[str]) -> bytes:
    """The header without all fields of these names."""
    unwanted = {name.lower().encode("utf-8", "replace") for name in names}
    return _FIELD.sub(lambda field: b"" if field[1].lower() in unwanted else field[0], header)


def remove_where(header: bytes, is_unwanted: Callable[[Field], bool]) -> bytes:
    """The header without the fields of which this is true."""

    def keep(match: "re.Match[bytes]") -> bytes:
        field = Field(match[1].decode("ascii"), match[0])
        return b"" if is_unwanted(field) else field.raw

    return _FIELD.sub(keep, header)


def append_field(header: bytes, name: str, value: str | bytes) -> bytes:
    """The header with one more field, as its last."""
    field = fold(name, value)
    if header == b"\r\n":
        return field + header
    if header.endswith(b"\r\n\r\n"):
        return header[:-2] + field + b"\r\n"
    if header and not header.endswith(b"\n"):
        header += b"\r\n"
    return header + field


def ensure_crlf(data: bytes) -> bytes:
    """The data with each bare CR and bare LF made a CRLF (RFC 5321 section 2.3.8)."""
    count = data.count(b"\n")
    if count == data.count(b"\r") == data.count(b"\r\n"):
        return data
    return _BARE.sub(b"\r\n", data)


def fold(name: str, value: str | bytes) -> bytes:
    """The whole field with its line ends, folded at white space (RFC 5322 section 2.2.3).

    Line ends and tabs within the value become spaces: nobody can smuggle a field in. Text that
    is not ASCII goes as UTF-8 (RFC 6532); `encode_text` makes encoded words of it first.
    """
    data = value.encode("utf-8", "replace") if isinstance(value, str) else value
    data = _UNSAFE.sub(b" ", data).strip()
    line = f"{name}:".encode("utf-8", "replace")
    if len(line) + len(data) + 1 <= LINE_LENGTH:
        return b"%s %s\r\n" % (line, data)
    lines = []
    for word in _words(data):
        if len(line) + len(word) + 1 > LINE_LENGTH and line.strip() and not line.endswith(b":"):
            lines.append(line)
            line = b""
        line += b" " + word
    return b"\r\n".join([*lines, line]) + b"\r\n"


def _words(data: bytes) -> list[bytes]:
    """The value cut at single spaces; what no line can hold is cut where it must be."""
    room = LINE_LIMIT - LINE_LENGTH
    words: list[bytes] = []
    for word in data.split(b" "):
        if word:
            words += [word[at : at + room] for at in range(0, len(word), room)]
        elif words and len(words[-1]) < room:
            words[-1] += b" "  # a run of spaces stays, and no line is only spaces
    return words


def decode(value: bytes) -> str:
    """The value as people read it: encoded words (RFC 2047), raw UTF-8 (RFC 6532), else Latin."""
    if b"=?" not in value:
        if value.isascii() and b"\0" not in value:
            return value.decode("ascii")
        return decode_text(value, "utf-8")
    text: list[str] = []
    waiting: list[bytes] = []
    at, charset = 0, ""
    for word in _ENCODED_WORD.finditer(value):
        between = value[at : word.start()]
        at = word.end()
        name = word[1].partition(b"*")[0].decode("latin-1").lower()  # RFC 2231 section 5
        # White space between two encoded words is none; a character may be cut between them,
        # which RFC 2047 section 5 forbids and senders do.
        adjacent = bool(charset) and not between.strip()
        if not (adjacent and name == charset):
            text.append(decode_text(b"".join(waiting), charset))
            waiting = []
        if not adjacent:
            text.append(decode_text(between, "utf-8"))
        waiting.append(_payload(word[2], word[3]))
        charset = name
    text += [decode_text(b"".join(waiting), charset), decode_text(value[at:], "utf-8")]
    return "".join(text)


def _payload(encoding: bytes, data: bytes) -> bytes:
    if encoding in b"qQ":
        return binascii.a2b_qp(data, header=True)
    return decode_base64(data)


def decode_base64(data: bytes) -> bytes:
    """The octets, as many as can be told of broken base64 (RFC 2045 section 6.8)."""
    try:
        return binascii.a2b_base64(data)
    except binascii.Error:
        clean = _NOT_BASE64.sub(b"", data)
        clean = clean[: len(clean) - (len(clean) % 4 == 1)]
        return binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))


_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")


def encode_text(text: str) -> bytes:
    """The text for an unstructured field or a phrase: as it is, or as encoded words (RFC 2047)."""
    if text.isascii() and "=?" not in text:
        return _UNSAFE.sub(b" ", text.encode("ascii"))
    data = text.encode("utf-8", "replace")
    plain = sum(map(_PLAIN.__contains__, data))
    room = ENCODED_WORD_LIMIT - len("=?utf-8?q??=")
    if plain * 2 > len(data):  # the quoted form is the shorter one
        pieces = _pieces(text, room // 3)
        words = [b"".join(map(_QUOTED.__getitem__, piece)) for piece in pieces]
        return b" ".join([b"=?utf-8?q?%s?=" % word for word in words])
    pieces = _pieces(text, room // 4 * 3)
    words = [binascii.b2a_base64(piece, newline=False) for piece in pieces]
    return b" ".join([b"=?utf-8?b?%s?=" % word for word in words])


# What needs no encoding even in a phrase (RFC 2047 section 5 (3)).
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/ ")
_QUOTED = [
    b"_" if octet == 0x20 else bytes([octet]) if octet in _PLAIN else b"=%02X" % octet
    for octet in range(256)
]


def _pieces(text: str, room: int) -> list[bytes]:
    """The text as UTF-8 in pieces that cut no character (RFC 2047 section 5)."""
    pieces, piece = [], b""
    for character in text:
        octets = character.encode("utf-8", "replace")
        if len(piece) + len(octets) > room:
            pieces.append(piece)
            piece = b""
        piece += octets
    return [*pieces, piece]


# Outside of a comment a quoted string hides parentheses, inside it a quote is just a character.
_OPENING = re.compile(rb'"(?:[^"\\]|\\.)*+"|\\.|\(', re.S)
_INSIDE = re.compile(rb"\\.|[()]", re.S)


def strip_comments(value: bytes) -> bytes:
    """The value of a structured field with a space for each comment (RFC 5322 section 3.2.2)."""
    if b"(" not in value:
        return value
    kept: list[bytes] = []
    at = 0
    while mark := _OPENING.search(value, at):
        start, end = mark.span()
        if mark[0] == b"(":
            kept.append(value[at:start])
            at = comment_end(value, start)
            kept.append(b" ")
        else:
            kept.append(value[at:end])
            at = end
    return b"".join(kept) + value[at:]


def comment_end(value: bytes, start: int) -> int:
    """Where the comment that opens at `start` is over; an unclosed one takes all the rest."""
    depth = 0
    for mark in _INSIDE.finditer(value, start):
        if mark[0] == b"(":
            depth += 1
        elif mark[0] == b")":
            depth -= 1
            if depth == 0:
                return mark.end()
    return len(value)
