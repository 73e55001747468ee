"""Choosing a mailbox and letting go of it (RFC 3501 sections 6.3.1, 6.3.2, 6.4.2; RFC 3691).

Who comes back is told what happened meanwhile (RFC 7162 section 3.2.5).
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from mailstead.model.flags import SEEN
from mailstead.protocol.imap import commands, responses
from mailstead.protocol.imap.commands import Resync
from mailstead.protocol.imap.numset import NumSet, Range, contains
from mailstead.protocol.imap.objectid import MAILBOX_ID, format_object_id
from mailstead.protocol.imap.responses import UNTAGGED
from mailstead.sessions.imap.copy import expunge_deleted
from mailstead.sessions.imap.mailboxes import list_one
from mailstead.sessions.imap.state import Session, highest
from mailstead.sessions.imap.store import TELL_LIMIT
from mailstead.sessions.imap.sync import Senseless, View, flag_lists, flags_responses

MATCH_LIMIT = 10_000  # pairs of sequence number and UID that are looked at


async def select(session: Session, command: commands.Select | commands.Examine) -> None:
    """RFC 3501 sections 6.3.1 and 6.3.2; what was selected is left even if this fails."""
    if command.resync is not None and not session.qresync:
        raise Senseless("QRESYNC has to be enabled first")
    if session.view is not None:  # RFC 7162 section 3.2.11
        session.leave()
        session.write(responses.ok(UNTAGGED, "The mailbox before is closed", "CLOSED"))
    session.condstore = session.condstore or command.condstore
    read_only = isinstance(command, commands.Examine)
    opened = await session.site.mailboxes.open(session.owner.account, command.mailbox)
    kept = opened.mailbox, opened.contents, opened.keywords
    view = View(*kept, read_only, not session.rev2, opened.rights)
    session.enter(view)
    session.write(_describe(view, session.rev2, session.uidonly))
    if session.rev2:
        session.write(await list_one(session, view.mailbox.name))
    if command.resync is not None and command.resync.uidvalidity == view.mailbox.uidvalidity:
        await _resynchronise(session, view, command.resync)
    text = "EXAMINE completed" if read_only else "SELECT completed"
    code = "READ-ONLY" if view.read_only else "READ-WRITE"
    session.write(responses.ok(command.tag, text, code))


async def _resynchronise(session: Session, view: View, known: Resync) -> None:
    """What is gone and what has changed since the client was here (RFC 7162 section 3.2.5.1)."""
    last = view.mailbox.uidnext - 1
    among = known.known.resolve(last) if known.known else [(1, last)]
    least = _agreed(view, known.match) if known.match else 0
    await tell_vanished(session, view, known.modseq, among, least)
    contents = view.contents
    changed = [
        index
        for index, modseq in enumerate(contents.modseqs)
        if modseq > known.modseq and contains(among, contents.uids[index])
    ]
    for start in range(0, len(changed), TELL_LIMIT):
        some = changed[start : start + TELL_LIMIT]
        session.write(flags_responses(view, some, session.manner(uid=True)))
        await session.flush()


async def tell_vanished(
    session: Session, view: View, since: int, among: Sequence[Range], least: int = 0
) -> None:
    """The UIDs among these that were expunged since, but for those up to `least`."""
    gone = await session.site.mailboxes.vanished(view.contents.mailbox, since)
    session.write(
        responses.vanished(
            (
                uid
                for uid in gone
                if uid > least and contains(among, uid) and view.contents.find(uid) is None
            ),
            earlier=True,
        )
    )


def _agreed(view: View, match: tuple[NumSet, NumSet]) -> int:
    """The last UID up to which client and mailbox agree (RFC 7162 section 3.2.5.2)."""
    uids, agreed = view.contents.uids, 0
    seqnums, theirs = (islice(_numbers(each), MATCH_LIMIT) for each in match)
    for seqnum, uid in zip(seqnums, theirs, strict=False):
        if seqnum > len(uids) or uids[seqnum - 1] != uid:
            break
        agreed = uid
    return agreed


def _numbers(numset: NumSet) -> Iterator[int]:
    for low, high in numset.ranges:
        yield from range(low, high + 1)


def _describe(view: View, rev2: bool, uidonly: bool) -> bytes:
    contents = view.contents
    pieces = [flag_lists(view), responses.exists(len(contents.uids))]
    pieces += [responses.recent(view.recent)] * (not rev2)
    unseen = next((i for i, flags in enumerate(contents.flags, 1) if not flags & SEEN), 0)
    if unseen and not rev2 and not uidonly:  # RFC 9051 appendix E, 11; RFC 9586 section 3
        pieces.append(responses.ok(UNTAGGED, "The first unseen message", f"UNSEEN {unseen}"))
    codes = {
        f"UIDVALIDITY {view.mailbox.uidvalidity}": "UIDs are valid",
        f"UIDNEXT {view.mailbox.uidnext}": "The next UID",
        highest(view): "Highest",
        f"MAILBOXID ({format_object_id(MAILBOX_ID, view.mailbox.id)})": "The mailbox",
    }
    pieces += [responses.ok(UNTAGGED, text, code) for code, text in codes.items()]
    return b"".join(pieces)


async def close(session: Session, command: commands.Close) -> None:
    """Expunge without a word and leave (RFC 3501 section 6.4.2)."""
    if session.selected.may("e"):
        await session.refresh()
        if session.view is not None:
            await expunge_deleted(session)
    session.leave()
    session.write(responses.ok(command.tag, "CLOSE completed"))


async def unselect(session: Session, command: commands.Unselect) -> None:
    """Leave and expunge nothing (RFC 3691 section 2)."""
    session.leave()
    session.write(responses.ok(command.tag, "UNSELECT completed"))
