"""Columns in memory follow the mailbox, and only what is new is read."""

import asyncio
from array import array
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mailstead.model.numbers import MailboxId, ModSeq
from mailstead.services.mailboxes.columns import ColumnShelf
from mailstead.services.mailboxes.contents import Contents

BOX = MailboxId(1)


def contents(uids: list[int], modseq: int = 1, mailbox: MailboxId = BOX) -> Contents:
    count = len(uids)
    zeros = array("q", [0] * count)
    return Contents(mailbox, ModSeq(modseq), array("I", uids), [0] * count, [""] * count, zeros)


class Stored:
    """A mailbox whose columns say which message they are of; it counts what is read."""

    def __init__(self) -> None:
        self.uids: list[int] = []
        self.read = 0

    async def load(self, mailbox: MailboxId, after: int, names: Any) -> dict[str, list[Any]]:
        uids = [uid for uid in self.uids if uid > after]
        self.read += len(uids)
        return {name: uids if name == "uid" else [f"{name}{uid}" for uid in uids] for name in names}


async def test_only_what_is_new_is_read() -> None:
    stored = Stored()
    shelf = ColumnShelf(stored.load)
    stored.uids = [1, 2, 5]
    assert await shelf.find(contents([1, 2, 5]), ["a"]) == {"a": ["a1", "a2", "a5"]}
    stored.uids = [1, 5, 7]
    assert await shelf.find(contents([1, 5, 7], 2), ["a"]) == {"a": ["a1", "a5", "a7"]}
    assert stored.read == 4
    assert await shelf.find(contents([1, 5, 7], 3), ["b", "a"]) == {
        "b": ["b1", "b5", "b7"],
        "a": ["a1", "a5", "a7"],
    }
    assert stored.read == 7


async def test_who_is_behind_sees_what_he_saw() -> None:
    """A session that was not told yet still counts messages that are gone, and no new ones."""
    stored = Stored()
    shelf = ColumnShelf(stored.load)
    stored.uids = [1, 2, 5]
    before, after = contents([1, 2, 5], 1), contents([1, 5, 7], 2)
    await shelf.find(before, ["a"])
    stored.uids = [1, 5, 7]
    for _ in range(2):
        assert await shelf.find(after, ["a"]) == {"a": ["a1", "a5", "a7"]}
        assert await shelf.find(before, ["a"]) == {"a": ["a1", None, "a5"]}
    assert stored.read == 4
    assert await shelf.find(before, ["b"]) == {"b": ["b1", None, "b5"]}
    assert await shelf.find(after, ["b"]) == {"b": ["b1", "b5", "b7"]}
    assert stored.read == 7


async def test_what_went_away_meanwhile_has_no_value() -> None:
    stored = Stored()
    stored.uids = [1, 5]
    assert await ColumnShelf(stored.load).find(contents([1, 2, 5]), ["a"]) == {
        "a": ["a1", None, "a5"]
    }


async def test_no_more_is_kept_than_the_limit() -> None:
    stored = Stored()
    stored.uids = [1, 2, 3]
    shelf = ColumnShelf(stored.load, limit=6)
    other, third = (contents([1, 2, 3], 1, MailboxId(number)) for number in (2, 3))
    for one in (contents([1, 2, 3]), other, third, other, third):
        await shelf.find(one, ["a"])
    assert stored.read == 9  # the first had to go, the others stay
    await shelf.find(contents([1, 2, 3]), ["a"])
    assert stored.read == 12


@given(st.lists(st.tuples(st.integers(0, 4), st.sets(st.integers(0, 20))), max_size=6))
def test_any_course_of_a_mailbox(steps: list[tuple[int, set[int]]]) -> None:
    """Some come, with UIDs that were never used before, and some go."""
    asyncio.run(_check_course(steps))


async def _check_course(steps: list[tuple[int, set[int]]]) -> None:
    stored, last = Stored(), 0
    shelf = ColumnShelf(stored.load)
    before = contents([])
    for modseq, (coming, going) in enumerate(steps, 1):
        stored.uids += range(last + 1, last + coming + 1)
        last += coming
        stored.uids = [uid for place, uid in enumerate(stored.uids) if place not in going]
        now = contents(list(stored.uids), modseq)
        found = await shelf.find(now, ["a"])
        assert found == {"a": [f"a{uid}" for uid in stored.uids]}
        left = [f"a{uid}" if uid in stored.uids else None for uid in before.uids]
        assert await shelf.find(before, ["a"]) == {"a": left}
        before = now
