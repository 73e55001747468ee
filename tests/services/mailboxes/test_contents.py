from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.model.flags import DELETED, RETRIEVED, SEEN
from mailstead.model.numbers import MailboxId, ModSeq, Uid
from mailstead.services.mailboxes.contents import Contents, Shelf, advance
from mailstead.storage.changes import Changes
from mailstead.storage.messages import FlagsRow


def make(messages: dict[int, int], modseq: int = 1, mailbox: int = 1) -> Contents:
    uids = sorted(messages)
    return Contents(
        MailboxId(mailbox),
        ModSeq(modseq),
        array("I", uids),
        [messages[uid] for uid in uids],
        [""] * len(uids),
        array("q", [1] * len(uids)),
    )


def as_dict(contents: Contents) -> dict[int, int]:
    return dict(zip(contents.uids, contents.flags, strict=True))


_messages = st.dictionaries(st.integers(1, 30), st.integers(0, 31), max_size=20)


@given(_messages, _messages, st.sets(st.integers(1, 30)))
@settings(deadline=None)
def test_advance(before: dict[int, int], changed: dict[int, int], gone: set[int]) -> None:
    rows = tuple(
        FlagsRow(Uid(uid), flags, "", ModSeq(2))
        for uid, flags in sorted(changed.items())
        if uid not in gone
    )
    start = make(before)
    after = advance(start, Changes(ModSeq(2), rows, tuple(map(Uid, sorted(gone)))))
    expected = {uid: flags for uid, flags in {**before, **changed}.items() if uid not in gone}
    assert dict(sorted(expected.items())) == as_dict(after)
    assert before == as_dict(start)  # whoever shares the old contents still sees them
    assert len(after.keywords) == len(after.uids)
    expected_modseqs = [2 if uid in changed else 1 for uid in after.uids]
    assert expected_modseqs == list(after.modseqs)


@pytest.mark.parametrize(
    ("uids", "expected"),
    [([], []), ([2], [0]), ([2, 4, 7], [0, 1, 2]), ([2, 7], [0, 2]), ([4, 9], [1, 3])],
)
def test_locate(uids: list[int], expected: list[int]) -> None:
    assert expected == list(make({2: 0, 4: 0, 7: 0, 9: 0}).locate(uids))


def test_with_flags_leaves_the_shared_contents_alone() -> None:
    before = make({1: 0, 2: 0, 5: SEEN})
    rows = [FlagsRow(Uid(2), SEEN, "$Work", ModSeq(9))]
    after = before.with_flags(rows, ModSeq(9))
    assert (as_dict(after), after.keywords, after.modseq) == (
        {1: 0, 2: SEEN, 5: SEEN},
        ["", "$Work", ""],
        9,
    )
    assert as_dict(before) == {1: 0, 2: 0, 5: SEEN}


def test_mark_retrieved_is_seen_by_all_who_share() -> None:
    shared = make({1: DELETED, 2: 0})
    shared.mark_retrieved([0])
    assert as_dict(shared) == {1: DELETED | RETRIEVED, 2: 0}


def test_shelf_keeps_the_newest() -> None:
    shelf = Shelf()
    newer, older = make({1: 0}, modseq=5), make({}, modseq=4)
    shelf.keep(newer)
    shelf.keep(older)
    assert shelf.find(MailboxId(1)) is newer


def test_shelf_is_bounded() -> None:
    shelf = Shelf(limit=3)
    for mailbox in (1, 2, 3):
        shelf.keep(make({1: 0, 2: 0}, mailbox=mailbox))
    assert [shelf.find(MailboxId(n)) is not None for n in (1, 2, 3)] == [False, False, True]


def test_shelf_shares_what_somebody_has_open() -> None:
    shelf, opened = Shelf(limit=0), make({1: 0})
    shelf.keep(opened)
    assert shelf.find(MailboxId(1)) is opened
