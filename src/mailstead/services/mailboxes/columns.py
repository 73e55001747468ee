"""Columns that whole mailboxes are sorted, threaded and searched by, kept while they are used.

They lie in the store behind headers, so that reading them costs more than sorting by them. What is
kept belongs to the messages of one state of a mailbox; of the next state only what is new is read.
Holds: at most KEPT_LIMIT values are kept; content never changes, so what is kept is never wrong.
"""

from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from mailstead.model.numbers import MailboxId
from mailstead.services.mailboxes.contents import Contents

KEPT_LIMIT = 1_000_000  # values; dates take 32 octets each, short texts some 100
VALUE_OCTETS = 64  # characters of text that count as a value more

Load = Callable[[MailboxId, int, Sequence[str]], Awaitable[dict[str, list[Any]]]]


class Columns:
    """Values of the messages of a mailbox, each list in the order of their UIDs."""

    __slots__ = ("modseq", "size", "uids", "values")

    def __init__(self, uids: "array[int]", modseq: int) -> None:
        self.uids, self.modseq = uids, modseq
        self.values: dict[str, list[Any]] = {}
        self.size = 0  # values, long texts as several

    def put(self, name: str, values: list[Any]) -> None:
        """A further column."""
        self.values[name] = values
        self.size += _size(values)

    def longer(self, contents: Contents, fresh: dict[str, list[Any]]) -> "Columns":
        """The same with messages behind."""
        columns = Columns(contents.uids, contents.modseq)
        columns.size = self.size + sum(map(_size, fresh.values()))
        columns.values = {name: values + fresh[name] for name, values in self.values.items()}
        return columns

    def of(self, uids: "array[int]", names: Sequence[str]) -> dict[str, list[Any]]:
        """The columns of these messages; those that are not here were expunged meanwhile."""
        if uids == self.uids:
            return {name: self.values[name] for name in names}
        return {name: _pick(self.values[name], self.uids, uids) for name in names}


def _pick(values: list[Any], uids: Sequence[int], wanted: Sequence[int]) -> list[Any]:
    """The values of the UIDs that are wanted, None for those that there are none of."""
    rows = {uid: row for row, uid in enumerate(uids)}
    places = [rows.get(uid) for uid in wanted]
    return [None if place is None else values[place] for place in places]


def _size(values: list[Any]) -> int:
    texts = sum(len(value) for value in values if type(value) is str)
    return len(values) + texts // VALUE_OCTETS


class ColumnShelf:
    """The columns that were used last."""

    def __init__(self, load: Load, limit: int = KEPT_LIMIT) -> None:
        self._load, self._limit = load, limit
        self._kept: OrderedDict[MailboxId, Columns] = OrderedDict()

    def has(self, contents: Contents, name: str) -> bool:
        """Whether the column is at hand, for most of the messages at least."""
        known = self._kept.get(contents.mailbox)
        return known is not None and name in known.values

    async def find(self, contents: Contents, names: Sequence[str]) -> dict[str, list[Any]]:
        """The columns of these names, one value for each message of the contents."""
        known = self._kept.pop(contents.mailbox, None) or Columns(contents.uids, contents.modseq)
        columns = await self._advance(known, contents)
        missing = [name for name in names if name not in columns.values]
        if missing:
            found = await self._aligned(contents.mailbox, columns.uids, 0, missing)
            for name, values in found.items():
                columns.put(name, values)
        self._keep(contents.mailbox, columns)
        return columns.of(contents.uids, names)

    async def _advance(self, known: Columns, contents: Contents) -> Columns:
        """What is known, of the messages that are there now; who still sees others is behind."""
        if contents.modseq <= known.modseq:
            return known
        if contents.uids == known.uids:
            known.modseq = contents.modseq
            return known
        last = known.uids[-1] if known.uids else 0
        fresh: dict[str, list[Any]] = {name: [] for name in known.values}
        if known.values and contents.uids and contents.uids[-1] > last:
            fresh = await self._aligned(contents.mailbox, contents.uids, last, list(known.values))
        if contents.uids[: len(known.uids)] == known.uids:
            return known.longer(contents, fresh)
        columns = Columns(contents.uids, contents.modseq)
        here = set(contents.uids)
        left = [index for index, uid in enumerate(known.uids) if uid in here]
        for name, values in known.values.items():
            columns.put(name, [values[index] for index in left] + fresh[name])
        return columns

    async def _aligned(
        self, mailbox: MailboxId, all_uids: "array[int]", after: int, names: Sequence[str]
    ) -> dict[str, list[Any]]:
        """The columns of the messages behind a UID; what went away meanwhile has no value."""
        found = await self._load(mailbox, after, ["uid", *names])
        uids = found.pop("uid")
        wanted = all_uids[bisect_right(all_uids, after) :].tolist()
        if uids == wanted:
            return found
        return {name: _pick(values, uids, wanted) for name, values in found.items()}

    def _keep(self, mailbox: MailboxId, columns: Columns) -> None:
        self._kept[mailbox] = columns
        size = sum(one.size for one in self._kept.values())
        while size > self._limit and len(self._kept) > 1:
            size -= self._kept.popitem(last=False)[1].size
        if size > self._limit:
            self._kept.clear()
