"""Threads, against the examples and rules of RFC 5256."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstead.message.thread import (
    Message,
    Node,
    by_references,
    by_subject,
    join_by_subject,
    same_subjects,
)


def message(
    number: int, refs: str = "", subject: str = "", sent: int = 0, id_: str = ""
) -> Message:
    return Message(number, id_ or f"m{number}", refs.split(), subject, sent or number)


def shape(node: Node) -> object:
    """A number, or [number, children...]; None for a message that is not there."""
    number = node.message.number if node.message else None
    return [number, *map(shape, node.children)] if node.children else number


def threads(messages: Sequence[Message], replies: Sequence[int] = ()) -> list[object]:
    return list(map(shape, join_by_subject(by_references(messages), set(replies))))


@pytest.mark.rfc("5256 section 3")
@pytest.mark.parametrize(
    ("messages", "replies", "expected"),
    [
        ([], (), []),
        ([message(1)], (), [1]),
        ([message(1), message(2, "m1"), message(3, "m1 m2"), message(4)], (), [[1, [2, 3]], 4]),
        # Who comes first does not matter.
        ([message(3, "m1 m2"), message(2, "m1"), message(1)], (), [[1, [2, 3]]]),
        # What is not there holds the others together, unless there is but one.
        ([message(2, "x"), message(3, "x")], (), [[None, 2, 3]]),
        ([message(2, "x")], (), [2]),
        ([message(2, "x y"), message(3, "x z")], (), [[None, 2, 3]]),
        ([message(1), message(2, "m1 x"), message(3, "m1 x")], (), [[1, 2, 3]]),
        # Siblings in order of their dates.
        ([message(1), message(2, "m1", sent=9), message(3, "m1", sent=8)], (), [[1, 3, 2]]),
        # A loop is not made, however it is said.
        ([message(1, "m2"), message(2, "m1")], (), [[2, 1]]),
        ([message(1, "m1")], (), [1]),
        ([message(1, "m2 m3 m2"), message(2), message(3)], (), [[2, 1, 3]]),
        # Two messages with one identifier, and none at all.
        ([message(1, id_="a"), message(2, id_="a"), message(3, "a")], (), [[1, 3], 2]),
        # Subjects: the original is the root of its replies; two originals are siblings.
        ([message(1, subject="s"), message(2, subject="s")], (2,), [[1, 2]]),
        ([message(2, subject="s"), message(3, subject="s", sent=1)], (3,), [[2, 3]]),
        ([message(1, subject="s"), message(2, subject="s")], (), [[None, 1, 2]]),
        ([message(1, subject="s"), message(2, subject="s")], (1, 2), [[None, 1, 2]]),
        ([message(1, subject="s"), message(2, subject="s"), message(3, subject="s")], (),
         [[None, 1, 2, 3]]),
        ([message(1), message(2)], (), [1, 2]),  # none has a subject
        (
            [message(1, "x", "s"), message(2, "x", "s"), message(3, subject="s")],
            (3,),
            [[None, 1, 2, 3]],
        ),
        (
            [message(1, "x", "s"), message(2, "x"), message(3, "y", "s"), message(4, "y")],
            (),
            [[None, 1, 2, 3, 4]],
        ),
    ],
)  # fmt: skip
def test_references(messages, replies, expected):
    assert threads(messages, replies) == expected


@pytest.mark.rfc("5256 section 3")
def test_ordered_subject():
    found = by_subject(
        [message(1, subject="b", sent=5), message(2, subject="a", sent=9),
         message(3, subject="b", sent=2), message(4, subject="b", sent=7)]
    )  # fmt: skip
    assert list(map(shape, found)) == [[3, 1, 4], 2]


def test_only_subjects_that_several_threads_have_are_looked_at():
    roots = by_references(
        [message(1, subject="s"), message(2, "m1", "s"), message(3, subject="s"), message(4)]
    )
    assert [one.number for one in same_subjects(roots)] == [1, 3]


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdef"),
            st.lists(st.sampled_from("abcdefgh"), max_size=4),
            st.sampled_from(["", "s", "t"]),
            st.integers(0, 5),
            st.booleans(),
        ),
        max_size=20,
    )
)
def test_every_message_is_in_one_thread(rows):
    messages = [Message(n, id_, refs, s, t) for n, (id_, refs, s, t, _) in enumerate(rows)]
    replies = {n for n, row in enumerate(rows) if row[4]}
    found = join_by_subject(by_references(messages), replies)
    numbers, waiting = [], list(found)
    while waiting:
        node = waiting.pop()
        assert node.message is not None or node.children
        assert all(child.parent is node for child in node.children)
        numbers += [node.message.number] if node.message else []
        waiting += node.children
    assert sorted(numbers) == list(range(len(rows)))


def test_a_conversation_of_100_000_is_no_trouble():
    """Each answers the one before, and they come newest first."""
    many = [message(n, f"m{n - 1}") for n in range(100_000, 0, -1)]
    (root,) = join_by_subject(by_references(many), set())
    assert root.message is None or root.message.number == 1
