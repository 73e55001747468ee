"""The MIME index of a message: its parts, where they lie, what they are (RFC 2045, RFC 2046).

`scan` reads header and body once and gives a tree of offsets; nothing is decoded or copied.
Offsets count octets from the start of the message's body; the header of the message itself is
outside (`header_start` -1). Not here: what IMAP shows of it (structure), text for search (text).
Holds: never raises; time is linear in the size, times DEPTH_LIMIT at worst; children lie within
the body of their parent, in order.
"""

import binascii
import mmap
import re
from typing import NamedTuple

import msgspec

from mailstead.message.envelope import envelope
from mailstead.message.header import decode_base64, strip_comments
from mailstead.message.parameters import Parameters, parse_disposition, parse_type

Buffer = bytes | mmap.mmap

DEPTH_LIMIT = 50  # levels of multiparts and messages; what is deeper is one opaque part
PART_LIMIT = 1000  # parts of one message; the last of a multipart then holds the rest
DELIMITER_LIMIT = 100_000  # places of one message that are tried as a delimiter
PART_HEADER_LIMIT = 256 * 1024  # octets of a part's header that are looked at
BOUNDARY_LIMIT = 250  # octets (RFC 2046 section 5.1.1 says 70)
_BLOCK = 256 * 1024  # octets copied at once out of a mapped file

US_ASCII: Parameters = (("charset", b"us-ascii"),)


