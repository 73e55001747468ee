"""Annotations of mailboxes and of the server (RFC 5464), as an account sees and changes them.

Holds: a mailbox's take the right `l` and one of those to its messages (section 3.3); whoever has
the mailbox selected is woken when they change.
"""

from collections.abc import Collection, Sequence

import msgspec

from mailstead.model.errors import Refusal
from mailstead.model.numbers import AccountId, MailboxId
from mailstead.protocol.imap import filters
from mailstead.protocol.imap.metadata import PRIVATE, SHARED, is_within
from mailstead.services.watch import Watch
from mailstead.storage import annotations, rights
from mailstead.storage.annotations import USE, Scope, Values
from mailstead.storage.rights import Audience, Reached
from mailstead.storage.store import Store, Tx

Digests = dict[str, int]
ROOTS = (PRIVATE, SHARED)
TO_MESSAGES = "rswip"  # one of these rights is needed
ADMIN = "/shared/admin"  # how to reach the administrator (section 3.2.1.1)


class Wanted(msgspec.Struct, frozen=True):
    """Entries, and so many levels below them."""

    entries: Sequence[str]
    depth: int = 0


class Annotated(msgspec.Struct, frozen=True):
    """The annotations that were found, and what the account calls the mailbox."""

    name: str
    values: Values


class Annotations:
    """The annotations of all accounts."""

    def __init__(self, store: Store, watch: Watch) -> None:
        self._store, self._watch = store, watch

    async def find(self, account: AccountId, name: str, wanted: Wanted) -> Annotated:
        """What there is of a mailbox, or without a name of the server."""

        def work(tx: Tx) -> Annotated:
            reached = _reach(tx, account, name) if name else None
            values = annotations.find(
                tx, _scope(tx, account, reached), wanted.entries, wanted.depth > 0
            )
            values |= _computed(tx, account, reached)
            named = {
                entry: value
                for entry, value in sorted(values.items())
                if any(is_within(entry, root, wanted.depth) for root in wanted.entries)
            }
            return Annotated(name if reached is None else reached.mailbox.name, named)

        return await self._store.read(work)

    async def digests(self, account: AccountId, name: str) -> Digests:
        """A number for the value of each annotation, to see that one is another; {} if unseen."""

        def work(tx: Tx) -> Digests:
            try:
                reached = _reach(tx, account, name) if name else None
            except Refusal:
                return {}
            found = annotations.find(tx, _scope(tx, account, reached), ROOTS, below=True)
            found |= _computed(tx, account, reached)
            return {entry: hash(value) for entry, value in found.items()}

        return await self._store.read(work)

    async def find_in(
        self, account: AccountId, ids: Collection[int], entries: Sequence[str]
    ) -> dict[MailboxId, Values]:
        """The same of several mailboxes that the account may see."""
        return await self._store.read(lambda tx: annotations.find_in(tx, account, ids, entries))

    async def put(
        self, account: AccountId, name: str, values: Sequence[tuple[str, bytes | None]]
    ) -> None:
        """Set or take away annotations, all or none of them."""

        def work(tx: Tx) -> tuple[MailboxId, Audience]:
            reached = _reach(tx, account, name) if name else None
            if reached is None:
                _check_of_server(values)
            scope = _scope(tx, account, reached)
            kept = [one for one in values if reached is None or one[0] != USE]
            annotations.put(tx, scope, kept)
            for entry, value in values:
                if reached is not None and entry == USE:
                    _set_use(tx, account, reached, value)
            return scope.mailbox, rights.colleagues(tx, account)

        mailbox, audience = await self._store.write(work)
        if mailbox:
            self._watch.wake([mailbox])
        else:
            self._watch.wake_names(*audience)


def _check_of_server(values: Sequence[tuple[str, bytes | None]]) -> None:
    for entry, value in values:
        if entry == ADMIN:
            raise Refusal("that is the server's to say", "NOPERM")
        if value is not None and entry.startswith(filters.VALUES):
            _check_filter(entry, value)


def _check_filter(entry: str, value: bytes) -> None:
    """Nothing is kept that could not be searched for (RFC 5466 section 3.2)."""
    try:
        filters.parse_filter(value)
    except ValueError as error:
        raise Refusal(f"{entry} is no search program: {error}", "CANNOT") from error


def _reach(tx: Tx, account: AccountId, name: str) -> Reached:
    reached = rights.get(tx, account, name, TO_MESSAGES)
    if "l" not in reached.rights:
        raise Refusal("there is no such mailbox", "NONEXISTENT")
    return reached


def _scope(tx: Tx, account: AccountId, reached: Reached | None) -> Scope:
    if reached is None:
        return annotations.of_server(tx, account)
    return annotations.of_mailbox(account, reached.mailbox.id)


def _computed(tx: Tx, account: AccountId, reached: Reached | None) -> Values:
    """What follows from other things that are known."""
    if reached is None:
        login = tx.value("SELECT login FROM account WHERE id = :id", id=account)
        domain = str(login).rpartition("@")[2]
        return {ADMIN: f"mailto:postmaster@{domain}".encode()}
    use = reached.mailbox.special_use
    return {} if use is None else {USE: use.value.encode()}


def _set_use(tx: Tx, account: AccountId, reached: Reached, value: bytes | None) -> None:
    if reached.mailbox.account != account:
        raise Refusal("special uses are the owner's to give", "USEATTR")
    annotations.set_use(tx, reached.mailbox, value)
