"""ESEARCH: one search through many mailboxes (RFC 7377).

They are searched one after the other, each as SEARCH would; the first answers leave while others
are still looked for. Nothing is selected by it, and a mailbox that may not be read is not there.
"""

from collections.abc import Sequence

import msgspec

from mailstead.model.errors import Refusal
from mailstead.model.mailbox import Mailbox
from mailstead.model.numbers import MailboxId
from mailstead.protocol.imap import commands, responses
from mailstead.protocol.imap.commands import Result
from mailstead.protocol.imap.notification import Group, Scope
from mailstead.services.mailboxes.service import Listing
from mailstead.sessions.imap import context
from mailstead.sessions.imap.notification import is_own
from mailstead.sessions.imap.search import (
    expanded,
    find_scored,
    is_modseq,
    result_items,
    saved,
    says,
)
from mailstead.sessions.imap.state import Session
from mailstead.sessions.imap.sync import Senseless, View

SEARCHED_LIMIT = 1000  # mailboxes of one command


async def multi_search(session: Session, command: commands.MultiSearch) -> None:
    """RFC 7377 section 2."""
    selected = any(source.scope is Scope.SELECTED for source in command.sources)
    await session.check_rights()
    if selected and session.view is None:
        raise Senseless("no mailbox is selected")
    program = await expanded(session, command.program, command.wanted)
    command = msgspec.structs.replace(command, program=program)
    if says(command.program, is_modseq):
        session.enable_condstore()
    if selected:
        context.check_tag(session.selected, command)
        await _search(session, command, session.selected, here=True)
    for mailbox in await _places(session, command.sources):
        if mailbox.id != session.selected_id or not selected:
            await _search_in(session, command, mailbox)
    await session.finish(command.tag, "ESEARCH completed", uid=True)


async def _places(session: Session, sources: Sequence[Group]) -> list[Mailbox]:
    """The mailboxes, by name; what was not named has to be visible too (RFC 7377 section 2.2)."""
    sources = [source for source in sources if source.scope is not Scope.SELECTED]
    if not sources:
        return []
    account = session.owner.account
    found = _visible(await session.site.mailboxes.list_all(account), sources)
    named = {name for one in sources if one.scope is Scope.MAILBOXES for name in one.names}
    for name in named - {mailbox.name for mailbox in found.values()}:
        try:
            reached = await session.site.mailboxes.sharing.reach(account, name, "r")
        except Refusal:
            continue
        found[reached.mailbox.id] = reached.mailbox
    if len(found) > SEARCHED_LIMIT:
        raise Refusal(f"at most {SEARCHED_LIMIT} mailboxes are searched at once", "LIMIT")
    return sorted(found.values(), key=lambda mailbox: mailbox.name)


def _visible(listing: Listing, sources: Sequence[Group]) -> dict[MailboxId, Mailbox]:
    readable = [one.mailbox for one in listing.shared if "r" in one.rights]
    subscribed = set(listing.subscriptions)
    return {
        mailbox.id: mailbox
        for mailbox in [*readable, *listing.mailboxes]
        if any(
            source.covers(mailbox.name, is_own(mailbox.name), mailbox.name in subscribed)
            for source in sources
        )
    }


async def _search_in(session: Session, command: commands.MultiSearch, mailbox: Mailbox) -> None:
    if not mailbox.messages:
        return
    try:
        opened = await session.site.mailboxes.open(session.owner.account, mailbox.name)
    except Refusal:  # gone, or closed to us, since we looked
        return
    recent = not session.rev2
    view = View(opened.mailbox, opened.contents, (), True, recent, opened.rights)
    await _search(session, command, view)


async def _search(
    session: Session, command: commands.MultiSearch, view: View, here: bool = False
) -> None:
    found, scores = await find_scored(session, view, command.tag, command.program)
    wanted = command.wanted
    where = responses.located(view.mailbox.name, view.mailbox.uidvalidity, session.utf8)
    if here:
        context.begin(session, view, command, found, where)
    if Result.SAVE in wanted.results:  # so it is the selected one
        view.saved = sorted(view.contents.uids[i] for i in saved(found, wanted))
    if not found or (wanted.results == {Result.SAVE} and not wanted.partial):
        return
    contents = view.contents
    modseqs = [contents.modseqs[i] for i in found] if says(command.program, is_modseq) else []
    items = result_items(wanted, [contents.uids[i] for i in found], modseqs, scores)
    session.write(responses.esearch_response(command.tag, True, items, where))
    await session.flush()
