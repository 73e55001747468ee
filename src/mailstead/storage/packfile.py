"""Packs: immutable runs of compressed parts of bodies. `Packs` is where they lie: a folder beside
the database (here), or a bucket of an object store (storage.objects).

A pack is MAGIC and records: part id, length, one zstd frame with size and checksum. A pack is made
under a temporary name, synced, renamed, and the folder synced; after that nobody changes it. Each
record names its part, so that octets from the wrong place are never taken for a message.
Holds: a pack that the database does not name is nobody's, and may go; ids are never used again.
"""

import errno
import fcntl
import os
import struct
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import msgspec
import zstandard

from mailstead.model.errors import TemporaryFailure

MAGIC = b"mspack1\n"
LEVEL = 3  # of zstd: 400 MB/s in, a third of the octets out
PART_LIMIT = 256 * 1024  # octets that a frame may become; a longer one is damaged
OPEN_FILES = 32  # packs that a reader keeps open
RUN_LIMIT = 1024 * 1024  # octets of neighbouring records that are read at once

_RECORD = struct.Struct(">QI")
_SUFFIX, _UNFINISHED = ".pack", ".new"

Place = tuple[int, int, int, int]  # part, pack, start, length: as the columns of `packed`


class DamagedBody(Exception):
    """A part of a body is not there, or not as it was written."""


class PackGone(Exception):
    """A pack was dropped since this transaction began: what it held lies elsewhere now."""


class NotHere(Exception):
    """What was asked for lies in a bucket: `Packs.fetch` these places, then run the work again."""

    def __init__(self, places: Sequence[Place]) -> None:
        super().__init__(f"{len(places)} parts are not in the cache")
        self.places = places


class Known(msgspec.Struct):
    """What one read has found out so far, for when its work runs again: see storage.reading."""

    newest: bool = True  # is what the transaction sees the newest there is?
    supplied: dict[Place, bytes] = {}  # records as the bucket gave them; empty: it has none


class Reader(Protocol):
    """Reads parts within a transaction, so without waiting. One for each thread."""

    known: Known

    def parts(self, places: Sequence[Place]) -> list[bytes]:
        """The octets of the parts at the places, in order; NotHere if some must be fetched."""
        ...

    def close(self) -> None:
        """Close all files."""
        ...


class Packs(Protocol):
    """Where packs lie. What waits for a disk or a peer is called on a thread."""

    def locked(self) -> AbstractContextManager[bool]:
        """Whether nobody else makes or removes packs, on this machine, while the block lasts."""
        ...

    def sizes(self) -> dict[int, int]:
        """Pack -> octets, of all that are there."""
        ...

    def unfinished(self) -> list[str]:
        """The files of packs that nobody finished."""
        ...

    def strays(self, named: Collection[int], upto: int) -> list[int]:
        """The packs up to this one that are there, but not named."""
        ...

    def remove(self, dead: Collection[int]) -> list[str]:
        """Remove these packs, and unfinished ones; what went."""
        ...

    def create(self, pack: int) -> "PackWriter":
        """A new pack."""
        ...

    def records(self, places: Sequence[Place]) -> list[bytes]:
        """The octets at these places, unchecked; read where they lie, not through a cache."""
        ...

    def fetch(self, places: Sequence[Place]) -> dict[Place, bytes]:
        """What a reader did not have here."""
        ...

    def reader(self) -> Reader:
        """A reader of these packs."""
        ...

    def address(self, name: str) -> str:
        """Where the file of this name lies, for operators."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


class Files(Protocol):
    """What making and removing packs asks of the file system."""

    def create(self, path: Path) -> int:
        """A new file, open for writing."""
        ...

    def write(self, file: int, data: bytes) -> None:
        """All of data at the end of the file."""
        ...

    def finish(self, file: int) -> None:
        """Sync the file and close it."""
        ...

    def abandon(self, file: int) -> None:
        """Close the file, whatever becomes of it."""
        ...

    def rename(self, path: Path, to: Path) -> None:
        """Another name, durably: the folder is synced, too."""
        ...

    def remove(self, path: Path) -> None:
        """Delete the file, if it is there."""
        ...


class RealFiles:
    """The file system of the machine."""

    def create(self, path: Path) -> int:
        """A new file, open for writing."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def write(self, file: int, data: bytes) -> None:
        """All of data at the end of the file."""
        left = memoryview(data)
        while left:
            left = left[os.write(file, left) :]

    def finish(self, file: int) -> None:
        """Sync the file and close it."""
        os.fsync(file)
        os.close(file)

    def abandon(self, file: int) -> None:
        """Close the file, whatever becomes of it."""
        with suppress(OSError):
            os.close(file)

    def rename(self, path: Path, to: Path) -> None:
        """Another name, durably: the folder is synced, too."""
        path.rename(to)
        sync_folder(to.parent)

    def remove(self, path: Path) -> None:
        """Delete the file, if it is there."""
        path.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Make the names in the folder durable."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# ---------------------------------------------------------------------- records


