"""SEARCH (RFC 3501 section 6.4.4): flags in memory, columns and text by pages, off the loop.

Keys that must all hold are parted: those on flags and numbers choose who is looked at, the others
are asked of those only. Text is compared decoded and folded (message.text).
"""

from collections.abc import Callable, Sequence
from datetime import date

from mailstead.message.structure import load
from mailstead.message.text import fold_case, header_text, searchable
from mailstead.model.numbers import BlobId
from mailstead.protocol.imap import commands, responses
from mailstead.protocol.imap.match import Need, SearchMessage, bind, matches, needs
from mailstead.protocol.imap.search import (
    All,
    And,
    BodyHas,
    HasFlag,
    HeaderHas,
    Key,
    Not,
    Or,
    TextHas,
)
from mailstead.services.mailboxes.reading import Page
from mailstead.sessions.imap.state import Session
from mailstead.sessions.imap.sync import NoSuchMessage, View, to_spans
from mailstead.storage.plan import StoredBody
from mailstead.storage.store import from_micros

COLUMNS_LIMIT = 1000  # messages of a page of columns
HEADERS_LIMIT = 256  # of a page of headers
BODIES_LIMIT = 64
OCTETS_LIMIT = 1024 * 1024  # of a page of bodies, about
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


def _part(program: Key) -> tuple[Key, Key | None]:
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


async def _find_in_store(session: Session, view: View, program: Key, among: list[int]) -> list[int]:
    need = needs(program)
    columns, limit, octets = ["uid", "size", "internal_date", "sent"], COLUMNS_LIMIT, None
    if need & (Need.HEADER | Need.BODY):
        columns, limit = [*columns, "header"], HEADERS_LIMIT
    if need & Need.BODY:
        columns = [*columns, "structure", "blob", "body_size", "part"]
        limit, octets = BODIES_LIMIT, OCTETS_LIMIT
    contents, recent_from = view.contents, view.recent_from

    def choose(page: Page) -> list[int]:
        indices = contents.locate(page.uids)
        found = []
        for row, index in enumerate(indices):
            uid = page.uids[row]
            message = _message(
                index,
                uid,
                contents.flags[index],
                contents.keywords[index],
                uid >= recent_from,
                *_column_values(page, row),
                *_texts(page, row),
            )
            if matches(program, message):
                found.append(index)
        return found

    found: list[int] = []
    ranges = view.ranges(to_spans(among))
    while ranges:
        some, ranges = await session.site.mailboxes.page(
            contents.mailbox, ranges, columns, choose, limit, octets
        )
        found += some
    return found


def _column_values(page: Page, row: int) -> tuple[int, date, date | None]:
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
