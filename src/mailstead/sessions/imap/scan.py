"""SEARCH in the store: pages of columns, headers and bodies, each looked through off the loop.

What the keys do not need is not read; text is decoded once for all keys that ask for it.
"""

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime

import msgspec

from mailstead.message.structure import load
from mailstead.message.text import header_text, searchable
from mailstead.model.numbers import BlobId
from mailstead.protocol.imap.match import Need, SearchMessage, matches, needs
from mailstead.protocol.imap.search import (
    And,
    Between,
    Dated,
    HeaderHas,
    Key,
    Larger,
    Relation,
    Smaller,
)
from mailstead.services.mailboxes.contents import Contents
from mailstead.services.mailboxes.reading import KEY_COLUMNS, Page, text_keys
from mailstead.sessions.imap.progress import Progress
from mailstead.sessions.imap.state import Session
from mailstead.sessions.imap.sync import View, to_spans
from mailstead.storage.plan import StoredBody
from mailstead.storage.store import from_micros, to_micros
from mailstead.storage.texts import Text

COLUMNS_LIMIT = 1000  # messages of a page of columns
HEADERS_LIMIT = 500  # of a page of headers
BODIES_LIMIT = 64
OCTETS_LIMIT = 1024 * 1024  # of a page of bodies, about
HEADERS_OCTETS_LIMIT = 4 * 1024 * 1024  # of a page without bodies
TEXT_LIMIT = 1024 * 1024  # characters of one message that are searched
BODY_LIMIT = 4 * TEXT_LIMIT  # octets of its body that are read

_NONE = date(1970, 1, 1)
_NO_COLUMNS: Mapping[str, int] = {}


def _no_fields(name: str) -> Sequence[str]:
    return ()


def _no_text() -> str:
    return ""


def message_of(
    contents: Contents,
    index: int,
    recent_from: int,
    columns: Mapping[str, int] = _NO_COLUMNS,
    size: int = 0,
    received: date = _NONE,
    sent: date | None = None,
    fields: Callable[[str], Sequence[str]] = _no_fields,
    header: Callable[[], str] = _no_text,
    body: Callable[[], str] = _no_text,
) -> SearchMessage:
    """What is known of one message."""
    uid = contents.uids[index]
    return SearchMessage(
        index + 1,
        uid,
        contents.flags[index],
        contents.keywords[index],
        uid >= recent_from,
        contents.modseqs[index],
        columns,
        size,
        received,
        sent,
        fields,
        header,
        body,
    )


Keep = Callable[[Sequence[Text]], Awaitable[None]]


class Found(msgspec.Struct, frozen=True):
    """The indices of the messages of a page that pass, and the texts that were read for it."""

    indices: list[int]
    texts: list[Text]


class _Scan:
    """A search of pages: which columns it reads, and what it finds in them."""

    def __init__(self, view: View, program: And) -> None:
        self.contents, self.recent_from = view.contents, view.recent_from
        self.plain = [key for key in program.keys if isinstance(key, _Plain)]
        others = tuple(key for key in program.keys if not isinstance(key, _Plain))
        self.others = And(others)
        self.probes = [probe for key in others if (probe := probe_of(key))]
        need = needs(self.others) if others else Need.NOTHING
        self.limit = COLUMNS_LIMIT
        self.octets: int | None = None
        columns: dict[str, None] = {"uid": None} | {_column_of(key): None for key in self.plain}
        if need & Need.COLUMNS:
            columns |= dict.fromkeys(_COLUMNS)
        if need & (Need.HEADER | Need.BODY):
            columns["header"] = None
            self.limit, self.octets = HEADERS_LIMIT, HEADERS_OCTETS_LIMIT
        if need & Need.BODY:
            columns |= dict.fromkeys(("structure", "blob", "body_size", "part", *KEY_COLUMNS))
            self.limit, self.octets = BODIES_LIMIT, OCTETS_LIMIT
        self.columns = tuple(columns)

    def find(self, page: Page) -> Found:
        """The messages of the page that pass."""
        rows: Sequence[int] = range(len(page.uids))
        for key in self.plain:
            rows = _pass_plain(key, page[_column_of(key)], rows)
        for probe in self.probes:
            rows = _pass_probe(probe, page["header"], rows)
        indices = self.contents.locate(page.uids)
        texts = _Texts(page)
        if self.others.keys:
            rows = [row for row in rows if self._passes(page, row, indices[row], texts)]
        return Found([indices[row] for row in rows], texts.read)

    def _passes(self, page: Page, row: int, index: int, texts: "_Texts") -> bool:
        texts.at(row)
        message = message_of(
            self.contents,
            index,
            self.recent_from,
            *_column_values(page, row),
            texts.fields,
            texts.header,
            texts.body,
        )
        return matches(self.others, message)


