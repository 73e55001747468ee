"""SQLite behind the one door: reader threads, one writer thread, group commit.

Everything that queued while the last commit was syncing goes into the next one (no timer). Plans
of a batch are applied together; a write gets a savepoint, so that one that raises costs nobody
else. Writers of different processes take turns by two file locks: SQLite's own busy handler lets
one starve the other. WAL with synchronous=FULL: the commit is on disk before anybody is told.
With `threads=False` all happens in the loop's own thread, in order: the simulated world's way.
"""

import asyncio
import fcntl
import os
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import apsw

from mailstead.model.errors import TemporaryFailure
from mailstead.model.world import Clock
from mailstead.storage import dialect, journal, schema
from mailstead.storage.apply import apply_plans
from mailstead.storage.plan import Applied, JournalRow, Plan
from mailstead.storage.store import Tx

T = TypeVar("T")

OLDEST_SQLITE = (3, 51, 3)  # older ones can corrupt a WAL that two connections write and checkpoint
BATCH_LIMIT = 512  # units of work in one commit
NOTE_DELAY = 1.0  # seconds that notes wait for a commit to ride on
NOTES_LIMIT = 10_000  # beyond, notes are dropped: nobody was promised them
CHECKPOINT_PAGES = 8000  # 1000, the default, doubles the p99 of a commit
BUSY_TIMEOUT = 10_000  # milliseconds
READERS = 2


class SqliteTx:
    """A transaction on one connection; the same object serves one after the other."""

    def __init__(self, connection: apsw.Connection, clock: Clock) -> None:
        self.connection = connection
        self.clock = clock
        self.now: datetime = clock.now()
        self._next: dict[str, int] = {}

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """All rows of the answer."""
        return self.connection.execute(sql, values).fetchall()

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
        self.connection.executemany(sql, values)

    def allocate(self, name: str, count: int = 1) -> int:
        """The first of so many consecutive ids that nobody has had before."""
        first = self._next.get(name)
        if first is None:
            first = self.value("SELECT next FROM sequence WHERE name = :name", name=name) or 1
        self._next[name] = first + count
        return first

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


class _Unit:
    """One unit of work in the group commit: a plan or a function, and who waits for it."""

    __slots__ = ("future", "result", "work")

    def __init__(self, work: "Plan | Callable[[Tx], Any]", future: "asyncio.Future[Any]") -> None:
        self.work = work
        self.future = future
        self.result: Any = None


