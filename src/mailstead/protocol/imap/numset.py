"""Sets of sequence numbers or UIDs (RFC 3501 section 9: sequence-set).

A set is kept as it was written, `*` included; what it means depends on the mailbox. Choosing from
a mailbox costs one bisection for each range, however wide: `1:4294967295` is never counted out.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

import msgspec

NUMBER_MAX = 2**32 - 1  # RFC 3501 section 9: nz-number
RANGES_LIMIT = 10_000  # ranges in one set
STAR = 0  # stands for `*` in a range

_NUMBER = rb"(?:\*|[1-9][0-9]{0,9})"
_RANGE = _NUMBER + rb"(?::" + _NUMBER + rb")?"
_SET = re.compile(_RANGE + rb"(?:," + _RANGE + rb")*\Z")

Range = tuple[int, int]


class NumSet(msgspec.Struct, frozen=True):
    """The ranges as written: either end may come first, either may be STAR."""

    ranges: tuple[Range, ...]
    saved: bool = False  # it is `$`: what a search saved (RFC 5182); the ranges mean nothing

    def resolve(self, maximum: int) -> list[Range]:
        """The ranges in ascending order, apart from each other, `*` being the maximum."""
        if len(self.ranges) == 1:
            return [_resolve_range(self.ranges[0], maximum)]
        return _merge(sorted(_resolve_range(each, maximum) for each in self.ranges))

    def largest(self, maximum: int) -> int:
        """The largest number that the set names, `*` being the maximum."""
        return max(_resolve_range(each, maximum)[1] for each in self.ranges)


SAVED = NumSet((), saved=True)


def parse_numset(text: bytes) -> NumSet:
    """The set in `2,4:7,9,12:*` or `$`; ValueError if it is none or has too many ranges."""
    if text == b"$":
        return SAVED
    if not _SET.match(text):
        raise ValueError("no sequence set")
    if text.count(b",") >= RANGES_LIMIT:
        raise ValueError(f"more than {RANGES_LIMIT} ranges in one set")
    return NumSet(tuple(_parse_range(part) for part in text.split(b",")))


def format_ranges(numbers: Iterable[int]) -> bytes:
    """The numbers in the order given, ascending runs as ranges: `1:3,7`."""
    parts: list[str] = []
    first = last = -1
    for number in numbers:
        if number == last + 1 and first >= 0:
            last = number
            continue
        if first >= 0:
            parts.append(f"{first}:{last}" if last > first else str(first))
        first = last = number
    if first >= 0:
        parts.append(f"{first}:{last}" if last > first else str(first))
    return ",".join(parts).encode("ascii")


def select_uids(uids: Sequence[int], numset: NumSet) -> list[Range]:
    """Half-open ranges of indices into the ascending UIDs; UIDs that are not there are no error.

    RFC 3501 section 6.4.8.
    """
    if not uids:
        return []
    found: list[Range] = []
    start = 0
    for low, high in numset.resolve(uids[-1]):
        start = bisect_left(uids, low, start)
        stop = bisect_right(uids, high, start)
        if stop > start:
            _extend(found, start, stop)
        start = stop
    return found


def select_seqnums(count: int, numset: NumSet) -> list[Range]:
    """Half-open ranges of indices into a mailbox of so many messages.

    ValueError if a number is beyond the last message, or for any set if there is none: the client
    is to be told BAD (RFC 3501 section 9: seq-number).
    """
    if not count or numset.largest(count) > count:
        raise ValueError("no message has that sequence number")
    return [(low - 1, high) for low, high in numset.resolve(count)]


def contains(ranges: Sequence[Range], number: int) -> bool:
    """Whether the number is in the ranges, which are as resolve() gives them."""
    index = bisect_right(ranges, (number, NUMBER_MAX + 1)) - 1
    return index >= 0 and number <= ranges[index][1]


def _parse_range(text: bytes) -> Range:
    first, colon, last = text.partition(b":")
    low = _parse_number(first)
    return (low, _parse_number(last) if colon else low)


def _parse_number(text: bytes) -> int:
    if text == b"*":
        return STAR
    number = int(text)
    if number > NUMBER_MAX:
        raise ValueError("a number of more than 32 bits")
    return number


def _resolve_range(each: Range, maximum: int) -> Range:
    # "*" in an empty mailbox still stands for a number; 1 is then nobody's.
    first, last = each[0] or maximum or 1, each[1] or maximum or 1
    return (first, last) if first <= last else (last, first)


def _merge(ranges: Iterable[Range]) -> list[Range]:
    merged: list[Range] = []
    for low, high in ranges:
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def _extend(found: list[Range], start: int, stop: int) -> None:
    if found and found[-1][1] == start:
        found[-1] = (found[-1][0], stop)
    else:
        found.append((start, stop))
