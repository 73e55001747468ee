"""Blocks of packs that lie in a bucket, kept in a folder of this machine, and the reader of them.

A block is BLOCK octets of one pack, aligned, in one file that appears under its name when it is
whole. The folder is the only index: processes share it, each deletes what was used longest ago
when it has added enough. A reader never waits for the bucket: what is not here is NotHere.
Holds: nothing here is believed; a record that is not as written is fetched once more.
"""

import errno
import itertools
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from mailstead.model.errors import TemporaryFailure
from mailstead.storage.packfile import (
    DamagedBody,
    Known,
    NotHere,
    Place,
    Unpacker,
    cut,
    damaged,
    runs,
)

BLOCK = 256 * 1024  # mail of one mailbox lies scattered: larger ones bring mostly that of others
OPEN_FILES = 32  # blocks that a reader keeps open
TOUCH = 60.0  # seconds after which a block that is in use is marked as used again
SLACK = 16  # the part of the limit by which each process may be beyond it
LEFTOVER = 3600.0  # seconds after which a file that is not whole will never be

Block = tuple[int, int]  # pack, number

_SUFFIX, _UNFINISHED = ".block", ".part"

log = logging.getLogger("mailstead.objects")


def blocks_of(place: Place) -> Iterator[Block]:
    """The blocks in which the place lies."""
    _, pack, start, length = place
    for number in range(start // BLOCK, (start + length - 1) // BLOCK + 1):
        yield pack, number


def slices(start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The octets from start up to end as (block, from, up to) within each."""
    for number in range(start // BLOCK, (end - 1) // BLOCK + 1):
        first = number * BLOCK
        yield number, max(start - first, 0), min(end - first, BLOCK)


class BlockCache:
    """A folder of blocks with a limit in octets; with limit 0 nothing is kept."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self._limit = folder, limit
        self._added = 0  # octets since the folder was looked through
        self._numbers = itertools.count()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.trim()

    def open(self, block: Block) -> int | None:
        """The block's file, if it is here; used just now."""
        if not self._limit:
            return None
        try:
            file = os.open(self._path(block), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise TemporaryFailure(f"a block cannot be opened: {error}") from error
            return None
        touch(file)
        return file

    def read(self, block: Block) -> bytes | None:
        """The block's octets, if they are here."""
        file = self.open(block)
        if file is None:
            return None
        try:
            return os.pread(file, BLOCK, 0)
        except OSError:
            return None
        finally:
            os.close(file)

    def keep(self, block: Block, data: bytes) -> None:
        """Write the block; if that fails, it is only not here."""
        if not self._limit:
            return
        path = self._path(block)
        unfinished = path.with_suffix(f".{os.getpid()}-{next(self._numbers)}{_UNFINISHED}")
        try:
            unfinished.write_bytes(data)
            unfinished.rename(path)
        except OSError as error:
            log.warning("a block of a pack cannot be kept: %s", error)
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            return
        self._added += len(data)
        if self._added > self._limit // SLACK:
            self.trim()

    def drop(self, block: Block) -> None:
        """The block is worth nothing."""
        with suppress(OSError):
            self._path(block).unlink(missing_ok=True)

    def drop_packs(self, dead: Collection[int]) -> None:
        """The blocks of dead packs are worth nothing."""
        for entry in self._scan():
            pack = entry.name.partition("-")[0]
            if pack.isdigit() and int(pack) in dead:
                self._remove(entry)

    def trim(self) -> None:
        """Delete what was used longest ago, down to what the slack leaves of the limit."""
        self._added = 0
        found: list[tuple[float, int, os.DirEntry[str]]] = []
        for entry in self._scan():
            with suppress(FileNotFoundError):  # another process trims, too
                status = entry.stat()
                found.append((status.st_mtime, status.st_size, entry))
        over = sum(size for _, size, _ in found) - (self._limit - self._limit // SLACK)
        old = time.time() - LEFTOVER
        for used, size, entry in sorted(found, key=lambda one: one[0]):
            if over > 0 or (used < old and entry.name.endswith(_UNFINISHED)):
                self._remove(entry)
                over -= size

    def _scan(self) -> list["os.DirEntry[str]"]:
        with os.scandir(self.folder) as entries:
            return list(entries)

    def _remove(self, entry: "os.DirEntry[str]") -> None:
        with suppress(OSError):
            os.unlink(entry.path)

    def _path(self, block: Block) -> Path:
        return self.folder / f"{block[0]:012d}-{block[1]:06d}{_SUFFIX}"


def touch(file: int) -> None:
    """The file was used just now."""
    with suppress(OSError):
        os.utime(file)


class BlockReader:
    """Reads parts from blocks that are here, and from what was fetched; keeps files open."""

    def __init__(self, cache: BlockCache) -> None:
        self._cache = cache
        self._files: OrderedDict[Block, tuple[int, float]] = OrderedDict()
        self._unpacker = Unpacker()
        self.known = Known()

    def parts(self, places: Sequence[Place]) -> list[bytes]:
        """The octets of the parts at the places, in order; NotHere if some must be fetched."""
        records: list[bytes] = []
        missing: list[Place] = []
        for run in runs(places):
            records += self._records(run, missing)
        if missing:
            raise NotHere(missing)
        return [self._part(*pair) for pair in zip(places, records, strict=True)]

    def close(self) -> None:
        """Close all files."""
        while self._files:
            os.close(self._files.popitem()[1][0])

    def _part(self, place: Place, record: bytes) -> bytes:
        if not record and place in self.known.supplied:
            raise damaged(place, "the object store has no such octets")
        try:
            return self._unpacker.part(place, record)
        except DamagedBody:
            if place in self.known.supplied:
                raise
            self._forget(place)
            raise NotHere([place]) from None

    def _records(self, run: Sequence[Place], missing: list[Place]) -> list[bytes]:
        first, last = run[0], run[-1]
        if not self.known.supplied:
            data = self._octets(first[1], first[2], last[2] + last[3])
            if data is not None:
                return cut(run, data)
        return [self._record(place, missing) for place in run]

    def _record(self, place: Place, missing: list[Place]) -> bytes:
        record = self.known.supplied.get(place)
        if record is None:
            record = self._octets(place[1], place[2], place[2] + place[3])
        if record is None:
            missing.append(place)
            return b""
        return record

    def _octets(self, pack: int, start: int, end: int) -> bytes | None:
        pieces = []
        for number, first, last in slices(start, end):
            file = self._open((pack, number))
            if file is None:
                return None
            try:
                pieces.append(os.pread(file, last - first, first))
            except OSError:
                return None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _open(self, block: Block) -> int | None:
        now = time.monotonic()
        held = self._files.get(block)
        if held is not None:
            self._files.move_to_end(block)
            if now - held[1] > TOUCH:
                touch(held[0])
                self._files[block] = held[0], now
            return held[0]
        file = self._cache.open(block)
        if file is None:
            return None
        self._files[block] = file, now
        if len(self._files) > OPEN_FILES:
            os.close(self._files.popitem(last=False)[1][0])
        return file

    def _forget(self, place: Place) -> None:
        for block in blocks_of(place):
            self._cache.drop(block)
            if block in self._files:
                os.close(self._files.pop(block)[0])
