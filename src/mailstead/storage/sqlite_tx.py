"""SQLite transactions: the connection, the Tx on it, the lock that processes take turns by.

WAL with synchronous=FULL: a commit is on disk when COMMIT comes back (RFC 5321 section 6.1 is kept
by this line). No mmap: a truncated file must be an error, not a signal.
"""

import fcntl
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import apsw

from mailstead.model.errors import Refusal, TemporaryFailure
from mailstead.model.world import Clock
from mailstead.storage.packfile import Packs, Place

OLDEST_SQLITE = (3, 51, 3)  # older ones can corrupt a WAL that two connections write and checkpoint
CHECKPOINT_PAGES = 8000  # 1000, the default, doubles the p99 of a commit
BUSY_TIMEOUT = 10_000  # milliseconds
CACHE_KIB = 16_000
_FEW = 20  # rows that are asked for one by one


def connect(path: Path, vfs: str | None, writer: bool) -> apsw.Connection:
    """A connection with the settings that everything here relies on."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    try:
        connection = apsw.Connection(str(path), flags=flags, vfs=vfs)
        connection.set_busy_timeout(BUSY_TIMEOUT)
        _use_wal(connection, path)
    except apsw.NotADBError:
        raise Refusal(f"{path} is not a database of ours: move it away, or name another") from None
    except apsw.CantOpenError:
        raise Refusal(f"{path} cannot be opened: is its folder there, and writable?") from None
    except apsw.Error as error:
        raise failure_of(error) from error
    connection.pragma("synchronous", "FULL")
    connection.pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
    connection.pragma("mmap_size", 0)
    connection.pragma("temp_store", "memory")  # a statement's journal needs no file
    connection.pragma("cache_size", -CACHE_KIB)
    if not writer:
        connection.pragma("query_only", True)
    return connection


def _use_wal(connection: apsw.Connection, path: Path) -> None:
    """A new database becomes a WAL one: one process at a time, for SQLite answers "locked" at once,
    busy handler or not, when two that read the old mode both want to change it."""
    if connection.pragma("journal_mode") == "wal":
        return
    with closing(FairLock(path)) as lock, lock:
        connection.pragma("journal_mode", "wal")


class SqliteTx:
    """A transaction on one connection; the same object serves one after the other."""

    def __init__(self, connection: apsw.Connection, clock: Clock, packs: Packs) -> None:
        self.connection = connection
        self.packs = packs.reader()
        self.clock = clock
        self.now: datetime = clock.now()
        self._next: dict[str, int] = {}

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """All rows of the answer."""
        return self.connection.execute(sql, values).fetchall()

    def stream(
        self, sql: str, at_once: int, **values: Any
    ) -> AbstractContextManager[Iterator[tuple[Any, ...]]]:
        """The rows of the answer, one by one; those that are not taken are not read."""
        return closing(self.connection.execute(sql, values))

    def row(self, sql: str, **values: Any) -> tuple[Any, ...] | None:
        """The first row of the answer, or None."""
        rows = self.connection.execute(sql, values).fetchall()
        return rows[0] if rows else None

    def value(self, sql: str, **values: Any) -> Any:
        """The first column of the first row, or None."""
        rows = self.connection.execute(sql, values).fetchall()
        return rows[0][0] if rows else None

    def run(self, sql: str, **values: Any) -> int:
        """Do it; how many rows it changed."""
        self.connection.execute(sql, values)
        return self.connection.changes()

    def many(self, sql: str, values: Iterable[dict[str, Any]]) -> None:
        """Do it for each of the dicts."""
        if values != []:  # most plans have no row for most tables
            self.connection.executemany(sql, values)

    errors: type[Exception] = apsw.Error

    def damage(self) -> list[str]:
        """What SQLite finds wrong with its file."""
        found = [str(row[0]) for row in self.rows("PRAGMA integrity_check")]
        return [] if found == ["ok"] else found

    def each(self, sql: str, ids: Collection[int], **values: Any) -> list[tuple[Any, ...]]:
        """The rows of a statement about `id = :id`, for all of the ids."""
        execute = self.connection.execute
        if len(ids) <= _FEW:
            return [row for id_ in ids for row in execute(sql, {"id": id_, **values}).fetchall()]
        together = sql.replace("= :id", "IN (SELECT value FROM json_each(:id))")
        array = f"[{','.join(map(str, ids))}]"
        return execute(together, {"id": array, **values}).fetchall()

    def lock(self, sql: str, ids: Collection[int]) -> list[tuple[Any, ...]]:
        """The same; there is only one writer."""
        return self.each(sql, ids)

    def together(self) -> AbstractContextManager[None]:
        """Nothing travels here."""
        return nullcontext()

    def allocate(self, name: str, count: int = 1) -> int:
        """The first of so many consecutive ids that nobody has had before."""
        first = self._next.get(name)
        if first is None:
            first = self.value("SELECT next FROM sequence WHERE name = :name", name=name) or 1
        self._next[name] = first + count
        return first

    def packed(self, places: Sequence[Place]) -> list[bytes]:
        """The octets of parts that lie in packs; DamagedBody if they are not as written."""
        return self.packs.parts(places)

    def begin(self) -> None:
        """Start over with the time of the clock."""
        self.now = self.clock.now()
        self._next.clear()

    def keep_sequences(self) -> None:
        """Write down which ids are taken; belongs right before the commit."""
        self.many(
            "INSERT INTO sequence (name, next) VALUES (:name, :next)"
            " ON CONFLICT (name) DO UPDATE SET next = excluded.next",
            [{"name": name, "next": number} for name, number in self._next.items()],
        )

    def commit(self) -> None:
        """On disk when it comes back."""
        self.connection.execute("COMMIT")

    def close(self) -> None:
        """Let go of the files."""
        self.packs.close()
        self.connection.close()

    def rollback(self) -> None:
        """Forget what was not committed."""
        if self.connection.in_transaction:
            with suppress(apsw.Error):
                self.connection.execute("ROLLBACK")


class FairLock:
    """One writer at a time among processes, in turn: whoever holds `gate` is next for `main`."""

    def __init__(self, path: Path) -> None:
        self._gate = os.open(f"{path}.gate", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._main = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> None:
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._main, fcntl.LOCK_EX)
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)

    def try_enter(self) -> bool:
        """Take the lock if nobody has it or waits for it."""
        try:
            fcntl.flock(self._gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        try:
            fcntl.flock(self._main, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)
        return True

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._main, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the files."""
        os.close(self._gate)
        os.close(self._main)


