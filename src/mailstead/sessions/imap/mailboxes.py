"""Commands on mailboxes as a whole (RFC 3501 section 6.3; RFC 5258, RFC 5819, RFC 6154)."""

from collections.abc import Iterator, Sequence

from mailstead.model.errors import Refusal
from mailstead.model.mailbox import DELIMITER, Mailbox, SpecialUse
from mailstead.protocol.imap import commands, responses
from mailstead.protocol.imap.acl import RIGHTS, format_rights
from mailstead.protocol.imap.commands import Return, Selection, StatusItem
from mailstead.protocol.imap.objectid import MAILBOX_ID, format_object_id
from mailstead.services.mailboxes.annotating import TO_MESSAGES
from mailstead.services.mailboxes.service import Listing
from mailstead.sessions.imap.metadata import find_listed
from mailstead.sessions.imap.notification import NameChange
from mailstead.sessions.imap.pattern import Pattern
from mailstead.sessions.imap.state import Session

AT_ONCE = 1000  # names that are compared to patterns in the loop
TOLD_AT_ONCE = 64  # mailboxes whose annotations are in memory together


async def create(session: Session, command: commands.Create) -> None:
    """RFC 3501 section 6.3.3."""
    session.own_names(command.mailbox)
    use = _special_use(command.uses)
    id_ = await session.site.mailboxes.create(session.owner.account, command.mailbox, use)
    code = f"MAILBOXID ({format_object_id(MAILBOX_ID, id_)})"  # RFC 8474 section 4.1
    await session.finish(command.tag, "CREATE completed", code)


def _special_use(uses: tuple[str, ...]) -> SpecialUse | None:
    """The one use that a mailbox can have here (RFC 6154 section 3)."""
    known = {use.value.lower(): use for use in SpecialUse}
    found = {known.get(use.lower()) for use in uses}
    if None in found or len(found) > 1:
        raise Refusal("a mailbox has one special use, of those that LIST shows", "USEATTR")
    return next(iter(found), None)


async def get_quota(session: Session, command: commands.GetQuota) -> None:
    """RFC 9208 section 4.1.1."""
    if command.root:
        raise Refusal("there is one quota root, whose name is empty", "NONEXISTENT")
    session.write(responses.quota(*await session.site.mailboxes.quota(session.owner.account)))
    await session.finish(command.tag, "GETQUOTA completed")


async def get_quota_root(session: Session, command: commands.GetQuotaRoot) -> None:
    """RFC 9208 section 4.1.2."""
    mailbox = await _read(session, command.mailbox)
    own = mailbox.account == session.owner.account
    session.write(responses.quota_root(mailbox.name, own, session.utf8))
    if own:
        session.write(responses.quota(*await session.site.mailboxes.quota(mailbox.account)))
    await session.finish(command.tag, "GETQUOTAROOT completed")


async def delete(session: Session, command: commands.Delete) -> None:
    """RFC 3501 section 6.3.4; a session that deletes its own selected mailbox selects none."""
    session.own_names(command.mailbox)
    view = session.view
    gone = await session.site.mailboxes.delete(session.owner.account, command.mailbox)
    if view is not None and view.contents.mailbox == gone:
        session.leave()
    await session.finish(command.tag, "DELETE completed")


async def rename(session: Session, command: commands.Rename) -> None:
    """RFC 3501 section 6.3.5."""
    session.own_names(command.mailbox, command.new_name)
    await session.site.mailboxes.rename(session.owner.account, command.mailbox, command.new_name)
    await session.finish(command.tag, "RENAME completed")


async def subscribe(session: Session, command: commands.Subscribe) -> None:
    """RFC 3501 section 6.3.6."""
    session.own_names(command.mailbox)
    await session.site.mailboxes.subscribe(session.owner.account, command.mailbox)
    await session.finish(command.tag, "SUBSCRIBE completed")


async def unsubscribe(session: Session, command: commands.Unsubscribe) -> None:
    """RFC 3501 section 6.3.7."""
    session.own_names(command.mailbox)
    await session.site.mailboxes.unsubscribe(session.owner.account, command.mailbox)
    await session.finish(command.tag, "UNSUBSCRIBE completed")


async def status(session: Session, command: commands.Status) -> None:
    """RFC 3501 section 6.3.10."""
    session.write(await _status(session, await _read(session, command.mailbox), command.items))
    await session.finish(command.tag, "STATUS completed")


