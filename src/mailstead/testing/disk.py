"""A disk that forgets: an SQLite VFS and the files of packs, which know what was synced.

`crash` builds the folder as it would be found after a power cut: of each file the octets of its
last sync, and of the writes since then as many as chance lets through, each whole or not at all.
`fail_at` lets the n-th operation fail, and all after it: the process is dead from then on. With
`failure` only so many of them fail, with that error (disk full, I/O error), and life goes on.
"""

import random
from pathlib import Path

import apsw

from mailstead.storage.packfile import RealFiles


class PowerCut(Exception):
    """The operation at which the machine stopped."""


class _Record:
    """One file: what is durable, and the writes that are not."""

    def __init__(self, durable: bytes) -> None:
        self.durable = bytearray(durable)
        self.pending: list[tuple[int, bytes] | int] = []  # (offset, octets), or a new size

    def sync(self) -> None:
        """Everything so far is durable."""
        for change in self.pending:
            _apply(self.durable, change)
        self.pending.clear()

    def after_crash(self, chance: random.Random) -> bytes:
        """What is found: some of the pending writes may have made it."""
        found = bytearray(self.durable)
        for change in self.pending:
            if chance.random() < 0.5:
                _apply(found, change)
        return bytes(found)


def _apply(octets: bytearray, change: tuple[int, bytes] | int) -> None:
    if isinstance(change, int):
        del octets[change:]
        octets.extend(bytes(change - len(octets)))
        return
    offset, data = change
    if len(octets) < offset:
        octets.extend(bytes(offset - len(octets)))
    octets[offset : offset + len(data)] = data


class SimulatedDisk(apsw.VFS):
    """A VFS over the real one; use its name as `vfs`."""

    def __init__(self, name: str = "simulated-disk") -> None:
        self.vfs_name = name
        self.operations = 0
        self.fail_at = 0  # 0: never
        self.failure: type[apsw.Error] | None = None
        self.failures = 1  # how many operations fail with it
        self.records: dict[Path, _Record] = {}
        super().__init__(name, "unix")

    def xOpen(  # noqa: N802 the name is SQLite's
        self, name: "str | apsw.URIFilename | None", flags: list[int]
    ) -> apsw.VFSFile:
        """Open a file and watch it."""
        return _WatchedFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        """The file is gone at once, as on a journalling file system."""
        self.step()
        self.records.pop(Path(filename), None)
        super().xDelete(filename, syncdir)

    def step(self) -> None:
        """Count an operation; PowerCut if it is the one to fail, or comes after it."""
        self.operations += 1
        if not self.fail_at or self.operations < self.fail_at:
            return
        if self.failure is None:
            raise PowerCut
        if self.operations < self.fail_at + self.failures:
            raise self.failure

    def record(self, path: Path) -> _Record:
        """What is known of the file."""
        if path not in self.records:
            self.records[path] = _Record(path.read_bytes() if path.exists() else b"")
        return self.records[path]

    def crash(self, folder: Path, seed: int) -> None:
        """Write the files as they would be found into the folder."""
        chance = random.Random(seed)
        for path, record in self.records.items():
            (folder / path.name).write_bytes(record.after_crash(chance))


class _WatchedFile(apsw.VFSFile):
    def __init__(
        self, disk: SimulatedDisk, name: "str | apsw.URIFilename | None", flags: list[int]
    ) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._disk = disk
        self._record = disk.record(Path(path)) if path else _Record(b"")
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        """Not durable until the next sync."""
        self._disk.step()
        self._record.pending.append((offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        """Not durable until the next sync."""
        self._disk.step()
        self._record.pending.append(newsize)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        """From here on everything written is durable."""
        self._disk.step()
        self._record.sync()
        super().xSync(flags)


class SimulatedFiles:
    """What packs are made with, on the same disk: names and octets that may be lost in a crash."""

    def __init__(self, disk: SimulatedDisk, folder: Path) -> None:
        self._disk, self._real = disk, RealFiles()
        self._durable = {path.name: path.read_bytes() for path in folder.glob("*.pack")}
        self._unsure: list[tuple[str, bytes]] = []  # names that may be found, and what is in them
        self._open: dict[int, tuple[str, bytearray]] = {}
        self._synced: dict[str, bytes] = {}

    def create(self, path: Path) -> int:
        """A new file, open for writing."""
        self._disk.step()
        file = self._real.create(path)
        self._open[file] = (path.name, bytearray())
        return file

    def write(self, file: int, data: bytes) -> None:
        """All of data at the end of the file; not durable."""
        self._disk.step()
        self._open[file][1].extend(data)
        self._real.write(file, data)

    def finish(self, file: int) -> None:
        """Sync the file and close it: its octets are durable, its name is not."""
        self._disk.step()
        self._real.finish(file)
        name, octets = self._open.pop(file)
        self._synced[name] = bytes(octets)

    def abandon(self, file: int) -> None:
        """Close the file, whatever becomes of it."""
        self._real.abandon(file)

    def rename(self, path: Path, to: Path) -> None:
        """Another name, durable when the folder is synced."""
        self._disk.step()
        path.rename(to)
        octets = self._synced.pop(path.name)
        self._unsure += [(path.name, octets), (to.name, octets)]
        self._disk.step()
        del self._unsure[-2:]
        self._durable[to.name] = octets

    def remove(self, path: Path) -> None:
        """Delete the file; it may be back after a crash."""
        self._disk.step()
        octets = self._durable.pop(path.name, b"")
        self._unsure.append((path.name, octets))
        self._real.remove(path)

    def crash(self, folder: Path, seed: int) -> None:
        """Write the files as they would be found into the folder."""
        chance = random.Random(seed)
        unsure = [*self._unsure, *self._synced.items()]
        for name, octets in self._open.values():
            unsure.append((name, bytes(octets[: chance.randrange(len(octets) + 1)])))
        found = [pair for pair in unsure if chance.random() < 0.5]
        folder.mkdir()
        for name, data in [*found, *self._durable.items()]:
            (folder / name).write_bytes(data)
