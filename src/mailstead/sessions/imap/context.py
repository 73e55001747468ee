"""Searches whose results are kept up to date while the mailbox is selected (RFC 5267).

What a context has found is known by UID. How it changes is in updating.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from mailstead.protocol.imap import commands, responses
from mailstead.protocol.imap.commands import Result
from mailstead.protocol.imap.numset import NumSet, format_ranges
from mailstead.protocol.imap.search import And, Fuzzy, Key, Not, Numbers, Or, is_fuzzy
from mailstead.services.mailboxes.contents import Contents
from mailstead.sessions.imap.state import Session
from mailstead.sessions.imap.sync import Context, Senseless, View

CONTEXTS_LIMIT = 4  # of one session: each knows all that it has found


def check_tag(view: View, command: commands.Search | commands.MultiSearch) -> None:
    """A tag names one context only (RFC 5267 section 4.3)."""
    asked = command.wanted is not None and Result.UPDATE in command.wanted.results
    if asked and any(context.tag == command.tag for context in view.contexts):
        raise Senseless("that tag names a search that is kept up to date")


def begin(
    session: Session,
    view: View,
    command: commands.Search | commands.MultiSearch,
    found: Sequence[int],
    where: bytes = b"",
) -> None:
    """Keep the results up to date, if that is wanted and can be."""
    wanted = command.wanted
    if wanted is None or Result.UPDATE not in wanted.results:
        return
    if len(view.contexts) >= CONTEXTS_LIMIT or is_fuzzy(command.program):
        code = f'NOUPDATE "{command.tag.decode("ascii")}"'
        said = "That cannot be kept up to date, or there are too many"
        session.write(responses.no(responses.UNTAGGED, said, code))
        return
    uids = array("I", sorted(view.contents.uids[index] for index in found))
    uid = isinstance(command, commands.MultiSearch) or command.uid
    program = _freeze(command.program, view)
    view.contexts.append(Context(command.tag, uid, program, wanted.items, uids, where))


def _freeze(program: Key, view: View) -> Key:
    """Sequence numbers and `$` are those of now (RFC 5267 section 4.3)."""
    match program:
        case Numbers(numset, _) if numset.saved:
            return Numbers(NumSet(tuple((uid, uid) for uid in view.saved)), uid=True)
        case Numbers(numset, uid) if not uid:
            count = len(view.contents.uids)
            spans = [
                (first - 1, min(last, count))
                for first, last in numset.resolve(count)
                if first <= count
            ]
            return Numbers(NumSet(tuple(view.ranges(spans))), uid=True)
        case Not(key):
            return Not(_freeze(key, view))
        case Fuzzy(key):
            return Fuzzy(_freeze(key, view))
        case Or(left, right):
            return Or(_freeze(left, view), _freeze(right, view))
        case And(keys):
            return And(tuple(_freeze(key, view) for key in keys))
        case _:
            return program


async def cancel(session: Session, command: commands.CancelUpdate) -> None:
    """RFC 5267 section 4.3.5; what nobody keeps up to date is no error."""
    view = session.selected
    view.contexts = [one for one in view.contexts if one.tag not in command.tags]
    await session.finish(command.tag, "No further updates", expunges=False)


def tell_expunged(view: View, gone: Sequence[int]) -> bytes:
    """What leaves results because it leaves the mailbox: before EXPUNGE shifts the numbers."""
    pieces = []
    for context in view.contexts:
        left = {uid for uid in gone if has(context.uids, uid)}
        pieces.append(told(context, view.contents, "REMOVEFROM", left))
        if left:
            context.uids = array("I", [uid for uid in context.uids if uid not in left])
    return b"".join(pieces)


def has(uids: "array[int]", uid: int) -> bool:
    """Whether the UID is among these, which ascend."""
    return bisect_right(uids, uid) > bisect_left(uids, uid)


def told(context: Context, contents: Contents, what: str, uids: Iterable[int]) -> bytes:
    """`* ESEARCH (TAG "B01") UID ADDTO (0 32768:32769)`, in the order of the mailbox."""
    numbers = sorted(uids)
    if not context.uid:
        numbers = [index + 1 for uid in numbers if (index := contents.find(uid)) is not None]
    if not numbers:
        return b""
    items = [(what, f"(0 {format_ranges(numbers).decode('ascii')})")]
    return responses.esearch_response(context.tag, context.uid, items, context.where)
