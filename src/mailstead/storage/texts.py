"""Texts of messages kept for searching: one SQLite file for each account, on this machine's disk.

A cache beside the store, the same whatever the database: filled with what searches have read,
keyed by the content's id, gone and made anew when anything is wrong with it. Texts lie in chunks
of about a megabyte, one behind the other, so that a search is a few calls of bytes.find.
Holds: nothing here raises for what the world does (full disk, damaged file); the texts are then
not here. A chunk is whole or not there; processes share the files.
"""

import logging
import os
import threading
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec

from mailstead.model.numbers import AccountId
from mailstead.storage import words

T = TypeVar("T")
Entry = tuple[int, bytes, bytes]  # key, header, body

TEXTS = "texts"  # the folder, beside the store
FORMAT = 2  # grows when message.text gives other texts for the same message, or the tables change
CHUNK = 1024 * 1024  # octets after which a chunk is full
ACCOUNT_LIMIT = 1024 * 1024 * 1024  # octets of an account's file; then nothing is added
FREE_LEAST = 1024 * 1024 * 1024  # octets of the disk that are left to the store
OPEN_FILES = 8
PAGE_SIZE = 65536  # a chunk is read three times as fast as with pages of 4096
CACHE_KIB = 1024
BUSY_TIMEOUT = 1000  # milliseconds
CHECKPOINT_PAGES = 200
_READING, _WRITING = "DEFERRED", "IMMEDIATE"
_END = b"\xff"  # behind each text: no octet of UTF-8, so that nothing is found across two

_SCHEMA = f"""
PRAGMA user_version = {FORMAT};
CREATE TABLE chunk (
    id INTEGER PRIMARY KEY, keys BLOB, header_starts BLOB, body_starts BLOB, worded INTEGER
);
CREATE TABLE header (chunk INTEGER PRIMARY KEY, texts BLOB);
CREATE TABLE body (chunk INTEGER PRIMARY KEY, texts BLOB);
{words.SCHEMA}"""

log = logging.getLogger("mailstead.texts")


class Text(msgspec.Struct, frozen=True):
    """What is searched of one message: decoded, case-folded."""

    key: int
    header: str
    body: str


class Asked(msgspec.Struct, frozen=True):
    """A text that is looked for, folded as they are, and where."""

    text: str
    header: bool
    body: bool


class Scanned(msgspec.Struct, frozen=True):
    """Whose texts were looked through, for each asked one who has it; chunks after `last` are left.

    `last` is None at the end.
    """

    seen: set[int]
    hits: list[set[int]]
    last: int | None


class _Chunk(msgspec.Struct):
    """Some messages' texts, each with its end behind it."""

    keys: "array[int]"
    header_starts: "array[int]"
    body_starts: "array[int]"
    headers: bytearray
    bodies: bytearray

    @property
    def full(self) -> bool:
        """Whether nothing more goes in."""
        return len(self.headers) + len(self.bodies) >= CHUNK

    def add(self, key: int, header: bytes, body: bytes) -> None:
        """One more."""
        self.keys.append(key)
        self.header_starts.append(len(self.headers))
        self.body_starts.append(len(self.bodies))
        self.headers += header + _END
        self.bodies += body + _END

    def entries(self) -> Iterator[Entry]:
        """Each key with its texts."""
        header_ends = [*self.header_starts[1:], len(self.headers)]
        body_ends = [*self.body_starts[1:], len(self.bodies)]
        for row, key in enumerate(self.keys):
            yield (
                key,
                bytes(self.headers[self.header_starts[row] : header_ends[row] - 1]),
                bytes(self.bodies[self.body_starts[row] : body_ends[row] - 1]),
            )


