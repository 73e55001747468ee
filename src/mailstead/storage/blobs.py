"""Bodies: octets on their way in (memory or spool file) and in the store.

A body lies in parts of at most PART_SIZE with consecutive ids, so that a partial FETCH of a big
message reads only what it needs. A part is loose (a row of `blob`) or packed (storage.packs). An
empty body has no part; its blob id is 0.
Holds: a part that nobody refers to is deleted in the transaction that dropped the last reference.
"""

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from mailstead.model.errors import TemporaryFailure
from mailstead.model.numbers import BlobId
from mailstead.storage import packs
from mailstead.storage.packfile import DamagedBody
from mailstead.storage.plan import Body, StoredBody
from mailstead.storage.store import Tx

PART_SIZE = 256 * 1024
SPOOL_SIZE = 1024 * 1024  # a body beyond this many octets waits in a file, not in memory
MEMORY_LIMIT = 64 * 1024 * 1024  # octets of all bodies that one process keeps in memory


class MemoryBody:
    """A body held in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @property
    def size(self) -> int:
        return len(self.data)

    def view(self) -> bytes:
        """The octets."""
        return self.data

    def parts(self) -> Iterator[bytes]:
        """The octets in pieces of PART_SIZE."""
        if len(self.data) <= PART_SIZE:
            if self.data:
                yield self.data
            return
        for start in range(0, len(self.data), PART_SIZE):
            yield self.data[start : start + PART_SIZE]


def rows_of(tx: Tx, body: Body) -> tuple[StoredBody, list[dict[str, object]]]:
    """The body as it will lie in the store, and the rows to insert for it."""
    count = part_count(body.size)
    if not count:
        return StoredBody(BlobId(0), 0), []
    first = tx.allocate("blob", count)
    rows: list[dict[str, object]] = [
        {"id": first + number, "data": part} for number, part in enumerate(body.parts())
    ]
    return StoredBody(BlobId(first), body.size), rows


def read(tx: Tx, body: StoredBody, start: int = 0, end: int | None = None) -> bytes:
    """The octets from start up to end, both within the body; DamagedBody if they are not there."""
    end = body.size if end is None else min(end, body.size)
    if start >= end:
        return b""
    first, last = start // PART_SIZE, (end - 1) // PART_SIZE
    parts = _parts(tx, body.blob + first, body.blob + last)
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    if start == first * PART_SIZE and end - start == len(data):
        return data
    return data[start - first * PART_SIZE : end - first * PART_SIZE]


def _parts(tx: Tx, first: int, last: int) -> list[bytes]:
    rows = tx.rows(
        "SELECT id, data FROM blob WHERE id BETWEEN :first AND :last ORDER BY id",
        first=first,
        last=last,
    )
    if len(rows) == last - first + 1:
        return [data for _, data in rows]
    found = dict(rows)
    places = packs.places(tx, first, last)
    found.update(zip([place[0] for place in places], tx.packed(places), strict=True))
    if len(found) <= last - first:
        raise DamagedBody(f"of the parts from {first} to {last} only {len(found)} are there")
    return [found[part] for part in range(first, last + 1)]


def is_used(tx: Tx, body: StoredBody) -> bool:
    """Whether a content or a queued message refers to the body."""
    found: int | None = tx.value(
        "SELECT 1 FROM content WHERE blob = :blob "
        "UNION ALL SELECT 1 FROM outgoing WHERE blob = :blob LIMIT 1",
        blob=body.blob,
    )
    return found is not None


def drop_unused(tx: Tx, body: StoredBody) -> None:
    """Delete the parts of a body that neither a content nor a queued message refers to."""
    if not body.size or is_used(tx, body):
        return
    first, last = body.blob, body.blob + part_count(body.size) - 1
    loose = tx.run(
        "DELETE FROM blob WHERE id BETWEEN :first AND :last",
        first=first,
        last=last,
    )
    if loose <= last - first:
        packs.drop(tx, first, last)


def part_count(size: int) -> int:
    """How many parts a body of this size has."""
    return -(-size // PART_SIZE)


class SpooledBody:
    """A body that is too big for memory: a file without a name, gone when nobody holds it."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self.size = file, size

    def __del__(self) -> None:
        """The file goes with the last who holds it."""
        _drop(self._file)

    def parts(self) -> Iterator[bytes]:
        """The octets in pieces of PART_SIZE."""
        for start in range(0, self.size, PART_SIZE):
            yield os.pread(self._file.fileno(), PART_SIZE, start)

    def view(self) -> mmap.mmap:
        """The octets, mapped."""
        return mmap.mmap(self._file.fileno(), self.size, access=mmap.ACCESS_READ)


class Budget:
    """Memory for the bodies that are coming in, all together."""

    def __init__(self, limit: int = MEMORY_LIMIT) -> None:
        self.left = limit

    def take(self, octets: int) -> bool:
        """So much of it, if there is so much."""
        if octets > self.left:
            return False
        self.left -= octets
        return True


def _drop(file: IO[bytes]) -> None:
    """Close a file that nobody needs: what could not be written may stay unwritten."""
    with suppress(OSError):
        file.close()


class Gathering:
    """A body that is coming in, piece by piece: in memory, and in a file when that is too much.

    Too much is SPOOL_SIZE, or what the budget of all bodies has left.
    """

    def __init__(self, folder: Path, budget: Budget | None = None) -> None:
        self._folder = folder
        self._budget = budget or Budget()
        self._pieces: list[bytes] = []
        self._held = 0  # octets of the budget
        self._file: IO[bytes] | None = None
        self.size = 0

    def __del__(self) -> None:
        """The budget gets back what is dropped, however the session ended."""
        self._give_back()
        if self._file is not None:
            _drop(self._file)

    @property
    def spooled(self) -> bool:
        """It lies in a file."""
        return self._file is not None

    def add(self, data: bytes) -> None:
        """The next piece. TemporaryFailure if it can be kept nowhere (disk full)."""
        self.size += len(data)
        if self._file is None:
            self._pieces.append(data)
            if self.size <= SPOOL_SIZE and self._budget.take(len(data)):
                self._held += len(data)
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._give_back()
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
            self._file.write(data)
        except OSError as error:
            raise TemporaryFailure(f"a big message cannot be spooled: {error}") from error

    def finish(self) -> MemoryBody | SpooledBody:
        """The whole body."""
        if self._file is None:
            return MemoryBody(b"".join(self._pieces))
        try:
            self._file.flush()
        except OSError as error:
            raise TemporaryFailure(f"a big message cannot be spooled: {error}") from error
        file, self._file = self._file, None  # it is the body's now
        return SpooledBody(file, self.size)

    def _give_back(self) -> None:
        self._budget.left += self._held
        self._held = 0