class Part(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One body part. Names are lower case; values are raw, as the sender wrote them.

    `header_size` and `body_size` together with their starts are the octets of BODY[n.MIME] and
    BODY[n]. A multipart has children; a message/rfc822 has one child, the message in it, and its
    rendered ENVELOPE. `lines` is counted for text and messages only.
    """

    type: str
    subtype: str
    params: Parameters = ()
    header_start: int = -1
    header_size: int = 0
    body_start: int = 0
    body_size: int = 0
    lines: int = 0
    encoding: str = "7bit"
    id: bytes | None = None
    description: bytes | None = None
    md5: bytes | None = None
    disposition: str | None = None
    disposition_params: Parameters = ()
    language: tuple[bytes, ...] = ()
    location: bytes | None = None
    envelope: bytes | None = None
    children: tuple["Part", ...] = ()

    @property
    def is_multipart(self) -> bool:
        """Whether the children are alternatives, attachments and the like."""
        return self.type == "multipart"

    @property
    def is_message(self) -> bool:
        """Whether the one child is a message with a header of its own."""
        return self.envelope is not None

    @property
    def body_end(self) -> int:
        """The offset behind the body."""
        return self.body_start + self.body_size


def scan(header: bytes, body: Buffer) -> Part:
    """The part tree of a message."""
    return _Scan(body).part(header, _Extent(-1, len(header), 0, len(body)), 0, "text", "plain")


def find_part(part: Part, section: tuple[int, ...]) -> Part | None:
    """The part that IMAP numbers so, the whole for (), None if there is none.

    RFC 9051 section 6.4.5.1: part 1 of what is no multipart is itself; the parts of a nested
    message count on below the number of the message.
    """
    found: Part | None = part
    for depth, number in enumerate(section):
        if found is not None:
            found = _numbered(found, number, top=depth == 0)
    return found


def _numbered(part: Part, number: int, top: bool) -> Part | None:
    if part.is_message and not top:
        part = part.children[0]
    elif not part.is_multipart and not top:
        return None
    if not part.is_multipart:
        return part if number == 1 else None
    return part.children[number - 1] if 1 <= number <= len(part.children) else None


def decode_body(part: Part, body: Buffer, limit: int | None = None) -> bytes:
    """The octets of the part without their transfer encoding, best effort (RFC 2045 section 6).

    With a limit, only so many encoded octets are looked at.
    """
    end = part.body_end if limit is None else min(part.body_end, part.body_start + limit)
    data = body[part.body_start : end]
    match part.encoding:
        case "base64":
            return decode_base64(data)
        case "quoted-printable":
            return binascii.a2b_qp(data)
    return data


class _Extent(NamedTuple):
    header_start: int
    header_size: int
    start: int
    end: int


class _Content(NamedTuple):
    """The content fields of one header, the first of each name."""

    type: bytes | None = None
    transfer_encoding: bytes | None = None
    disposition: bytes | None = None
    id: bytes | None = None
    description: bytes | None = None
    md5: bytes | None = None
    language: bytes | None = None
    location: bytes | None = None


# A pattern that begins with a literal is searched for much faster than one that begins with "^".
_CONTENT = re.compile(
    rb"\ncontent-(type|transfer-encoding|disposition|id|description|md5|language|location)[ \t]*:"
    rb"([^\n]*+(?:\n[ \t][^\n]*+)*+)",
    re.I,
)
_DELIMITER_END = re.compile(rb"(--)?[ \t]*+(?:\r?\n|\r?\Z)")
_HEADER_START = re.compile(rb"[!-9;-~]++[ \t]*+:|>?From |[ \t]|\Z")
_TAIL_LIMIT = 1000  # octets that are looked at behind a delimiter, and where a header should begin
_WORD = re.compile(rb"[^\s;(]+")


class _Scan:
    """One walk over a body; counts the parts it has found, before it looks into them."""

    def __init__(self, body: Buffer) -> None:
        self._body = body
        self._parts = 1
        self._tried = 0

    def part(self, header: bytes, extent: _Extent, depth: int, type_: str, subtype: str) -> Part:
        """The part of this header and extent; type and subtype are what it is by default."""
        content = _content(header)
        params: Parameters = US_ASCII if type_ == "text" else ()
        parsed = parse_type(content.type) if content.type is not None else None
        if parsed is not None:
            type_, subtype, params = parsed
        children: tuple[Part, ...] = ()
        rendered = None
        if type_ == "multipart":
            children = self._multipart(subtype, params, extent, depth)
            if not children:
                # Without boundary, without delimiters or too deep: one opaque text (a multipart
                # without parts has no form in RFC 9051 section 9, body-type-mpart).
                type_, subtype, params = "text", "plain", US_ASCII
        elif type_ == "message" and subtype in ("rfc822", "global"):
            if depth < DEPTH_LIMIT and self._parts < PART_LIMIT:
                rendered, children = self._message(extent, depth)
            else:
                type_, subtype, params = "application", "octet-stream", ()
        return self._build(content, extent, (type_, subtype, params), rendered, children)

    def _build(
        self,
        content: _Content,
        extent: _Extent,
        media: tuple[str, str, Parameters],
        rendered: bytes | None,
        children: tuple[Part, ...],
    ) -> Part:
        type_, subtype, params = media
        disposition, disposition_params = parse_disposition(content.disposition)
        return Part(
            type=type_,
            subtype=subtype,
            params=params,
            header_start=extent.header_start,
            header_size=extent.header_size,
            body_start=extent.start,
            body_size=extent.end - extent.start,
            lines=self._lines(extent) if type_ == "text" or rendered is not None else 0,
            encoding=_encoding(content.transfer_encoding),
            id=content.id,
            description=content.description,
            md5=content.md5,
            disposition=disposition,
            disposition_params=disposition_params,
            language=_language(content.language),
            location=content.location,
            envelope=rendered,
            children=children,
        )

    def _message(self, extent: _Extent, depth: int) -> tuple[bytes, tuple[Part, ...]]:
        self._parts += 1
        inner, header = self._split(extent.start, extent.end, extent.end)
        child = self.part(header, inner, depth + 1, "text", "plain")
        return envelope(header), (child,)

    def _multipart(
        self, subtype: str, params: Parameters, extent: _Extent, depth: int
    ) -> tuple[Part, ...]:
        boundary = dict(params).get("boundary", b"").rstrip()
        if not boundary or len(boundary) > BOUNDARY_LIMIT or depth >= DEPTH_LIMIT:
            return ()
        if self._parts >= PART_LIMIT:
            return ()
        default = ("message", "rfc822") if subtype == "digest" else ("text", "plain")
        pieces = self._pieces(b"--" + boundary, extent)
        self._parts += len(pieces)
        children: list[Part] = []
        for start, end, delimiter in pieces:
            inner, header = self._split(start, end, delimiter)
            children.append(self.part(header, inner, depth + 1, *default))
        return tuple(children)

    def _pieces(self, delimiter: bytes, extent: _Extent) -> list[tuple[int, int, int]]:
        """Start and end of each part, and where the delimiter behind it begins.

        The line end before a delimiter belongs to the delimiter (RFC 2046 section 5.1.1). Without
        a closing delimiter the last part goes to the end.
        """
        pieces: list[tuple[int, int, int]] = []
        room = PART_LIMIT - self._parts
        body, at, start = self._body, extent.start, -1
        while (found := body.find(delimiter, at, extent.end)) >= 0:
            at = found + len(delimiter)
            self._tried += 1
            if self._tried > DELIMITER_LIMIT:
                break
            if found > extent.start and body[found - 1 : found] != b"\n":
                continue
            line_end = min(at + _TAIL_LIMIT, extent.end)
            match = _DELIMITER_END.match(body[at:line_end])
            if match is None:
                continue
            if 0 <= start < found:  # two delimiters in a row have no part between them
                pieces.append((start, self._before_line_end(start, found), found))
            if match[1] is not None:
                return pieces
            start = at = at + match.end()
            if len(pieces) + 1 >= room:
                break
        if start >= 0:
            pieces.append((start, extent.end, extent.end))
        return pieces

    def _before_line_end(self, start: int, found: int) -> int:
        size = 2 if self._body[found - 2 : found] == b"\r\n" else 1
        return max(start, found - size)

    def _split(self, start: int, end: int, limit: int) -> tuple[_Extent, bytes]:
        """Header and body of what lies from start to end.

        The header may take the line end before the delimiter at `limit`, if that is its empty
        line: a part with an empty body is often written so.
        """
        body = self._body
        first = body[start : min(start + 2, limit)]
        if first == b"\r\n" or first[:1] == b"\n":
            size = 2 if first == b"\r\n" else 1
            return _extent(start, size, end), b""
        if _HEADER_START.match(body[start : min(start + _TAIL_LIMIT, limit)]) is None:
            return _extent(start, 0, end), b""  # text that forgot its empty line
        found = body.find(b"\r\n\r\n", start, limit)
        stop = found + 4 if found >= 0 else limit
        bare = body.find(b"\n\n", start, stop)
        if bare >= 0:
            stop = bare + 2
        header = body[start : min(stop, start + PART_HEADER_LIMIT)]
        return _extent(start, stop - start, end), header

    def _lines(self, extent: _Extent) -> int:
        """Lines of text, the last one too if it is not ended."""
        if extent.start == extent.end:
            return 0
        lines = 0
        for at in range(extent.start, extent.end, _BLOCK):
            lines += self._body[at : min(at + _BLOCK, extent.end)].count(b"\n")
        return lines + (self._body[extent.end - 1 : extent.end] != b"\n")


def _extent(start: int, header_size: int, end: int) -> _Extent:
    stop = start + header_size
    return _Extent(start, header_size, stop, max(stop, end))


def _content(header: bytes) -> _Content:
    found: dict[str, bytes] = {}
    for name, value in _CONTENT.findall(b"\n" + header):
        key = name.lower().decode("ascii").replace("-", "_")
        if key not in found:
            if b"\n" in value:
                value = value.replace(b"\r\n", b"").replace(b"\n", b"")
            found[key] = value.strip()
    return _Content(**found)


def _encoding(value: bytes | None) -> str:
    if value is None:
        return "7bit"
    match = _WORD.match(value)
    return match[0].decode("ascii", "replace").lower() if match else "7bit"


def _language(value: bytes | None) -> tuple[bytes, ...]:
    """The language tags (RFC 3282)."""
    return tuple(_LANGUAGE.findall(strip_comments(value))[:_LANGUAGES]) if value else ()


_LANGUAGE = re.compile(rb"[A-Za-z0-9*-]+")
_LANGUAGES = 20  # tags of one Content-Language
