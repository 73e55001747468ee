"""What a client that sent NOTIFY has been told of other mailboxes, and what it is to hear next.

Nothing is queued: a wake-up marks a mailbox, and what is told is how it differs from what was told
last, however much happened in between. Only what is watched is ever woken for.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from mailstead.model.mailbox import DELIMITER, Mailbox
from mailstead.model.numbers import MailboxId, ModSeq, Uid
from mailstead.protocol.imap.commands import StatusItem
from mailstead.protocol.imap.notification import OF_MESSAGES, Group, Happening, Scope, levels
from mailstead.services.accounts import Login
from mailstead.services.mailboxes.annotating import Digests
from mailstead.services.mailboxes.service import Listing
from mailstead.services.watch import Watch
from mailstead.storage.rights import OTHER_USERS

WATCHED_LIMIT = 1000  # mailboxes that one session watches
ANNOTATED_LIMIT = 200  # of which it watches the annotations: each has to be read
SERVER = MailboxId(0)  # stands for the server, where it is about annotations


Wish = frozenset[Happening]


class NameChange(msgspec.Struct, frozen=True):
    """A name to be told in a LIST response, with the one it had before, if that is the news."""

    name: str
    old: str = ""
    no_access: bool = False  # it can be listed, but its messages may not be watched


class Overflow(Exception):
    """More mailboxes than one session may watch (RFC 5465 section 5.8)."""


class Notification:
    """One NOTIFY SET or NONE, from its OK on. Holds: after close() nothing is watched."""

    def __init__(
        self, watch: Watch, owner: Login, groups: Sequence[Group], wake: Callable[[], None]
    ) -> None:
        self._watch, self._wake = watch, wake
        self._who = (owner.account, owner.organisation)
        selected = [group for group in groups if group.scope in _SELECTED]
        self.selected = selected[0] if selected and selected[0].events else None
        self._wishes = _Wishes([group for group in groups if group.scope not in _SELECTED])
        self.names_changed = False
        self._woken: set[MailboxId] = set()
        self._watchers: dict[MailboxId, Callable[[], None]] = {}
        self._known: dict[MailboxId, Mailbox] = {}  # as last told
        self.annotated: dict[MailboxId, str] = {}  # those wanted, by name; the server has none
        self._digests: dict[MailboxId, Digests] = {}  # of annotations, as last told
        self._names: dict[MailboxId, str] = {}  # of all that can be listed, as the client sees them
        self._subscribed: frozenset[str] = frozenset()
        if self._wishes:
            watch.add_names(*self._who, self._hear_names)

    def close(self) -> None:
        """Watch nothing any more."""
        if self._wishes:
            self._watch.remove_names(*self._who, self._hear_names)
        for mailbox in list(self._watchers):
            self._unwatch(mailbox)

    # ------------------------------------------------------------------ the selected mailbox

    @property
    def immediate(self) -> bool:
        """Whether messages may go away between commands."""
        return self.selected is not None and self.selected.scope is Scope.SELECTED

    @property
    def flags(self) -> bool:
        """Whether changed flags of the selected mailbox are told."""
        return self.selected is not None and Happening.FLAG_CHANGE in self.selected.events

    # ------------------------------------------------------------------ the others

    @property
    def elsewhere(self) -> bool:
        """Whether anything is wanted of other mailboxes."""
        return bool(self._wishes)

    def begin(self, listing: Listing) -> list[Mailbox]:
        """Watch what is wanted; the mailboxes whose messages it is about."""
        self._note_names(listing)
        wanted = self._wanted(listing)
        self._known = {mailbox.id: mailbox for mailbox in wanted}
        return wanted

    def barred(self, listing: Listing) -> list[NameChange]:
        """Mailboxes that were named, but whose messages may not be read (RFC 5465 section 3.1)."""
        return [
            NameChange(one.mailbox.name, no_access=True)
            for one in listing.shared
            if "r" not in one.rights and self._events(one.mailbox.name)
        ]

    def are_own(self, mailboxes: Iterable[MailboxId]) -> bool:
        """Whether nobody could have taken the right to read these."""
        return all(is_own(self._names.get(mailbox, "")) for mailbox in mailboxes)

    def take_woken(self) -> list[MailboxId]:
        """Which mailboxes have to be looked at."""
        woken, self._woken = sorted(self._woken), set()
        return woken

    def wake_all(self) -> None:
        """Look at everything: a wake-up of another process may have been lost."""
        self.names_changed = bool(self._wishes)
        self._woken.update(self._watchers)

    def compare(self, now: Mailbox, modseqs: bool) -> list[StatusItem]:
        """What of the mailbox is different from what was told last, as items of STATUS."""
        known, events = self._known.get(now.id), self._events(now.name)
        if known is None:
            return []
        items: list[StatusItem] = []
        if (known.messages, known.uidnext) != (now.messages, now.uidnext):
            items += [StatusItem.MESSAGES, StatusItem.UIDNEXT]
        if Happening.FLAG_CHANGE in events and known.unseen != now.unseen:
            items.append(StatusItem.UNSEEN)
        if modseqs and (items or Happening.FLAG_CHANGE in events) and known.modseq != now.modseq:
            items.append(StatusItem.HIGHESTMODSEQ)
        if items:
            self._known[now.id] = now
        return [*items, StatusItem.UIDVALIDITY] if items else []

    def first_items(self, mailbox: Mailbox) -> tuple[StatusItem, ...]:
        """What NOTIFY SET STATUS tells of the mailbox (RFC 5465 section 3.1)."""
        items = (StatusItem.MESSAGES, StatusItem.UIDNEXT, StatusItem.UIDVALIDITY)
        if Happening.FLAG_CHANGE in self._events(mailbox.name):
            return (*items, StatusItem.UNSEEN, StatusItem.HIGHESTMODSEQ)
        return items

    # ------------------------------------------------------------------ annotations

    def _find_annotated(self) -> dict[MailboxId, str]:
        wanted = {
            id_: name
            for id_, name in self._names.items()
            if Happening.MAILBOX_METADATA_CHANGE in self._events(name)
        }
        if Happening.SERVER_METADATA_CHANGE in self._wishes.all:
            wanted[SERVER] = ""
        return wanted

    def compare_digests(self, mailbox: MailboxId, now: Digests) -> list[str]:
        """Which annotations are others than those that were told last."""
        before = self._digests.get(mailbox, {})
        self._digests[mailbox] = now
        return sorted({entry for entry, _ in before.items() ^ now.items()})

    # ------------------------------------------------------------------ names

    def compare_names(self, listing: Listing) -> list[NameChange]:
        """What has become of names and subscriptions, as far as it is wanted; then watch anew."""
        self.names_changed = False
        before, subscribed_before = self._names, self._subscribed
        self._note_names(listing)
        changes = [
            change
            for change in _name_changes(before, self._names)
            if self._tells(Happening.MAILBOX_NAME, change.name, change.old)
        ]
        told = {change.name for change in changes}
        changes += [
            NameChange(name)
            for name in sorted(subscribed_before ^ self._subscribed)
            if name not in told
            and self._tells(Happening.SUBSCRIPTION_CHANGE, name, unsubscribed=True)
        ]
        for mailbox in self._wanted(listing):
            # What lies in a mailbox that was not there before is news, too.
            fresh = mailbox if mailbox.id in before else _emptied(mailbox)
            if self._known.setdefault(mailbox.id, fresh) is fresh:
                self._woken.add(mailbox.id)
        return changes

    def _note_names(self, listing: Listing) -> None:
        self._names = {one.mailbox.id: one.mailbox.name for one in listing.shared}
        self._names |= {mailbox.id: mailbox.name for mailbox in listing.mailboxes}
        self._subscribed = frozenset(listing.subscriptions)

    def _wanted(self, listing: Listing) -> list[Mailbox]:
        """The mailboxes whose messages are watched; from here on they are. Perhaps Overflow."""
        shared = [one.mailbox for one in listing.shared if "r" in one.rights]
        wanted = [
            mailbox
            for mailbox in [*listing.mailboxes, *shared]
            if self._events(mailbox.name) & OF_MESSAGES
        ]
        self.annotated = self._find_annotated()
        annotated = self.annotated.keys() - {SERVER}
        if len(wanted) > WATCHED_LIMIT or len(annotated) > ANNOTATED_LIMIT:
            raise Overflow
        ids = {mailbox.id for mailbox in wanted} | annotated
        for mailbox_id in self._watchers.keys() - ids:
            self._unwatch(mailbox_id)
        for mailbox_id in ids - self._watchers.keys():
            self._begin_watch(mailbox_id)
        return wanted

    def _begin_watch(self, mailbox: MailboxId) -> None:
        def hear() -> None:
            self._woken.add(mailbox)
            self._wake()

        self._watchers[mailbox] = hear
        self._watch.add(mailbox, hear)

    def _unwatch(self, mailbox: MailboxId) -> None:
        self._watch.remove(mailbox, self._watchers.pop(mailbox))
        self._known.pop(mailbox, None)
        self._digests.pop(mailbox, None)
        self._woken.discard(mailbox)

    def _hear_names(self) -> None:
        self.names_changed = True
        self._wake()

    def _events(self, name: str) -> frozenset[Happening]:
        """All that is wanted of a mailbox: groups add up."""
        return self._wishes.of(name, name in self._subscribed)

    def _tells(
        self, event: Happening, name: str, old: str = "", unsubscribed: bool = False
    ) -> bool:
        subscribed = unsubscribed or name in self._subscribed
        return event in self._wishes.of(name, subscribed) or (
            bool(old) and event in self._wishes.of(old, subscribed)
        )


class _Wishes:
    """The groups of a command, so that what is wanted of a name is found at once."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self.all: Wish = frozenset()
        self._personal: Wish = frozenset()
        self._subscribed: Wish = frozenset()
        self._named: dict[str, Wish] = {}
        self._below: dict[str, Wish] = {}
        for group in groups:
            self._add(group)

    def __bool__(self) -> bool:
        return bool(self.all)

    def _add(self, group: Group) -> None:
        self.all |= group.events
        if group.scope is Scope.SUBSCRIBED:
            self._subscribed |= group.events
        elif group.scope in (Scope.SUBTREE, Scope.MAILBOXES):
            names = self._below if group.scope is Scope.SUBTREE else self._named
            for name in group.names:
                names[name] = names.get(name, frozenset()) | group.events
        else:  # RFC 5465 section 6.3: inboxes may be all personal ones
            self._personal |= group.events

    def of(self, name: str, subscribed: bool) -> Wish:
        """What is wanted of the mailbox."""
        found = self._named.get(name, frozenset())
        if is_own(name):
            found |= self._personal
        if subscribed:
            found |= self._subscribed
        if self._below:
            for level in levels(name):
                found |= self._below.get(level, frozenset())
        return found


