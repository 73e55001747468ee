"""FETCH (RFC 3501 section 6.4.5): pages of messages, formatted off the loop, taken by the peer.

What is in memory (flags, UIDs) reads nothing. Holds: a slow peer holds up nobody; a message that
another session expunged, or that is damaged, costs a NO at the end, not the connection (RFC 2180
section 4.1.2).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from mailstead.model.errors import TemporaryFailure
from mailstead.model.flags import RETRIEVED, SEEN
from mailstead.protocol.imap import commands
from mailstead.protocol.imap.fetch import Attribute, Binary, Item, Section, Text
from mailstead.protocol.imap.numset import format_ranges
from mailstead.services.mailboxes.reading import Page
from mailstead.services.mailboxes.retrieving import Retriever
from mailstead.sessions.imap.binary import Decoded, chosen_pieces, literal_head, measure
from mailstead.sessions.imap.items import Format, Piece, Rows, compile_items, printable
from mailstead.sessions.imap.search import part
from mailstead.sessions.imap.sections import Extent
from mailstead.sessions.imap.select import tell_vanished
from mailstead.sessions.imap.state import Session, log
from mailstead.sessions.imap.store import Change, change_flags, tell_flags
from mailstead.sessions.imap.sync import Senseless, cut, to_spans
from mailstead.storage.blobs import PART_SIZE
from mailstead.storage.messages import Ranges

T = TypeVar("T")

ROWS_LIMIT = 1000  # messages of a page of columns
BODIES_LIMIT = 128  # messages of a page with text
DOWNGRADED_LIMIT = 1000  # UIDs that are told to have been put into ASCII
OCTETS_LIMIT = 1024 * 1024  # of such a page, about
HEADERS_OCTETS_LIMIT = 1024 * 1024  # of a page without bodies

_HEADER_ONLY = (Text.HEADER, Text.HEADER_FIELDS, Text.HEADER_FIELDS_NOT, Text.MIME)


async def fetch(session: Session, command: commands.Fetch) -> None:
    """Send what was asked for; then set \\Seen where text was read."""
    if Attribute.MODSEQ in command.items:
        session.enable_condstore()
    spans = session.selected.select(command.numset, command.uid)
    if command.changed_since is not None:
        spans = await _changed(session, command, spans, command.changed_since)
    if command.partial is not None:
        indices = [i for span in spans for i in range(*span)]
        spans = to_spans([indices[i] for i in part(command.partial, len(indices))])
    format_ = compile_items(command.items, session.uidonly)
    wanted = sum(stop - start for start, stop in spans)
    found, damaged = spans, False
    downgraded: set[int] | None = None if session.utf8 else set()
    if format_.needs:
        found, damaged = await _from_store(session, format_, spans, downgraded)
    else:
        await _from_memory(session, format_, spans)
    await _note(session, command, found)
    if damaged:
        text = "Some of the messages are damaged; the server's log says which"
        session.refuse(command.tag, text, "CORRUPTION")  # RFC 5530 section 3
        return
    if sum(stop - start for start, stop in found) < wanted:
        session.refuse(command.tag, "Some of the messages are gone", "EXPUNGEISSUED")
        return
    code = _downgraded(downgraded)
    await session.finish(command.tag, "FETCH completed", code, command.uid, command.uid)


def _downgraded(uids: set[int] | None) -> str:
    """The response code for what was put into ASCII, at least some of it (RFC 6858 section 3)."""
    if not uids:
        return ""
    return f"DOWNGRADED {format_ranges(sorted(uids)[:DOWNGRADED_LIMIT]).decode('ascii')}"


async def tell_messages(session: Session, items: tuple[Item, ...], indices: Sequence[int]) -> None:
    """FETCH of messages that nobody asked for just now; \\Seen stays as it is."""
    format_ = compile_items(items, session.uidonly)
    if format_.needs:
        downgraded: set[int] | None = None if session.utf8 else set()
        await _from_store(session, format_, to_spans(indices), downgraded)
    else:
        await _from_memory(session, format_, to_spans(indices))


async def _changed(
    session: Session, command: commands.Fetch, spans: list[tuple[int, int]], since: int
) -> list[tuple[int, int]]:
    """Those of the messages that changed later, after telling what is gone, if that is asked for.

    RFC 7162 sections 3.1.4.1 and 3.2.6.
    """
    view = session.selected
    if command.vanished:
        if not session.qresync:
            raise Senseless("VANISHED needs ENABLE QRESYNC")
        last = view.contents.uids[-1] if view.contents.uids else 0
        await tell_vanished(session, view, since, command.numset.resolve(last))
    modseqs = view.contents.modseqs
    return to_spans([i for span in spans for i in range(*span) if modseqs[i] > since])


async def _from_memory(session: Session, format_: Format, spans: Sequence[tuple[int, int]]) -> None:
    view = session.selected
    for group in cut(spans, ROWS_LIMIT):
        for start, stop in group:
            rows = Rows(view.contents, view.recent_from, range(start, stop))
            await _send(session, format_.render(rows))
        await asyncio.sleep(0)  # others get their turn


async def _from_store(
    session: Session,
    format_: Format,
    spans: Sequence[tuple[int, int]],
    downgraded: set[int] | None,
) -> tuple[list[tuple[int, int]], bool]:
    """The indices of the messages that were there, and whether one of the others is damaged."""
    view = session.selected
    contents, recent_from = view.contents, view.recent_from

    def render(page: Page) -> tuple[Sequence[int], list[Piece], int]:
        if page.damaged:
            return [], [], page.damaged
        indices = contents.locate(page.uids)
        rows = Rows(contents, recent_from, indices, page, downgraded)
        return indices, format_.render(rows), 0

    found: list[tuple[int, int]] = []
    damaged = False
    async with aclosing(_pages(session, format_, view.ranges(spans), render)) as pages:
        async for indices, pieces, uid in pages:
            damaged = damaged or uid > 0
            found += _spans(indices)
            await _send(session, pieces)
    return found, damaged


async def _pages(
    session: Session, format_: Format, ranges: Ranges, render: Callable[[Page], T]
) -> AsyncGenerator[T, None]:
    """Each page as it is rendered; while the peer takes it the next one is read."""
    mailbox = session.selected.contents.mailbox
    limit, octets = _page_size(format_)

    def read(ranges: Ranges) -> Coroutine[Any, Any, tuple[T, Ranges]]:
        return session.site.mailboxes.page(mailbox, ranges, format_.needs, render, limit, octets)

    if not ranges:
        return
    page, ranges = await read(ranges)
    while ranges:
        ahead = asyncio.get_running_loop().create_task(read(ranges))
        try:
            yield page
        except GeneratorExit:  # nobody takes it any more
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)
            raise
        page, ranges = await ahead
    yield page


_OF_PLACEMENT = frozenset(("uid", "internal_date", "size"))


def _page_size(format_: Format) -> tuple[int, int | None]:
    """How many messages a page has at most, and how many octets of messages, about.

    The more sections are asked for of each message, the fewer messages: what a page becomes in
    memory is bounded whatever a client asks for.
    """
    if _OF_PLACEMENT.issuperset(format_.needs):
        return ROWS_LIMIT, None
    sections = sum(column.is_section for column in format_.columns) or 1
    if "part" in format_.needs:
        return BODIES_LIMIT, OCTETS_LIMIT // sections
    return ROWS_LIMIT, HEADERS_OCTETS_LIMIT // sections


def _spans(indices: Sequence[int]) -> list[tuple[int, int]]:
    if isinstance(indices, range):
        return [(indices.start, indices.stop)]
    return to_spans(indices)


async def _send(session: Session, pieces: Sequence[Piece]) -> None:
    for piece in pieces:
        if isinstance(piece, Extent):
            await _stream(session, piece)
        elif isinstance(piece, Decoded):
            await _decode(session, piece)
        else:
            session.write(piece)
    await session.flush()


async def _stream(session: Session, extent: Extent) -> None:
    """A long stretch of a body, piece by piece."""
    start = extent.start
    while start < extent.end:
        stop = min(extent.end, start - start % PART_SIZE + PART_SIZE)
        data = await session.site.mailboxes.read_body(extent.body, start, stop)
        if len(data) < stop - start:
            # The literal was announced; a client can only be told by the end of the connection.
            raise ConnectionAbortedError("a body was deleted while it was read, or is damaged")
        session.write(printable(data))
        await session.flush()
        start = stop


async def _decode(session: Session, found: Decoded) -> None:
    """A long part without its transfer encoding, or how long it would be."""
    mailboxes = session.site.mailboxes
    measured = await measure(found, mailboxes)
    if found.item.size:
        session.write(b"%d" % measured.size)
        return
    session.write(literal_head(measured.wanted, measured.nul))
    async for piece in chosen_pieces(found, mailboxes):
        session.write(piece)
        await session.flush()


# ---------------------------------------------------------------------- what reading changes


async def _note(
    session: Session, command: commands.Fetch, found: Sequence[tuple[int, int]]
) -> None:
    """\\Seen, and the first retrieval by the owner."""
    sections = [item for item in command.items if isinstance(item, Section | Binary)]
    if any(map(_gives_text, sections)):
        _mark_retrieved(session, found)
    if not session.selected.may("s") or all(section.peek for section in sections):
        return
    view = session.selected
    flags, stale = view.contents.flags, view.dirty  # another may have taken \\Seen away just now
    unseen = [
        i for start, stop in found for i in range(start, stop) if stale or not flags[i] & SEEN
    ]
    if unseen:
        await _mark_seen(session, unseen, command.uid or Attribute.UID in command.items)


def _gives_text(item: Section | Binary) -> bool:
    if isinstance(item, Binary):
        return not item.size
    return bool(item.part) or item.text not in _HEADER_ONLY


async def _mark_seen(session: Session, unseen: Sequence[int], uid: bool) -> None:
    try:
        changed, _, _ = await change_flags(session, to_spans(unseen), Change("add", SEEN))
    except TemporaryFailure as failure:  # on a full disk mail can still be read
        log.warning("what %s reads stays unseen: %s", session.stream.peer, failure.reason)
        return
    await tell_flags(session, changed, uid)


def _mark_retrieved(session: Session, found: Sequence[tuple[int, int]]) -> None:
    view = session.selected
    if not session.owns_selected:
        return
    contents = view.contents
    fresh = [
        i for start, stop in found for i in range(start, stop) if contents.flags[i] < RETRIEVED
    ]
    if not fresh:
        return
    contents.mark_retrieved(fresh)
    who = Retriever(session.owner, "imap", session.client)
    uids = [contents.uids[index] for index in fresh]
    mailbox = view.mailbox
    session.later(lambda: session.site.mailboxes.mark_retrieved(mailbox, uids, who))
