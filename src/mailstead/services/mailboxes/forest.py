"""The threads of a mailbox by references, which grow as messages come (RFC 5256 section 3).

A family is what threading may join: messages that name the same identifiers, and threads of one
base subject. Only families that something came to or went from are threaded anew. Holds: no two
families name one identifier or have threads of one base subject, so that an answer is what
threading all the messages at once would give; a shelf keeps at most KEPT_LIMIT values, of some 150
octets each.
"""

from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import msgspec

from mailstead.message import thread
from mailstead.message.thread import Message, Node
from mailstead.model.numbers import MailboxId
from mailstead.protocol.imap.responses import thread_outline

COLUMNS = ("message_id", "ancestors", "base_subject", "sent", "internal_date")
KEPT_LIMIT = 600_000  # messages, identifiers and subjects of the forests that are kept
ANCESTORS_LIMIT = 30  # of a message; in big mailboxes fewer, so that there are
NAMES_LIMIT = 1_500_000  # at most of all together

Family = int


class Tree(msgspec.Struct, frozen=True, gc=False):
    """A thread: how it is told, with a gap for each message, and when it began."""

    age: tuple[int, int]
    outline: bytes
    uids: tuple[int, ...]
    family: Family


class Forest:
    """All threads, in the order of their first messages.

    A change is made in two steps: `advance` says whose subject fields have to be looked at, and
    `settle` is told which of them are those of replies. Between the two it is of no use.
    """

    def __init__(self) -> None:
        self.uids: array[int] = array("I")
        self.trees: list[Tree] = []
        self._members: dict[Family, list[int]] = {}  # UIDs
        self._part_of: dict[Family, Family] = {}  # those that were joined with others
        self._of_identifier: dict[str, Family] = {}
        self._of_subject: dict[str, Family] = {}
        self._is_reply: dict[int, bool] = {}  # of messages that were asked for
        self._planted = self._gone = 0
        # Of the change that is under way:
        self._open: set[Family] = set()
        self._waiting: list[int] = []  # messages of these that are still to be threaded
        self._roots: list[Node] = []  # what the others have become so far

    @property
    def size(self) -> int:
        """Messages and names that are remembered."""
        return len(self.uids) + len(self._of_identifier) + len(self._of_subject)

    @property
    def is_stale(self) -> bool:
        """Whether most of what it remembers is of messages that are gone."""
        return self._gone > len(self.uids)

    def advance(self, uids: "array[int]", read: Callable[[int], Message]) -> list[int]:
        """Have these messages, in the order of their UIDs, and no others.

        The messages of which it has to be known whether they are replies.
        """
        known = len(self.uids)
        if uids[:known] == self.uids:
            fresh = uids[known:].tolist()
        else:
            before, now = set(self.uids), set(uids)
            self._drop(before - now)
            fresh = sorted(now - before)
        self.uids = uids
        for uid in fresh:
            self._plant(read(uid))
        self._grow(read)
        asked = [one.number for one in thread.same_subjects(self._roots)]
        return sorted(uid for uid in asked if uid not in self._is_reply)

    def settle(self, replies: dict[int, bool]) -> None:
        """Put the threads of the open families in order, now that this is known of messages."""
        self._is_reply.update(replies)
        said = {one.number for one in thread.same_subjects(self._roots)}
        answers = {uid for uid in said if self._is_reply[uid]}
        family_of = self._family_of()
        trees = [tree for tree in self.trees if self._find(tree.family) not in self._open]
        roots = thread.join_by_subject(self._roots, answers)
        trees += [tree_of(root, family_of[root.first.number]) for root in roots]
        trees.sort(key=attrgetter("age"))  # most of them are in order already
        for family in self._open:
            if not self._members[family]:
                del self._members[family]
        self.trees, self._roots, self._open = trees, [], set()

    def _drop(self, gone: set[int]) -> None:
        self._gone += len(gone)
        for family, members in self._members.items():
            if not gone.isdisjoint(members):
                self._members[family] = [uid for uid in members if uid not in gone]
                self._open_up(family)
        for uid in gone:
            self._is_reply.pop(uid, None)

    def _plant(self, message: Message) -> None:
        """In a family that knows one of its identifiers, or one of its own."""
        names = [name for name in (message.message_id, *message.ancestors) if name]
        known = (self._find(self._of_identifier.get(name, 0)) for name in names)
        family = next((one for one in known if one in self._members), 0)
        if not family:
            self._planted = family = self._planted + 1
            self._members[family] = []
        self._open_up(family)
        self._members[family].append(message.number)
        self._waiting.append(message.number)
        for name in names:
            self._claim(self._of_identifier, name, family)

    def _grow(self, read: Callable[[int], Message]) -> None:
        """Thread the families that are open, and then those that have a subject of theirs."""
        while self._waiting:
            waiting, self._waiting = sorted(self._waiting), []
            roots = thread.by_references([read(uid) for uid in waiting])
            family_of = self._family_of()
            for root in roots:
                first = root.first
                if first.base_subject:
                    self._claim(self._of_subject, first.base_subject, family_of[first.number])
            self._roots = thread.in_order([*self._roots, *roots])

    def _family_of(self) -> dict[int, Family]:
        """For each message of the open families, which it is."""
        return {uid: family for family in self._open for uid in self._members[family]}

    def _claim(self, claims: dict[str, Family], name: str, family: Family) -> None:
        """The name is this family's; whose it was is joined with it."""
        ours, other = self._find(family), self._find(claims.get(name, family))
        claims[name] = ours
        if other == ours or other not in self._members:
            return
        self._open_up(other)
        few, many = sorted((ours, other), key=lambda one: len(self._members[one]))
        self._members[many] += self._members.pop(few)
        self._part_of[few] = many
        self._open.discard(few)

    def _open_up(self, family: Family) -> None:
        if family not in self._open:
            self._open.add(family)
            self._waiting += self._members[family]

    def _find(self, family: Family) -> Family:
        """The family that this one is part of by now."""
        part_of = self._part_of
        while (larger := part_of.get(family)) is not None:
            part_of[family] = part_of.get(larger, larger)
            family = larger
        return family


