"""SEARCH (RFC 3501 section 6.4.4): flags in memory, columns and text by pages, off the loop.

Keys that must all hold are parted: those on flags and numbers choose who is looked at, the others
are asked of those only. Text is compared decoded and folded (message.text).
"""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime

from mailstead.message.structure import load
from mailstead.message.text import fold_case, header_text, searchable
from mailstead.model.numbers import BlobId
from mailstead.protocol.imap import commands, responses
from mailstead.protocol.imap.match import Need, SearchMessage, bind, matches, needs
from mailstead.protocol.imap.search import (
    All,
    And,
    BodyHas,
    Dated,
    HasFlag,
    HeaderHas,
    Key,
    Larger,
    Not,
    Or,
    Relation,
    Smaller,
    TextHas,
)
from mailstead.services.mailboxes.reading import Page
from mailstead.sessions.imap.state import Session
from mailstead.sessions.imap.sync import NoSuchMessage, View, to_spans
from mailstead.storage.plan import StoredBody
from mailstead.storage.store import from_micros, to_micros

AT_ONCE = 1000  # messages that are looked at in the loop
COLUMNS_LIMIT = 1000  # messages of a page of columns
HEADERS_LIMIT = 500  # of a page of headers
BODIES_LIMIT = 64
OCTETS_LIMIT = 1024 * 1024  # of a page of bodies, about
HEADERS_OCTETS_LIMIT = 4 * 1024 * 1024  # of a page without bodies
TEXT_LIMIT = 1024 * 1024  # characters of one message that are searched
BODY_LIMIT = 4 * TEXT_LIMIT  # octets of its body that are read

_NONE = date(1970, 1, 1)


async def search(session: Session, command: commands.Search) -> None:
    """The numbers of all messages that the program finds."""
    view = session.selected
    uids = view.contents.uids
    try:
        program = bind(_fold(command.program), len(uids), uids[-1] if uids else 0)
    except ValueError as error:
        raise NoSuchMessage(str(error)) from error
    memory, rest = _part(program)
    if _quick_flags(memory) is None and len(uids) > AT_ONCE:
        found = await session.site.world.offload.run(lambda: _find_in_memory(view, memory))
    else:
        found = _find_in_memory(view, memory)
    if rest is not None and found:
        found = await _find_in_store(session, view, rest, found)
    numbers = [uids[i] for i in found] if command.uid else [i + 1 for i in found]
    session.write(responses.search_response(numbers))
    await session.finish(command.tag, "SEARCH completed", "", command.uid, command.uid)


def _fold(key: Key) -> Key:
    """Texts in the form that message.text gives them."""
    match key:
        case HeaderHas(field, text):
            return HeaderHas(field, fold_case(text))
        case BodyHas(text):
            return BodyHas(fold_case(text))
        case TextHas(text):
            return TextHas(fold_case(text))
        case Not(inner):
            return Not(_fold(inner))
        case Or(left, right):
            return Or(_fold(left), _fold(right))
        case And(keys):
            return And(tuple(map(_fold, keys)))
        case _:
            return key


def _part(program: Key) -> tuple[And, And | None]:
    """What can be decided in memory, and what cannot; a message has to pass both."""
    keys = program.keys if isinstance(program, And) else (program,)
    memory = tuple(key for key in keys if not needs(key) & ~Need.FLAGS)
    rest = tuple(key for key in keys if needs(key) & ~Need.FLAGS)
    return And(memory), And(rest) if rest else None


# ---------------------------------------------------------------------- in memory


def _find_in_memory(view: View, program: Key) -> list[int]:
    """The indices of the messages that the keys on flags and numbers find."""
    quick = _quick_flags(program)
    if quick is not None:
        must, must_not = quick
        both = must | must_not
        return [i for i, flags in enumerate(view.contents.flags) if flags & both == must]
    contents = view.contents
    rows = zip(contents.uids, contents.flags, contents.keywords, strict=True)
    return [
        index
        for index, (uid, flags, keywords) in enumerate(rows)
        if matches(program, _message(index, uid, flags, keywords, uid >= view.recent_from))
    ]


def _quick_flags(program: Key) -> tuple[int, int] | None:
    """The bits that must be set and those that must not, if that is all the program says."""
    must = must_not = 0
    for key in program.keys if isinstance(program, And) else (program,):
        match key:
            case HasFlag(bit):
                must |= bit
            case Not(HasFlag(bit)):
                must_not |= bit
            case All():
                pass
            case _:
                return None
    return None if must & must_not else (must, must_not)


def _no_fields(name: str) -> Sequence[str]:
    return ()


def _no_text() -> str:
    return ""


def _message(
    index: int,
    uid: int,
    flags: int,
    keywords: str,
    recent: bool,
    size: int = 0,
    received: date = _NONE,
    sent: date | None = None,
    fields: Callable[[str], Sequence[str]] = _no_fields,
    header: Callable[[], str] = _no_text,
    body: Callable[[], str] = _no_text,
) -> SearchMessage:
    return SearchMessage(
        index + 1, uid, flags, keywords, recent, size, received, sent, fields, header, body
    )


