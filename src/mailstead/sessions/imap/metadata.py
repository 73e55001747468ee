"""Annotations of mailboxes and of the server (RFC 5464 section 4, RFC 9590)."""

from collections.abc import Sequence

from mailstead.model.mailbox import Mailbox
from mailstead.protocol.imap import metadata, responses
from mailstead.services.mailboxes.annotating import Wanted
from mailstead.sessions.imap.state import Session
from mailstead.storage.annotations import USE, Values


async def get_metadata(session: Session, command: metadata.GetMetadata) -> None:
    """RFC 5464 section 4.2; an entry that is asked for by name and is not there is NIL."""
    wanted = Wanted(command.entries, command.depth)
    annotations = session.site.mailboxes.annotations
    found = await annotations.find(session.owner.account, command.mailbox, wanted)
    limit = command.max_size
    longest = max((len(value) for value in found.values.values()), default=0)
    told: dict[str, bytes | None] = {
        entry: value
        for entry, value in found.values.items()
        if limit is None or len(value) <= limit
    }
    if not command.depth:
        told |= {entry: None for entry in command.entries if entry not in found.values}
    if told:
        session.write(responses.metadata(found.name, told.items(), session.utf8))
    long = limit is not None and longest > limit
    code = f"METADATA LONGENTRIES {longest}" if long else ""
    await session.finish(command.tag, "GETMETADATA completed", code)


async def set_metadata(session: Session, command: metadata.SetMetadata) -> None:
    """RFC 5464 section 4.3."""
    annotations = session.site.mailboxes.annotations
    await session.tell_annotations()
    await annotations.put(session.owner.account, command.mailbox, command.values)
    await session.tell_annotations(told=False)  # who changed them knows
    await session.finish(command.tag, "SETMETADATA completed")


async def find_listed(
    session: Session, mailboxes: Sequence[Mailbox], entries: Sequence[str]
) -> dict[str, bytes]:
    """The METADATA responses of mailboxes that LIST has found, by name (RFC 9590 section 3)."""
    account = session.owner.account
    ids = [mailbox.id for mailbox in mailboxes]
    found = await session.site.mailboxes.annotations.find_in(account, ids, entries)
    return {
        mailbox.name: responses.metadata(
            mailbox.name,
            [(entry, _value(mailbox, entry, found.get(mailbox.id, {}))) for entry in entries],
            session.utf8,
        )
        for mailbox in mailboxes
    }


def _value(mailbox: Mailbox, entry: str, values: Values) -> bytes | None:
    if entry == USE:
        return None if mailbox.special_use is None else mailbox.special_use.value.encode()
    return values.get(entry)
