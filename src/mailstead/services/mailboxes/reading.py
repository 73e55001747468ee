"""Pages of messages: columns of so many rows, bounded in number and in octets.

A command over a whole mailbox is a series of pages, each a short read of its own, so that no
checkpoint waits for a slow client.
"""

import logging
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, TypeVar

from mailstead.message.text import header_text
from mailstead.model.numbers import MailboxId
from mailstead.storage import blobs, messages
from mailstead.storage.blobs import PART_SIZE
from mailstead.storage.messages import Ranges
from mailstead.storage.packfile import DamagedBody
from mailstead.storage.plan import StoredBody
from mailstead.storage.store import Tx

T = TypeVar("T")

STEP = 64  # messages that are read before their octets are counted
_OCTETS = ("header", "structure", "envelope", "bodystructure", "part")  # columns of them

ReadBody = Callable[[StoredBody, int, int], bytes]

log = logging.getLogger("mailstead.mailboxes")


class Page:
    """Some messages as columns. The first column of every page is `uid`.

    `damaged` is the UID of a message that was left out, because the store cannot read it.
    """

    __slots__ = ("_columns", "damaged", "read_body", "uids")

    def __init__(
        self, columns: dict[str, list[Any]], read_body: ReadBody, damaged: int = 0
    ) -> None:
        self._columns = columns
        self.uids: list[int] = columns["uid"]
        self.read_body = read_body
        self.damaged = damaged

    def __contains__(self, column: str) -> bool:
        return column in self._columns

    def __getitem__(self, column: str) -> list[Any]:
        return self._columns[column]


