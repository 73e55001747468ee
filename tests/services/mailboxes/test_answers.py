"""Answers hold for the very same messages, and no more octets are kept than the limit."""

from array import array

from mailstead.model.numbers import MailboxId, ModSeq
from mailstead.services.mailboxes.answers import AnswerShelf
from mailstead.services.mailboxes.contents import Contents


def contents(*uids: int, mailbox: int = 1, modseq: int = 1) -> Contents:
    zeros = array("q", [0] * len(uids))
    flags, words = [0] * len(uids), [""] * len(uids)
    return Contents(MailboxId(mailbox), ModSeq(modseq), array("I", uids), flags, words, zeros)


def test_flags_do_not_matter_messages_do():
    shelf = AnswerShelf()
    shelf.keep(contents(1, 2), "q", b"answer")
    assert shelf.find(contents(1, 2, modseq=9), "q") == b"answer"
    assert shelf.find(contents(1, 2), "other") is None
    assert shelf.find(contents(1, 2, mailbox=2), "q") is None
    assert shelf.find(contents(1, 2, 3), "q") is None
    shelf.keep(contents(1, 2, 3), "q", b"newer")
    assert shelf.find(contents(1, 2, 3), "q") == b"newer"
    assert shelf.find(contents(1, 2), "q") is None


def test_what_was_asked_for_last_stays():
    shelf = AnswerShelf(limit=10)
    shelf.keep(contents(1), "a", b"12345")
    shelf.keep(contents(1), "b", b"12345")
    shelf.find(contents(1), "a")
    shelf.keep(contents(1), "c", b"1234")
    assert shelf.find(contents(1), "b") is None
    assert shelf.find(contents(1), "a") == b"12345"
    shelf.keep(contents(1), "d", b"12345678901")
    assert shelf.find(contents(1), "d") is None
    shelf.keep(contents(1), "a", b"1")
    assert shelf.find(contents(1), "a") == b"1"
