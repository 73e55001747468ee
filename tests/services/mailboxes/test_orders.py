"""Orders hold for the messages they were made of and for those that came behind."""

from array import array

from mailstead.model.numbers import MailboxId, ModSeq
from mailstead.services.mailboxes.contents import Contents
from mailstead.services.mailboxes.orders import OrderShelf


def contents(*uids: int, mailbox: int = 1) -> Contents:
    zeros = array("q", [0] * len(uids))
    flags, words = [0] * len(uids), [""] * len(uids)
    return Contents(MailboxId(mailbox), ModSeq(1), array("I", uids), flags, words, zeros)


def test_what_comes_does_not_matter_what_goes_does():
    shelf = OrderShelf()
    shelf.keep(contents(1, 2, 5), "size", [2, 0, 1])
    assert list(shelf.find(contents(1, 2, 5), "size")) == [2, 0, 1]
    assert list(shelf.find(contents(1, 2, 5, 6), "size")) == [2, 0, 1]
    assert list(shelf.find(contents(1, 5), "size")) == []
    assert list(shelf.find(contents(1, 5, 6), "size")) == []
    assert list(shelf.find(contents(1, 2, 5), "date")) == []
    assert list(shelf.find(contents(1, 2, 5, mailbox=2), "size")) == []


def test_no_more_is_kept_than_the_limit():
    shelf = OrderShelf(limit=4)
    for name in ("a", "b", "b"):
        shelf.keep(contents(1, 2), name, [1, 0])
    assert list(shelf.find(contents(1, 2), "a")) == [1, 0]
    shelf.keep(contents(1, 2), "c", [1, 0])  # b was used longest ago
    assert [list(shelf.find(contents(1, 2), name)) for name in "abc"] == [[1, 0], [], [1, 0]]
    shelf.keep(contents(1, 2, 3, 4, 5), "d", [4, 3, 2, 1, 0])
    assert list(shelf.find(contents(1, 2, 3, 4, 5), "d")) == []
