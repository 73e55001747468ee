"""Sharing mailboxes inside an organisation: who gives which rights to whom (RFC 4314).

Not here: what a right allows, which is checked where the thing is done, in the same transaction.
Holds: whoever has the mailbox selected is woken when its rights change.
"""

import msgspec

from mailstead.model.mailbox import Mailbox
from mailstead.model.numbers import AccountId, MailboxId
from mailstead.protocol.imap import acl
from mailstead.services.watch import Watch
from mailstead.storage import mailboxes, rights
from mailstead.storage.rights import Granted, Reached
from mailstead.storage.store import Store, Tx

ANY_BUT_FLAGS = "lrikxa"  # one of these is needed for MYRIGHTS (RFC 4314 section 4)


class Grant(msgspec.Struct, frozen=True):
    """What is to become of the rights of an account, named by its login, or of `anyone`."""

    identifier: str
    change: acl.Change
    rights: str


class RightsList(msgspec.Struct, frozen=True):
    """A mailbox, and all that have rights in it."""

    mailbox: Mailbox
    granted: list[Granted]


class Grantable(msgspec.Struct, frozen=True):
    """A mailbox, and the rights that an identifier always has there, or may be given."""

    mailbox: Mailbox
    always: str
    others: str


class Sharing:
    """The rights in all mailboxes."""

    def __init__(self, store: Store, watch: Watch) -> None:
        self._store, self._watch = store, watch

    async def reach(self, account: AccountId, name: str, one_of: str) -> Reached:
        """The mailbox of that name; Refusal if the account has none of these rights in it."""
        return await self._store.look_up(lambda tx: rights.get(tx, account, name, one_of))

    async def rights_in(self, account: AccountId, mailbox: MailboxId) -> str:
        """What the account may do in the mailbox now."""
        return await self._store.look_up(lambda tx: rights.rights_in(tx, account, mailbox))

    async def change(self, account: AccountId, name: str, grant: Grant) -> None:
        """Change rights in a mailbox that the account administers."""

        def work(tx: Tx) -> MailboxId:
            mailbox = _administered(tx, account, name)
            who = rights.find_identifier(tx, mailbox, grant.identifier)
            own = who == mailbox.account
            before = rights.EVERY if own else rights.find_granted(tx, mailbox.id, who)
            after = acl.changed(before, grant.change, grant.rights)
            rights.grant(tx, mailbox, who, after)
            return mailbox.id

        self._watch.wake([await self._store.write(work)])

    async def list_granted(self, account: AccountId, name: str) -> RightsList:
        """Who may do what in a mailbox that the account administers."""

        def work(tx: Tx) -> RightsList:
            reached = rights.get(tx, account, name, "a")
            return RightsList(reached.mailbox, rights.list_granted(tx, reached.mailbox))

        return await self._store.read(work)

    async def grantable(self, account: AccountId, name: str, identifier: str) -> Grantable:
        """What could be given to whom in a mailbox that the account administers."""

        def work(tx: Tx) -> Grantable:
            reached = rights.get(tx, account, name, "a")
            who = rights.find_identifier(tx, reached.mailbox, identifier)
            if who == reached.mailbox.account:
                return Grantable(reached.mailbox, rights.EVERY, "")
            return Grantable(reached.mailbox, "", rights.EVERY)

        return await self._store.read(work)


def _administered(tx: Tx, account: AccountId, name: str) -> Mailbox:
    """As its owner calls it."""
    id_ = rights.get(tx, account, name, "a").mailbox.id
    mailbox = mailboxes.find_by_id(tx, id_)
    assert mailbox is not None
    return mailbox