class SqliteStore:
    """The store of one machine."""

    def __init__(
        self, path: Path, clock: Clock, threads: bool = True, vfs: str | None = None
    ) -> None:
        _check_version()
        self.path, self.clock, self.vfs = path, clock, vfs
        self._lock = FairLock(path)
        self._writer = SqliteTx(self._connect(writer=True), clock)
        self._migrate()
        self._notes: list[JournalRow] = []
        self._note_timer: asyncio.TimerHandle | None = None
        self._local = threading.local()
        self._closing = False
        self._threads = threads
        if threads:
            self._loop = asyncio.get_running_loop()
            self._queue: queue.SimpleQueue[_Unit | None] = queue.SimpleQueue()
            self._pool = ThreadPoolExecutor(READERS, "reader")
            self._thread = threading.Thread(target=self._run_writer, name="writer", daemon=True)
            self._thread.start()
        else:
            self._waiting: list[_Unit] = []

    # ------------------------------------------------------------------ the door

    async def read(self, work: Callable[[Tx], T]) -> T:
        """work(tx) on one consistent state of the store."""
        if not self._threads:
            return self._read(work)
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, work)

    async def write(self, work: Callable[[Tx], T]) -> T:
        """work(tx), committed; if work raises, nothing of it happened."""
        result: T = await self._submit(work)
        return result

    async def apply(self, plan: Plan) -> Applied:
        """The plan, committed; a plan that cannot be done raises and costs nobody else."""
        applied: Applied = await self._submit(plan)
        return applied

    def note(self, row: JournalRow) -> None:
        """Write the row with the next commit, a second from now at the latest. Nobody waits."""
        if len(self._notes) < NOTES_LIMIT:
            self._notes.append(row)
        if self._note_timer is None and not self._closing:
            loop = asyncio.get_running_loop()
            self._note_timer = loop.call_later(NOTE_DELAY, self._flush_notes)

    async def close(self) -> None:
        """Commit what is waiting, then let go of the files."""
        self._closing = True
        if self._note_timer is not None:
            self._note_timer.cancel()
        if self._notes:
            with suppress(TemporaryFailure):
                await self._submit(lambda tx: None)
        if self._threads:
            self._queue.put(None)
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
            await asyncio.get_running_loop().run_in_executor(None, self._close_readers)
        else:
            self._close_reader()
        self._writer.connection.close()
        self._lock.close()

    # ------------------------------------------------------------------ group commit

    def _submit(self, work: "Plan | Callable[[Tx], Any]") -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        unit = _Unit(work, loop.create_future())
        if self._threads:
            self._queue.put(unit)
        else:
            if not self._waiting:
                loop.call_soon(self._commit_waiting)
            self._waiting.append(unit)
        return unit.future

    def _flush_notes(self) -> None:
        self._note_timer = None
        if self._notes:
            self._submit(lambda tx: None).add_done_callback(_forget)

    def _commit_waiting(self) -> None:
        batch, self._waiting = self._waiting, []
        self._commit(batch)
        _tell(batch)

    def _run_writer(self) -> None:
        while unit := self._queue.get():
            batch = [unit]
            more: _Unit | None = unit
            while len(batch) < BATCH_LIMIT and more is not None:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is not None:
                    batch.append(more)
            self._commit(batch)
            self._loop.call_soon_threadsafe(_tell, batch)
            if more is None:
                return

    def _commit(self, batch: list[_Unit]) -> None:
        """One transaction for the whole batch; if that fails, one for each unit."""
        notes = self._notes[:]
        try:
            self._transact(batch, notes)
            del self._notes[: len(notes)]
        except Exception as error:  # noqa: BLE001 each unit is told, one by one
            if len(batch) == 1 and not notes:
                batch[0].result = _failure(error)
                return
            for unit in batch:
                try:
                    self._transact([unit], [])
                except Exception as alone:  # noqa: BLE001
                    unit.result = _failure(alone)

    def _transact(self, batch: Sequence[_Unit], notes: Sequence[JournalRow]) -> None:
        connection = self._writer.connection
        with self._lock:
            connection.execute("BEGIN IMMEDIATE")
            try:
                self._writer.begin()
                self._do(batch)
                journal.add(self._writer, notes)
                self._writer.keep_sequences()
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    with suppress(apsw.Error):
                        connection.execute("ROLLBACK")
                raise

    def _do(self, batch: Sequence[_Unit]) -> None:
        plans = [unit for unit in batch if isinstance(unit.work, Plan)]
        if plans:
            results = apply_plans(self._writer, [unit.work for unit in plans])  # type: ignore[misc]
            for unit, result in zip(plans, results, strict=True):
                unit.result = result
        for unit in batch:
            if not isinstance(unit.work, Plan):
                unit.result = self._in_savepoint(unit.work)

    def _in_savepoint(self, work: Callable[[Tx], Any]) -> Any:
        connection = self._writer.connection
        connection.execute("SAVEPOINT unit")
        try:
            result = work(self._writer)
        except apsw.Error:
            raise
        except Exception as error:  # noqa: BLE001 handed to whoever asked for the work
            connection.execute("ROLLBACK TO unit")
            result = error
        connection.execute("RELEASE unit")
        return result

    # ------------------------------------------------------------------ reading

    def _read(self, work: Callable[[Tx], T]) -> T:
        tx = self._reader()
        try:
            tx.connection.execute("BEGIN")
            try:
                tx.begin()
                return work(tx)
            finally:
                tx.connection.execute("COMMIT")
        except apsw.Error as error:
            raise _failure(error) from error

    def _reader(self) -> SqliteTx:
        tx: SqliteTx | None = getattr(self._local, "tx", None)
        if tx is None:
            tx = self._local.tx = SqliteTx(self._connect(writer=False), self.clock)
        return tx

    def _close_reader(self) -> None:
        tx: SqliteTx | None = getattr(self._local, "tx", None)
        if tx is not None:
            tx.connection.close()
            self._local.tx = None

    def _close_readers(self) -> None:
        barrier = threading.Barrier(READERS)

        def close_one() -> None:
            with suppress(threading.BrokenBarrierError):
                barrier.wait(5)  # so that each thread closes its own connection
            self._close_reader()

        for _ in range(READERS):
            self._pool.submit(close_one)
        self._pool.shutdown(wait=True)

    # ------------------------------------------------------------------ opening

    def _connect(self, writer: bool) -> apsw.Connection:
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        connection = apsw.Connection(str(self.path), flags=flags, vfs=self.vfs)
        connection.set_busy_timeout(BUSY_TIMEOUT)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "FULL")
        connection.pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        connection.pragma("mmap_size", 0)
        connection.pragma("cache_size", -16_000)
        if not writer:
            connection.pragma("query_only", True)
        return connection

    def _migrate(self) -> None:
        with self._lock:
            self._writer.connection.execute("BEGIN IMMEDIATE")
            try:
                schema.migrate(self._writer, dialect.SQLITE)
                self._writer.connection.execute("COMMIT")
            except BaseException:
                if self._writer.connection.in_transaction:
                    self._writer.connection.execute("ROLLBACK")
                raise


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

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._main, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the files."""
        os.close(self._gate)
        os.close(self._main)


def _tell(batch: Sequence[_Unit]) -> None:
    """Let those who wait know; in the loop's thread, after the commit."""
    for unit in batch:
        if unit.future.done():
            continue
        if isinstance(unit.result, Exception):
            unit.future.set_exception(unit.result)
        else:
            unit.future.set_result(unit.result)


def _forget(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()


def _failure(error: Exception) -> Exception:
    """What the house is told: the world is in the way, or our own bug as it is."""
    if isinstance(
        error, apsw.BusyError | apsw.LockedError | apsw.FullError | apsw.IOError | apsw.NoMemError
    ):
        return TemporaryFailure(f"the database cannot write: {error}")
    if isinstance(error, OSError):
        return TemporaryFailure(f"the store cannot be used: {error}")
    return error


def _check_version() -> None:
    version = tuple(map(int, apsw.sqlite_lib_version().split(".")))
    if version < OLDEST_SQLITE:
        raise RuntimeError(
            f"SQLite {apsw.sqlite_lib_version()} can corrupt its write-ahead log; apsw with "
            f"SQLite {'.'.join(map(str, OLDEST_SQLITE))} or later is needed: pip install -U apsw"
        )
