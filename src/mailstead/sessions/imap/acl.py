"""Access control lists: who may do what in a mailbox (RFC 4314 section 3)."""

from mailstead.protocol.imap import acl, responses
from mailstead.protocol.imap.acl import VIRTUAL, format_rights
from mailstead.services.mailboxes.sharing import ANY_BUT_FLAGS, Grant
from mailstead.sessions.imap.state import Session

ANYONE = "anyone"


async def set_acl(session: Session, command: acl.SetAcl) -> None:
    """RFC 4314 section 3.1."""
    grant = Grant(command.identifier, command.change, command.rights)
    await _change(session, command.mailbox, grant)
    await session.finish(command.tag, "SETACL completed")


async def delete_acl(session: Session, command: acl.DeleteAcl) -> None:
    """RFC 4314 section 3.2."""
    await _change(session, command.mailbox, Grant(command.identifier, acl.Change.REPLACE, ""))
    await session.finish(command.tag, "DELETEACL completed")


async def _change(session: Session, name: str, grant: Grant) -> None:
    await session.site.mailboxes.sharing.change(session.owner.account, name, grant)


async def get_acl(session: Session, command: acl.GetAcl) -> None:
    """RFC 4314 section 3.3."""
    sharing = session.site.mailboxes.sharing
    found = await sharing.list_granted(session.owner.account, command.mailbox)
    entries = [(one.login or ANYONE, format_rights(one.rights)) for one in found.granted]
    session.write(responses.acl(found.mailbox.name, entries, session.utf8))
    await session.finish(command.tag, "GETACL completed")


async def list_rights(session: Session, command: acl.ListRights) -> None:
    """RFC 4314 section 3.4: no rights are tied to others."""
    sharing, account = session.site.mailboxes.sharing, session.owner.account
    found = await sharing.grantable(account, command.mailbox, command.identifier)
    others = [*found.others, *VIRTUAL] if found.others else []
    always = format_rights(found.always)
    name = found.mailbox.name
    session.write(responses.list_rights(name, command.said, always, others, session.utf8))
    await session.finish(command.tag, "LISTRIGHTS completed")


async def my_rights(session: Session, command: acl.MyRights) -> None:
    """RFC 4314 section 3.5."""
    sharing, account = session.site.mailboxes.sharing, session.owner.account
    reached = await sharing.reach(account, command.mailbox, ANY_BUT_FLAGS)
    rights = format_rights(reached.rights)
    session.write(responses.my_rights(reached.mailbox.name, rights, session.utf8))
    await session.finish(command.tag, "MYRIGHTS completed")