class ForestShelf:
    """The forests that were asked for last."""

    def __init__(self, limit: int = KEPT_LIMIT) -> None:
        self._limit = limit
        self._kept: OrderedDict[MailboxId, Forest] = OrderedDict()

    def take(self, mailbox: MailboxId, uids: "array[int]") -> Forest:
        """A forest that has most of these messages, or an empty one; who takes it puts it back."""
        forest = self._kept.get(mailbox)
        if forest is None or len(uids) < len(forest.uids) // 2:
            return Forest()
        return self._kept.pop(mailbox)

    def put(self, mailbox: MailboxId, forest: Forest) -> None:
        """Keep it, unless there is one of more messages."""
        other = self._kept.get(mailbox)
        if forest.is_stale or (other is not None and len(other.uids) > len(forest.uids)):
            return
        self._kept[mailbox] = forest
        self._kept.move_to_end(mailbox)
        size = sum(one.size for one in self._kept.values())
        while size > self._limit:
            size -= self._kept.popitem(last=False)[1].size


def tree_of(root: Node, family: Family = 0) -> Tree:
    """The thread as it is told."""
    outline, uids = thread_outline(root)
    return Tree((root.first.sent, root.first.number), outline, tuple(uids), family)


def reader(uids: "array[int]", columns: dict[str, list[Any]]) -> Callable[[int], Message]:
    """What tells of the message with a UID what threading needs to know.

    Of too many ancestors the first is told, which began the thread, and the last.
    """
    limit = max(2, min(ANCESTORS_LIMIT, NAMES_LIMIT // max(len(uids), 1)))
    ids, ancestors, subjects, sent, came = map(columns.__getitem__, COLUMNS)

    def read(uid: int) -> Message:
        index = bisect_left(uids, uid)
        # In-Reply-To was once free text: what is no identifier joins nothing.
        above = [one for one in (ancestors[index] or "").split(" ") if "@" in one]
        if len(above) > limit:
            above[1 : 1 - limit] = []
        # Who does not say when it was sent was sent when it came (RFC 5256 section 2.2).
        date = sent[index] if sent[index] is not None else came[index] or 0
        return Message(uid, ids[index] or "", tuple(above), subjects[index] or "", date)

    return read
