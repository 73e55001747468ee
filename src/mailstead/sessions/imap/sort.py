"""SORT and THREAD (RFC 5256, RFC 5957): what a search finds, in an order or as trees.

What is sorted by is in memory once it was used (services.mailboxes.columns); sorting a big mailbox
and threading are done off the loop.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from mailstead.message import header, thread
from mailstead.message.addresses import mailboxes
from mailstead.message.structure import base_subject
from mailstead.message.text import fold_case, header_text
from mailstead.protocol.imap import commands, responses
from mailstead.protocol.imap.commands import SortBy, SortKey, Threading
from mailstead.services.mailboxes.reading import Page
from mailstead.sessions.imap.search import expanded, find, find_scored, tell_found
from mailstead.sessions.imap.state import Session
from mailstead.sessions.imap.sync import View, to_spans

AT_ONCE = 2000  # messages that are sorted in the loop
HEADERS_LIMIT = 500  # messages of a page of headers
HEADERS_OCTETS_LIMIT = 4 * 1024 * 1024

_DATE = ("sent", "internal_date")
_COLUMNS: dict[SortKey, tuple[str, ...]] = {
    SortKey.ARRIVAL: ("internal_date",),
    SortKey.CC: ("cc_key",),
    SortKey.DATE: _DATE,
    SortKey.FROM: ("from_key",),
    SortKey.SIZE: ("size",),
    SortKey.SUBJECT: ("base_subject",),
    SortKey.TO: ("to_key",),
}
_SHOWN = {SortKey.DISPLAYFROM: "From", SortKey.DISPLAYTO: "To"}


async def sort(session: Session, command: commands.Sort) -> None:
    """RFC 5256 section 3: the numbers of the messages, in the order asked for."""
    view = session.selected
    program = await expanded(session, command.program, command.wanted)
    command = msgspec.structs.replace(command, program=program)
    found, scores = await find_scored(session, view, command.tag, command.program)
    of = dict(zip(found, scores, strict=False))
    ranks = [await _ranks(session, view, by, found, of) for by in command.criteria]
    work = partial(_in_order, found, command.criteria, ranks)
    big = len(found) > AT_ONCE
    order = await session.site.world.offload.run(work) if big else work()
    await tell_found(session, command, order, b"SORT", [of[index] for index in order if of])


def _in_order(
    found: list[int], criteria: Sequence[SortBy], ranks: Sequence[Sequence[Any] | Mapping[int, Any]]
) -> list[int]:
    """Least important first, for sorting keeps what is equal in its order."""
    order = found
    for by, rank in reversed(list(zip(criteria, ranks, strict=True))):
        order = sorted(order, key=rank.__getitem__, reverse=by.reverse)
    return order


async def _ranks(
    session: Session, view: View, by: SortBy, found: Sequence[int], scores: Mapping[int, int]
) -> Sequence[Any] | Mapping[int, Any]:
    """For each message of the mailbox what it is sorted by."""
    if by.key is SortKey.RELEVANCY:  # the best one first (RFC 6203 section 6)
        return {index: -score for index, score in scores.items()}
    if by.key in _SHOWN:
        return await _shown_names(session, view, _SHOWN[by.key], found)
    columns = await session.site.mailboxes.columns(view.contents, _COLUMNS[by.key])
    if by.key is SortKey.DATE:
        return _dates(columns)
    empty: Any = 0 if by.key in (SortKey.ARRIVAL, SortKey.SIZE) else ""
    (values,) = columns.values()
    return [empty if value is None else value for value in values] if None in values else values


def _dates(columns: dict[str, list[Any]]) -> list[int]:
    """When it was sent, or if it does not say, when it came (RFC 5256 section 2.2)."""
    both = zip(columns["sent"], columns["internal_date"], strict=True)
    return [(came or 0) if sent is None else sent for sent, came in both]


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
    read: Callable[[Page], list[tuple[int, str]]],
) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    ranges = view.ranges(to_spans(indices))
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
    view, answers = session.selected, session.site.mailboxes.answers
    contents = view.contents
    program = await expanded(session, command.program)
    found = await find(session, session.selected, command.tag, program)
    question = f"{command.threading} {'UID' * command.uid}"
    whole = len(found) == len(contents.uids)
    answer = answers.find(contents, question) if whole else None
    if answer is None:
        answer = await _threads(session, view, command, found)
        if whole:
            answers.keep(contents, question, answer)
    session.write(answer)
    await session.finish(command.tag, "THREAD completed", "", command.uid, command.uid)


async def _threads(
    session: Session, view: View, command: commands.Thread, found: Sequence[int]
) -> bytes:
    """The whole response."""
    columns = await session.site.mailboxes.columns(
        view.contents, ("message_id", "ancestors", "base_subject", *_DATE)
    )
    run = session.site.world.offload.run
    messages = await run(partial(_messages, found, columns))
    if command.threading is Threading.ORDEREDSUBJECT:
        roots = await run(partial(thread.by_subject, messages))
    else:
        roots = await run(partial(thread.by_references, messages))
        replies = await _replies(session, view, thread.same_subjects(roots))
        roots = await run(partial(thread.join_by_subject, roots, replies))
    uids = view.contents.uids
    numbers = uids if command.uid else range(1, len(uids) + 1)
    return await run(partial(responses.thread_response, roots, numbers))


def _messages(found: Sequence[int], columns: dict[str, list[Any]]) -> list[thread.Message]:
    dates = _dates(columns)
    ids, ancestors, subjects = (
        columns[name] for name in ("message_id", "ancestors", "base_subject")
    )
    return [
        thread.Message(
            index,
            ids[index] or "",
            # In-Reply-To was once free text: what is no identifier joins nothing.
            [one for one in (ancestors[index] or "").split(" ") if "@" in one],
            subjects[index] or "",
            dates[index],
        )
        for index in found
    ]


async def _replies(session: Session, view: View, messages: Sequence[thread.Message]) -> set[int]:
    """The messages whose subject is more than its base: they answer or forward."""
    indices = sorted(one.number for one in messages)

    def read(page: Page) -> list[tuple[int, str]]:
        places = view.contents.locate(page.uids)
        texts = [" ".join(header_text(octets, "subject")[:1]) for octets in page["header"]]
        return list(zip(places, texts, strict=True))

    found = await _of_headers(session, view, indices, read)
    return {index for index, text in found if " ".join(text.split()) != base_subject(text)}
