"""Changing flags (RFC 3501 section 6.4.6)."""

from collections.abc import Iterable, Sequence
from typing import Literal

from mailstead.protocol.imap import commands
from mailstead.protocol.imap.commands import StoreMode
from mailstead.sessions.imap.state import READ_ONLY, Session
from mailstead.sessions.imap.sync import flags_responses, new_keywords
from mailstead.storage.messages import FlagsRow

_MODES: dict[StoreMode, Literal["replace", "add", "remove"]] = {
    StoreMode.REPLACE: "replace",
    StoreMode.ADD: "add",
    StoreMode.REMOVE: "remove",
}
TELL_LIMIT = 1000  # messages whose flags are written before the peer has to take them


async def store(session: Session, command: commands.Store) -> None:
    """RFC 3501 section 6.4.6; without .SILENT the new flags of all named messages are told."""
    view = session.selected
    if view.read_only:
        session.refuse(command.tag, READ_ONLY, "READ-ONLY")
        return
    spans = view.select(command.numset, command.uid)
    mode = _MODES[command.mode]
    changed, alone = await change_flags(session, spans, mode, command.system, command.keywords)
    if command.mode is not StoreMode.REMOVE:
        session.write(new_keywords(view, (command.keywords,)))
    if not command.silent:
        for span in spans:
            await tell_flags(session, range(*span), command.uid)
    elif not alone:  # the result may hold what the client cannot know (RFC 3501 section 6.4.6)
        await tell_flags(session, changed, command.uid)
    await session.finish(command.tag, "STORE completed", "", command.uid, command.uid)


async def change_flags(
    session: Session,
    spans: Iterable[tuple[int, int]],
    mode: Literal["replace", "add", "remove"],
    system: int,
    keywords: str,
) -> tuple[Sequence[int], bool]:
    """Change flags in the store and in the view.

    Gives the indices of the messages that are different now, and whether nobody else had changed
    the mailbox since the client was last told.
    """
    view = session.selected
    mailbox, known = view.contents.mailbox, view.contents.modseq
    rows: list[FlagsRow] = []
    alone = True
    try:
        for ranges in view.slices(spans):
            done = await session.site.mailboxes.set_flags(mailbox, ranges, mode, system, keywords)
            # If nobody else wrote in between, the client knows all up to this write.
            alone = alone and done.before == known
            known = done.modseq if alone else known
            rows += [row for row in done.rows if view.contents.find(row.uid) is not None]
    finally:
        if rows:
            view.contents = view.contents.with_flags(rows, known)
    return view.contents.locate([row.uid for row in rows]), alone


async def tell_flags(session: Session, indices: Sequence[int], uid: bool) -> None:
    """FETCH responses with the flags of these messages."""
    for start in range(0, len(indices), TELL_LIMIT):
        some = indices[start : start + TELL_LIMIT]
        session.write(flags_responses(session.selected, some, uid))
        await session.flush()