Record = tuple[int, bytes]  # part, octets as they lie in the pack


def compress(parts: Iterable[tuple[int, bytes]]) -> list[Record]:
    """The records of parts (id, octets)."""
    zstd = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    frames = ((part, zstd.compress(data)) for part, data in parts)
    return [(part, _RECORD.pack(part, len(frame)) + frame) for part, frame in frames]


class Unpacker:
    """Records back into parts. Not for several threads at once."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor()

    def part(self, place: Place, record: bytes) -> bytes:
        """The octets of the part at the place; DamagedBody if they are not what was written."""
        if len(record) != place[3] or len(record) <= _RECORD.size:
            raise damaged(place, "the pack ends before it does")
        if _RECORD.unpack_from(record) != (place[0], len(record) - _RECORD.size):
            raise damaged(place, "something else lies there")
        frame = record[_RECORD.size :]
        try:
            size = zstandard.frame_content_size(frame)
            if not 0 < size <= PART_LIMIT:
                raise damaged(place, f"it says that it has {size} octets")
            return self._zstd.decompress(frame, max_output_size=PART_LIMIT)
        except zstandard.ZstdError as error:
            raise damaged(place, str(error)) from error


def damaged(place: Place, why: str) -> DamagedBody:
    """The error that says what lies where, and what is wrong with it."""
    part, pack, start, length = place
    name = pack_name(pack)
    return DamagedBody(f"part {part} in {name} at {start}+{length} is damaged: {why}")


def pack_name(pack: int) -> str:
    """The file name of a pack."""
    return f"{pack:012d}{_SUFFIX}"


def pack_of(name: str) -> int | None:
    """The pack that has this file name."""
    number = name.removesuffix(_SUFFIX)
    return int(number) if number.isdigit() and pack_name(int(number)) == name else None


# ---------------------------------------------------------------------- reading


class PackReader:
    """Reads parts from a folder; keeps files open. One for each thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: OrderedDict[int, int] = OrderedDict()
        self._unpacker = Unpacker()
        self.known = Known()

    def parts(self, places: Sequence[Place]) -> list[bytes]:
        """The octets of the parts at the places, in order; neighbours are read at once."""
        return [
            self._unpacker.part(place, record)
            for run in runs(places)
            for place, record in zip(run, self._records(run), strict=True)
        ]

    def records(self, places: Sequence[Place]) -> list[bytes]:
        """The same as they lie there, unchecked."""
        return [record for run in runs(places) for record in self._records(run)]

    def close(self) -> None:
        """Close all files."""
        while self._files:
            os.close(self._files.popitem()[1])

    def _records(self, run: Sequence[Place]) -> list[bytes]:
        first, last = run[0], run[-1]
        try:
            data = os.pread(self._open(first), last[2] + last[3] - first[2], first[2])
        except OSError as error:
            raise damaged(first, error.strerror or "it cannot be read") from error
        return cut(run, data)

    def _open(self, place: Place) -> int:
        pack = place[1]
        file = self._files.get(pack)
        if file is not None:
            self._files.move_to_end(pack)
            return file
        try:
            file = os.open(self._folder / pack_name(pack), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self._not_opened(place, error) from error
        self._files[pack] = file
        if len(self._files) > OPEN_FILES:
            os.close(self._files.popitem(last=False)[1])
        return file

    def _not_opened(self, place: Place, error: OSError) -> Exception:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            return TemporaryFailure(f"a pack cannot be opened: {error}")
        if error.errno == errno.ENOENT and not self.known.newest:
            return PackGone()
        return damaged(place, error.strerror or "the pack cannot be opened")


def cut(run: Sequence[Place], data: bytes) -> list[bytes]:
    """The records of a run, of which these are the octets."""
    if len(run) == 1:
        return [data]
    first = run[0][2]
    return [data[at - first : at - first + length] for _, _, at, length in run]


def runs(places: Sequence[Place]) -> Iterator[list[Place]]:
    """Places that lie one after the other in one pack, RUN_LIMIT octets at most."""
    run: list[Place] = []
    octets = 0
    for place in places:
        _, pack, start, length = place
        if run:
            _, before, at, size = run[-1]
            if before != pack or at + size != start or octets + length > RUN_LIMIT:
                yield run
                run, octets = [], 0
        run.append(place)
        octets += length
    if run:
        yield run


# ---------------------------------------------------------------------- writing


class PackFolder:
    """A folder of packs: who makes and removes them holds its lock."""

    def __init__(self, folder: Path, files: Files | None = None) -> None:
        self.path = folder
        self._files = files or RealFiles()
        self._durable = False  # is the folder itself sure to be there after a power cut?

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Whether nobody else makes or removes packs, on this machine, while the block lasts."""
        if not self._durable:
            self.path.mkdir(mode=0o700, exist_ok=True)
            sync_folder(self.path.parent)
            self._durable = True
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
        finally:
            os.close(lock)

    def sizes(self) -> dict[int, int]:
        """Pack -> octets, of all that are there."""
        found = {}
        with suppress(FileNotFoundError):
            for entry in os.scandir(self.path):
                if (pack := pack_of(entry.name)) is not None:
                    found[pack] = entry.stat().st_size
        return found

    def unfinished(self) -> list[str]:
        """The files of packs that nobody finished."""
        return sorted(path.name for path in self.path.glob("*" + _UNFINISHED))

    def strays(self, named: Collection[int], upto: int) -> list[int]:
        """The packs up to this one that are there, but not named."""
        return [pack for pack in self.sizes() if pack <= upto and pack not in named]

    def remove(self, dead: Collection[int]) -> list[str]:
        """Remove these packs, and unfinished ones; what went."""
        gone = sorted([pack_name(pack) for pack in dead] + self.unfinished())
        for name in gone:
            self._files.remove(self.path / name)
        return gone

    def create(self, pack: int) -> "PackWriter":
        """A new pack."""
        name = self.path / pack_name(pack)
        return self.begin(pack, lambda unfinished, _: self._files.rename(unfinished, name))

    def begin(self, pack: int, publish: "Publish") -> "PackWriter":
        """A new pack that becomes one by `publish`."""
        unfinished = (self.path / pack_name(pack)).with_suffix(_UNFINISHED)
        return PackWriter(self._files, unfinished, pack, publish)

    def records(self, places: Sequence[Place]) -> list[bytes]:
        """The octets at these places, unchecked."""
        reader = PackReader(self.path)
        try:
            return reader.records(places)
        finally:
            reader.close()

    def fetch(self, places: Sequence[Place]) -> dict[Place, bytes]:
        """Everything is here: a reader of a folder never asks."""
        return {}

    def reader(self) -> PackReader:
        """A reader of these packs."""
        return PackReader(self.path)

    def address(self, name: str) -> str:
        """The path of the file, for operators."""
        return str(self.path / name)

    def close(self) -> None:
        """Nothing is open."""


Publish = Callable[[Path, int], None]  # makes a pack of the unfinished file, of so many octets


class PackWriter:
    """A pack that is being made; it is there once `finish` has come back."""

    def __init__(self, files: Files, unfinished: Path, pack: int, publish: Publish) -> None:
        self._files, self._unfinished, self.pack, self._publish = files, unfinished, pack, publish
        self._file = files.create(unfinished)
        self.size = 0
        self._write(MAGIC)

    def add(self, records: Sequence[Record]) -> list[Place]:
        """Write the records of parts; where they lie."""
        places, at = [], self.size
        for part, record in records:
            places.append((part, self.pack, at, len(record)))
            at += len(record)
        self._write(b"".join(record for _, record in records))
        return places

    def finish(self) -> None:
        """Make the pack durable under its name."""
        self._files.finish(self._file)
        self._file = -1
        self._publish(self._unfinished, self.size)

    def abandon(self) -> None:
        """Give it up; the unfinished file goes, if the file system lets it."""
        if self._file >= 0:
            self._files.abandon(self._file)
        with suppress(OSError):
            self._files.remove(self._unfinished)

    def _write(self, data: bytes) -> None:
        self._files.write(self._file, data)
        self.size += len(data)
