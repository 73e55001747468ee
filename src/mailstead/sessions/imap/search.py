"""SEARCH (RFC 3501 section 6.4.4): flags in memory, columns and text by pages, off the loop.

Keys that must all hold are parted: those on flags and numbers choose who is looked at, the others
are asked of those only. Text is compared decoded and folded (message.text).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import msgspec

from mailstead.message.text import fold_case
from mailstead.model.errors import Refusal
from mailstead.protocol.imap import commands, filters, responses
from mailstead.protocol.imap.commands import Result, Tag, Wanted
from mailstead.protocol.imap.match import Need, bind, needs
from mailstead.protocol.imap.numset import NumSet, format_ranges
from mailstead.protocol.imap.search import (
    All,
    And,
    Between,
    BodyHas,
    ChangedSince,
    Fuzzy,
    HasFlag,
    HeaderHas,
    Key,
    Named,
    Not,
    Numbers,
    Or,
    TextHas,
    Within,
    is_fuzzy,
)
from mailstead.services.mailboxes import annotating
from mailstead.services.mailboxes.reading import TEXT_OF
from mailstead.sessions.imap import context
from mailstead.sessions.imap.fuzzy import soften
from mailstead.sessions.imap.progress import Progress
from mailstead.sessions.imap.scan import NEVER, find_in_memory, find_in_store, keep_nothing
from mailstead.sessions.imap.state import Session
from mailstead.sessions.imap.sync import Senseless, View
from mailstead.sessions.imap.texts import find_by_texts
from mailstead.storage.store import to_micros

MANY = 4  # a search of so little a part of a mailbox reads only that part


async def search(session: Session, command: commands.Search) -> None:
    """The numbers of all messages that the program finds."""
    program = await expanded(session, command.program, command.wanted)
    command = msgspec.structs.replace(command, program=program)
    view = session.selected
    context.check_tag(view, command)
    found, scores = await find_scored(session, view, command.tag, command.program)
    context.begin(session, view, command, found)
    await tell_found(session, command, found, b"SEARCH", scores)


async def expanded(session: Session, program: Key, wanted: Wanted | None = None) -> Key:
    """The program with filters in the place of their names (RFC 5466 section 3.1)."""
    if not says(program, lambda key: isinstance(key, Named)):
        return program
    try:
        found = await _expanded(session, program)
    except Refusal:
        if wanted is not None and Result.SAVE in wanted.results:  # RFC 5182 section 2.1
            session.selected.saved = ()
        raise
    if session.uidonly and says(found, _is_seqnums):  # RFC 9586 section 3.5
        raise Senseless("the filter has message numbers")
    return found


async def _expanded(session: Session, program: Key) -> Key:
    annotations, account = session.site.mailboxes.annotations, session.owner.account
    known: dict[str, bytes | None] = {}
    expansion = filters.expand(program)
    try:
        name = next(expansion)
        while True:
            if name not in known:
                entries = [f"{root}{name}" for root in filters.VALUES]
                found = (await annotations.find(account, "", annotating.Wanted(entries))).values
                known[name] = next((found[one] for one in entries if one in found), None)
            name = expansion.send(known[name])
    except StopIteration as end:
        return cast("Key", end.value)


async def tell_found(
    session: Session,
    command: commands.Search | commands.Sort,
    found: list[int],
    word: bytes,
    scores: Sequence[int] = (),
) -> None:
    """What was found, in its order, as the command wants it; then the tagged OK."""
    view, wanted = session.selected, command.wanted
    if wanted is None and session.rev2 and word == b"SEARCH":  # RFC 9051 section 6.4.4
        wanted = Wanted(frozenset({Result.ALL}))
    with_modseqs = says(command.program, is_modseq)
    if with_modseqs:
        session.enable_condstore()

    def render() -> bytes:
        uids = view.contents.uids
        if wanted is not None and Result.SAVE in wanted.results:
            view.saved = sorted(uids[i] for i in saved(found, wanted))
        modseqs = [view.contents.modseqs[i] for i in found] if with_modseqs else []
        numbers = [uids[i] for i in found] if command.uid else [i + 1 for i in found]
        if wanted is None:
            tell = responses.sort_response if word == b"SORT" else responses.search_response
            return tell(numbers, max(modseqs, default=0))
        if wanted.results == {Result.SAVE} and not wanted.partial:  # RFC 5182 section 2.1
            return b""
        items = result_items(wanted, numbers, modseqs, scores)
        return responses.esearch_response(command.tag, command.uid, items)

    session.write(await session.off_loop(len(found), render))
    # No message may go away while numbers of old are asked about (RFC 7162 section 3.2.10.2).
    expunges = command.uid and not says(command.program, _is_seqnums)
    await session.finish(command.tag, f"{word.decode()} completed", "", expunges, command.uid)


def result_items(
    wanted: Wanted, numbers: list[int], modseqs: list[int], scores: Sequence[int]
) -> list[tuple[str, str]]:
    """Of ESEARCH (RFC 4731 section 3.1, RFC 9394 section 3.1, RFC 6203 section 4)."""
    results, items = wanted.results, []
    if numbers:
        items += [("MIN", str(numbers[0]))] * (Result.MIN in results)
        items += [("MAX", str(numbers[-1]))] * (Result.MAX in results)
        items += [("ALL", format_ranges(numbers).decode())] * (Result.ALL in results)
    items += [("COUNT", str(len(numbers)))] * (Result.COUNT in results)
    told = range(len(numbers)) if results & _WHOLE else range(0)
    if wanted.partial:
        told = part(wanted.partial, len(numbers))
        some = format_ranges(numbers[i] for i in told).decode() or "NIL"
        first, last = wanted.partial
        items.append(("PARTIAL", f"({first}:{last} {some})"))
    if Result.RELEVANCY in results:
        of = part(wanted.partial, len(numbers)) if wanted.partial else range(len(numbers))
        items.append(("RELEVANCY", f"({' '.join(str(scores[i]) for i in of)})"))
    if modseqs:  # of the messages that are told of (RFC 4731 section 3.2)
        ends = [0] * (Result.MIN in results) + [-1] * (Result.MAX in results)
        items.append(("MODSEQ", str(max([modseqs[i] for i in [*told, *ends]], default=0))))
    return items


_WHOLE = {Result.ALL, Result.COUNT, Result.RELEVANCY}  # they tell of every message that was found


def part(wanted: tuple[int, int], count: int) -> range:
    """The places of a part of so many results, counted from 1 or from -1 back."""
    first, last = wanted
    if first > 0:
        return range(min(first - 1, count), min(last, count))
    return range(max(count + last, 0), max(count + first + 1, 0))


def saved(found: list[int], wanted: Wanted) -> list[int]:
    """What `$` stands for from now on (RFC 5182 section 2.4, RFC 9394 section 3.2)."""
    if wanted.partial:
        return [found[i] for i in part(wanted.partial, len(found))]
    results = wanted.results - {Result.CONTEXT, Result.UPDATE}
    if results & _WHOLE or results == {Result.SAVE}:
        return found
    ends = found[:1] * (Result.MIN in results) + found[-1:] * (Result.MAX in results)
    return sorted(set(ends))


def says(program: Key, which: Callable[[Key], bool]) -> bool:
    """Whether there is such a key anywhere in the program."""
    match program:
        case Not(key) | Fuzzy(key):
            return says(key, which)
        case Or(left, right):
            return says(left, which) or says(right, which)
        case And(keys):
            return any(says(key, which) for key in keys)
        case _:
            return which(program)


def is_modseq(key: Key) -> bool:
    """Whether the key makes mod-sequences part of the answer (RFC 7162 section 3.1.5)."""
    return isinstance(key, ChangedSince)


def _is_seqnums(key: Key) -> bool:
    return isinstance(key, Numbers) and not key.uid and not key.numset.saved


async def find(session: Session, view: View, tag: Tag, wanted: Key) -> list[int]:
    """The indices of the messages that the program finds, in order."""
    return (await find_scored(session, view, tag, wanted))[0]


async def find_scored(
    session: Session, view: View, tag: Tag, wanted: Key
) -> tuple[list[int], list[int]]:
    """The same, and how well each fits, from 1 to 100; nothing of that without FUZZY."""
    folded = _fold(wanted, view, to_micros(session.site.world.clock.now()))
    if not is_fuzzy(wanted):
        return await _find(session, view, tag, folded), []
    softened = await soften(session, view, tag, folded)
    found = await _find(session, view, tag, softened.program)
    scores = await session.site.world.offload.run(lambda: softened.scores(found))
    return found, scores


async def _find(session: Session, view: View, tag: Tag, wanted: Key) -> list[int]:
    memory, rest = _bound(view, wanted)
    count = len(view.contents.uids)
    cost = count if _quick_flags(memory) is None else count // 8
    found = await session.off_loop(cost, lambda: _find_in_memory(view, memory))
    return await _find_rest(session, view, tag, rest, found)


async def find_among(
    session: Session, view: View, tag: Tag, wanted: Key, among: Sequence[int]
) -> list[int]:
    """Those of the messages that the program, which has no FUZZY in it, finds."""
    folded = _fold(wanted, view, to_micros(session.site.world.clock.now()))
    memory, rest = _bound(view, folded)
    found = await session.off_loop(len(among), lambda: find_in_memory(view, memory, among))
    return await _find_rest(session, view, tag, rest, found)


def _bound(view: View, wanted: Key) -> tuple[And, And | None]:
    uids = view.contents.uids
    return _part(bind(wanted, len(uids), uids[-1] if uids else 0))


async def _find_rest(
    session: Session, view: View, tag: Tag, rest: And | None, found: list[int]
) -> list[int]:
    """Those of the messages that pass what cannot be decided in memory."""
    if rest is not None and found:
        found, rest = await _find_in_columns(session, view, tag, rest, found)
    if rest is not None and found:
        progress = Progress(session, tag, len(found))
        found = await find_by_texts(session, view, rest, found, progress)
    return found


async def _find_in_columns(
    session: Session, view: View, tag: Tag, program: And, found: list[int]
) -> tuple[list[int], And | None]:
    """Those that pass the keys on well-known header fields, whose texts are kept in memory.

    Also the keys that are left. A few messages are not worth reading the whole mailbox for.
    """
    mailboxes, contents = session.site.mailboxes, view.contents
    left: list[Key] = []
    for key in program.keys:
        field, text = _of_kept_field(key)
        many = len(found) * MANY > len(contents.uids)
        if field and (many or mailboxes.has_column(contents, field)):
            texts = (await mailboxes.columns(contents, [field]))[field]
            look = partial(_look_at, texts, text, found)
            sure, unsure = await session.off_loop(len(found), look)
            if unsure:
                progress = Progress(session, tag, len(unsure))
                only = And((key,))
                sure += await find_in_store(session, view, only, unsure, progress, keep_nothing)
            found = sorted(sure)
        else:
            left.append(key)
    return found, And(tuple(left)) if left else None


def _look_at(
    texts: Sequence[str | None], text: str, among: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Those of the messages that have the text, and those whose texts are too long to be kept."""
    has = [i for i in among if (one := texts[i]) is not None and text in one]
    return has, [i for i in among if texts[i] is None] if None in texts else []