_SELECTED = (Scope.SELECTED, Scope.SELECTED_DELAYED)


def is_own(name: str) -> bool:
    """Whether it is in the personal namespace (RFC 2342 section 5)."""
    return name.partition(DELIMITER)[0] != OTHER_USERS


def _emptied(mailbox: Mailbox) -> Mailbox:
    """The mailbox as it was when it came into being."""
    return msgspec.structs.replace(mailbox, messages=0, unseen=0, uidnext=Uid(1), modseq=ModSeq(0))


def _name_changes(before: dict[MailboxId, str], now: dict[MailboxId, str]) -> Iterator[NameChange]:
    """What came, what went and what has another name; parents with what came and went.

    RFC 5465 section 5.4. What lies below a renamed mailbox has another name as well, silently.
    """
    renamed = {before[id_]: name for id_, name in now.items() if before.get(id_, name) != name}
    for old, new in sorted(renamed.items()):
        if not any(_moved_along(old, new, above, renamed) for above in levels(old) if above != old):
            yield NameChange(new, old)
    came = {name for id_, name in now.items() if id_ not in before}
    went = {name for id_, name in before.items() if id_ not in now}
    affected = came | went
    parents = {name.rpartition(DELIMITER)[0] for name in affected} - {""}
    for name in sorted(affected | parents):
        yield NameChange(name)


def _moved_along(old: str, new: str, above: str, renamed: dict[str, str]) -> bool:
    target = renamed.get(above)
    return target is not None and new == target + old[len(above) :]
