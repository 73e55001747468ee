"""What lies in a mailbox, as columns in memory: one copy for all who see the same state.

Contents are shared between sessions and never change (but for the bit RETRIEVED, which is no flag
of a protocol); a change makes new ones. A shelf keeps those in use by weak references, and a
bounded number of messages beyond, so that opening an unchanged mailbox again reads nothing.
"""

from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import compress
from weakref import WeakValueDictionary

import msgspec

from mailstead.model.flags import RETRIEVED
from mailstead.model.numbers import MailboxId, ModSeq
from mailstead.storage.changes import Changes
from mailstead.storage.messages import FlagsRow, Snapshot

KEPT_LIMIT = 500_000  # messages of mailboxes that nobody has open; some 28 octets each


class Contents(msgspec.Struct, frozen=True, weakref=True, eq=False):
    """All messages of a mailbox at one modseq, in UID order."""

    mailbox: MailboxId
    modseq: ModSeq
    uids: "array[int]"
    flags: list[int]
    keywords: list[str]
    modseqs: "array[int]"

    def find(self, uid: int) -> int | None:
        """The index of the message with this UID."""
        index = bisect_left(self.uids, uid)
        return index if index < len(self.uids) and self.uids[index] == uid else None

    def locate(self, uids: Sequence[int]) -> Sequence[int]:
        """The indices of messages that are here, given in UID order."""
        if not uids:
            return []
        first = bisect_left(self.uids, uids[0])
        last = first + len(uids)
        if self.uids[first:last].tolist() == uids:
            return range(first, last)
        return [bisect_left(self.uids, uid) for uid in uids]

    def with_flags(self, rows: Sequence[FlagsRow], modseq: ModSeq) -> "Contents":
        """The same messages with other flags."""
        flags, keywords, modseqs = self.flags.copy(), self.keywords.copy(), self.modseqs[:]
        for row, index in zip(rows, self.locate([row.uid for row in rows]), strict=True):
            flags[index], keywords[index], modseqs[index] = row.flags, row.keywords, row.modseq
        return Contents(self.mailbox, modseq, self.uids, flags, keywords, modseqs)

    def mark_retrieved(self, indices: Iterable[int]) -> None:
        """Remember that the owner has fetched these; it has no modseq and nobody is told."""
        for index in indices:
            self.flags[index] |= RETRIEVED


def from_snapshot(mailbox: MailboxId, found: Snapshot) -> Contents:
    """The contents as the store gave them."""
    return Contents(mailbox, found.modseq, found.uids, found.flags, found.keywords, found.modseqs)


def advance(contents: Contents, changes: Changes) -> Contents:
    """The contents after the changes."""
    uids = array("I", contents.uids)
    flags, keywords = contents.flags.copy(), contents.keywords.copy()
    modseqs = contents.modseqs[:]
    for row in changes.rows:
        index = bisect_left(uids, row.uid)
        if index < len(uids) and uids[index] == row.uid:
            flags[index], keywords[index] = row.flags, row.keywords
            modseqs[index] = row.modseq
        else:
            uids.insert(index, row.uid)
            flags.insert(index, row.flags)
            keywords.insert(index, row.keywords)
            modseqs.insert(index, row.modseq)
    if changes.expunged:
        left = bytearray(b"\1") * len(uids)
        for uid in changes.expunged:
            index = bisect_left(uids, uid)
            if index < len(uids) and uids[index] == uid:
                left[index] = 0
        uids, modseqs = array("I", compress(uids, left)), array("q", compress(modseqs, left))
        flags, keywords = list(compress(flags, left)), list(compress(keywords, left))
    return Contents(contents.mailbox, changes.modseq, uids, flags, keywords, modseqs)


class Shelf:
    """The newest contents known of each mailbox."""

    def __init__(self, limit: int = KEPT_LIMIT) -> None:
        self._limit = limit
        self._known: WeakValueDictionary[MailboxId, Contents] = WeakValueDictionary()
        self._kept: OrderedDict[MailboxId, Contents] = OrderedDict()
        self._size = 0

    def find(self, mailbox: MailboxId) -> Contents | None:
        """The contents of the mailbox, perhaps no longer the newest."""
        return self._known.get(mailbox)

    def keep(self, contents: Contents) -> None:
        """Remember the contents, unless newer ones are known."""
        known = self._known.get(contents.mailbox)
        if known is not None and known.modseq > contents.modseq:
            return
        self._known[contents.mailbox] = contents
        before = self._kept.pop(contents.mailbox, None)
        self._size += len(contents.uids) - (0 if before is None else len(before.uids))
        self._kept[contents.mailbox] = contents
        while self._size > self._limit and self._kept:
            self._size -= len(self._kept.popitem(last=False)[1].uids)