def _of_kept_field(key: Key) -> tuple[str, str]:
    """The column and the text, if the key asks for a text on one line of such a field."""
    match key:
        case HeaderHas(field, text) if field in _KEPT_FIELDS and text and "\n" not in text:
            return TEXT_OF + field, text
        case _:
            return "", ""


_KEPT_FIELDS = ("subject", "from", "to", "cc")


def _fold(key: Key, view: View, now: int) -> Key:
    """Texts in the form that message.text gives them, `$` and spans of time as what they mean."""
    match key:
        case Within(younger, seconds):
            moment = now - seconds * 1_000_000
            return Between(
                "internal_date", moment if younger else -NEVER, NEVER if younger else moment
            )
        case Numbers(numset, _) if numset.saved:
            return Numbers(NumSet(tuple((uid, uid) for uid in view.saved)), uid=True)
        case HeaderHas(field, text):
            return HeaderHas(field, fold_case(text))
        case BodyHas(text):
            return BodyHas(fold_case(text))
        case TextHas(text):
            return TextHas(fold_case(text))
        case Not(inner):
            return Not(_fold(inner, view, now))
        case Fuzzy(inner):
            return Fuzzy(_fold(inner, view, now))
        case Or(left, right):
            return Or(_fold(left, view, now), _fold(right, view, now))
        case And(keys):
            return And(tuple(_fold(one, view, now) for one in keys))
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
        if not both:
            return list(range(len(view.contents.uids)))
        return [i for i, flags in enumerate(view.contents.flags) if flags & both == must]
    return find_in_memory(view, program, range(len(view.contents.uids)))


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
