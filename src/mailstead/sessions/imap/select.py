"""Choosing a mailbox and letting go of it (RFC 3501 sections 6.3.1, 6.3.2, 6.4.2; RFC 3691)."""

from mailstead.model.flags import SEEN
from mailstead.protocol.imap import commands, responses
from mailstead.protocol.imap.responses import UNTAGGED
from mailstead.sessions.imap.copy import expunge_deleted
from mailstead.sessions.imap.state import Session
from mailstead.sessions.imap.sync import View, flag_lists


async def select(session: Session, command: commands.Select | commands.Examine) -> None:
    """RFC 3501 sections 6.3.1 and 6.3.2; what was selected is left even if this fails."""
    session.leave()
    read_only = isinstance(command, commands.Examine)
    opened = await session.site.mailboxes.open(session.owner.account, command.mailbox)
    view = View(opened.mailbox, opened.contents, opened.keywords, read_only)
    session.enter(view)
    session.write(_describe(view))
    if read_only:
        session.write(responses.ok(command.tag, "EXAMINE completed", "READ-ONLY"))
    else:
        session.write(responses.ok(command.tag, "SELECT completed", "READ-WRITE"))


def _describe(view: View) -> bytes:
    contents = view.contents
    pieces = [flag_lists(view), responses.exists(len(contents.uids)), responses.recent(view.recent)]
    unseen = next((i for i, flags in enumerate(contents.flags, 1) if not flags & SEEN), 0)
    if unseen:
        pieces.append(responses.ok(UNTAGGED, "The first unseen message", f"UNSEEN {unseen}"))
    codes = {
        f"UIDVALIDITY {view.mailbox.uidvalidity}": "UIDs are valid",
        f"UIDNEXT {view.mailbox.uidnext}": "The next UID",
    }
    pieces += [responses.ok(UNTAGGED, text, code) for code, text in codes.items()]
    return b"".join(pieces)


async def close(session: Session, command: commands.Close) -> None:
    """Expunge without a word and leave (RFC 3501 section 6.4.2)."""
    if not session.selected.read_only:
        await session.refresh()
        if session.view is not None:
            await expunge_deleted(session)
    session.leave()
    session.write(responses.ok(command.tag, "CLOSE completed"))


async def unselect(session: Session, command: commands.Unselect) -> None:
    """Leave and expunge nothing (RFC 3691 section 2)."""
    session.leave()
    session.write(responses.ok(command.tag, "UNSELECT completed"))
