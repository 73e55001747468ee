"""What was learnt of spam, who wrote before, and what organisations want: on every database."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import pytest

from mailstead.model.errors import Refusal
from mailstead.model.numbers import AccountId, EmailId, OrganisationId
from mailstead.spam.bayes import Totals
from mailstead.spam.score import Remembered
from mailstead.storage import filter_lists, sender_memory, spam_corpus, spam_lessons, thresholds
from mailstead.storage.filter_lists import ALLOW, BLOCK, Entry
from mailstead.storage.sender_memory import Change, Sender
from mailstead.storage.spam_corpus import EVERYBODY, Corpus
from mailstead.storage.store import Store, Tx
from mailstead.storage.thresholds import NEVER, Thresholds, Whose

T = TypeVar("T")
OURS, THEIRS = OrganisationId(1), OrganisationId(2)
ALICE, BOB = AccountId(7), AccountId(8)
TOKENS = list(range(1 << 60, (1 << 60) + 300))


def learn(
    tx: Tx,
    account: AccountId,
    tokens: list[int],
    spam: bool,
    messages: int = 1,
    organisation: OrganisationId = OURS,
) -> None:
    times = dict.fromkeys(tokens, messages)
    spam_corpus.count(tx, organisation, account, times, messages, spam)


def on_store(open_store: Callable[[], Store], work: Callable[[Tx], T]) -> T:
    async def story() -> T:
        store = open_store()
        try:
            return await store.write(work)
        finally:
            await store.close()

    return asyncio.run(story())


def test_counts(open_store: Callable[[], Store]) -> None:
    def work(tx: Tx) -> tuple[object, ...]:
        learn(tx, EVERYBODY, TOKENS, spam=False)
        learn(tx, EVERYBODY, TOKENS[:2], spam=True)
        learn(tx, ALICE, TOKENS[:1], spam=True)
        learn(tx, EVERYBODY, TOKENS, spam=False, messages=5, organisation=THEIRS)
        few = spam_corpus.counts(tx, OURS, EVERYBODY, [*TOKENS[:3], 4])
        all_ = spam_corpus.counts(tx, OURS, EVERYBODY, [*TOKENS, 4])
        return few, len(all_), spam_corpus.corpora(tx, OURS, [ALICE, BOB])

    few, all_, corpora = on_store(open_store, work)
    assert few == {TOKENS[0]: (1, 1), TOKENS[1]: (1, 1), TOKENS[2]: (1, 0)}
    assert all_ == len(TOKENS)
    assert corpora == {
        EVERYBODY: Corpus(EVERYBODY, Totals(1, 1), 2),
        ALICE: Corpus(ALICE, Totals(0, 1), 1),
    }


def test_counts_are_taken_back(open_store: Callable[[], Store]) -> None:
    def work(tx: Tx) -> tuple[object, ...]:
        learn(tx, EVERYBODY, TOKENS, spam=False)
        learn(tx, EVERYBODY, TOKENS[:5], spam=True)
        learn(tx, EVERYBODY, TOKENS, spam=False, messages=-1)
        left = spam_corpus.counts(tx, OURS, EVERYBODY, TOKENS)
        return left, spam_corpus.corpora(tx, OURS, [])[EVERYBODY]

    left, corpus = on_store(open_store, work)
    assert left == dict.fromkeys(TOKENS[:5], (0, 1))
    assert corpus == Corpus(EVERYBODY, Totals(0, 1), 3)


def test_forgetting(open_store: Callable[[], Store]) -> None:
    def work(tx: Tx) -> tuple[object, ...]:
        learn(tx, EVERYBODY, TOKENS, spam=False)
        gone = [spam_corpus.forget(tx, OURS, EVERYBODY, 200) for _ in range(2)]
        return gone, [(one.account, one.totals) for _, one in spam_corpus.list_all(tx)]

    assert on_store(open_store, work) == ([200, 100], [(EVERYBODY, Totals(0, 0))])


def test_what_an_email_counts_as(open_store: Callable[[], Store]) -> None:
    def work(tx: Tx) -> tuple[object, ...]:
        spam_corpus.set_learnt(tx, EmailId(1), ALICE, spam=True)
        spam_corpus.set_learnt(tx, EmailId(1), ALICE, spam=False)
        learnt = spam_corpus.find_learnt(tx, EmailId(1))
        assert learnt is not None
        forgotten = spam_corpus.forget_learnt(tx, learnt.learnt + 1, 10)
        return learnt.spam, forgotten, spam_corpus.find_learnt(tx, EmailId(1))

    assert on_store(open_store, work) == (False, 1, None)


def test_lessons_wait_in_their_order(open_store: Callable[[], Store]) -> None:
    def work(tx: Tx) -> tuple[object, ...]:
        spam_lessons.add(tx, ALICE, [4, 3], spam=True)
        first, second = spam_lessons.take(tx, 10)
        return first.email, second.email, spam_lessons.done(tx, first), spam_lessons.done(tx, first)

    assert on_store(open_store, work) == (4, 3, True, False)


def test_senders(open_store: Callable[[], Store]) -> None:
    domain, address = Sender("domain", "example.net"), Sender("address", "bob@example.net")

    def work(tx: Tx) -> tuple[object, ...]:
        sender_memory.remember(tx, [Change(OURS, domain, 1, 0), Change(OURS, address, 0, 1)])
        sender_memory.remember(tx, [Change(OURS, domain, 2, -5), Change(THEIRS, domain, 0, 9)])
        found = sender_memory.find(tx, OURS, [domain, Sender("network", "192.0.2.0/24")])
        both = sender_memory.find(tx, OURS, [domain, address])
        sender_memory.remember(tx, [Change(OURS, domain, 1500, 10)])
        return found, both, sender_memory.find(tx, OURS, [domain])

    found, both, halved = on_store(open_store, work)
    assert found == {domain: Remembered(3, 0)}
    assert both == {domain: Remembered(3, 0), address: Remembered(0, 1)}
    assert halved == {domain: Remembered(751, 5)}


def test_the_most_exact_threshold_counts(open_store: Callable[[], Store]) -> None:
    def work(tx: Tx) -> list[Thresholds]:
        thresholds.put(tx, Whose(), "junk", 4)
        thresholds.put(tx, Whose(OURS), "junk", 6)
        thresholds.put(tx, Whose(OURS), "refuse", NEVER)
        thresholds.put(tx, Whose(OURS, "example.org"), "junk", 7)
        thresholds.put(tx, Whose(OURS, "", ALICE), "junk", 8)
        thresholds.put(tx, Whose(OURS, "", BOB), "junk", 9)
        thresholds.put(tx, Whose(OURS, "", BOB), "junk", None)
        whose = [Whose(THEIRS), Whose(OURS, "x"), Whose(OURS, "example.org")]
        whose += [Whose(OURS, "example.org", ALICE), Whose(OURS, "", BOB)]
        return [thresholds.find(tx, one) for one in whose]

    found = on_store(open_store, work)
    assert [one.junk for one in found] == [4, 6, 7, 8, 6]
    assert [one.refuse for one in found] == [15, NEVER, NEVER, NEVER, NEVER]


def test_an_unknown_threshold(open_store: Callable[[], Store]) -> None:
    with pytest.raises(Refusal, match="there are: junk"):
        on_store(open_store, lambda tx: thresholds.put(tx, Whose(), "junky", 4))


def test_lists(open_store: Callable[[], Store]) -> None:
    def work(tx: Tx) -> list[list[str]]:
        for whose, entry, verdict in (
            ((0, 0), "192.0.2.0/24", BLOCK),
            ((1, 0), "example.net", ALLOW),
            ((1, 0), "bob@example.net", BLOCK),
            ((1, 7), "example.net", BLOCK),
            ((2, 0), "example.net", BLOCK),
        ):
            whose_ = OrganisationId(whose[0]), AccountId(whose[1])
            filter_lists.add(tx, Entry(*whose_, entry, verdict, "", tx.now))
        keys = filter_lists.keys_of("192.0.2.7", ["mail.example.net"], ["bob@example.net"])
        found = [filter_lists.find(tx, OURS, account, keys) for account in (ALICE, BOB)]
        return [[f"{one.entry} {one.verdict}" for one in some] for some in found]

    alice, bob = on_store(open_store, work)
    ours = ["bob@example.net block", "example.net allow", "192.0.2.0/24 block"]
    assert (alice, bob) == (["example.net block", *ours], ours)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bob@Example.NET", "bob@example.net"),
        ("@example.net", "example.net"),
        ("192.0.2.7/24", "192.0.2.0/24"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("2001:db8::1/64", "2001:db8::/64"),
    ],
)
def test_entries(text: str, expected: str) -> None:
    assert filter_lists.parse_entry(text) == expected


@pytest.mark.parametrize("text", ["192.0.2.0/25", "a b", "", "1.2.3", "x@"])
def test_no_entries(text: str) -> None:
    with pytest.raises(Refusal):
        filter_lists.parse_entry(text)
