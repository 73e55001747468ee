"""Changing flags (RFC 3501 section 6.4.6)."""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from mailstead.model.flags import FLAGGED
from mailstead.model.numbers import ModSeq
from mailstead.protocol.imap import commands, responses
from mailstead.protocol.imap.commands import StoreMode
from mailstead.sessions.imap.state import NO_RIGHT, READ_ONLY, Session
from mailstead.sessions.imap.sync import View, flags_responses, new_keywords
from mailstead.storage.messages import NO_CONDITION, FlagsRow

_MODES: dict[StoreMode, Literal["replace", "add", "remove"]] = {
    StoreMode.REPLACE: "replace",
    StoreMode.ADD: "add",
    StoreMode.REMOVE: "remove",
}
TAKEN_IN_LIMIT = 10_000  # changed messages that the view learns of together
TELL_LIMIT = 1000  # messages whose flags are written before the peer has to take them


async def store(session: Session, command: commands.Store) -> None:
    """RFC 3501 section 6.4.6; without .SILENT the new flags of all named messages are told."""
    view = session.selected
    if view.read_only:
        session.refuse(command.tag, READ_ONLY, "READ-ONLY")
        return
    if not _may_change(view, command):
        session.refuse(command.tag, NO_RIGHT, "NOPERM")
        return
    spans = view.select(command.numset, command.uid)
    if command.unchanged_since is not None:
        session.enable_condstore()
    change = Change(
        _MODES[command.mode],
        command.system,
        command.keywords,
        NO_CONDITION if command.unchanged_since is None else command.unchanged_since,
    )
    changed, alone, failed = await change_flags(session, spans, change)
    if command.mode is not StoreMode.REMOVE and view.may("w"):
        session.write(new_keywords(view, (command.keywords,)))
    if not command.silent:
        for span in spans:
            await tell_flags(session, range(*span), command.uid)
    elif not alone or failed:
        # The result may hold what the client cannot know (RFC 3501 section 6.4.6).
        await tell_flags(session, sorted({*changed, *failed}), command.uid)
    elif session.condstore:
        await tell_flags(session, changed, command.uid, flags=False)
    await session.finish(
        command.tag,
        "STORE completed",
        _modified(view, failed, command.uid),
        command.uid,
        command.uid,
    )


def _may_change(view: View, command: commands.Store) -> bool:
    """Whether one of the flags may be changed; then the others just stay (RFC 4314 section 4)."""
    named = command.system | (FLAGGED if command.keywords else 0)
    return bool(view.changeable & named) or (not named and bool(view.changeable))


def _modified(view: View, failed: Sequence[int], uid: bool) -> str:
    """The response code that names what was left alone (RFC 7162 section 3.1.3)."""
    if not failed:
        return ""
    uids = view.contents.uids
    return responses.modified([uids[i] if uid else i + 1 for i in failed])


class Change(msgspec.Struct, frozen=True):
    """What is to become of flags; of messages that changed after a modseq, nothing."""

    mode: Literal["replace", "add", "remove"]
    system: int
    keywords: str = ""
    unchanged_since: int = NO_CONDITION


async def change_flags(
    session: Session, spans: Iterable[tuple[int, int]], change: Change
) -> tuple[Sequence[int], bool, list[int]]:
    """Change flags in the store and in the view.

    Gives the indices of the messages that are different now, whether nobody else had changed the
    mailbox since the client was last told, and the indices of what the condition left alone.
    """
    view = session.selected
    mailbox, known = view.contents.mailbox, view.contents.modseq
    rows: list[FlagsRow] = []
    changed: list[int] = []
    failed: list[int] = []
    alone = True
    try:
        for ranges in view.slices(spans):
            done = await session.site.mailboxes.set_flags(
                mailbox,
                ranges,
                change.mode,
                change.system,
                change.keywords,
                change.unchanged_since,
                view.changeable,
            )
            failed += [i for uid in done.failed if (i := view.contents.find(uid)) is not None]
            # If nobody else wrote in between, the client knows all up to this write.
            alone = alone and done.before == known
            known = done.modseq if alone else known
            rows += [row for row in done.rows if view.contents.find(row.uid) is not None]
            if len(rows) > TAKEN_IN_LIMIT:
                changed += _take_in(view, rows, known)
                rows = []
    finally:
        changed += _take_in(view, rows, known)
    return changed, alone, failed


def _take_in(view: View, rows: Sequence[FlagsRow], modseq: ModSeq) -> Sequence[int]:
    """Have the view know these rows; the indices of their messages."""
    if not rows:
        return ()
    view.contents = view.contents.with_flags(rows, modseq)
    uids = [row.uid for row in rows]
    view.touched.update(uids if view.contexts else ())
    return view.contents.locate(uids)


async def tell_flags(
    session: Session, indices: Sequence[int], uid: bool, flags: bool = True
) -> None:
    """FETCH responses with the flags of these messages, or only with what else changed."""
    for start in range(0, len(indices), TELL_LIMIT):
        some = indices[start : start + TELL_LIMIT]
        session.write(flags_responses(session.selected, some, session.manner(uid), flags))
        await session.flush()
