"""What people do with their mailboxes and the messages in them; IMAP, POP3 and JMAP come here.

Owns: the series of writes that a long command is (WRITE_LIMIT rows each), the order of commit and
wake-up, the shared contents of open mailboxes. Not here: who may, and any word of a protocol.
Holds: whoever is woken finds the change in the store.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mailstead.model.errors import Refusal
from mailstead.model.flags import DELETED, KEYWORDS_LIMIT
from mailstead.model.mailbox import DELIMITER, INBOX, Mailbox, SpecialUse
from mailstead.model.numbers import AccountId, MailboxId, ModSeq, Uid
from mailstead.model.world import World
from mailstead.services.accounts import Login
from mailstead.services.delivery.plan import render
from mailstead.services.mailboxes import retrieving
from mailstead.services.mailboxes.annotating import Annotations
from mailstead.services.mailboxes.columns import ColumnShelf
from mailstead.services.mailboxes.contents import Contents, Shelf, advance, from_snapshot
from mailstead.services.mailboxes.forest import ForestShelf
from mailstead.services.mailboxes.orders import OrderShelf
from mailstead.services.mailboxes.reading import Page, columns_of, stored_for, work_on_page
from mailstead.services.mailboxes.retrieving import Retriever
from mailstead.services.mailboxes.sharing import Sharing
from mailstead.services.mailboxes.texts import TextShelf
from mailstead.services.tracing import new_trace
from mailstead.services.watch import Watch
from mailstead.storage import (
    accounts,
    annotations,
    blobs,
    changes,
    mailboxes,
    messages,
    placing,
    rights,
    spam_lessons,
)
from mailstead.storage.apply import apply_together
from mailstead.storage.blobs import PART_SIZE, Budget, Gathering
from mailstead.storage.changes import Changes
from mailstead.storage.messages import (
    ANY_FLAG,
    NO_CONDITION,
    Copied,
    FlagsRow,
    Mode,
    Ranges,
)
from mailstead.storage.packfile import DamagedBody
from mailstead.storage.plan import Append, Appended, Body, Plan, StoredBody
from mailstead.storage.rights import Audience, Reached
from mailstead.storage.store import WRITE_LIMIT, Store, Tx
from mailstead.storage.texts import TEXTS, TextFiles

T = TypeVar("T")

RECENT_CHANGES = 2  # modseqs, of at most WRITE_LIMIT rows each, that are read at once, too
COLUMN_ROWS = 2000  # messages of one read of columns to sort by
UID_MAX = 2**32 - 1
FEW = 4  # messages that are read at once: a trip to a thread would cost more

log = logging.getLogger("mailstead.mailboxes")


class Listing(msgspec.Struct, frozen=True):
    """The mailboxes of an account, by name, those of others, and the names subscribed to."""

    mailboxes: list[Mailbox]
    subscriptions: list[str]
    shared: list[Reached] = []


class Opened(msgspec.Struct, frozen=True):
    """A mailbox as it stands: counters, messages, keywords that any of them ever had.

    `rights` are those of the account that opened it.
    """

    mailbox: Mailbox
    contents: Contents
    keywords: list[str]
    rights: str


class Update(msgspec.Struct, frozen=True):
    """The newest contents of a mailbox, and the changes that led to them."""

    contents: Contents
    changes: Changes


class Flagged(msgspec.Struct, frozen=True):
    """One write of flags: the rows that are different now.

    `before` and `modseq` are the mailbox's around the write: who knew the first knows the second.
    """

    before: ModSeq
    modseq: ModSeq
    rows: list[FlagsRow]
    failed: list[Uid] = []  # changed before, so left alone


class NewMessage(msgspec.Struct, frozen=True):
    """A message that the owner puts into a mailbox, and what it is to have there."""

    header: bytes
    body: Body
    flags: int = 0
    keywords: str = ""
    internal_date: datetime | None = None


class Mailboxes:
    """The mailboxes of all accounts."""

    def __init__(
        self, store: Store, world: World, watch: Watch, spool: Path, budget: Budget | None = None
    ) -> None:
        self._store, self._world, self._watch = store, world, watch
        self._spool, self._budget = spool, budget or Budget()
        self._shelf, self._columns = Shelf(), ColumnShelf(self._load_columns)
        self.forests, self.orders = ForestShelf(), OrderShelf()
        self.texts = TextShelf(store, world, TextFiles(spool / TEXTS))
        self.sharing = Sharing(store, watch)
        self.annotations = Annotations(store, watch)

    # ------------------------------------------------------------------ names

    async def list_all(self, account: AccountId) -> Listing:
        """Every mailbox that the account sees, and its subscriptions."""

        def work(tx: Tx) -> Listing:
            return Listing(
                mailboxes.list_all(tx, account),
                mailboxes.subscriptions(tx, account),
                rights.list_shared(tx, account),
            )

        return await self._store.read(work)

    async def get(self, account: AccountId, name: str) -> Mailbox:
        """The account's own mailbox of that name; Refusal if there is none."""
        return await self._store.look_up(lambda tx: mailboxes.get(tx, account, name))

    async def count_recent(self, mailbox: Mailbox) -> int:
        """How many messages of the mailbox no session has seen."""
        if mailbox.first_recent >= mailbox.uidnext:
            return 0
        first, last = mailbox.first_recent, mailbox.uidnext
        return await self._store.read(
            lambda tx: len(
                messages.page(tx, mailbox.id, first, last, mailbox.messages + 1, ("uid",))
            )
        )

    async def create(
        self, account: AccountId, name: str, use: SpecialUse | None = None
    ) -> MailboxId:
        """A new mailbox, with the levels above it that are missing."""

        def work(tx: Tx) -> tuple[MailboxId, Audience]:
            place = rights.place_new(tx, account, name)
            if use is not None and place.owner != account:
                raise Refusal("special uses are the owner's to give", "USEATTR")
            if use is not None and mailboxes.find_special(tx, account, use) is not None:
                raise Refusal("another mailbox has this special use", "USEATTR")
            made = mailboxes.create(tx, place.owner, place.name, use)
            return made, rights.audience(tx, place.owner)

        made, audience = await self._store.write(work)
        self._watch.wake_names(*audience)
        return made

    async def quota(self, account: AccountId) -> tuple[int, int]:
        """Octets that the account uses, and that it may use; 0 for no limit."""
        return await self._store.look_up(lambda tx: accounts.get_quota(tx, account))

    async def deleted_size(self, mailbox: Mailbox) -> int:
        """Octets of the messages with \\Deleted (RFC 9208 section 5.3)."""
        if not mailbox.deleted:
            return 0
        return await self._store.read(lambda tx: messages.deleted_size(tx, mailbox.id))

    async def delete(self, account: AccountId, name: str) -> MailboxId:
        """Delete the mailbox and all mail in it."""

        def work(tx: Tx) -> tuple[AccountId, MailboxId, Audience]:
            place = rights.place_of(tx, account, name)
            audience = rights.audience(tx, place.owner)
            return place.owner, mailboxes.delete(tx, place.owner, place.name), audience

        owner, mailbox, audience = await self._store.write(work)
        self._watch.wake([mailbox])
        self._watch.wake_names(*audience)
        while await self._store.write(lambda tx: messages.clear(tx, owner, mailbox, WRITE_LIMIT)):
            pass
        return mailbox

    async def rename(self, account: AccountId, old: str, new: str) -> None:
        """Another name for the mailbox and those below it.

        INBOX stays, empty: its mail moves to the new mailbox (RFC 3501 section 6.3.5).
        """

        def work(tx: Tx) -> Audience:
            return rights.audience(tx, rights.rename(tx, account, old, new))

        if old == INBOX:
            await self._empty_inbox(account, new)
        else:
            audience = await self._store.write(work)
            self._watch.wake_names(*audience)

    async def _empty_inbox(self, account: AccountId, new: str) -> None:
        if new.startswith(rights.OTHER_USERS + DELIMITER):
            raise Refusal("a mailbox stays with its owner", "CANNOT")
        inbox = await self.get(account, INBOX)
        target = await self.create(account, new)
        await self._store.write(lambda tx: annotations.copy(tx, inbox.id, target))
        while moved := await self._store.write(lambda tx: _move_some(tx, inbox.id, target)):
            self._watch.wake([inbox.id, target])
            if moved < WRITE_LIMIT:
                break

    async def subscribe(self, account: AccountId, name: str) -> None:
        """Remember the name; it need not exist."""
        await self._store.write(lambda tx: mailboxes.subscribe(tx, account, name))
        self._watch.wake_names({account})

    async def unsubscribe(self, account: AccountId, name: str) -> None:
        """Forget the name."""
        await self._store.write(lambda tx: mailboxes.unsubscribe(tx, account, name))
        self._watch.wake_names({account})

    # ------------------------------------------------------------------ what is in a mailbox

    async def open(self, account: AccountId, name: str) -> Opened:
        """The mailbox and its messages; Refusal if there is none."""
        opened = await self._store.read(lambda tx: self._open(tx, account, name))
        self._shelf.keep(opened.contents)
        return opened

    def _open(self, tx: Tx, account: AccountId, name: str) -> Opened:
        reached = rights.get(tx, account, name, "r")
        mailbox = reached.mailbox
        contents = self._shelf.find(mailbox.id)
        if contents is None or contents.modseq > mailbox.modseq:
            found = messages.snapshot(tx, mailbox.id)
            assert found is not None
            contents = from_snapshot(mailbox.id, found)
        elif contents.modseq < mailbox.modseq:
            later = changes.since(tx, mailbox.id, contents.modseq)
            assert later is not None
            contents = advance(contents, later)
        keywords = mailboxes.keywords(tx, mailbox.id)
        return Opened(mailbox, contents, keywords, reached.rights)

    async def update(self, contents: Contents) -> Update | None:
        """What has changed since these contents; None if the mailbox is gone."""
        mailbox, modseq = contents.mailbox, contents.modseq
        found = await self._store.look_up(lambda tx: mailboxes.find_by_id(tx, mailbox))
        if found is None:
            return None
        if found.modseq == modseq:
            return Update(contents, Changes(modseq, (), ()))
        soon = found.modseq - modseq <= RECENT_CHANGES
        read = self._store.look_up if soon else self._store.read

        def work(tx: Tx) -> Update | None:
            later = changes.since(tx, mailbox, modseq)
            if later is None:
                return None
            known = self._shelf.find(mailbox)
            is_newest = known is not None and known.modseq == later.modseq
            return Update(known if known and is_newest else advance(contents, later), later)

        update = await read(work)
        if update is not None:
            self._shelf.keep(update.contents)
        return update

    async def columns(self, contents: Contents, names: Sequence[str]) -> dict[str, list[Any]]:
        """Columns of all messages, to sort or search by; None where one was expunged meanwhile.

        Beside those of the store there are `text:subject` and the like: what SEARCH looks at in
        the fields of that name, None if that is too long to be kept.
        """
        return await self._columns.find(contents, names)

    def has_column(self, contents: Contents, name: str) -> bool:
        """Whether that costs nothing any more."""
        return self._columns.has(contents, name)

    async def _load_columns(
        self, mailbox: MailboxId, after: int, names: Sequence[str]
    ) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {name: [] for name in names}
        ranges: Ranges = [(after + 1, UID_MAX)]
        needs, octets = stored_for(names)
        while ranges:
            found, ranges = await self.page(
                mailbox, ranges, needs, partial(columns_of, names), COLUMN_ROWS, octets
            )
            for name, values in columns.items():
                values += found[name]
        return columns

    async def vanished(self, mailbox: MailboxId, modseq: int) -> list[Uid]:
        """The UIDs that were expunged after that modseq, in order."""
        return await self._store.read(lambda tx: messages.vanished(tx, mailbox, modseq))

    async def page(
        self,
        mailbox: MailboxId,
        ranges: Ranges,
        columns: Sequence[str],
        work: Callable[[Page], T],
        limit: int,
        octets: int | None = None,
    ) -> tuple[T, Ranges]:
        """work(page) of the next messages in the ranges, and the ranges that are left.

        The work is done where the reading is, off the loop. A page has `limit` messages at most,
        and if `octets` is given about so many of message text.
        """

        def read(tx: Tx) -> tuple[T, Ranges]:
            return work_on_page(tx, mailbox, ranges, columns, work, limit, octets)

        if len(ranges) <= FEW and sum(last - first + 1 for first, last in ranges) <= FEW:
            return await self._store.look_up(read)
        return await self._store.read(read)

    async def read_body(self, body: StoredBody, start: int, end: int) -> bytes:
        """Octets of a body; fewer than asked for if it was deleted meanwhile, or is damaged."""

        def read(tx: Tx) -> bytes:
            try:
                return blobs.read(tx, body, start, min(end, start + PART_SIZE))
            except DamagedBody as damage:
                if blobs.is_used(tx, body):
                    log.error("a message cannot be read: %s", damage)
                return b""

        return await self._store.read(read)

    # ------------------------------------------------------------------ changes

    async def set_flags(
        self,
        mailbox: MailboxId,
        ranges: Ranges,
        mode: Mode,
        flags: int,
        keywords: str,
        unchanged_since: int = NO_CONDITION,
        among: int = ANY_FLAG,
    ) -> Flagged:
        """Change flags of at most WRITE_LIMIT messages, but of none changed after that modseq.

        Flags that are not `among` those that may be changed stay what they are.
        """

        def work(tx: Tx) -> Flagged:
            found = mailboxes.find_by_id(tx, mailbox)
            if found is None:
                raise Refusal("the mailbox is gone", "NONEXISTENT")
            if keywords and mode != "remove":
                _check_keywords(tx, mailbox, keywords)
            failed: list[Uid] = []
            if unchanged_since != NO_CONDITION:
                failed = messages.changed_after(tx, mailbox, ranges, unchanged_since)
            rows = messages.set_flags(
                tx, mailbox, ranges, mode, flags, keywords, unchanged_since, among
            )
            if keywords:
                changed = [row.uid for row in rows]
                spam_lessons.flagged(tx, mailbox, changed, keywords, mode == "remove")
            modseq = rows[0].modseq if rows else found.modseq
            return Flagged(found.modseq, modseq, rows, failed)

        flagged = await self._store.write(work)
        if flagged.rows:
            self._watch.wake([mailbox])
        return flagged

    async def copy(
        self,
        mailbox: MailboxId,
        slices: Sequence[Ranges],
        target: MailboxId,
        expected: int | None,
        among: int = ANY_FLAG,
    ) -> list[Copied]:
        """Copy messages, all or none of them; a Refusal if not `expected` ones were there.

        Each slice covers at most WRITE_LIMIT messages and is one write; if one fails, the copies
        that were made before are taken back (RFC 3501 section 6.4.7).
        """
        made: list[Copied] = []
        try:
            for ranges in slices:
                made.append(await self._copy_some(mailbox, ranges, target, among))  # noqa: PERF401 taken back
            if expected is not None and expected != sum(len(one.copies) for one in made):
                raise Refusal("some of the messages are gone", "EXPUNGEISSUED")
        except Exception:
            for one in made:
                await self._take_back(target, one.copies)
            raise
        finally:
            self._watch.wake([target])
        return made

    async def _copy_some(
        self, mailbox: MailboxId, ranges: Ranges, target: MailboxId, among: int
    ) -> Copied:
        def work(tx: Tx) -> Copied:
            _check_target(tx, target)
            copied = placing.copy(tx, mailbox, ranges, target, among)
            spam_lessons.moved(tx, mailbox, target, copied.copies)
            return copied

        return await self._store.write(work)

    async def _take_back(self, target: MailboxId, copies: Sequence[Uid]) -> None:
        if not copies:
            return
        ranges = [(copies[0], copies[-1])]

        def work(tx: Tx) -> None:
            messages.set_flags(tx, target, ranges, "add", DELETED, "")
            messages.expunge(tx, target, ranges)

        await self._store.write(work)

    async def move(
        self, mailbox: MailboxId, ranges: Ranges, target: MailboxId, among: int = ANY_FLAG
    ) -> Copied:
        """Move at most WRITE_LIMIT messages, in one write (RFC 6851)."""

        def work(tx: Tx) -> Copied:
            _check_target(tx, target)
            moved = placing.move(tx, mailbox, ranges, target, among)
            spam_lessons.moved(tx, mailbox, target, moved.copies)
            return moved

        copied = await self._store.write(work)
        if copied.copies:
            self._watch.wake([mailbox, target])
        return copied

    async def expunge(self, mailbox: MailboxId, ranges: Ranges) -> list[Uid]:
        """Delete those of at most WRITE_LIMIT messages that carry \\Deleted."""

        def work(tx: Tx) -> list[Uid]:
            if mailboxes.find_by_id(tx, mailbox) is None:
                return []
            return messages.expunge(tx, mailbox, ranges)

        gone = await self._store.write(work)
        if gone:
            self._watch.wake([mailbox])
        return gone

    def gather(self) -> Gathering:
        """A body that is to come in."""
        return Gathering(self._spool, self._budget)

    async def append(
        self,
        login: Login,
        mailbox: MailboxId,
        header: bytes,
        body: Body,
        flags: int = 0,
        keywords: str = "",
        internal_date: datetime | None = None,
    ) -> Appended:
        """File a message of the owner's; Refusal if it does not fit the quota."""
        message = NewMessage(header, body, flags, keywords, internal_date)
        return (await self.append_all(login, mailbox, [message]))[0]

    async def append_all(
        self,
        login: Login,
        mailbox: MailboxId,
        new: Sequence[NewMessage],
        owner: AccountId | None = None,
    ) -> list[Appended]:
        """File messages, all or none of them, in one transaction; maybe in another's mailbox."""
        keywords = " ".join(filter(None, (one.keywords for one in new)))
        if keywords:
            await self._store.read(lambda tx: _check_keywords(tx, mailbox, keywords))
        to = login.account if owner is None else owner
        plans = [await self._plan(login, to, mailbox, one) for one in new]
        if len(plans) == 1:
            applied = [await self._store.apply(plans[0])]
        else:
            applied = await self._store.write(lambda tx: apply_together(tx, plans))
        self._watch.wake([mailbox])
        return [each for one in applied for each in one.appended]

    async def replace(
        self, login: Login, source: MailboxId, uid: Uid, to: Mailbox, new: NewMessage
    ) -> Appended:
        """File a message and delete the one it replaces, in one transaction.

        Of the quota only the difference counts (RFC 8508 section 3.4).
        """
        target = to.id
        plan = await self._plan(login, to.account, target, new)

        def work(tx: Tx) -> Appended:
            if new.keywords:
                _check_keywords(tx, target, new.keywords)
            if not messages.remove(tx, source, uid):
                raise Refusal("the message to be replaced is gone", "EXPUNGEISSUED")
            return apply_together(tx, [plan])[0].appended[0]

        appended = await self._store.write(work)
        self._watch.wake({source, target})
        return appended

    async def _plan(
        self, login: Login, owner: AccountId, mailbox: MailboxId, new: NewMessage
    ) -> Plan:
        if new.body.size > PART_SIZE:
            rendered = await self._world.offload.run(lambda: render(new.header, new.body))
        else:
            rendered = render(new.header, new.body)
        step = Append(
            account=owner,
            mailbox=mailbox,
            header=new.header,
            rendered=rendered,
            internal_date=new.internal_date or self._world.clock.now(),
            flags=new.flags,
            keywords=new.keywords,
            enforce_quota=True,
        )
        return Plan((step,), new_trace(self._world), login.organisation, new.body)

    # ------------------------------------------------------------------ what nobody waits for

    async def take_recent(self, mailbox: MailboxId) -> None:
        """From now on no message of today is new to anybody."""
        await self._store.write(lambda tx: messages.take_recent(tx, mailbox))

    async def mark_retrieved(self, mailbox: Mailbox, uids: Sequence[int], who: Retriever) -> None:
        """Note that the owner fetched these, and tell it in the journal of each message."""
        for start in range(0, len(uids), WRITE_LIMIT):
            some = uids[start : start + WRITE_LIMIT]
            await self._store.write(lambda tx, some=some: retrieving.mark(tx, mailbox, some, who))  # type: ignore[misc]


def _check_target(tx: Tx, target: MailboxId) -> None:
    if mailboxes.find_by_id(tx, target) is None:
        raise Refusal("there is no such mailbox", "NONEXISTENT")


def _check_keywords(tx: Tx, mailbox: MailboxId, keywords: str) -> None:
    have = {name.lower() for name in mailboxes.keywords(tx, mailbox)}
    if len(have | set(keywords.lower().split(" "))) > KEYWORDS_LIMIT:
        raise Refusal(f"a mailbox has at most {KEYWORDS_LIMIT} keywords", "LIMIT")


def _move_some(tx: Tx, source: MailboxId, target: MailboxId) -> int:
    rows = messages.page(tx, source, 1, 2**32, WRITE_LIMIT, ("uid",))
    if rows:
        placing.move(tx, source, [(rows[0][0], rows[-1][0])], target)
    return len(rows)
