"""NOTIFY: the server speaks when something happens, in any mailbox that is watched (RFC 5465).

Wake-ups come the way those of IDLE come. Holds: a client that takes nothing holds up nobody, and
what happens meanwhile is told once, as the difference.
"""

from bisect import bisect_right
from collections.abc import Sequence

from mailstead.model.errors import Refusal, TemporaryFailure
from mailstead.model.mailbox import Mailbox
from mailstead.model.numbers import MailboxId
from mailstead.protocol.imap import commands, responses
from mailstead.services.mailboxes.service import Listing
from mailstead.sessions.imap.fetch import tell_messages
from mailstead.sessions.imap.mailboxes import list_names, status_of
from mailstead.sessions.imap.notification import SERVER, NameChange, Notification, Overflow
from mailstead.sessions.imap.state import Session, log
from mailstead.sessions.imap.sync import View

_OVERFLOW = "Too much to be told; nothing is watched any more"


async def notify(session: Session, command: commands.Notify) -> None:
    """RFC 5465 section 3.1."""
    if session.view is not None and command.groups:
        await session.sync()
    found = Notification(session.site.watch, session.owner, command.groups, session.stir)
    try:
        await _begin(session, found, command)
    except Overflow:
        found.close()
        raise Refusal("that is too much to be watched", "NOTIFICATIONOVERFLOW") from None
    except BaseException:
        found.close()
        raise
    session.notify_as(found, tell_new)
    session.write(responses.ok(command.tag, "NOTIFY completed"))


async def _begin(session: Session, found: Notification, command: commands.Notify) -> None:
    if not found.elsewhere:
        return
    listing = await session.site.mailboxes.list_all(session.owner.account)
    watched = found.begin(listing)
    session.write(list_names(session, listing, found.barred(listing)))
    for mailbox in watched:
        if command.status and mailbox.id != session.selected_id:
            session.write(await status_of(session, mailbox, found.first_items(mailbox)))
            await session.flush()
    for id_, name in found.annotated.items():
        await _tell_annotations(session, found, id_, name, told=False)


async def tell(session: Session) -> None:
    """What has happened that the client wants to hear of now."""
    found, view = session.notification, session.view
    if found is None:
        return
    try:
        if view is not None and view.dirty and session.hears:
            await session.sync(expunges=found.immediate or session.idle_since is not None)
        await _tell_elsewhere(session, found)
    except (Overflow, TemporaryFailure) as failure:  # RFC 5465 section 5.8
        log.warning("NOTIFY of %s ends: %r", session.stream.peer, failure)
        session.write(responses.ok(responses.UNTAGGED, _OVERFLOW, "NOTIFICATIONOVERFLOW"))
        nothing = Notification(session.site.watch, session.owner, (), session.stir)
        session.notify_as(nothing, tell_new)


async def _tell_elsewhere(session: Session, found: Notification) -> None:
    ours, listing = session.take_own_names(), None
    if not found.elsewhere:
        return
    woken = found.take_woken()
    if found.names_changed or not found.are_own(woken):
        listing = await session.site.mailboxes.list_all(session.owner.account)
        changes = [one for one in found.compare_names(listing) if not _is_ours(one, ours)]
        session.write(list_names(session, listing, changes))
        woken = [*woken, *found.take_woken(), SERVER]
    others = [mailbox for mailbox in woken if mailbox not in (session.selected_id, SERVER)]
    for mailbox in await _look(session, listing, others):
        if items := found.compare(mailbox, session.condstore):
            session.write(await status_of(session, mailbox, tuple(items)))
            await session.flush()
    for id_, name in found.annotated.items():
        if id_ in woken:
            await _tell_annotations(session, found, id_, name)


async def _tell_annotations(
    session: Session, found: Notification, id_: MailboxId, name: str, told: bool = True
) -> None:
    """RFC 5465 sections 5.6 and 5.7; who has enabled METADATA hears of some anyway."""
    digests = await session.site.mailboxes.annotations.digests(session.owner.account, name)
    changed = found.compare_digests(id_, digests)
    heard = session.annotated is not None and id_ in (SERVER, session.selected_id)
    if changed and told and not heard:
        session.write(responses.metadata_changed(name, changed, session.utf8))


async def _look(
    session: Session, listing: Listing | None, woken: Sequence[MailboxId]
) -> Sequence[Mailbox]:
    """These mailboxes as they are now, those of others only with the right to read them."""
    if not woken:
        return ()
    if listing is None:
        return await session.site.mailboxes.sharing.find_own(woken)
    readable = [one.mailbox for one in listing.shared if "r" in one.rights]
    among = set(woken)
    return [mailbox for mailbox in [*listing.mailboxes, *readable] if mailbox.id in among]


def _is_ours(change: NameChange, ours: frozenset[str]) -> bool:
    """What a client did itself it is not told (RFC 5465 section 5)."""
    return change.name in ours or change.old in ours


async def tell_new(session: Session, view: View, before: int) -> None:
    """FETCH of the messages behind that UID, if NOTIFY asked for it (RFC 5465 section 5.2)."""
    found = session.notification
    made = session.take_made()
    if found is None or found.selected is None or not found.selected.items:
        return
    uids = view.contents.uids
    start = bisect_right(uids, before)
    indices = [index for index in range(start, len(uids)) if uids[index] not in made]
    if indices:
        await tell_messages(session, found.selected.items, indices)
