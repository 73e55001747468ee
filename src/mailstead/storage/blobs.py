"""Bodies: octets on their way in (memory or spool file) and in the store (blob rows).

A body lies in consecutive rows of at most PART_SIZE, so that a partial FETCH of a big message
reads only the rows it needs. An empty body has no row; its blob id is 0.
Holds: a row that nobody refers to is deleted in the transaction that dropped the last reference.
"""

import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mailstead.model.errors import TemporaryFailure
from mailstead.model.numbers import BlobId
from mailstead.storage.plan import Body, StoredBody
from mailstead.storage.store import Tx

PART_SIZE = 256 * 1024
SPOOL_SIZE = 1024 * 1024  # a body beyond this many octets waits in a file, not in memory


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
    """The octets from start up to end, both within the body."""
    end = body.size if end is None else min(end, body.size)
    if start >= end:
        return b""
    first, last = start // PART_SIZE, (end - 1) // PART_SIZE
    rows = tx.rows(
        "SELECT data FROM blob WHERE id BETWEEN :first AND :last ORDER BY id",
        first=body.blob + first,
        last=body.blob + last,
    )
    data: bytes = rows[0][0] if len(rows) == 1 else b"".join(row[0] for row in rows)
    if start == first * PART_SIZE and end - start == len(data):
        return data
    return data[start - first * PART_SIZE : end - first * PART_SIZE]


def drop_unused(tx: Tx, body: StoredBody) -> None:
    """Delete the rows of a body that neither a content nor a queued message refers to."""
    if body.size and not tx.value(
        "SELECT 1 FROM content WHERE blob = :blob "
        "UNION ALL SELECT 1 FROM outgoing WHERE blob = :blob LIMIT 1",
        blob=body.blob,
    ):
        tx.run(
            "DELETE FROM blob WHERE id BETWEEN :first AND :last",
            first=body.blob,
            last=body.blob + part_count(body.size) - 1,
        )


def part_count(size: int) -> int:
    """How many rows a body of this size takes."""
    return -(-size // PART_SIZE)


class SpooledBody:
    """A body that is too big for memory: a file without a name, gone when nobody holds it."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self.size = file, size

    def parts(self) -> Iterator[bytes]:
        """The octets in pieces of PART_SIZE."""
        for start in range(0, self.size, PART_SIZE):
            yield os.pread(self._file.fileno(), PART_SIZE, start)

    def view(self) -> mmap.mmap:
        """The octets, mapped."""
        return mmap.mmap(self._file.fileno(), self.size, access=mmap.ACCESS_READ)


class Gathering:
    """A body that is coming in, piece by piece: in memory, and beyond SPOOL_SIZE in a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pieces: list[bytes] = []
        self._file: IO[bytes] | None = None
        self.size = 0

    def add(self, data: bytes) -> None:
        """The next piece. TemporaryFailure if it can be kept nowhere (disk full)."""
        self.size += len(data)
        if self._file is None:
            self._pieces.append(data)
            if self.size <= SPOOL_SIZE:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
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
        return SpooledBody(self._file, self.size)
