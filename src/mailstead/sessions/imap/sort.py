"""SORT and THREAD (RFC 5256, RFC 5957): what a search finds, in an order or as trees.

What is sorted by is in memory once it was used (services.mailboxes.columns); sorting a big mailbox
and threading are done off the loop.
"""

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, TypeVar

import msgspec

from mailstead.message import header, thread
from mailstead.message.addresses import mailboxes
from mailstead.message.structure import base_subject
from mailstead.message.text import fold_case, header_text
from mailstead.protocol.imap import commands, responses
from mailstead.protocol.imap.commands import SortBy, SortKey, Threading
from mailstead.services.mailboxes.forest import COLUMNS as THREADED_BY
from mailstead.services.mailboxes.forest import Tree, reader, tree_of
from mailstead.services.mailboxes.reading import Page
from mailstead.sessions.imap.search import expanded, find, find_scored, tell_found
from mailstead.sessions.imap.state import Session
from mailstead.sessions.imap.sync import View, to_spans

RUN = 16_384  # messages that are sorted at a stretch
HEADERS_LIMIT = 500  # messages of a page of headers
HEADERS_OCTETS_LIMIT = 4 * 1024 * 1024

_COLUMNS: dict[SortKey, tuple[str, ...]] = {
    SortKey.ARRIVAL: ("internal_date",),
    SortKey.CC: ("cc_key",),
    SortKey.DATE: ("sent", "internal_date"),
    SortKey.FROM: ("from_key",),
    SortKey.SIZE: ("size",),
    SortKey.SUBJECT: ("base_subject",),
    SortKey.TO: ("to_key",),
}
Columns = Mapping[str, Any]  # what each message has, by its index
T = TypeVar("T")

_SHOWN = {SortKey.DISPLAYFROM: "From", SortKey.DISPLAYTO: "To"}


async def sort(session: Session, command: commands.Sort) -> None:
    """RFC 5256 section 3: the numbers of the messages, in the order asked for."""
    view = session.selected
    program = await expanded(session, command.program, command.wanted)
    command = msgspec.structs.replace(command, program=program)
    found, scores = await find_scored(session, view, command.tag, command.program)
    of = dict(zip(found, scores, strict=False))
    columns = [await _columns(session, view, by, found, of) for by in command.criteria]
    contents, (by, *others) = view.contents, command.criteria
    orders, whole = session.site.mailboxes.orders, len(found) == len(contents.uids)
    known = () if others or by.key not in _COLUMNS else orders.find(contents, by)
    work = partial(in_order, found, len(contents.uids), known, command.criteria, columns)
    order = await session.off_loop(len(found), work)
    if whole and not others and by.key in _COLUMNS:
        orders.keep(contents, by, order)
    await tell_found(session, command, order, b"SORT", [of[index] for index in order if of])


async def _columns(
    session: Session, view: View, by: SortBy, found: Sequence[int], scores: Mapping[int, int]
) -> Columns:
    """What the messages are sorted by."""
    if by.key is SortKey.RELEVANCY:  # the best one first (RFC 6203 section 6)
        return {"score": {index: -score for index, score in scores.items()}}
    if by.key in _SHOWN:
        return {"name": await _shown_names(session, view, _SHOWN[by.key], found)}
    return await session.site.mailboxes.columns(view.contents, _COLUMNS[by.key])


def in_order(
    found: Sequence[int],
    count: int,
    known: Sequence[int],
    criteria: Sequence[SortBy],
    columns: Sequence[Columns],
) -> list[int]:
    """Least important first, for sorting keeps what is equal in its order.

    Of `count` messages the first are `known` to be in order already.
    """
    order = [*known, *range(len(known), count)]
    if len(found) < count:
        wanted = bytearray(count)
        for index in found:
            wanted[index] = 1
        order = [index for index in order if wanted[index]]
    for by, column in reversed(list(zip(criteria, columns, strict=True))):
        rank = _ranks(by, column).__getitem__
        # Nobody else runs while a list is sorted, so a long one is brought into runs first.
        for start in range(len(known), len(order), RUN) if len(order) > RUN else ():
            order[start : start + RUN] = sorted(
                order[start : start + RUN], key=rank, reverse=by.reverse
            )
        order.sort(key=rank, reverse=by.reverse)
    return order


