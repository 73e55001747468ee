"""Maildrops: the INBOX as POP3 sees it, for one session at a time (RFC 1939).

Holds: what is deleted goes to Trash, only at the end of a session, and only if the session still
has the maildrop; up to WRITE_LIMIT messages of it in one transaction. Mail that was retrieved goes
there too after the days that an account has set (docs/access.md).
"""

import logging
from array import array
from collections.abc import Iterable, Sequence
from datetime import timedelta

import msgspec

from mailstead.model.mailbox import INBOX, Mailbox, SpecialUse
from mailstead.model.numbers import AccountId, MailboxId
from mailstead.model.world import World
from mailstead.services.accounts import Login
from mailstead.services.mailboxes.retrieving import Retriever
from mailstead.services.mailboxes.service import Mailboxes
from mailstead.services.watch import Watch
from mailstead.storage import mailboxes, maildrops, messages, placing
from mailstead.storage.store import WRITE_LIMIT, Store, Tx

MESSAGES_LIMIT = 1_000_000  # of a maildrop; the newer ones are seen when older ones are gone
PAGE = 500  # accounts looked at in one read
UID_END = 2**32
HOLDER_OCTETS = 16
TRASH = "Trash"  # its name where an account has none

log = logging.getLogger("mailstead.pop3")


class Maildrop(msgspec.Struct, frozen=True, eq=False):
    """What a session has: all messages as columns, in the order of their numbers."""

    login: Login
    holder: str
    mailbox: Mailbox
    uids: "array[int]"
    sizes: "array[int]"
    flags: "array[int]"
    days: int | None  # that mail stays after it was retrieved

    @property
    def octets(self) -> int:
        """The size of all messages."""
        return sum(self.sizes)

    def unique_id(self, index: int) -> str:
        """What UIDL says (RFC 1939 section 7): the same as long as the message lies here."""
        return f"{self.uids[index]:08x}{self.mailbox.uidvalidity:08x}"


class Maildrops:
    """The service."""

    def __init__(self, store: Store, world: World, watch: Watch, mailboxes: Mailboxes) -> None:
        self._store, self._world, self._watch = store, world, watch
        self._mailboxes = mailboxes

    async def open(self, login: Login) -> Maildrop | None:
        """The maildrop of the account, locked; None if another session has it."""
        holder = self._world.random.token(HOLDER_OCTETS).hex()
        if not await self._store.write(lambda tx: maildrops.lock(tx, login.account, holder)):
            return None
        try:
            return await self._store.read(lambda tx: _read(tx, login, holder))
        except BaseException:
            await self._unlock(login, holder)
            raise

    async def keep(self, drop: Maildrop) -> bool:
        """Go on having it; False if another session has it now."""
        account, holder = drop.login.account, drop.holder
        return await self._store.write(lambda tx: maildrops.lock(tx, account, holder))

    async def close(self, drop: Maildrop) -> None:
        """Give it back; nothing is deleted."""
        await self._unlock(drop.login, drop.holder)

    async def _unlock(self, login: Login, holder: str) -> None:
        await self._store.write(lambda tx: maildrops.unlock(tx, login.account, holder))

    async def update(self, drop: Maildrop, uids: Sequence[int]) -> bool:
        """Delete these, and give it back; False if the session had it no longer.

        What one write cannot do is a series of them (RFC 1939 section 6: some or none of them).
        """
        slices = [uids[n : n + WRITE_LIMIT] for n in range(0, len(uids), WRITE_LIMIT)] or [[]]
        for number, some in enumerate(slices, 1):
            last = number == len(slices)
            touched = await self._store.write(
                lambda tx, some=some, last=last: _update(tx, drop, some, last)  # type: ignore[misc]
            )
            if touched is None:
                return False
            self._watch.wake(touched)
        return True

    async def note_retrieved(self, drop: Maildrop, uids: Sequence[int]) -> None:
        """The owner has these now: for the journal, and for their deletion some days from now."""
        who = Retriever(drop.login, "pop3", "")
        await self._mailboxes.mark_retrieved(drop.mailbox, uids, who)
        if drop.days is None:
            return
        for start in range(0, len(uids), WRITE_LIMIT):
            some = uids[start : start + WRITE_LIMIT]
            await self._store.write(
                lambda tx, some=some: maildrops.note_retrieved(tx, drop.mailbox.id, some)  # type: ignore[misc]
            )

    # ------------------------------------------------------------------ some days later

    async def tidy(self) -> None:
        """Put into Trash what was retrieved as long ago as its account wants."""
        after = AccountId(0)
        while page := await self._page(after):
            for account, mailbox, days in page:
                await self._tidy_one(account, mailbox, timedelta(days=days))
            after = page[-1][0]
        while await self._store.write(lambda tx: maildrops.expire_notes(tx, WRITE_LIMIT)):
            pass

    async def _page(self, after: AccountId) -> list[tuple[AccountId, MailboxId, int]]:
        return await self._store.read(lambda tx: maildrops.accounts_with_days(tx, after, PAGE))

    async def _tidy_one(self, account: AccountId, mailbox: MailboxId, age: timedelta) -> None:
        before = self._world.clock.now() - age
        while uids := await self._store.read(
            lambda tx: maildrops.retrieved_before(tx, mailbox, before, WRITE_LIMIT)
        ):
            touched = await self._store.write(
                lambda tx, uids=uids: _put_into_trash(tx, account, mailbox, uids)  # type: ignore[misc]
            )
            self._watch.wake(touched)


def _read(tx: Tx, login: Login, holder: str) -> Maildrop:
    mailbox = mailboxes.get(tx, login.account, INBOX)
    columns = ("uid", "size", "flags")
    rows = messages.page(tx, mailbox.id, 1, UID_END, MESSAGES_LIMIT, columns)
    return Maildrop(
        login,
        holder,
        mailbox,
        array("I", [row[0] for row in rows]),
        array("Q", [row[1] for row in rows]),
        array("I", [row[2] for row in rows]),
        maildrops.find_days(tx, login.account),
    )


def _update(
    tx: Tx, drop: Maildrop, uids: Sequence[int], last: bool
) -> tuple[MailboxId, ...] | None:
    """The mailboxes that changed; None if the maildrop is another session's."""
    account = drop.login.account
    if not maildrops.holds(tx, account, drop.holder):
        return None
    touched = _put_into_trash(tx, account, drop.mailbox.id, uids)
    if last:
        maildrops.unlock(tx, account, drop.holder)
    return touched


def _put_into_trash(
    tx: Tx, account: AccountId, mailbox: MailboxId, uids: Sequence[int]
) -> tuple[MailboxId, ...]:
    if not uids:
        return ()
    trash = mailboxes.find_special(tx, account, SpecialUse.TRASH)
    if trash is None and (named := mailboxes.find(tx, account, TRASH)):
        trash = named.id
    if trash is None:
        trash = mailboxes.create(tx, account, TRASH, SpecialUse.TRASH)
    placing.move(tx, mailbox, _runs(uids), trash)
    maildrops.forget_retrieved(tx, mailbox, uids)
    return mailbox, trash


def _runs(uids: Iterable[int]) -> list[tuple[int, int]]:
    """UIDs in order as ranges that hold no others."""
    runs: list[tuple[int, int]] = []
    for uid in uids:
        if runs and runs[-1][1] == uid - 1:
            runs[-1] = (runs[-1][0], uid)
        else:
            runs.append((uid, uid))
    return runs
