"""Threads of messages: by what they refer to, or by subject alone (RFC 5256 section 3).

A thread is a tree; a node without a message stands for one that is not there. Nothing recurses, so
a conversation may be as deep as it likes. Holds: every message is in exactly one thread; looking
for loops is bounded, and a link that would take too long to check is not made.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter

import msgspec

WALK_LIMIT = 2000  # generations that are searched for a loop


class Message(msgspec.Struct, frozen=True, gc=False):
    """What threading needs to know; `sent` is anything that sorts, `number` names the message.

    Identifiers are without angle brackets; `ancestors` begin with the first of the thread.
    """

    number: int
    message_id: str
    ancestors: Sequence[str]
    base_subject: str
    sent: int


class Node:
    """A place in a thread."""

    __slots__ = ("children", "message", "parent")

    def __init__(self, message: Message | None = None) -> None:
        self.message = message
        self.parent: Node | None = None
        self.children: Sequence[Node] = ()  # a list for each of many nodes is dear

    def adopt(self, child: "Node") -> None:
        """Make it a child of this one; who had it before is put right at the end of linking."""
        child.parent = self
        if isinstance(self.children, list):
            self.children.append(child)
        else:
            self.children = [*self.children, child]

    def take_children(self, children: "Sequence[Node]") -> None:
        """Have these children and no others."""
        self.children = children
        for child in children:
            child.parent = self

    @property
    def first(self) -> Message:
        """Its message, or that of the first of its children."""
        node = self
        while node.message is None:
            node = node.children[0]
        return node.message


def by_subject(messages: Iterable[Message]) -> list[Node]:
    """ORDEREDSUBJECT: what has one base subject, oldest first; the others are its children.

    The messages come in the order of their numbers.
    """
    groups: dict[str, list[Message]] = {}
    for message in sorted(messages, key=attrgetter("sent")):
        groups.setdefault(message.base_subject, []).append(message)
    roots = []
    for first, *others in groups.values():
        root = Node(first)
        for message in others:
            root.adopt(Node(message))
        roots.append(root)
    return roots


def by_references(messages: Sequence[Message]) -> list[Node]:
    """REFERENCES, but for joining threads by subject: steps 1 to 4."""
    nodes = _link(messages)
    roots = [node for node in nodes if node.parent is None]
    return in_order(_without_empty(roots))


def in_order(roots: Iterable[Node]) -> list[Node]:
    """The threads, by when the first of their messages was sent."""
    return sorted(roots, key=_age_of)


def same_subjects(roots: Sequence[Node]) -> list[Message]:
    """Of threads whose base subject others have too, the messages that subject is of."""
    found: dict[str, list[Message]] = {}
    for root in roots:
        found.setdefault(root.first.base_subject, []).append(root.first)
    return [one for subject, group in found.items() if subject and len(group) > 1 for one in group]


def join_by_subject(roots: Sequence[Node], replies: "set[int]") -> list[Node]:
    """Threads of one base subject become one, and all siblings are in order: steps 5 and 6.

    `replies` are the numbers of the messages whose subject says that they answer or forward.
    """
    table = _subject_table(roots, replies)
    left: dict[int, Node] = {id(root): root for root in roots}
    for root in roots:
        subject = root.first.base_subject
        chosen = table.get(subject)
        if chosen is None or chosen is root:
            continue
        del left[id(root)]
        if chosen.message is None and root.message is None:
            chosen.take_children([*chosen.children, *root.children])
        elif chosen.message is None or (
            _is_reply(root, replies) and not _is_reply(chosen, replies)
        ):
            chosen.adopt(root)
        else:
            both = Node()
            del left[id(chosen)]
            left[id(both)] = table[subject] = both
            both.adopt(chosen)
            both.adopt(root)
    _sort_children(left.values())
    return in_order(left.values())


def _age(message: Message) -> tuple[int, int]:
    return message.sent, message.number


def _age_of(node: Node) -> tuple[int, int]:
    return _age(node.first)


def _link(messages: Sequence[Message]) -> list[Node]:
    """Step 1: a node for each identifier that is a message's or is referred to."""
    known: dict[str, Node] = {}
    nodes: list[Node] = []

    def node_of(identifier: str) -> Node:
        node = known.get(identifier)
        if node is None:
            node = known[identifier] = Node()
            nodes.append(node)
        return node

    for message in messages:
        node = node_of(message.message_id) if message.message_id else None
        if node is None or node.message is not None:  # none, or one that another has, too
            node = Node()
            nodes.append(node)
        node.message = message
        above = None
        for identifier in message.ancestors:
            one = node_of(identifier)
            if above is not None and one.parent is None and not _is_under(above, one):
                above.adopt(one)
            above = one
        # What was said of it by others counts less than what it says itself.
        if above is not None and above is not node.parent and not _is_under(above, node):
            above.adopt(node)
    for node in nodes:
        if node.children:
            node.children = [one for one in dict.fromkeys(node.children) if one.parent is node]
    return nodes


def _is_under(node: Node, other: Node) -> bool:
    """Whether the node is the other, or under it; also if that takes too long to tell."""
    if node is other:
        return True
    if not other.children:
        return False
    above, walked = node.parent, 0
    while above is not None and walked < WALK_LIMIT:
        if above is other:
            return True
        above, walked = above.parent, walked + 1
    return above is not None


def _without_empty(roots: list[Node]) -> list[Node]:
    """Step 3: nodes without message go, their children move up; at the top only an only child.

    Children first: whoever is looked at has its own children settled.
    """
    for node in _children_first(roots):
        if any(child.message is None for child in node.children):
            node.take_children(
                [
                    each
                    for child in node.children
                    for each in ([child] if child.message is not None else child.children)
                ]
            )
    kept: list[Node] = []
    for root in roots:
        if root.message is None and len(root.children) < 2:
            kept += root.children
            for child in root.children:
                child.parent = None
        else:
            kept.append(root)
    _sort_children(kept, deep=False)
    return kept


def _children_first(roots: Iterable[Node]) -> list[Node]:
    order: list[Node] = []
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        order.append(node)
        waiting += node.children
    return order[::-1]


def _subject_table(roots: Sequence[Node], replies: "set[int]") -> dict[str, Node]:
    """Step 5 A and B: for each base subject the thread that the others join."""
    table: dict[str, Node] = {}
    for root in roots:
        subject = root.first.base_subject
        chosen = table.get(subject)
        better = chosen is None or (
            (root.message is None and chosen.message is not None)
            or (_is_reply(chosen, replies) and not _is_reply(root, replies))
        )
        if subject and better:
            table[subject] = root
    return table


def _is_reply(node: Node, replies: "set[int]") -> bool:
    return node.message is not None and node.message.number in replies


def _sort_children(roots: Iterable[Node], deep: bool = True) -> None:
    """Step 6, or only the first children."""
    for node in _children_first(roots) if deep else roots:
        if len(node.children) > 1:
            node.children = sorted(node.children, key=_age_of)