async def _read(session: Session, name: str) -> Mailbox:
    """A mailbox whose messages the account may read."""
    reached = await session.site.mailboxes.sharing.reach(session.owner.account, name, "r")
    return reached.mailbox


async def _status(session: Session, mailbox: Mailbox, items: tuple[StatusItem, ...]) -> bytes:
    values: dict[StatusItem, int | str] = {
        StatusItem.MESSAGES: mailbox.messages,
        StatusItem.UIDNEXT: mailbox.uidnext,
        StatusItem.UIDVALIDITY: mailbox.uidvalidity,
        StatusItem.UNSEEN: mailbox.unseen,
        StatusItem.DELETED: mailbox.deleted,
        StatusItem.SIZE: mailbox.size,
        StatusItem.HIGHESTMODSEQ: mailbox.modseq,
        StatusItem.MAILBOXID: f"({format_object_id(MAILBOX_ID, mailbox.id)})",
    }
    if StatusItem.DELETED_STORAGE in items:
        values[StatusItem.DELETED_STORAGE] = await session.site.mailboxes.deleted_size(mailbox)
    if StatusItem.HIGHESTMODSEQ in items:
        session.enable_condstore()
    if StatusItem.RECENT in items:
        values[StatusItem.RECENT] = await session.site.mailboxes.count_recent(mailbox)
    found = [(item.value, values[item]) for item in items]
    return responses.status_response(mailbox.name, found, session.utf8)


# ---------------------------------------------------------------------- LIST and LSUB


async def list_(session: Session, command: commands.List) -> None:
    """RFC 3501 section 6.3.8, with RFC 5258, RFC 5819 and RFC 6154."""
    if command.patterns == ("",) and not command.extended:
        session.write(responses.list_response(["\\Noselect"], DELIMITER, ""))
        await session.finish(command.tag, "LIST completed")
        return
    listing = await session.site.mailboxes.list_all(session.owner.account)
    found = _Finder(listing, command, session.utf8)
    if len(found.mailboxes) * len(found.patterns) > AT_ONCE:
        names = await session.site.world.offload.run(found.names)
    else:
        names = found.names()
    for start in range(0, len(names), TOLD_AT_ONCE):
        await _tell(session, found, names[start : start + TOLD_AT_ONCE])
    await session.finish(command.tag, "LIST completed")


async def _tell(session: Session, found: "_Finder", names: list[str]) -> None:
    """The responses about some of the names; annotations are read for all of them at once."""
    command, annotations = found.command, {}
    if Return.METADATA in command.returns:
        seen = [
            found.mailboxes[name] for name in names if set(TO_MESSAGES) & set(found.rights(name))
        ]
        annotations = await find_listed(session, seen, command.entries)
        await session.flush()
    for name in names:
        session.write(found.line(name))
        rights = found.rights(name)
        if Return.MYRIGHTS in command.returns and rights:
            session.write(responses.my_rights(name, format_rights(rights), session.utf8))
        if Return.STATUS in command.returns and "r" in rights:
            session.write(await _status(session, found.mailboxes[name], command.status))
        session.write(annotations.get(name, b""))


async def status_of(session: Session, mailbox: Mailbox, items: tuple[StatusItem, ...]) -> bytes:
    """The STATUS response of a mailbox."""
    return await _status(session, mailbox, items)


def list_names(session: Session, listing: Listing, changes: Sequence[NameChange]) -> bytes:
    """LIST responses of names that are news, gone ones among them (RFC 5465 section 5.4)."""
    finder, lines = _Finder(listing, _ALL_ATTRIBUTES, session.utf8), []
    for change in changes:
        line = finder.line(change.name)
        if change.no_access:
            line = line.replace(b" (", b" (\\NoAccess ", 1)  # CHILDREN is always there
        if change.old:
            line = responses.with_old_name(line, change.old, session.utf8)
        lines.append(line)
    return b"".join(lines)


_ALL_ATTRIBUTES = commands.List(
    b"",
    "",
    (),
    returns=frozenset((Return.SUBSCRIBED, Return.CHILDREN, Return.SPECIAL_USE)),
    extended=True,
)


async def list_one(session: Session, name: str) -> bytes:
    """The LIST response of a mailbox, as SELECT gives it (RFC 9051 section 6.3.2)."""
    listing = await session.site.mailboxes.list_all(session.owner.account)
    found = _Finder(listing, _ALL_ATTRIBUTES, session.utf8)
    return found.line(name) if name in found.mailboxes else b""  # "r" without "l" (RFC 4314)