def work_on_page(
    tx: Tx,
    mailbox: MailboxId,
    ranges: Ranges,
    columns: Sequence[str],
    work: Callable[[Page], T],
    limit: int,
    octets: int | None,
) -> tuple[T, Ranges]:
    """work(page) of the first messages in the ranges, and the ranges that are left.

    Around a body that cannot be read the pages get shorter, until it is alone and is left out.
    """

    def read_body(body: StoredBody, start: int, end: int) -> bytes:
        return blobs.read(tx, body, start, end)

    try:
        found, rest = read_page(tx, mailbox, ranges, columns, limit, octets)
        return work(Page(found, read_body)), rest
    except DamagedBody as damage:
        if limit > 1:
            return work_on_page(tx, mailbox, ranges, columns, work, limit // 2, octets)
        found, rest = read_page(tx, mailbox, ranges, ("uid",), 1, None)
        (uid,) = found["uid"]
        log.error("a message cannot be read: mailbox=%d uid=%d: %s", mailbox, uid, damage)
        empty: dict[str, list[Any]] = {name: [] for name in columns}
        return work(Page(empty, read_body, damaged=uid)), rest


def read_page(
    tx: Tx,
    mailbox: MailboxId,
    ranges: Ranges,
    columns: Sequence[str],
    limit: int,
    octets: int | None,
) -> tuple[dict[str, list[Any]], Ranges]:
    """Columns of the first messages in the ranges of UIDs, and the ranges that are left."""
    found: dict[str, list[Any]] = {name: [] for name in columns}
    uids = found["uid"]
    left = list(reversed(ranges))
    while left and len(uids) < limit and (octets is None or octets > 0):
        first, last = left.pop()
        room, stop = limit - len(uids), last
        if octets is not None and "part" in columns:
            stop = _find_stop(tx, mailbox, (first, last), room, octets)
        elif octets is not None and min(room, last - first + 1) > STEP:
            octets, whole = _read_steps(tx, mailbox, (first, last), room, found, octets)
            if not whole and uids[-1] < last:
                left.append((uids[-1] + 1, last))
            continue
        rows = messages.page(tx, mailbox, first, stop, room, columns)
        size = _add(found, rows)
        octets = None if octets is None else octets - size
        after = uids[-1] + 1 if len(rows) == room else stop + 1
        if after <= last:
            left.append((after, last))
    return found, left[::-1]


def _read_steps(
    tx: Tx,
    mailbox: MailboxId,
    span: tuple[int, int],
    room: int,
    found: dict[str, list[Any]],
    octets: int,
) -> tuple[int, bool]:
    """Find messages as long as octets are left: how many are then, and whether that was all."""
    with messages.stream(tx, mailbox, span, room, list(found), STEP) as stream:
        while octets > 0:
            rows = list(islice(stream, STEP))
            octets -= _add(found, rows)
            room -= len(rows)
            if len(rows) < STEP:
                return octets, room > 0
    return octets, False


def _add(found: dict[str, list[Any]], rows: list[tuple[Any, ...]]) -> int:
    """Put the rows behind the others; how many octets of messages they hold."""
    size = 0
    for (name, values), more in zip(found.items(), zip(*rows, strict=True), strict=False):
        values += more
        if name in _OCTETS:
            size += sum(map(len, filter(None, more)))
    return size


def _find_stop(tx: Tx, mailbox: MailboxId, span: tuple[int, int], room: int, octets: int) -> int:
    """The last UID whose message still fits; that of the first message in any case."""
    before = 0
    for uid, size in messages.page(tx, mailbox, *span, room, ("uid", "size")):
        octets -= min(size, 2 * PART_SIZE)
        if before and octets < 0:
            return before
        before = uid
    return span[1]


# ---------------------------------------------------------------------- texts of header fields

TEXT_OF = "text:"  # before the name of a field: its decoded values, one a line
TEXT_KEY = "text-key"  # see text_keys
KEY_COLUMNS = ("content", "size", "internal_date")
HEADERS_OCTETS = 4 * 1024 * 1024  # of a page of headers
TEXT_LIMIT = 300  # characters of a text that is kept; for a longer one there is None
ANCESTORS_LIMIT = 1000  # characters of the identifiers of those that a message answers


_CHECK_BITS = 24


def stored_for(names: Sequence[str]) -> tuple[list[str], int | None]:
    """The columns of the store that these are made of, and how many octets a page has."""
    stored = [name for name in names if not name.startswith(TEXT_OF) and name != TEXT_KEY]
    if TEXT_KEY in names:
        stored += [name for name in KEY_COLUMNS if name not in stored]
    if any(name.startswith(TEXT_OF) for name in names):
        return [*stored, "header"], HEADERS_OCTETS
    return stored, None


def columns_of(names: Sequence[str], page: Page) -> dict[str, list[Any]]:
    """The columns of a page that was read with `stored_for` them."""
    return {name: _column(name, page) for name in names}


def _column(name: str, page: Page) -> list[Any]:
    if name == TEXT_KEY:
        return text_keys(page)
    if name.startswith(TEXT_OF):
        field = name.removeprefix(TEXT_OF)
        texts = ["\n".join(header_text(header, field)) for header in page["header"]]
        return [text if len(text) <= TEXT_LIMIT else None for text in texts]
    return list(map(_shortened, page[name])) if name == "ancestors" else page[name]


def text_keys(page: Page) -> list[int]:
    """What the texts of each message are kept by; the page has to have KEY_COLUMNS.

    The content, and what tells it from the content of that number in another state of the store:
    whoever restored an old copy gives numbers to new mail that other mail had.
    """
    columns = (page[name] for name in KEY_COLUMNS)
    return [
        content << _CHECK_BITS | (size * 31 + received) % (1 << _CHECK_BITS)
        for content, size, received in zip(*columns, strict=True)
    ]


def content_of(key: int) -> int:
    """The content that the key begins with."""
    return key >> _CHECK_BITS


def _shortened(ancestors: str) -> str:
    """Too many of them: the first, which began the thread, and the last that there is room for."""
    if len(ancestors) <= ANCESTORS_LIMIT:
        return ancestors
    first, *others = ancestors.split(" ")
    room, kept = ANCESTORS_LIMIT - len(first), []
    while others and len(others[-1]) < room:
        kept.append(others.pop())
        room -= len(kept[-1]) + 1
    return " ".join([first, *reversed(kept)])