# ---------------------------------------------------------------------- in the store


class _Scan:
    """A search of pages: which columns it reads, and what it finds in them."""

    def __init__(self, view: View, program: And) -> None:
        self.contents, self.recent_from = view.contents, view.recent_from
        self.plain = [key for key in program.keys if isinstance(key, Dated | Larger | Smaller)]
        others = tuple(key for key in program.keys if not isinstance(key, Dated | Larger | Smaller))
        self.others = And(others)
        self.probes = [probe for key in others if (probe := _probe(key))]
        need = needs(self.others) if others else Need.NOTHING
        self.limit = COLUMNS_LIMIT
        self.octets: int | None = None
        columns = {"uid": None} | {_column_of(key): None for key in self.plain}
        if need & Need.COLUMNS:
            columns |= dict.fromkeys(_COLUMNS)
        if need & (Need.HEADER | Need.BODY):
            columns["header"] = None
            self.limit, self.octets = HEADERS_LIMIT, HEADERS_OCTETS_LIMIT
        if need & Need.BODY:
            columns |= dict.fromkeys(("structure", "blob", "body_size", "part"))
            self.limit, self.octets = BODIES_LIMIT, OCTETS_LIMIT
        self.columns = tuple(columns)

    def find(self, page: Page) -> list[int]:
        """The indices of the messages of the page that pass."""
        rows: Sequence[int] = range(len(page.uids))
        for key in self.plain:
            rows = _pass_plain(key, page[_column_of(key)], rows)
        for probe in self.probes:
            rows = _pass_probe(probe, page["header"], rows)
        indices = self.contents.locate(page.uids)
        if self.others.keys:
            rows = [row for row in rows if self._passes(page, row, indices[row])]
        return [indices[row] for row in rows]

    def _passes(self, page: Page, row: int, index: int) -> bool:
        uid = page.uids[row]
        message = _message(
            index,
            uid,
            self.contents.flags[index],
            self.contents.keywords[index],
            uid >= self.recent_from,
            *_column_values(page, row),
            *_texts(page, row),
        )
        return matches(self.others, message)


async def _find_in_store(session: Session, view: View, program: And, among: list[int]) -> list[int]:
    scan = _Scan(view, program)
    found: list[int] = []
    ranges = view.ranges(to_spans(among))
    while ranges:
        some, ranges = await session.site.mailboxes.page(
            view.contents.mailbox, ranges, scan.columns, scan.find, scan.limit, scan.octets
        )
        found += some
    return found


_COLUMNS = ("size", "internal_date", "sent")


def _column_of(key: Dated | Larger | Smaller) -> str:
    if isinstance(key, Dated):
        return "sent" if key.sent else "internal_date"
    return "size"


def _pass_plain(
    key: Dated | Larger | Smaller, values: Sequence[int | None], rows: Sequence[int]
) -> list[int]:
    """The rows whose number lies within what the key allows; none is in no range."""
    low, high = _bounds(key)
    return [row for row in rows if (value := values[row]) is not None and low <= value < high]


def _bounds(key: Dated | Larger | Smaller) -> tuple[int, int]:
    match key:
        case Larger(octets):
            return octets + 1, _NEVER
        case Smaller(octets):
            return 0, octets
        case Dated(_, relation, day):
            start = to_micros(datetime(day.year, day.month, day.day, tzinfo=UTC))
            if relation is Relation.BEFORE:
                return -_NEVER, start
            return start, start + _DAY if relation is Relation.ON else _NEVER


_DAY = 86_400_000_000  # microseconds
_NEVER = 2**63


def _probe(key: Key) -> bytes:
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


def _column_values(page: Page, row: int) -> tuple[int, date, date | None]:
    if "sent" not in page or "size" not in page or "internal_date" not in page:
        return 0, _NONE, None
    sent = page["sent"][row]
    return (
        page["size"][row],
        from_micros(page["internal_date"][row]).date(),
        None if sent is None else from_micros(sent).date(),
    )


def _texts(
    page: Page, row: int
) -> tuple[Callable[[str], Sequence[str]], Callable[[], str], Callable[[], str]]:
    """What is decoded only if a key asks for it, and then once."""
    if "header" not in page:
        return _no_fields, _no_text, _no_text
    octets = page["header"][row]
    texts: list[str] = []

    def fields(name: str) -> Sequence[str]:
        return header_text(octets, name)

    def all_texts() -> list[str]:
        if not texts:
            body = _body(page, row) if "part" in page else b""
            part = load(page["structure"][row])
            texts.extend(searchable(octets, part, body, TEXT_LIMIT))
        return texts

    def header() -> str:
        return all_texts()[0]

    def body() -> str:
        return "\n".join(all_texts()[1:])

    return fields, header, body


def _body(page: Page, row: int) -> bytes:
    first, size = page["part"][row] or b"", page["body_size"][row]
    if len(first) >= size:
        return bytes(first)
    stored = StoredBody(BlobId(page["blob"][row]), size)
    return page.read_body(stored, 0, min(size, BODY_LIMIT))
