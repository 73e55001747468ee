"""Sorting on from an order that is known gives what sorting all of it would."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstead.protocol.imap.commands import SortBy, SortKey
from mailstead.sessions.imap.sort import in_order


@pytest.mark.rfc("5256 section 3")
@given(st.lists(st.integers(0, 3)), st.integers(0, 20), st.booleans(), st.sets(st.integers(0, 20)))
def test_from_a_known_order(sizes: list[int], first: int, reverse: bool, left: set[int]) -> None:
    """Those that are equal stay in the order of their numbers, also in reverse."""
    by, first = SortBy(SortKey.SIZE, reverse), min(first, len(sizes))

    def of(found: list[int], known: list[int], count: int) -> list[int]:
        return in_order(found, count, known, [by], [{"size": sizes}])

    known = of(list(range(first)), [], first)
    found = [index for index in range(len(sizes)) if index not in left]
    assert of(found, known, len(sizes)) == sorted(found, key=sizes.__getitem__, reverse=reverse)
