"""The items of FETCH as columns: what each reads, how it looks, and pages of them as octets.

Responses of a page are one template and a list of values for each gap in it: rows are formatted by
`%` and joined, which is where the time of a FETCH goes.
"""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

import msgspec

from mailstead.message import structure
from mailstead.message.preview import ENCODED_LIMIT, find_text, preview
from mailstead.message.surrogate import surrogate
from mailstead.model.numbers import BlobId
from mailstead.protocol.imap.fetch import Attribute, Binary, Item, Preview, Section, Text
from mailstead.protocol.imap.objectid import EMAIL_ID, format_object_id
from mailstead.protocol.imap.responses import in_ascii, string
from mailstead.services.mailboxes.contents import Contents
from mailstead.services.mailboxes.reading import Page
from mailstead.sessions.imap.binary import (
    Decoded,
    choose,
    decode_now,
    find_binary,
    literal_head,
    size_of,
)
from mailstead.sessions.imap.sections import (
    Extent,
    Octets,
    Source,
    Spread,
    field_filter,
    read_section,
)
from mailstead.sessions.imap.sync import flags_column, pick
from mailstead.storage.plan import StoredBody

Piece = bytes | Extent | Decoded
Values = list[Sequence[Any]]


class Rows(msgspec.Struct, frozen=True):
    """The messages of one page: where they are in the view, and their columns, if any were read."""

    contents: Contents
    recent_from: int
    indices: Sequence[int]
    page: Page | None = None
    downgraded: set[int] | None = None  # UIDs; None: the client takes UTF-8

    def __getitem__(self, column: str) -> list[Any]:
        assert self.page is not None
        return self.page[column]

    @property
    def seqnums(self) -> list[int]:
        """The sequence numbers of the messages."""
        return [index + 1 for index in self.indices]

    def in_ascii(self, values: list[bytes], convert: Callable[[bytes], bytes]) -> list[bytes]:
        """Of each message a value, converted where the client cannot take it (RFC 6858)."""
        if self.downgraded is None or all(map(bytes.isascii, values)):
            return values
        converted = [convert(value) for value in values]
        pairs = zip(self["uid"], values, converted, strict=True)
        self.downgraded.update(uid for uid, value, other in pairs if value != other)
        return converted


class Column(msgspec.Struct, frozen=True):
    """One item: its text with a gap for each of its values, and the stored columns it needs."""

    template: bytes
    values: Callable[[Rows], Values]
    needs: tuple[str, ...] = ()
    gaps: int = 1  # two for octets of the message: how long they are, and they
    apart: bool = False  # what goes into the last gap may be a Spread or Verbatim

    @property
    def is_section(self) -> bool:
        """Whether octets of the message are in it."""
        return self.gaps > 1


class Verbatim(msgspec.Struct, frozen=True):
    """Octets that stay as they are or are made when their turn comes; nothing is put for NUL."""

    piece: bytes | Decoded


_APART = frozenset((Spread, Verbatim))


class Format(msgspec.Struct, frozen=True):
    """All items of a FETCH."""

    columns: tuple[Column, ...]
    uidonly: bool = False  # messages are named by UID (RFC 9586 section 3.3)

    @property
    def head(self) -> bytes:
        """How a response begins, with a gap for the number."""
        return b"* %d UIDFETCH (" if self.uidonly else b"* %d FETCH ("

    @property
    def needs(self) -> tuple[str, ...]:
        """The stored columns that have to be read; none if all is in memory."""
        names = {name: None for column in self.columns for name in column.needs}
        return tuple(dict.fromkeys(["uid", *names])) if names else ()

    def render(self, rows: Rows) -> list[Piece]:
        """The FETCH responses of these messages."""
        values = [column.values(rows) for column in self.columns]
        lists = [each for group in values for each in group]
        apart = [
            group[-1] for group, column in zip(values, self.columns, strict=True) if column.apart
        ]
        template = self.head + b" ".join([c.template for c in self.columns]) + b")\r\n"
        numbers = pick(rows.contents.uids, rows.indices) if self.uidonly else rows.seqnums
        numbered = zip(numbers, *lists, strict=True)
        if any(not _APART.isdisjoint(map(type, each)) for each in apart):
            return self._render_spread(template, list(numbered))
        return [printable(b"".join([template % row for row in numbered]))]

    def _render_spread(self, template: bytes, rows: list[tuple[Any, ...]]) -> list[Piece]:
        """The same with octets in it that are streamed later."""
        pieces: list[Piece] = []
        for row in rows:
            if not any(type(value) in _APART for value in row):
                pieces.append(printable(template % row))
            else:
                pieces += self._render_row(row)
        return pieces

    def _render_row(self, row: tuple[Any, ...]) -> list[Piece]:
        pieces: list[Piece] = [self.head % row[0]]
        place = 1
        for number, column in enumerate(self.columns):
            values = row[place : place + column.gaps]
            place += column.gaps
            space = b" " if number else b""
            last = values[-1]
            if isinstance(last, Spread):
                text = column.template % (*values[:-1], last.start)
                pieces += [printable(space + text), last.extent]
            elif isinstance(last, Verbatim):
                pieces += [space + column.template % (*values[:-1], b""), last.piece]
            else:
                pieces.append(printable(space + column.template % values))
        pieces.append(b")\r\n")
        return pieces


