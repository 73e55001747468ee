"""Work runs again until what it wants of the packs is at hand."""

from collections.abc import Sequence

import pytest

from mailstead.model.errors import TemporaryFailure
from mailstead.storage.packfile import Known, NotHere, PackGone, Place
from mailstead.storage.reading import ROUNDS, repeat


def place(part: int) -> Place:
    return (part, 1, 8 + part, 1)


async def supply(places: Sequence[Place]) -> dict[Place, bytes]:
    return {one: b"%d" % one[0] for one in places}


async def test_each_round_has_all_that_was_fetched_before() -> None:
    seen: list[list[int]] = []

    async def once(known: Known) -> bytes:
        seen.append(sorted(one[0] for one in known.supplied))
        for part in range(3):
            if place(part) not in known.supplied:
                raise NotHere([place(part)])
        return b"".join(known.supplied[place(part)] for part in range(3))

    assert await repeat(once, supply) == b"012"
    assert seen == [[], [0], [0, 1], [0, 1, 2]]


async def test_a_pack_that_went_is_looked_for_in_a_newer_transaction() -> None:
    seen: list[bool] = []

    async def once(known: Known) -> str:
        seen.append(known.newest)
        if not known.newest:
            raise PackGone
        return "done"

    assert await repeat(once, supply) == "done"
    assert seen == [False, True]


async def test_a_read_without_an_end_fails() -> None:
    runs = 0

    async def once(known: Known) -> None:
        nonlocal runs
        runs += 1
        raise NotHere([place(runs)])

    with pytest.raises(TemporaryFailure, match="more than can be fetched"):
        await repeat(once, supply)
    assert runs == ROUNDS