class TextFiles:
    """The files of all accounts; every process of the machine has its own of these objects."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._open: OrderedDict[AccountId, _Open] = OrderedDict()

    def scan(
        self,
        account: AccountId,
        wanted: Collection[int],
        asked: Sequence[Asked],
        after: int,
        octets: int,
    ) -> Scanned:
        """Look for the texts in the next chunks, until about so many octets were looked through."""
        nothing = Scanned(set(), [set() for _ in asked], None)
        if not self._path(account).exists():
            return nothing
        return self._do(
            account,
            lambda connection: _scan(connection, wanted, asked, after, octets),
            nothing,
            _READING,
        )

    def keep(self, account: AccountId, texts: Sequence[Text]) -> None:
        """Write them down, if there is room."""
        if self.has_room(account):
            entries = _encoded(texts)
            self._do(account, lambda connection: _keep(connection, entries), None, _WRITING)

    def index_next(self, account: AccountId) -> int | None:
        """Take in the words of a chunk; how many messages it brought, None if all are in."""
        return self._do(account, _index_next, None, _WRITING)

    def rank(
        self, account: AccountId, wanted: Collection[int], text: str, columns: Collection[str]
    ) -> dict[int, float]:
        """Which of the wanted have the words of the text in the columns, and how well, up to 1."""
        return self._do(
            account,
            lambda connection: words.rank(connection, wanted, text, columns),
            {},
            _READING,
        )

    def keys(self, account: AccountId) -> set[int]:
        """Whose texts are here."""
        return self._do(account, _keys, set(), _READING)

    def drop(self, account: AccountId, dead: Collection[int]) -> None:
        """Leave nothing of these messages in the file."""
        after: int | None = 0
        while after is not None:
            drop = partial(_drop_next, dead=dead, after=after)
            after = self._do(account, drop, None, _WRITING)
        self._do(account, _shrink, None, "")

    def remove(self, account: AccountId) -> None:
        """Delete the account's file."""
        with self._lock:
            held = self._open.pop(account, None)
        if held is not None:
            with held.lock:
                held.connection.close()
        path = self._path(account)
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            with suppress(OSError):
                path.with_name(name).unlink(missing_ok=True)

    def accounts(self) -> dict[AccountId, float]:
        """Who has a file, and when it was last searched."""
        found = {}
        for path in self._folder.glob("*.db"):
            if path.stem.isdigit():
                with suppress(OSError):
                    found[AccountId(int(path.stem))] = path.stat().st_mtime
        return found

    def size(self) -> int:
        """Octets of all files, their logs among them."""
        size = 0
        for path in self._folder.glob("*.db*"):
            with suppress(OSError):
                size += path.stat().st_size
        return size

    def touch(self, account: AccountId, at: float) -> None:
        """The file is used now."""
        with suppress(OSError):
            os.utime(self._path(account), (at, at))

    def close(self) -> None:
        """Let go of all files."""
        while self._open:
            self._open.popitem()[1].connection.close()

    # ------------------------------------------------------------------ files

    def _path(self, account: AccountId) -> Path:
        return self._folder / f"{account}.db"

    def has_room(self, account: AccountId) -> bool:
        """Whether more texts would be kept."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            path, disk = self._path(account), os.statvfs(self._folder)
            size = path.stat().st_size if path.exists() else 0
        except OSError as error:
            log.warning("texts cannot be kept: %s", error)
            return False
        return size < ACCOUNT_LIMIT and disk.f_bavail * disk.f_frsize > FREE_LEAST

    def _do(
        self, account: AccountId, work: Callable[[apsw.Connection], T], otherwise: T, mode: str
    ) -> T:
        """What the work gives in a transaction of its own, without a mode in none."""
        try:
            with self._held(account) as connection:
                if not mode:
                    return work(connection)
                connection.transaction_mode = mode
                with connection:
                    return work(connection)
        except apsw.BusyError:
            pass  # another process writes; the next search will find the same to keep
        except (apsw.CorruptError, apsw.NotADBError, ValueError, IndexError) as error:
            log.warning("kept texts are damaged and are made anew: account=%d: %s", account, error)
            self.remove(account)
        except (apsw.Error, OSError) as error:
            log.warning("kept texts cannot be used: account=%d: %s", account, error)
        return otherwise

    @contextmanager
    def _held(self, account: AccountId) -> Iterator[apsw.Connection]:
        """The account's file, to which the block has it alone in this process."""
        path = self._path(account)
        with self._lock:
            held = self._open.pop(account, None)
            if held is None or not held.is_at(path):
                held = _Open(path)  # the old one goes with the last who holds it
            self._open[account] = held
            while len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)
        with held.lock:
            yield held.connection