def printable(data: bytes) -> bytes:
    """Without NUL, which no literal may hold (RFC 3501 section 9); the size stays."""
    return data.replace(b"\0", b"\x80") if b"\0" in data else data


def compile_items(items: Sequence[Item], uidonly: bool = False) -> Format:
    """The items, ready for pages."""
    return Format(tuple(map(_column, items)), uidonly)


def _column(item: Item) -> Column:
    match item:
        case Section():
            return _section_column(item)
        case Binary():
            return _binary_column(item)
        case Preview():
            return _preview_column(item)
    return _COLUMNS[item]


def _flags(rows: Rows) -> Values:
    return [flags_column(rows.contents, rows.indices, rows.recent_from)]


def _uids(rows: Rows) -> Values:
    return [pick(rows.contents.uids, rows.indices)]


def _modseqs(rows: Rows) -> Values:
    return [pick(rows.contents.modseqs, rows.indices)]


def _dates(rows: Rows) -> Values:
    return [_format_dates(rows["internal_date"])]


def _saved(rows: Rows) -> Values:
    return [_format_dates(rows["saved"])]


def _email_ids(rows: Rows) -> Values:
    return [[format_object_id(EMAIL_ID, one).encode("ascii") for one in rows["content"]]]


def _bodies(rows: Rows) -> Values:
    rendered = [structure.body(structure.load(stored)) for stored in rows["structure"]]
    return [rows.in_ascii(rendered, in_ascii)]


def _envelopes(rows: Rows) -> Values:
    return [rows.in_ascii(rows["envelope"], in_ascii)]


def _body_structures(rows: Rows) -> Values:
    return [rows.in_ascii(rows["bodystructure"], in_ascii)]


_COLUMNS: dict[Attribute, Column] = {
    Attribute.FLAGS: Column(b"FLAGS (%b)", _flags),
    Attribute.UID: Column(b"UID %d", _uids),
    Attribute.MODSEQ: Column(b"MODSEQ (%d)", _modseqs),
    Attribute.SAVEDATE: Column(b"SAVEDATE %b", _saved, ("saved",)),
    Attribute.EMAILID: Column(b"EMAILID (%b)", _email_ids, ("content",)),
    # Messages are not joined to threads: RFC 8474 section 5.2 has NIL for that.
    Attribute.THREADID: Column(b"THREADID %b", lambda rows: [[b"NIL"] * len(rows.indices)]),
    Attribute.INTERNALDATE: Column(b"INTERNALDATE %b", _dates, ("internal_date",)),
    Attribute.RFC822_SIZE: Column(b"RFC822.SIZE %d", lambda rows: [rows["size"]], ("size",)),
    Attribute.ENVELOPE: Column(b"ENVELOPE %b", _envelopes, ("envelope",)),
    Attribute.BODY: Column(b"BODY %b", _bodies, ("structure",)),
    Attribute.BODYSTRUCTURE: Column(b"BODYSTRUCTURE %b", _body_structures, ("bodystructure",)),
}