async def find_in_store(
    session: Session,
    view: View,
    program: And,
    among: list[int],
    progress: Progress,
    keep: Keep,
) -> list[int]:
    """Those of the messages that pass all the keys."""
    scan = _Scan(view, program)
    found: list[int] = []
    ranges = view.ranges(to_spans(among))
    while ranges:
        some, ranges = await session.site.mailboxes.page(
            view.contents.mailbox, ranges, scan.columns, scan.find, scan.limit, scan.octets
        )
        found += some.indices
        await keep(some.texts)
        if ranges:
            next_one = bisect_left(view.contents.uids, ranges[0][0])
            await progress.tell(bisect_left(among, next_one))
    return found


def find_in_memory(view: View, program: Key, among: Sequence[int]) -> list[int]:
    """Those of the messages that the keys, all on flags and numbers, find."""
    contents, recent_from = view.contents, view.recent_from
    return [index for index in among if matches(program, message_of(contents, index, recent_from))]


async def keep_nothing(texts: Sequence[Text]) -> None:
    """What was read is not needed again."""


_Plain = Dated | Larger | Smaller | Between
_COLUMNS = ("size", "internal_date", "sent", "saved", "content")


def _column_of(key: _Plain) -> str:
    if isinstance(key, Between):
        return key.column
    if isinstance(key, Dated):
        return "sent" if key.sent else "internal_date"
    return "size"


def _pass_plain(key: _Plain, values: Sequence[int | None], rows: Sequence[int]) -> list[int]:
    """The rows whose number lies within what the key allows; none is in no range."""
    low, high = _bounds(key)
    return [row for row in rows if (value := values[row]) is not None and low <= value < high]


def _bounds(key: _Plain) -> tuple[int, int]:
    match key:
        case Between(_, least, end):
            return least, end
        case Larger(octets):
            return octets + 1, NEVER
        case Smaller(octets):
            return 0, octets
        case Dated(_, relation, day):
            start = to_micros(datetime(day.year, day.month, day.day, tzinfo=UTC))
            if relation is Relation.BEFORE:
                return -NEVER, start
            return start, start + _DAY if relation is Relation.ON else NEVER


_DAY = 86_400_000_000  # microseconds
NEVER = 2**63


def probe_of(key: Key) -> bytes:
    """A word that a header has to hold for the key to find it; empty if that cannot be said."""
    if isinstance(key, HeaderHas) and key.text.isascii():
        return max(key.text.split(), key=len, default="").encode("ascii")
    return b""


def _pass_probe(probe: bytes, headers: Sequence[bytes], rows: Sequence[int]) -> list[int]:
    """The rows whose header holds the word; one that has to be decoded first may hold it."""
    return [
        row
        for row in rows
        if probe in (header := headers[row]).lower() or b"=?" in header or not header.isascii()
    ]


def _column_values(page: Page, row: int) -> tuple[Mapping[str, int], int, date, date | None]:
    if any(column not in page for column in _COLUMNS):
        return _NO_COLUMNS, 0, _NONE, None
    sent = page["sent"][row]
    return (
        {column: page[column][row] for column in ("internal_date", "saved", "content")},
        page["size"][row],
        from_micros(page["internal_date"][row]).date(),
        None if sent is None else from_micros(sent).date(),
    )


class _Texts:
    """Texts of one row of a page after the other, decoded only if a key asks, and then once.

    What was decoded whole is in `read`.
    """

    def __init__(self, page: Page) -> None:
        self._page, self._row, self._decoded = page, 0, False
        self._keys = text_keys(page) if "part" in page else []
        self._header = self._body = ""
        self.read: list[Text] = []

    def at(self, row: int) -> None:
        """From now on it is about this row."""
        self._row, self._decoded = row, False

    def fields(self, name: str) -> Sequence[str]:
        """The values of the header fields of that name."""
        return header_text(self._page["header"][self._row], name)

    def header(self) -> str:
        """The text of the header."""
        self._decode()
        return self._header

    def body(self) -> str:
        """The texts of the parts."""
        self._decode()
        return self._body

    def _decode(self) -> None:
        if self._decoded:
            return
        page, row = self._page, self._row
        body = _body(page, row)
        part = load(page["structure"][row])
        self._header, *texts = searchable(page["header"][row], part, body, TEXT_LIMIT)
        self._body, self._decoded = "\n".join(texts), True
        if len(body) == min(page["body_size"][row], BODY_LIMIT):
            self.read.append(Text(self._keys[row], self._header, self._body))


def _body(page: Page, row: int) -> bytes:
    first, size = page["part"][row] or b"", page["body_size"][row]
    if len(first) >= size:
        return bytes(first)
    stored = StoredBody(BlobId(page["blob"][row]), size)
    return page.read_body(stored, 0, min(size, BODY_LIMIT))
