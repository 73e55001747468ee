"""The orders that mailboxes were sorted in last: sorting what is nearly in order takes one look.

An order belongs to the messages of one state of a mailbox; what came since is put behind by who
sorts, for its place to be found. Holds: at most KEPT_LIMIT numbers are kept, 4 octets each.
"""

from array import array
from collections import OrderedDict
from collections.abc import Hashable, Sequence

from mailstead.model.numbers import MailboxId
from mailstead.services.mailboxes.contents import Contents

KEPT_LIMIT = 1_000_000

Key = tuple[MailboxId, Hashable]


class OrderShelf:
    """The orders that were used last, by what was sorted by."""

    def __init__(self, limit: int = KEPT_LIMIT) -> None:
        self._limit, self._size = limit, 0
        self._kept: OrderedDict[Key, tuple[array[int], array[int]]] = OrderedDict()

    def find(self, contents: Contents, by: Hashable) -> Sequence[int]:
        """The indices of the first messages, in their order; of none, if none is known."""
        key = (contents.mailbox, by)
        known = self._kept.get(key)
        if known is None or contents.uids[: len(known[0])] != known[0]:
            return ()
        self._kept.move_to_end(key)
        return known[1]

    def keep(self, contents: Contents, by: Hashable, order: Sequence[int]) -> None:
        """Remember the order of all messages."""
        key = (contents.mailbox, by)
        _, before = self._kept.pop(key, (None, ()))
        self._kept[key] = contents.uids, array("I", order)
        self._size += len(order) - len(before)
        while self._size > self._limit:
            self._size -= len(self._kept.popitem(last=False)[1][1])
