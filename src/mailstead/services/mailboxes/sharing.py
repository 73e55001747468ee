"""Sharing mailboxes inside an organisation: who gives which rights to whom (RFC 4314).

Not here: what a right allows, which is checked where the thing is done, in the same transaction.
Holds: whoever has the mailbox selected is woken when its rights change.
"""

from collections.abc import Sequence

import msgspec

from mailstead.model.mailbox import Mailbox
from mailstead.model.numbers import AccountId, MailboxId
from mailstead.protocol.imap import acl
from mailstead.services.watch import Watch
from mailstead.storage import mailboxes, rights
from mailstead.storage.rights import Audience, Granted, Reached
from mailstead.storage.store import Store, Tx

FEW = 4  # mailboxes that are read at once: a trip to a thread would cost more
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

    async def find_own(self, ids: Sequence[MailboxId]) -> list[Mailbox]:
        """Those of the mailboxes that are still there, by their owners' names for them."""

        def work(tx: Tx) -> list[Mailbox]:
            found = [mailboxes.find_by_id(tx, id_) for id_ in ids]
            return [mailbox for mailbox in found if mailbox is not None]

        return await (self._store.look_up if len(ids) <= FEW else self._store.read)(work)

    async def change(self, account: AccountId, name: str, grant: Grant) -> None:
        """Change rights in a mailbox that the account administers."""

        def work(tx: Tx) -> tuple[MailboxId, Audience]:
            mailbox = _administered(tx, account, name)
            who = rights.find_identifier(tx, mailbox, grant.identifier)
            own = who == mailbox.account
            before = rights.EVERY if own else rights.find_granted(tx, mailbox.id, who)
            after = acl.changed(before, grant.change, grant.rights)
            others = rights.audience(tx, mailbox.account)  # whom it is taken from, too
            rights.grant(tx, mailbox, who, after)
            added = rights.audience(tx, mailbox.account)
            return mailbox.id, (others[0] | added[0], others[1] or added[1])

        changed, audience = await self._store.write(work)
        self._watch.wake([changed])
        self._watch.wake_names(*audience)

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
