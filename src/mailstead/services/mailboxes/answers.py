"""Answers about whole mailboxes that hold as long as no message comes or goes, as THREAD's.

Content never changes, so such an answer depends on which messages there are, and on nothing else.
Holds: at most KEPT_LIMIT octets are kept; an answer is given only for the very same messages.
"""

from array import array
from collections import OrderedDict

from mailstead.model.numbers import MailboxId
from mailstead.services.mailboxes.contents import Contents

KEPT_LIMIT = 8 * 1024 * 1024  # octets

Key = tuple[MailboxId, str]


class AnswerShelf:
    """The answers that were given last."""

    def __init__(self, limit: int = KEPT_LIMIT) -> None:
        self._limit, self._size = limit, 0
        self._kept: OrderedDict[Key, tuple[array[int], bytes]] = OrderedDict()

    def find(self, contents: Contents, question: str) -> bytes | None:
        """What was answered, if the same messages are there."""
        key = (contents.mailbox, question)
        known = self._kept.get(key)
        if known is None or known[0] != contents.uids:
            return None
        self._kept.move_to_end(key)
        return known[1]

    def keep(self, contents: Contents, question: str, answer: bytes) -> None:
        """Remember the answer in the place of an older one."""
        key = (contents.mailbox, question)
        before = self._kept.pop(key, None)
        self._size += len(answer) - (0 if before is None else len(before[1]))
        self._kept[key] = (contents.uids, answer)
        while self._size > self._limit:
            self._size -= len(self._kept.popitem(last=False)[1][1])