def _ranks(by: SortBy, columns: Columns) -> Any:
    """For each message what it is sorted by."""
    if by.key is SortKey.DATE:  # without one it was sent when it came (RFC 5256 section 2.2)
        both = zip(columns["sent"], columns["internal_date"], strict=True)
        return [(came or 0) if sent is None else sent for sent, came in both]
    empty: Any = 0 if by.key in (SortKey.ARRIVAL, SortKey.SIZE) else ""
    (values,) = columns.values()
    return [empty if value is None else value for value in values] if None in values else values


async def _shown_names(session: Session, view: View, field: str, found: Sequence[int]) -> list[str]:
    """The name of the first address, or the address (RFC 5957 section 3)."""
    names = [""] * len(view.contents.uids)

    def read(page: Page) -> list[tuple[int, str]]:
        indices = view.contents.locate(page.uids)
        shown = [_shown_name(header.get(octets, field)) for octets in page["header"]]
        return list(zip(indices, shown, strict=True))

    for index, name in await _of_headers(session, view, found, read):
        names[index] = name
    return names


def _shown_name(value: bytes | None) -> str:
    first = next(iter(mailboxes(value)), None) if value else None
    if first is None:
        return ""
    address = (
        f"{first.local_part.decode('utf-8', 'replace')}@{first.domain.decode('utf-8', 'replace')}"
    )
    return fold_case(first.display_name or address)


async def _of_headers(
    session: Session,
    view: View,
    indices: Sequence[int],
    read: Callable[[Page], list[tuple[int, T]]],
) -> list[tuple[int, T]]:
    found: list[tuple[int, T]] = []
    ranges = await session.off_loop(len(indices), lambda: view.ranges(to_spans(indices)))
    while ranges:
        some, ranges = await session.site.mailboxes.page(
            view.contents.mailbox, ranges, ("uid", "header"), read, HEADERS_LIMIT,
            HEADERS_OCTETS_LIMIT,
        )  # fmt: skip
        found += some
    return found


# ---------------------------------------------------------------------- THREAD


async def thread_(session: Session, command: commands.Thread) -> None:
    """RFC 5256 section 3: the trees, each message by its number."""
    view, run = session.selected, session.site.world.offload.run
    program = await expanded(session, command.program)
    found = await find(session, view, command.tag, program)
    contents = view.contents
    whole = len(found) == len(contents.uids)
    uids = contents.uids if whole else array("I", [contents.uids[index] for index in found])
    read = reader(contents.uids, await session.site.mailboxes.columns(contents, THREADED_BY))
    if command.threading is Threading.REFERENCES:
        trees = await _by_references(session, view, uids, read)
    else:
        trees = await run(lambda: list(map(tree_of, thread.by_subject(map(read, uids)))))
    session.write(await run(partial(_tell, trees, contents.uids, command.uid)))
    await session.finish(command.tag, "THREAD completed", "", command.uid, command.uid)


async def _by_references(
    session: Session, view: View, uids: "array[int]", read: Callable[[int], thread.Message]
) -> list[Tree]:
    mailbox, run = view.contents.mailbox, session.site.world.offload.run
    forests = session.site.mailboxes.forests
    forest = forests.take(mailbox, uids)
    if forest.uids != uids:
        asked = await run(partial(forest.advance, uids, read))
        replies = await _replies(session, view, asked)
        await run(partial(forest.settle, replies))
    forests.put(mailbox, forest)
    return forest.trees


async def _replies(session: Session, view: View, uids: Sequence[int]) -> dict[int, bool]:
    """Whether the subject of each message is more than its base: it answers or forwards."""

    def read(page: Page) -> list[tuple[int, bool]]:
        texts = [" ".join(header_text(octets, "subject")[:1]) for octets in page["header"]]
        replies = [" ".join(text.split()) != base_subject(text) for text in texts]
        return list(zip(page.uids, replies, strict=True))

    indices = await session.off_loop(len(uids), partial(view.contents.locate, uids))
    return dict.fromkeys(uids, False) | dict(await _of_headers(session, view, indices, read))


def _tell(trees: Sequence[Tree], uids: Sequence[int], uid: bool) -> bytes:
    named: Iterable[int] = chain.from_iterable([tree.uids for tree in trees])
    if not uid:
        named = map({uid: seqnum for seqnum, uid in enumerate(uids, 1)}.__getitem__, named)
    return responses.thread_response([tree.outline for tree in trees], named)
