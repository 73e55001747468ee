"""A forest that grows says what threading all the messages at once would say."""

from array import array
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstead.message import thread
from mailstead.message.thread import Message
from mailstead.model.numbers import MailboxId
from mailstead.services.mailboxes.forest import COLUMNS, Forest, ForestShelf, reader, tree_of


class Mail(msgspec.Struct, frozen=True):
    """What a message says of itself."""

    message_id: str
    ancestors: tuple[str, ...]
    subject: str
    sent: int | None
    is_reply: bool


IDS = st.sampled_from(["", *(f"{letter}@x" for letter in "abcdefgh")])
MAIL = st.builds(
    Mail,
    IDS,
    st.lists(IDS.filter(bool), max_size=3).map(tuple),
    st.sampled_from(["", "tea", "milk", "rum"]),
    st.none() | st.integers(0, 9),
    st.booleans(),
)


def read_of(mailbox: dict[int, Mail]) -> Callable[[int], Message]:
    rows = [
        (one.message_id, " ".join(one.ancestors), one.subject, one.sent, uid)
        for uid, one in mailbox.items()
    ]
    columns = {name: [row[place] for row in rows] for place, name in enumerate(COLUMNS)}
    return reader(array("I", mailbox), columns)


def told(forest: Forest) -> list[tuple[bytes, tuple[int, ...]]]:
    return [(tree.outline, tree.uids) for tree in forest.trees]


def afresh(mailbox: dict[int, Mail]) -> list[tuple[bytes, tuple[int, ...]]]:
    roots = thread.by_references(list(map(read_of(mailbox), mailbox)))
    replies = {uid for uid, one in mailbox.items() if one.is_reply}
    joined = map(tree_of, thread.join_by_subject(roots, replies))
    return [(tree.outline, tree.uids) for tree in joined]


def change(forest: Forest, mailbox: dict[int, Mail]) -> list[int]:
    """Have the forest follow; what it asked."""
    asked = forest.advance(array("I", mailbox), read_of(mailbox))
    forest.settle({uid: mailbox[uid].is_reply for uid in asked})
    return asked


@pytest.mark.rfc("5256 section 3")
@given(st.lists(MAIL, max_size=15), st.lists(st.sets(st.integers(1, 15)), max_size=7))
def test_any_course_of_a_mailbox(mails: list[Mail], steps: list[set[int]]) -> None:
    """Some of the messages, and then others."""
    forest = Forest()
    for uids in steps:
        mailbox = {uid: one for uid, one in enumerate(mails, 1) if uid in uids}
        change(forest, mailbox)
        assert told(forest) == afresh(mailbox)


def test_only_those_that_others_may_join_are_asked_for_and_once() -> None:
    forest = Forest()
    mailbox = {
        1: Mail("a@x", (), "tea", 1, False),
        2: Mail("b@x", (), "rum", 2, False),
        3: Mail("c@x", (), "tea", 3, True),
    }
    assert change(forest, mailbox) == [1, 3]
    mailbox[4] = Mail("d@x", ("b@x",), "rum", 4, True)
    assert change(forest, mailbox) == []
    mailbox[5] = Mail("e@x", (), "rum", 5, True)
    assert change(forest, mailbox) == [2, 5]
    mailbox[6] = Mail("f@x", (), "tea", 6, True)
    assert change(forest, mailbox) == [6]
    assert told(forest) == [(b"(%d (%d)(%d))", (1, 3, 6)), (b"(%d (%d)(%d))", (2, 4, 5))]


BOX, OTHER, THIRD = MailboxId(1), MailboxId(2), MailboxId(3)


def planted(*uids: int) -> Forest:
    forest = Forest()
    change(forest, {uid: Mail("", (), "", uid, False) for uid in uids})
    return forest


def test_the_forest_of_a_mailbox_serves_who_asks_for_most_of_it() -> None:
    shelf, forest = ForestShelf(), planted(*range(1, 9))
    shelf.put(BOX, forest)
    some = shelf.take(BOX, array("I", range(1, 4)))
    assert some is not forest
    shelf.put(BOX, some)  # of fewer messages
    assert shelf.take(BOX, array("I", range(2, 6))) is forest
    assert shelf.take(BOX, array("I", range(2, 6))) is not forest  # somebody has it


def test_no_more_is_kept_than_the_limit() -> None:
    shelf, two = ForestShelf(limit=5), array("I", (1, 2))  # nobody of these has a name
    shelf.put(BOX, planted(1, 2))
    shelf.put(OTHER, planted(1, 2))
    shelf.put(BOX, shelf.take(BOX, two))
    shelf.put(THIRD, planted(1, 2))
    assert [len(shelf.take(box, two).trees) for box in (BOX, OTHER, THIRD)] == [2, 0, 2]
    shelf.put(BOX, planted(*range(1, 7)))
    assert shelf.take(BOX, array("I", range(1, 7))).trees == []


def test_names_count_and_so_do_subjects() -> None:
    shelf, forest = ForestShelf(limit=4), Forest()
    change(forest, {1: Mail("a@x", ("b@x",), "tea", 1, False)})
    shelf.put(BOX, forest)
    assert shelf.take(BOX, array("I", (1,))) is forest
    change(forest, {2: Mail("c@x", ("b@x",), "rum", 1, False)})
    shelf.put(BOX, forest)
    assert shelf.take(BOX, array("I", (2,))) is not forest


def test_of_many_ancestors_the_first_and_the_last_are_told() -> None:
    ids = tuple(f"{number}@x" for number in range(100))
    read = read_of({1: Mail("", ids, "", 1, False), 2: Mail("", ids[:30], "", 1, False)})
    assert list(read(1).ancestors) == [ids[0], *ids[-29:]]
    assert list(read(2).ancestors) == list(ids[:30])


def test_what_remembers_more_than_is_there_is_given_up() -> None:
    shelf, forest = ForestShelf(), planted(1, 2, 3)
    change(forest, {3: Mail("", (), "", 3, False)})
    shelf.put(BOX, forest)
    assert shelf.take(BOX, array("I", (3,))) is not forest