def _format_dates(column: Sequence[int]) -> list[bytes]:
    """Each as `"17-Jul-1996 02:44:25 +0000"`, put together from pieces that are there already."""
    return [
        _day((seconds := micros // 1_000_000) // 86400)
        + _MINUTES[seconds // 60 % 1440]
        + _SECONDS[seconds % 60]
        for micros in column
    ]


@lru_cache(maxsize=4096)
def _day(day: int) -> bytes:
    moment = date(1970, 1, 1) + timedelta(days=day)
    return f'"{moment.day:2d}-{_MONTHS[moment.month - 1]}-{moment.year:04d}'.encode("ascii")


_MINUTES = [b" %02d:%02d:" % divmod(minute, 60) for minute in range(1440)]
_SECONDS = [b'%02d +0000"' % second for second in range(60)]
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


# ---------------------------------------------------------------------- sections


def _section_column(section: Section) -> Column:
    """`BODY[...] {12}` and the octets, or NIL."""
    label = section.label.replace(b"%", b"%%")
    chosen = field_filter(section)
    if not section.part and section.text in _OF_HEADER and not section.partial:

        def of_header(rows: Rows) -> Values:
            octets = rows.in_ascii(list(map(chosen, rows["header"])), surrogate)
            return [list(map(len, octets)), octets]

        return Column(label + b" {%d}\r\n%b", of_header, ("header",), gaps=2)

    of_message = (not section.part and section.text is not Text.TEXT) or section.text is Text.MIME

    def values(rows: Rows) -> Values:
        sources = _sources(rows, header=of_message)
        return _literals([read_section(section, source, chosen) for source in sources])

    needs = ["header", "blob", "body_size"]
    if section.part:
        needs.append("structure")
    if section.part or section.text not in _OF_HEADER:
        needs.append("part")
    return Column(label + b" %b%b", values, tuple(needs), gaps=2, apart=True)


_OF_HEADER = (Text.HEADER, Text.HEADER_FIELDS, Text.HEADER_FIELDS_NOT)


def _literals(octets: Sequence[Octets | None]) -> Values:
    return [
        [b"NIL" if one is None else b"{%d}\r\n" % len(one) for one in octets],
        [b"" if one is None else one for one in octets],
    ]


def _binary_column(item: Binary) -> Column:
    """`BINARY[...] ~{12}` and the octets, or `BINARY.SIZE[...] 12`."""

    def values(rows: Rows) -> Values:
        found = [_binary(item, source) for source in _sources(rows, header=not item.part)]
        return [[head for head, _ in found], [octets for _, octets in found]]

    needs = ("header", "blob", "body_size", "structure", "part")
    return Column(item.label + b" %b%b", values, needs, gaps=2, apart=True)


def _binary(item: Binary, source: Source) -> tuple[bytes, bytes | Verbatim]:
    found = find_binary(item, source)
    if found is None:
        return (b"0" if item.size else b"NIL"), b""
    if item.size and (size := size_of(found)) is not None:
        return b"%d" % size, b""
    octets = decode_now(found, source.first)
    if octets is None:
        return b"", Verbatim(found)
    if item.size:
        return b"%d" % len(octets), b""
    chosen = choose(item, octets)
    nul = b"\0" in chosen
    return literal_head(len(chosen), nul), Verbatim(chosen) if nul else chosen


def _preview_column(item: Preview) -> Column:
    """`PREVIEW "text"`; of a lazy one perhaps NIL."""

    def values(rows: Rows) -> Values:
        return [[_preview(item, source) for source in _sources(rows, header=False)]]

    return Column(b"PREVIEW %b", values, ("header", "blob", "body_size", "structure", "part"))


def _preview(item: Preview, source: Source) -> bytes:
    part = find_text(structure.load(source.structure))
    if part is None:
        return b'""'
    end = min(part.body_end, part.body_start + ENCODED_LIMIT)
    if item.lazy and end > len(source.first):
        return b"NIL"
    return string(preview(part, source.octets(part.body_start, end)).encode("utf-8"))


def _sources(rows: Rows, header: bool) -> list[Source]:
    """What sections are read from; `header`: that of the message is among what is told."""
    page = rows.page
    assert page is not None
    count = len(page.uids)
    parts = page["part"] if "part" in page else [b""] * count
    structures = page["structure"] if "structure" in page else [b""] * count
    headers = rows.in_ascii(page["header"], surrogate) if header else page["header"]
    columns = zip(headers, page["blob"], page["body_size"], parts, structures, strict=True)
    return [
        Source(head, StoredBody(BlobId(blob), size), part or b"", stored, page.read_body)
        for head, blob, size, part, stored in columns
    ]
