"""Copying, moving and expunging (RFC 3501 sections 6.4.3, 6.4.7; RFC 4315; RFC 6851)."""

from collections.abc import Sequence
from itertools import chain

from mailstead.model.errors import Refusal
from mailstead.model.flags import DELETED
from mailstead.protocol.imap import commands, responses
from mailstead.sessions.imap.state import NO_RIGHT, READ_ONLY, Session, highest
from mailstead.sessions.imap.sync import flags_of, to_spans
from mailstead.storage.messages import Copied
from mailstead.storage.rights import Reached


async def copy(session: Session, command: commands.Copy) -> None:
    """RFC 3501 section 6.4.7: all of the messages or none."""
    view = session.selected
    spans = view.select(command.numset, command.uid)
    target = await find_target(session, command.mailbox)
    # A UID that is gone is passed over; a sequence number that is gone is not (RFC 2180 4.4.1).
    expected = None if command.uid else sum(stop - start for start, stop in spans)
    made = await session.site.mailboxes.copy(
        view.contents.mailbox,
        view.slices(spans),
        target.mailbox.id,
        expected,
        flags_of(target.rights),
    )
    session.note_made(target.mailbox.id, (uid for one in made for uid in one.copies))
    await session.finish(command.tag, "COPY completed", _code(made), uid=command.uid)


async def move(session: Session, command: commands.Move) -> None:
    """RFC 6851 section 3."""
    view = session.selected
    check_rights(session, "te")  # RFC 6851 section 4.2
    spans = view.select(command.numset, command.uid)
    target = await find_target(session, command.mailbox)
    among = flags_of(target.rights)
    for ranges in view.slices(spans):
        moved = await session.site.mailboxes.move(
            view.contents.mailbox, ranges, target.mailbox.id, among
        )
        session.note_made(target.mailbox.id, moved.copies)
        if code := _code([moved]):  # before the EXPUNGE responses (RFC 6851 section 4.3)
            session.write(responses.ok(responses.UNTAGGED, "Moved", code))
    await session.finish(command.tag, "MOVE completed", uid=command.uid)


async def expunge(session: Session, command: commands.Expunge) -> None:
    """RFC 3501 section 6.4.3."""
    check_rights(session, "e")
    await session.sync()  # others may have marked messages
    if session.view is not None:
        await expunge_deleted(session)
    await end_expunge(session, command.tag, uid=False)


async def uid_expunge(session: Session, command: commands.UidExpunge) -> None:
    """RFC 4315 section 2.1."""
    check_rights(session, "e")
    await session.sync(uid=True)
    if session.view is not None:
        spans = session.view.select(command.numset, uid=True)
        await expunge_deleted(session, chain.from_iterable(range(*span) for span in spans))
    await end_expunge(session, command.tag, uid=True)


async def end_expunge(session: Session, tag: bytes, uid: bool, word: str = "EXPUNGE") -> None:
    """With the mod-sequence, for who resynchronises by it (RFC 7162 sections 3.2.7 and 3.2.9)."""
    before = session.view and session.view.contents.modseq
    if session.view is not None and session.view.dirty:
        await session.sync(uid=uid)
    view = session.view
    changed = session.qresync and view is not None and view.contents.modseq != before
    code = highest(view) if changed and view is not None else ""
    await session.finish(tag, f"{word} completed", code, uid=uid)


def check_rights(session: Session, rights: str) -> None:
    """Refusal if one of the rights is missing in the selected mailbox."""
    view = session.selected
    if not all(map(view.may, rights)):
        raise Refusal(*((READ_ONLY, "READ-ONLY") if view.read_only else (NO_RIGHT, "NOPERM")))


async def find_target(session: Session, name: str) -> Reached:
    """The mailbox to put messages in; a client may create it and try again (RFC 5530)."""
    try:
        return await session.site.mailboxes.sharing.reach(session.owner.account, name, "i")
    except Refusal as refusal:
        code = "TRYCREATE" if refusal.code == "NONEXISTENT" else refusal.code
        raise Refusal(refusal.reason, code) from refusal


async def expunge_deleted(session: Session, among: "chain[int] | None" = None) -> None:
    """Expunge what carries \\Deleted, all or among these indices; the client is told later."""
    view = session.selected
    flags = view.contents.flags
    indices = range(len(flags)) if among is None else among
    spans = to_spans([index for index in indices if flags[index] & DELETED])
    for ranges in view.slices(spans):
        await session.site.mailboxes.expunge(view.contents.mailbox, ranges)


def _code(made: Sequence[Copied]) -> str:
    """COPYUID, unless nothing was copied (RFC 4315 section 3)."""
    sources = [uid for one in made for uid in one.sources]
    if not sources:
        return ""
    copies = [uid for one in made for uid in one.copies]
    return responses.copyuid(made[0].uidvalidity, sources, copies)
