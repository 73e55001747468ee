"""Octets of a message that FETCH asks for: BODY[...] with parts and partials (RFC 3501 6.4.5).

A section is a piece of header followed by a range of the body; only that range is read. What is
longer than a part of a stored body stays in the store and is streamed later, as an Extent.
"""

import re
from collections.abc import Callable

import msgspec

from mailstead.message import header as fields
from mailstead.message.mime import Part, find_part
from mailstead.message.structure import load
from mailstead.protocol.imap.fetch import Section, Text
from mailstead.services.mailboxes.reading import ReadBody
from mailstead.storage.blobs import PART_SIZE
from mailstead.storage.plan import StoredBody

Filter = Callable[[bytes], bytes]


class Extent(msgspec.Struct, frozen=True):
    """Octets of a body that are still in the store."""

    body: StoredBody
    start: int
    end: int


class Spread(msgspec.Struct, frozen=True):
    """Octets too many to hold: the first of them, and where the others lie."""

    start: bytes
    extent: Extent

    def __len__(self) -> int:
        return len(self.start) + self.extent.end - self.extent.start


Octets = bytes | Spread


class Source(msgspec.Struct, frozen=True):
    """One message: its header, its body, the first part of which has been read."""

    header: bytes
    body: StoredBody
    first: bytes
    structure: bytes
    read_body: ReadBody

    def octets(self, start: int, end: int) -> bytes:
        """The octets of the body, read if they have to be."""
        if end <= len(self.first):
            return self.first[start:end]
        return self.read_body(self.body, start, end)


class _Range(msgspec.Struct, frozen=True):
    """Some octets, followed by a range of the body."""

    prefix: bytes
    start: int = 0
    end: int = 0


def read_section(section: Section, source: Source, chosen: Filter) -> Octets | None:
    """The octets of the section, None if the message has no such part."""
    found = _find(section, source, chosen)
    if found is None:
        return None
    if section.partial:
        found = _cut(found, *section.partial)
    if found.start >= found.end:
        return found.prefix
    if found.end <= len(source.first) or found.end - found.start <= PART_SIZE:
        return found.prefix + source.octets(found.start, found.end)
    return Spread(found.prefix, Extent(source.body, found.start, found.end))


def _find(section: Section, source: Source, chosen: Filter) -> _Range | None:
    if section.part:
        part = find_part(load(source.structure), section.part)
        return None if part is None else _in_part(section.text, part, source, chosen)
    match section.text:
        case Text.WHOLE:
            return _Range(source.header, 0, source.body.size)
        case Text.TEXT:
            return _Range(b"", 0, source.body.size)
        case Text.HEADER:
            return _Range(source.header)
        case _:
            return _Range(chosen(source.header))


def _in_part(text: Text, part: Part, source: Source, chosen: Filter) -> _Range | None:
    match text:
        case Text.WHOLE:
            return _Range(b"", part.body_start, part.body_end)
        case Text.MIME if part.header_start < 0:  # the message itself as its part 1
            return _Range(source.header)
        case Text.MIME:
            return _Range(b"", part.header_start, part.header_start + part.header_size)
    if not part.is_message:  # RFC 3501 section 6.4.5: HEADER and TEXT are of MESSAGE/RFC822 only
        return None
    inner = part.children[0]
    header = _Range(b"", inner.header_start, inner.header_start + inner.header_size)
    match text:
        case Text.TEXT:
            return _Range(b"", inner.body_start, inner.body_end)
        case Text.HEADER:
            return header
        case _:
            return _Range(chosen(source.octets(header.start, header.end)))


def _cut(found: _Range, offset: int, count: int) -> _Range:
    """The partial of RFC 3501 section 6.4.5: what lies beyond the end is not there."""
    size = len(found.prefix)
    end = offset + count
    start = found.start + max(offset - size, 0)
    stop = min(found.end, found.start + max(end - size, 0))
    return _Range(found.prefix[offset:end], start, stop)


def field_filter(section: Section) -> Filter:
    """What takes the wanted fields out of a header, with the empty line (RFC 3501 6.4.5)."""
    if section.text is Text.HEADER_FIELDS_NOT:
        names = [name.decode("ascii") for name in section.fields]
        return lambda header: fields.remove(header, names)
    if section.text is not Text.HEADER_FIELDS:
        return bytes
    wanted = b"|".join(sorted({re.escape(name) for name in section.fields}))
    # Beginning with "\n" and not with "^" it is searched for ten times faster.
    pattern = re.compile(
        rb"\n((?:" + wanted + rb")[ \t]*+:[^\n]*+(?:\n[ \t][^\n]*+)*+)", re.IGNORECASE
    )

    def choose(header: bytes) -> bytes:
        found = pattern.findall(b"\n" + header)
        if not found:
            return b"\r\n"
        if found[-1][-1:] != b"\r":  # a header without its last line end
            found[-1] += b"\r"
        found.append(b"\r\n")
        return b"\n".join(found)

    return choose
