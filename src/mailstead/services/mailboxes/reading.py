"""Pages of messages: columns of so many rows, bounded in number and in octets.

A command over a whole mailbox is a series of pages, each a short read of its own, so that no
checkpoint waits for a slow client.
"""

import logging
from collections.abc import Callable, Sequence
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

ReadBody = Callable[[StoredBody, int, int], bytes]

log = logging.getLogger("mailstead.mailboxes")


class Page:
    """Some messages as columns. The first column of every page is `uid`.

    `damaged` is the UID of a message that was left out, because the store cannot read it.
    """

    __slots__ = ("_columns", "damaged", "read_body", "uids")

    def __init__(
        self,
        columns: Sequence[str],
        rows: list[tuple[Any, ...]],
        read_body: ReadBody,
        damaged: int = 0,
    ) -> None:
        values = map(list, zip(*rows, strict=True)) if rows else ([] for _ in columns)
        self._columns: dict[str, list[Any]] = dict(zip(columns, values, strict=True))
        self.uids: list[int] = self._columns["uid"]
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
        rows, rest = read_page(tx, mailbox, ranges, columns, limit, octets)
        return work(Page(columns, rows, read_body)), rest
    except DamagedBody as damage:
        if limit > 1:
            return work_on_page(tx, mailbox, ranges, columns, work, limit // 2, octets)
        rows, rest = read_page(tx, mailbox, ranges, ("uid",), 1, None)
        uid = rows[0][0]
        log.error("a message cannot be read: mailbox=%d uid=%d: %s", mailbox, uid, damage)
        return work(Page(columns, [], read_body, damaged=uid)), rest


def read_page(
    tx: Tx,
    mailbox: MailboxId,
    ranges: Ranges,
    columns: Sequence[str],
    limit: int,
    octets: int | None,
) -> tuple[list[tuple[Any, ...]], Ranges]:
    """Rows of the first messages in the ranges of UIDs, and the ranges that are left."""
    rows: list[tuple[Any, ...]] = []
    left = list(reversed(ranges))
    while left and len(rows) < limit and (octets is None or octets > 0):
        first, last = left.pop()
        room, stop = limit - len(rows), last
        if octets is not None and "part" in columns:
            stop = _find_stop(tx, mailbox, (first, last), room, octets)
        elif octets is not None:
            room = min(room, STEP)
        found = messages.page(tx, mailbox, first, stop, room, columns)
        rows += found
        if octets is not None:
            octets -= sum([len(value) for row in found for value in row if type(value) is bytes])
        after = found[-1][0] + 1 if len(found) == room else stop + 1
        if after <= last:
            left.append((after, last))
    return rows, left[::-1]


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
