"""Counts in memory that all workers of the machine share: an anonymous map, made before they fork.

No locks, so none can be left held. Two kinds: counts of events, in tables of fixed size whose
oldest entries make room (two workers that count the same key in the same microsecond may count
once; a torn write spoils one count until its window ends); and counts of what is here now, for
which each process has a row of its own, a seat, that is cleared when the process is gone. Keys are
hashed with a secret: nobody can aim at somebody else's count.
"""

import hashlib
import mmap
import os
import struct

SHELVES = 5
BUCKETS = 8192  # of one shelf
SLOTS = 8  # of one bucket
SEATS = 8
WIDTH = 32768  # counters in one row of a seat; two rows, the smaller count is believed

_SLOT = struct.Struct("<8sIIII")  # tag, time of the last change, window, count, count before
_TAG = 8
_MOST = 2**32 - 1
_FULL = 2**16 - 1

Cell = tuple[int, int, int]


class SharedCounters:
    """The counts of a machine; every process that forks from this one sees the same."""

    def __init__(self, seats: int = SEATS, buckets: int = BUCKETS) -> None:
        self._buckets, self._seats, self.seat = buckets, seats, 0
        self._secret = os.urandom(16)
        self._table = mmap.mmap(-1, SHELVES * buckets * SLOTS * _SLOT.size)
        rows = mmap.mmap(-1, seats * 2 * WIDTH * 2)
        self._rows = memoryview(rows).cast("H")
        self._taken: set[int] = set()

    # ------------------------------------------------------------------ events

    def find(self, shelf: int, key: bytes) -> Cell | None:
        """What was kept under the key."""
        tag, start = self._place(shelf, key)
        at = self._slot_of(tag, start)
        if at < 0:
            return None
        _, _, window, count, before = _SLOT.unpack_from(self._table, at)
        return window, count, before

    def keep(self, shelf: int, key: bytes, cell: Cell, now: float) -> None:
        """Keep this instead; in a full bucket the entry that changed least lately goes."""
        tag, start = self._place(shelf, key)
        at = self._slot_of(tag, start)
        if at < 0:
            at = self._oldest(start)
        values = [min(max(int(value), 0), _MOST) for value in (now, *cell)]
        _SLOT.pack_into(self._table, at, tag, *values)

    def _place(self, shelf: int, key: bytes) -> tuple[bytes, int]:
        digest = self._hash(key)
        bucket = shelf * self._buckets + int.from_bytes(digest[_TAG:], "big") % self._buckets
        return digest[:_TAG], bucket * SLOTS * _SLOT.size

    def _hash(self, key: bytes) -> bytes:
        return hashlib.blake2b(key, key=self._secret, digest_size=16).digest()

    def _slot_of(self, tag: bytes, start: int) -> int:
        end = start + SLOTS * _SLOT.size
        at = self._table.find(tag, start, end)
        while at >= 0 and (at - start) % _SLOT.size:  # the same octets, but across two fields
            at = self._table.find(tag, at + 1, end)
        return at

    def _oldest(self, start: int) -> int:
        places = range(start, start + SLOTS * _SLOT.size, _SLOT.size)
        return min(places, key=lambda at: _SLOT.unpack_from(self._table, at)[1])

    # ------------------------------------------------------------------ what is here now

    def enter(self, key: bytes) -> int:
        """One more is here; how many there are now, in all processes."""
        columns = self._columns(key)
        for column in columns:
            at = self._row(self.seat) + column
            self._rows[at] = min(self._rows[at] + 1, _FULL)
        return min(self._sum(column) for column in columns)

    def leave(self, key: bytes) -> None:
        """One that had entered is gone."""
        for column in self._columns(key):
            at = self._row(self.seat) + column
            self._rows[at] = max(self._rows[at] - 1, 0)

    def _columns(self, key: bytes) -> tuple[int, int]:
        digest = self._hash(key)
        first, second = (int.from_bytes(digest[i : i + 4], "big") % WIDTH for i in (0, 4))
        return first, WIDTH + second

    def _row(self, seat: int) -> int:
        return seat * 2 * WIDTH

    def _sum(self, column: int) -> int:
        return sum(self._rows[column :: 2 * WIDTH])

    # ------------------------------------------------------------------ processes

    def take_seat(self) -> int:
        """A row for a process that is about to be forked; the last one is shared by the rest."""
        free = [seat for seat in range(self._seats) if seat not in self._taken]
        seat = free[0] if free else self._seats - 1
        self._taken.add(seat)
        return seat

    def free_seat(self, seat: int) -> None:
        """The process is gone, and everything that had entered with it."""
        start = self._row(seat)
        self._rows[start : start + 2 * WIDTH] = memoryview(bytes(2 * WIDTH * 2)).cast("H")
        self._taken.discard(seat)