class _Open:
    """A file that is open: deleted behind our back, it is another one than what lies there now."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.Lock()
        self.connection = _connect(path)
        self._inode = path.stat().st_ino

    def is_at(self, path: Path) -> bool:
        """Whether it still has its name."""
        try:
            return path.stat().st_ino == self._inode
        except OSError:
            return False


def _connect(path: Path) -> apsw.Connection:
    """synchronous=NORMAL: a power cut may cost the last commits, and never leaves half of one."""
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(BUSY_TIMEOUT)
    connection.pragma("page_size", PAGE_SIZE)
    connection.pragma("auto_vacuum", "incremental")
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "NORMAL")
    connection.pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
    connection.pragma("secure_delete", True)  # what was expunged leaves no trace
    connection.pragma("mmap_size", 0)
    connection.pragma("cache_size", -CACHE_KIB)
    if connection.pragma("user_version") == 0:
        connection.transaction_mode = _WRITING
        with connection:
            if connection.pragma("user_version") == 0:  # no other process was faster
                connection.execute(_SCHEMA)
    if connection.pragma("user_version") != FORMAT:
        raise apsw.NotADBError("it is of another format")
    return connection


# ---------------------------------------------------------------------- looking


def _scan(
    connection: apsw.Connection,
    wanted: Collection[int],
    asked: Sequence[Asked],
    after: int,
    octets: int,
) -> Scanned:
    chosen = wanted if isinstance(wanted, set | frozenset) else set(wanted)
    found = Scanned(set(), [set() for _ in asked], None)
    needles = [_octets(one.text) for one in asked]
    rows = _rows(
        connection,
        "SELECT id, keys, header_starts, body_starts FROM chunk WHERE id > ? ORDER BY id",
        after,
    )
    for chunk, packed, header_starts, body_starts in rows:
        keys = _longs(packed)
        here = chosen.intersection(keys)
        if not here:
            continue
        found.seen.update(here)
        for table, starts in (("header", header_starts), ("body", body_starts)):
            where = [n for n, one in enumerate(asked) if getattr(one, table)]
            texts = _texts(connection, table, chunk) if where else b""
            for n in where:
                rows_found = _rows_with(texts, needles[n], _ints(starts))
                found.hits[n].update(here.intersection([keys[row] for row in rows_found]))
            octets -= len(texts) * len(where)
        if octets <= 0:
            return msgspec.structs.replace(found, last=chunk)
    return found


def _rows_with(texts: bytes, needle: bytes, starts: Sequence[int]) -> Iterator[int]:
    """The texts, by their number, in which the needle is."""
    at = texts.find(needle)
    while at >= 0:
        row = bisect_right(starts, at) - 1
        yield row
        if row + 1 == len(starts):
            return
        at = texts.find(needle, starts[row + 1])


def _texts(connection: apsw.Connection, table: str, chunk: int) -> bytes:
    for (texts,) in _rows(connection, f"SELECT texts FROM {table} WHERE chunk = ?", chunk):
        return bytes(texts)
    return b""


def _keys(connection: apsw.Connection) -> set[int]:
    found: set[int] = set()
    for (packed,) in _rows(connection, "SELECT keys FROM chunk"):
        found.update(_longs(packed))
    return found


def _index_next(connection: apsw.Connection) -> int | None:
    for (number,) in list(_rows(connection, "SELECT id FROM chunk WHERE worded = 0 LIMIT 1")):
        count = words.index(connection, _read_chunk(connection, number).entries())
        connection.execute("UPDATE chunk SET worded = 1 WHERE id = ?", (number,))
        return count
    return None


# ---------------------------------------------------------------------- keeping


def _encoded(texts: Sequence[Text]) -> list[Entry]:
    return [(text.key, _octets(text.header), _octets(text.body)) for text in texts]


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # UTF-7 can bring halves of pairs


def _keep(connection: apsw.Connection, entries: list[Entry]) -> None:
    """New chunks; small ones before them are taken into them.

    One is written again only when it grows by half, so that many small searches write little.
    """
    number, size = _last(connection)
    while number and size < CHUNK and size <= 2 * sum(map(_size, entries)):
        entries = [*_read_chunk(connection, number).entries(), *entries]
        _delete_chunk(connection, number)
        number, size = _last(connection)
    chunk = _empty()
    for entry in entries:
        chunk.add(*entry)
        if chunk.full:
            number, chunk = _write_chunk(connection, number + 1, chunk), _empty()
    if chunk.keys:
        _write_chunk(connection, number + 1, chunk)


def _last(connection: apsw.Connection) -> tuple[int, int]:
    """The number of the last chunk, and its octets; 0 and 0 if there is none."""
    for number, size in _rows(
        connection,
        "SELECT id, length(header.texts) + length(body.texts) FROM chunk"
        " JOIN header ON header.chunk = id JOIN body ON body.chunk = id ORDER BY id DESC LIMIT 1",
    ):
        return number, size
    return 0, 0


def _size(entry: Entry) -> int:
    return len(entry[1]) + len(entry[2])


def _drop_next(connection: apsw.Connection, dead: Collection[int], after: int) -> int | None:
    """Rewrite the next chunk that holds any of them; the number of it, None behind the last."""
    number = _next_with(connection, dead, after)
    if number is None:
        return None
    chunk = _read_chunk(connection, number)
    living = [one for one in chunk.entries() if one[0] not in dead]
    words.drop(connection, [key for key in chunk.keys if key in dead])
    _delete_chunk(connection, number)
    _keep(connection, living)
    return number


def _next_with(connection: apsw.Connection, keys: Collection[int], after: int) -> int | None:
    rows = _rows(connection, "SELECT id, keys FROM chunk WHERE id > ? ORDER BY id", after)
    for number, packed in rows:
        if any(key in keys for key in _longs(packed)):
            return int(number)
    return None


def _delete_chunk(connection: apsw.Connection, number: int) -> None:
    for table, column in (("chunk", "id"), ("header", "chunk"), ("body", "chunk")):
        connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (number,))


def _shrink(connection: apsw.Connection) -> None:
    """Give back the room, and leave nothing in the index and the log of the file."""
    words.optimise(connection)
    connection.execute("PRAGMA incremental_vacuum").fetchall()
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


def _empty() -> _Chunk:
    return _Chunk(array("q"), array("I"), array("I"), bytearray(), bytearray())


def _read_chunk(connection: apsw.Connection, number: int) -> _Chunk:
    for keys, header_starts, body_starts in _rows(
        connection, "SELECT keys, header_starts, body_starts FROM chunk WHERE id = ?", number
    ):
        return _Chunk(
            _longs(keys),
            _ints(header_starts),
            _ints(body_starts),
            bytearray(_texts(connection, "header", number)),
            bytearray(_texts(connection, "body", number)),
        )
    return _empty()


def _write_chunk(connection: apsw.Connection, number: int, chunk: _Chunk) -> int:
    connection.execute(
        "INSERT OR REPLACE INTO chunk VALUES (?, ?, ?, ?, 0)",
        (
            number,
            *(each.tobytes() for each in (chunk.keys, chunk.header_starts, chunk.body_starts)),
        ),
    )
    for table, texts in (("header", chunk.headers), ("body", chunk.bodies)):
        connection.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (number, bytes(texts)))
    return number


def _rows(connection: apsw.Connection, sql: str, *values: int) -> Iterator[tuple[Any, ...]]:
    return connection.execute(sql, values)


def _longs(packed: bytes) -> "array[int]":
    found = array("q")
    found.frombytes(packed)
    return found


def _ints(packed: bytes) -> "array[int]":
    found = array("I")
    found.frombytes(packed)
    return found