class _Finder:
    """One LIST over the mailboxes of an account."""

    def __init__(self, listing: Listing, command: commands.List, utf8: bool) -> None:
        self.command, self.utf8 = command, utf8
        self.shared = {one.mailbox.name: one for one in listing.shared}
        self.mailboxes = {name: one.mailbox for name, one in self.shared.items()}
        self.mailboxes |= {mailbox.name: mailbox for mailbox in listing.mailboxes}
        self.subscribed = set(listing.subscriptions)
        self.parents = set(_levels_above(self.mailboxes))
        self.above_subscribed = set(_levels_above(self.subscribed))
        self.patterns = [Pattern(command.reference + pattern) for pattern in command.patterns]

    def names(self) -> list[str]:
        """What the command finds, sorted."""
        selection = self.command.selection
        if not selection:
            names = self.mailboxes.keys() | self._levels()
        elif Selection.SUBSCRIBED not in selection:
            names = set(self.mailboxes)
        elif Selection.RECURSIVEMATCH in selection:
            names = self.subscribed | (self.above_subscribed & self.mailboxes.keys())
        else:
            names = self.subscribed
        if Selection.SPECIAL_USE in selection:
            names = {name for name in names if self._use(name)}
        return sorted(filter(self._matches, names))

    def line(self, name: str) -> bytes:
        """The LIST response of one name."""
        recursive = Selection.RECURSIVEMATCH in self.command.selection
        below = recursive and name in self.above_subscribed
        return responses.list_response(
            self._attributes(name), DELIMITER, name, child_info=below, utf8=self.utf8
        )

    def rights(self, name: str) -> str:
        """What the account may do in the mailbox; nothing if there is none."""
        shared = self.shared.get(name)
        if shared is not None and self.mailboxes[name] is shared.mailbox:
            return shared.rights
        return RIGHTS if name in self.mailboxes else ""

    def _levels(self) -> set[str]:
        """The levels above mailboxes of others, for `%` at the end (RFC 3501 section 6.3.8)."""
        ends = [
            Pattern(self.command.reference + one)
            for one in self.command.patterns
            if one[-1:] == "%"
        ]
        above = self.parents - self.mailboxes.keys() if ends else set()
        return {name for name in above if any(pattern.matches(name) for pattern in ends)}

    def _attributes(self, name: str) -> list[str]:
        returns, extended = self.command.returns, self.command.extended
        attributes = []
        if name not in self.mailboxes:
            attributes.append("\\NonExistent" if extended else "\\Noselect")
        if Return.SUBSCRIBED in returns and name in self.subscribed:
            attributes.append("\\Subscribed")
        if Return.CHILDREN in returns or not extended:
            attributes.append("\\HasChildren" if name in self.parents else "\\HasNoChildren")
        if (Return.SPECIAL_USE in returns or not extended) and (use := self._use(name)):
            attributes.append(use)
        return attributes

    def _use(self, name: str) -> str:
        mailbox = self.mailboxes.get(name)
        return "" if mailbox is None or mailbox.special_use is None else mailbox.special_use.value

    def _matches(self, name: str) -> bool:
        return any(pattern.matches(name) for pattern in self.patterns)


async def lsub(session: Session, command: commands.Lsub) -> None:
    """RFC 3501 section 6.3.9: `%` also finds the level above a name subscribed to."""
    listing = await session.site.mailboxes.list_all(session.owner.account)
    subscribed = set(listing.subscriptions)
    pattern = Pattern(command.reference + command.pattern)
    attributes = {name: "" for name in subscribed if pattern.matches(name)}
    if command.pattern.endswith("%"):
        above = set(_levels_above(subscribed)) - subscribed
        attributes.update({name: "\\Noselect" for name in above if pattern.matches(name)})
    for name, attribute in sorted(attributes.items()):
        told = filter(None, [attribute])
        session.write(responses.lsub_response(told, DELIMITER, name, session.utf8))
    await session.finish(command.tag, "LSUB completed")


def _levels_above(names: "set[str] | dict[str, Mailbox]") -> Iterator[str]:
    for name in names:
        while DELIMITER in name:
            name = name.rpartition(DELIMITER)[0]
            yield name
