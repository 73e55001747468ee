"""What becomes of the results of searches that are kept up to date (RFC 5267 section 4.3).

Of a change only the messages that changed are looked at again. Holds: what is told leads from the
results that the client has to those of now.
"""

from array import array
from bisect import bisect_left, insort

from mailstead.sessions.imap.context import has, told
from mailstead.sessions.imap.fetch import tell_messages
from mailstead.sessions.imap.search import find_among
from mailstead.sessions.imap.state import Session
from mailstead.sessions.imap.sync import Context, View

FEW = 50  # UIDs that are put in and taken out one by one


def _changed(known: "array[int]", added: set[int], removed: set[int]) -> "array[int]":
    """The UIDs with some more and without others."""
    if len(added) + len(removed) > FEW:
        return array("I", sorted((set(known) - removed) | added))
    for uid in removed:
        del known[bisect_left(known, uid)]
    for uid in added:
        insort(known, uid)
    return known


async def settle(session: Session, view: View, before: int) -> None:
    """Tell what has become of results; messages behind that UID are new."""
    changed, view.touched = view.touched, set()
    contents = view.contents
    indices = [i for uid in sorted(changed) if (i := contents.find(uid)) is not None]
    for context in view.contexts:
        await _settle(session, view, context, indices, before)


async def _settle(
    session: Session, view: View, context: Context, indices: list[int], before: int
) -> None:
    uids, known = view.contents.uids, context.uids
    passing = await find_among(session, view, context.tag, context.program, indices)
    now = {uids[index] for index in passing}
    had = {uid for index in indices if has(known, uid := uids[index])}
    context.uids = _changed(known, now - had, had - now)
    fresh = [index for index in passing if uids[index] > before and uids[index] not in had]
    if fresh and context.items:  # RFC 5465 section 7
        await tell_messages(session, context.items, fresh)
    session.write(told(context, view.contents, "REMOVEFROM", had - now))
    session.write(told(context, view.contents, "ADDTO", now - had))
