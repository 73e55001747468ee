"""Wake-ups: who wants to know that a mailbox or the queue changed (that, never what).

`wake` is called after the commit. It reaches the watchers in this process at once and those in
other processes over the bus; each then reads what changed by itself.
"""

from collections.abc import Callable, Iterable

from mailstead.model.numbers import AccountId, MailboxId, OrganisationId
from mailstead.model.world import ALL, Bus

QUEUE = b"queue"


class Watch:
    """Watchers by mailbox, by account (of names and subscriptions), and those of the queue."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.closing = False  # the server ends: say goodbye at the next wake-up
        self._watchers: dict[MailboxId, set[Callable[[], None]]] = {}
        self._name_watchers: dict[bytes, set[Callable[[], None]]] = {}  # by topic
        self._queue_watchers: set[Callable[[], None]] = set()

    def start(self) -> None:
        """Listen to the other processes; needs a running loop."""
        self._bus.subscribe(self._hear)

    def wake(self, mailboxes: Iterable[MailboxId]) -> None:
        """Something changed in these mailboxes."""
        for mailbox in mailboxes:
            self._call(mailbox)
            self._bus.publish(b"mailbox %d" % mailbox)

    def wake_names(
        self, accounts: Iterable[AccountId], organisation: OrganisationId | None = None
    ) -> None:
        """What these, or all of an organisation, see of mailboxes by name may have changed."""
        topics = [b"names %d" % account for account in accounts]
        for topic in [
            *topics,
            *([] if organisation is None else [b"colleagues %d" % organisation]),
        ]:
            self._call_names(topic)
            self._bus.publish(topic)

    def wake_queue(self) -> None:
        """Something in the queue may be due."""
        for watcher in list(self._queue_watchers):
            watcher()
        self._bus.publish(QUEUE)

    def add(self, mailbox: MailboxId, watcher: Callable[[], None]) -> None:
        """Call watcher() whenever the mailbox changes."""
        self._watchers.setdefault(mailbox, set()).add(watcher)

    def remove(self, mailbox: MailboxId, watcher: Callable[[], None]) -> None:
        """Call it no longer."""
        watchers = self._watchers.get(mailbox, set())
        watchers.discard(watcher)
        if not watchers:
            self._watchers.pop(mailbox, None)

    def add_names(
        self, account: AccountId, organisation: OrganisationId, watcher: Callable[[], None]
    ) -> None:
        """Call watcher() whenever names or subscriptions that the account sees may have changed."""
        for topic in (b"names %d" % account, b"colleagues %d" % organisation):
            self._name_watchers.setdefault(topic, set()).add(watcher)

    def remove_names(
        self, account: AccountId, organisation: OrganisationId, watcher: Callable[[], None]
    ) -> None:
        """Call it no longer."""
        for topic in (b"names %d" % account, b"colleagues %d" % organisation):
            watchers = self._name_watchers.get(topic, set())
            watchers.discard(watcher)
            if not watchers:
                self._name_watchers.pop(topic, None)

    def add_queue(self, watcher: Callable[[], None]) -> None:
        """Call watcher() whenever something in the queue may be due."""
        self._queue_watchers.add(watcher)

    def _call(self, mailbox: MailboxId) -> None:
        for watcher in list(self._watchers.get(mailbox, ())):
            watcher()

    def _call_names(self, topic: bytes) -> None:
        for watcher in list(self._name_watchers.get(topic, ())):
            watcher()

    def _hear(self, topic: bytes) -> None:
        kind, _, number = topic.partition(b" ")
        if kind in (QUEUE, ALL):
            for watcher in list(self._queue_watchers):
                watcher()
        if kind == ALL:
            for watched in list(self._watchers):
                self._call(watched)
            for watched_names in list(self._name_watchers):
                self._call_names(watched_names)
        elif kind == b"mailbox" and number.isdigit():
            self._call(MailboxId(int(number)))
        else:
            self._call_names(topic)