class SqliteWriter:
    """The one writing connection of a process, as group commit uses it."""

    in_loop = True  # rows are memory until the commit: they may be written in the loop's thread

    def __init__(self, tx: SqliteTx, path: Path, reopen: Callable[[], apsw.Connection]) -> None:
        self.tx, self._lock, self._reopen = tx, FairLock(path), reopen
        self._suspect = False  # did the disk fail since the connection was opened?

    def kind(self, work: object) -> str:
        """All work may share a transaction."""
        return ""

    def try_begin(self) -> bool:
        """Begin, if that waits for nobody."""
        if not self._lock.try_enter():
            return False
        self._begin()
        return True

    def begin(self, kind: str) -> None:
        """Begin; waits for other processes."""
        self._lock.__enter__()
        self._begin()

    def _begin(self) -> None:
        try:
            if self._suspect:
                self._renew()
            self.tx.connection.execute("BEGIN IMMEDIATE")
            self.tx.begin()
        except BaseException:
            self.rollback()
            raise

    def _renew(self) -> None:
        """A new connection: SQLite opens files only for reading if the disk fails at that moment,
        and stays with that."""
        try:
            fresh = self._reopen()
        except Refusal as refusal:
            raise TemporaryFailure(refusal.reason) from refusal
        old, self.tx.connection = self.tx.connection, fresh
        old.close()
        self._suspect = False

    def alone(self, work: Callable[[SqliteTx], Any]) -> Any:
        """What came of the work; if it raises something of ours, only it is undone."""
        connection = self.tx.connection
        connection.execute("SAVEPOINT unit")
        try:
            result = work(self.tx)
        except apsw.Error:
            raise
        except Exception as error:  # noqa: BLE001 handed to whoever asked for the work
            connection.execute("ROLLBACK TO unit")
            result = error
        connection.execute("RELEASE unit")
        return result

    def commit(self) -> None:
        """On disk when it comes back."""
        self.tx.commit()
        self._lock.__exit__()

    def rollback(self) -> None:
        """Forget what was not committed, and let others write."""
        self.tx.rollback()
        self._lock.__exit__()

    def worth_another(self, error: BaseException, tries: int) -> bool:
        """Nothing gets better by itself: who writes has the lock."""
        return False

    def failure_of(self, error: Exception) -> Exception:
        """What the house is told."""
        self._suspect |= isinstance(error, apsw.IOError | apsw.ReadOnlyError | apsw.CantOpenError)
        return failure_of(error)

    def close(self) -> None:
        """Let go of the files."""
        self.tx.close()
        self._lock.close()


_IN_THE_WAY = (
    apsw.BusyError,
    apsw.LockedError,
    apsw.FullError,
    apsw.IOError,
    apsw.NoMemError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
)


def failure_of(error: Exception) -> Exception:
    """What the house is told: the world is in the way, or our own bug as it is."""
    if isinstance(error, _IN_THE_WAY):
        return TemporaryFailure(f"the database cannot write: {error}")
    if isinstance(error, OSError):
        return TemporaryFailure(f"the store cannot be used: {error}")
    return error


def check_version() -> None:
    version = tuple(map(int, apsw.sqlite_lib_version().split(".")))
    if version < OLDEST_SQLITE:
        raise Refusal(
            f"SQLite {apsw.sqlite_lib_version()} can corrupt its write-ahead log; apsw with "
            f"SQLite {'.'.join(map(str, OLDEST_SQLITE))} or later is needed: pip install -U apsw"
        )
