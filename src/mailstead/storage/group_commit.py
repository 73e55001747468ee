"""Group commit: everything that queued while the last commit was syncing goes into the next one.

Plans are short and hot: their rows are written in the loop's own thread, and only the commit, which
waits for the disk, is handed to the writer thread. (Rows written on a thread of their own fight
the loop for the interpreter at every statement: half the rate.) Other writes run on the thread.
Holds: one transaction at a time; if a batch fails, each unit gets a transaction of its own, so
that a unit that cannot be done costs nobody else; nobody is told before the commit.
"""

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import apsw

from mailstead.storage import journal
from mailstead.storage.apply import apply_plans
from mailstead.storage.plan import JournalRow, Plan
from mailstead.storage.sqlite_tx import FairLock, SqliteTx, failure_of
from mailstead.storage.store import Tx

BATCH_LIMIT = 100  # units of work in one commit: some 5 ms of the loop's time
NOTE_DELAY = 1.0  # seconds that notes wait for a commit to ride on
NOTES_LIMIT = 10_000  # beyond, notes are dropped: nobody was promised them

Work = Plan | Callable[[Tx], Any]
Measure = Callable[[int, float], None]  # told of each transaction: units of work, seconds


class Unit:
    """One unit of work, and who waits for it."""

    __slots__ = ("future", "result", "work")

    def __init__(self, work: Work, future: "asyncio.Future[Any]") -> None:
        self.work, self.future = work, future
        self.result: Any = None


class GroupCommit:
    """The one writer of a process."""

    def __init__(self, tx: SqliteTx, lock: FairLock, threads: bool, measure: Measure) -> None:
        self._tx, self._lock, self._measure = tx, lock, measure
        self._began = 0.0
        self._waiting: deque[Unit] = deque()
        self._notes: list[JournalRow] = []
        self._note_timer: asyncio.TimerHandle | None = None
        self._busy = False
        self._thread: threading.Thread | None = None
        self._errands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        if threads:
            self._thread = threading.Thread(target=self._run_errands, name="writer", daemon=True)
            self._thread.start()

    def submit(self, work: Work) -> "asyncio.Future[Any]":
        """What came of the work, once it is committed."""
        loop = asyncio.get_running_loop()
        unit = Unit(work, loop.create_future())
        self._waiting.append(unit)
        if not self._busy:
            self._busy = True
            loop.call_soon(self._next_batch, loop)
        return unit.future

    def note(self, row: JournalRow) -> None:
        """Write the row with the next commit, in a second at the latest."""
        if len(self._notes) < NOTES_LIMIT:
            self._notes.append(row)
        if self._note_timer is None:
            loop = asyncio.get_running_loop()
            self._note_timer = loop.call_later(NOTE_DELAY, self._commit_notes)

    async def close(self) -> None:
        """Commit what is waiting, then end the thread."""
        if self._note_timer is not None:
            self._note_timer.cancel()
        await asyncio.gather(self.submit(_nothing), return_exceptions=True)
        if self._thread is not None:
            self._errands.put(None)
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def _commit_notes(self) -> None:
        self._note_timer = None
        if self._notes:
            self.submit(_nothing).add_done_callback(_forget)

    # ------------------------------------------------------------------ in the loop

    def _next_batch(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_LIMIT))]
        notes, self._notes = self._notes, []
        self._began = time.perf_counter()
        if all(isinstance(unit.work, Plan) for unit in batch) and self._lock.try_enter():
            self._write_here(loop, batch, notes)
        else:
            self._do(loop, lambda: self._commit_alone(batch, notes), batch)

    def _write_here(
        self, loop: asyncio.AbstractEventLoop, batch: list[Unit], notes: list[JournalRow]
    ) -> None:
        """The rows now, the commit on the thread."""
        try:
            self._write(batch, notes)
        except Exception:  # noqa: BLE001 tried again one by one, and told then
            self._tx.rollback()
            self._lock.__exit__()
            self._do(loop, lambda: self._one_by_one(batch), batch)
        else:
            self._do(loop, lambda: self._finish(batch), batch)

    def _do(
        self, loop: asyncio.AbstractEventLoop, errand: Callable[[], None], batch: list[Unit]
    ) -> None:
        """Run the errand on the thread (without one: here), then tell and go on."""
        if self._thread is None:
            errand()
            self._told(loop, batch)
            return

        def run() -> None:
            errand()
            loop.call_soon_threadsafe(self._told, loop, batch)

        self._errands.put(run)

    def _told(self, loop: asyncio.AbstractEventLoop, batch: list[Unit]) -> None:
        self._measure(len(batch), time.perf_counter() - self._began)
        _tell(batch)
        if self._waiting:
            self._next_batch(loop)
        else:
            self._busy = False

    # ------------------------------------------------------------------ on the thread

    def _run_errands(self) -> None:
        while errand := self._errands.get():
            errand()

    def _finish(self, batch: list[Unit]) -> None:
        """Commit what was written in the loop."""
        try:
            self._tx.commit()
        except Exception:  # noqa: BLE001
            self._tx.rollback()
            self._lock.__exit__()
            self._one_by_one(batch)
        else:
            self._lock.__exit__()

    def _commit_alone(self, batch: list[Unit], notes: list[JournalRow]) -> None:
        """The whole transaction here."""
        try:
            self._transact(batch, notes)
        except Exception:  # noqa: BLE001
            self._one_by_one(batch)

    def _one_by_one(self, batch: list[Unit]) -> None:
        for unit in batch:
            try:
                self._transact([unit], [])
            except Exception as error:  # noqa: BLE001 handed to whoever asked for the work
                unit.result = failure_of(error)

    def _transact(self, batch: Sequence[Unit], notes: Sequence[JournalRow]) -> None:
        with self._lock:
            try:
                self._write(batch, notes)
                self._tx.commit()
            except BaseException:
                self._tx.rollback()
                raise

    # ------------------------------------------------------------------ rows

    def _write(self, batch: Sequence[Unit], notes: Sequence[JournalRow]) -> None:
        self._tx.connection.execute("BEGIN IMMEDIATE")
        self._tx.begin()
        plans = [unit.work for unit in batch if isinstance(unit.work, Plan)]
        results = iter(apply_plans(self._tx, plans))
        for unit in batch:
            if isinstance(unit.work, Plan):
                unit.result = next(results)
            else:
                unit.result = self._in_savepoint(unit.work)
        journal.add(self._tx, notes)
        self._tx.keep_sequences()

    def _in_savepoint(self, work: Callable[[Tx], Any]) -> Any:
        connection = self._tx.connection
        connection.execute("SAVEPOINT unit")
        try:
            result = work(self._tx)
        except apsw.Error:
            raise
        except Exception as error:  # noqa: BLE001 handed to whoever asked for the work
            connection.execute("ROLLBACK TO unit")
            result = error
        connection.execute("RELEASE unit")
        return result


def _nothing(tx: Tx) -> None:
    """Work for a commit that only carries notes."""


def _tell(batch: Sequence[Unit]) -> None:
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
