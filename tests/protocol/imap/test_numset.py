import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.protocol.imap.numset import (
    RANGES_LIMIT,
    NumSet,
    contains,
    format_ranges,
    parse_numset,
    select_seqnums,
    select_uids,
)


@pytest.mark.rfc("3501 section 9")
@pytest.mark.parametrize(
    ("text", "maximum", "expected"),
    [
        (b"1", 9, [(1, 1)]),
        (b"2,4:7,9,12:*", 15, [(2, 2), (4, 7), (9, 9), (12, 15)]),  # the example of the grammar
        (b"*:4,5:7", 10, [(4, 10)]),
        (b"4:2", 9, [(2, 4)]),  # order does not matter
        (b"3291:*", 5, [(5, 3291)]),  # the last message too, though its number is less
        (b"*", 7, [(7, 7)]),
        (b"*:*", 7, [(7, 7)]),
        (b"1:*", 0, [(1, 1)]),
        (b"1:3,4:6", 9, [(1, 6)]),
        (b"5,1:10,3", 9, [(1, 10)]),
        (b"1:4294967295", 9, [(1, 4294967295)]),
    ],
)
def test_resolve(text: bytes, maximum: int, expected: list[tuple[int, int]]) -> None:
    assert expected == parse_numset(text).resolve(maximum)


@pytest.mark.rfc("3501 section 9")
@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"0",
        b"0:5",
        b"1:0",
        b"01",
        b"1,",
        b",1",
        b"1,,2",
        b"1:",
        b":1",
        b"1:2:3",
        b"**",
        b"1*",
        b"-1",
        b"1 2",
        b"4294967296",
        b"1:4294967296",
        b"99999999999999999999",
        b"9" * 5000,
        b"1\x00",
        b"1\n",
        b"\xd9\xa1",  # an Arabic digit
    ],
)
def test_what_is_no_set(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_numset(text)


def test_ranges_are_limited() -> None:
    assert len(parse_numset(b",".join([b"7"] * RANGES_LIMIT)).ranges) == RANGES_LIMIT
    with pytest.raises(ValueError, match="ranges"):
        parse_numset(b",".join([b"7"] * (RANGES_LIMIT + 1)))


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([], b""),
        ([7], b"7"),
        ([1, 2, 3, 7], b"1:3,7"),
        ([3956, 3957, 3958], b"3956:3958"),
        ([5, 4, 3], b"5,4,3"),  # COPYUID: the order says which is which
        ([1, 2, 1, 2], b"1:2,1:2"),
        ([2, 2], b"2,2"),
    ],
)
def test_format_ranges(numbers: list[int], expected: bytes) -> None:
    assert expected == format_ranges(numbers)


@pytest.mark.rfc("3501 section 6.4.8")
@pytest.mark.parametrize(
    ("uids", "text", "expected"),
    [
        ([], b"1:*", []),
        ([4, 5, 9], b"1:4294967295", [(0, 3)]),
        ([4, 5, 9], b"1:3", []),
        ([4, 5, 9], b"20:*", [(2, 3)]),
        ([4, 5, 9], b"9,4", [(0, 1), (2, 3)]),
        ([4, 5, 9], b"4,6:9", [(0, 1), (2, 3)]),
        ([4, 5, 9], b"4,5", [(0, 2)]),
    ],
)
def test_select_uids(uids: list[int], text: bytes, expected: list[tuple[int, int]]) -> None:
    assert expected == select_uids(uids, parse_numset(text))


@pytest.mark.rfc("3501 section 9")
def test_select_seqnums() -> None:
    assert select_seqnums(10, parse_numset(b"*,3:2")) == [(1, 3), (9, 10)]
    for count, text in [(10, b"11"), (10, b"5:11"), (0, b"1:*"), (0, b"*")]:
        with pytest.raises(ValueError, match="sequence number"):
            select_seqnums(count, parse_numset(text))


NUMBERS = st.integers(0, 40)
SETS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=8).map(
    lambda ranges: NumSet(tuple(ranges))
)


@given(st.sets(st.integers(1, 40)).map(sorted), SETS)
@settings(deadline=None)
def test_selection_is_what_counting_out_gives(uids: list[int], numset: NumSet) -> None:
    last = uids[-1] if uids else 1
    named: set[int] = set()
    for first, second in numset.ranges:
        low, high = sorted((first or last, second or last))
        named |= set(range(low, high + 1))
    chosen = [uid for start, stop in select_uids(uids, numset) for uid in uids[start:stop]]
    assert [uid for uid in uids if uid in named] == chosen
    ranges = numset.resolve(last)
    assert [uid for uid in range(1, 50) if uid in named] == [
        uid for uid in range(1, 50) if contains(ranges, uid)
    ]


@given(st.sets(st.integers(1, 60), min_size=1).map(sorted))
@settings(deadline=None)
def test_format_then_parse(numbers: list[int]) -> None:
    ranges = parse_numset(format_ranges(numbers)).resolve(0)
    assert numbers == [n for low, high in ranges for n in range(low, high + 1)]
