"""Group commit: everything that queued while the last commit was syncing goes into the next one.

Plans are short and hot: on SQLite their rows are written in the loop's own thread, and only the
commit, which waits for the disk, is handed to the writer thread. (Rows written on a thread of their
own fight the loop for the interpreter at every statement: half the rate.) All else runs there.
Holds: one transaction at a time; if a batch fails, each unit gets a transaction of its own, so
that a unit that cannot be done costs nobody else; nobody is told before the commit.
"""

import asyncio
import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mailstead.storage import journal
from mailstead.storage.apply import apply_plans
from mailstead.storage.plan import JournalRow, Plan
from mailstead.storage.store import Tx

BATCH_LIMIT = 100  # units of work in one commit: some 5 ms of the loop's time
NOTE_DELAY = 1.0  # seconds that notes wait for a commit to ride on
NOTES_LIMIT = 10_000  # beyond, notes are dropped: nobody was promised them

Work = Plan | Callable[[Tx], Any]
Measure = Callable[[int, float], None]  # told of each transaction: units of work, seconds


def unmeasured(units: int, seconds: float) -> None:
    """Measures nothing."""


class WriterTx(Tx, Protocol):
    """A transaction that writes."""

    def keep_sequences(self) -> None:
        """Write down which ids are taken; belongs right before the commit."""
        ...


class Writer(Protocol):
    """The writing side of a database: one transaction at a time."""

    @property
    def tx(self) -> WriterTx: ...

    @property
    def in_loop(self) -> bool:
        """Whether the rows of plans may be written in the loop's own thread."""
        ...

    def kind(self, work: Work) -> str:
        """Which transaction the work needs; only work of one kind shares one."""
        ...

    def try_begin(self) -> bool:
        """Begin, if that waits for nobody."""
        ...

    def begin(self, kind: str) -> None:
        """Begin; may wait."""
        ...

    def alone(self, work: Callable[[Tx], Any]) -> Any:
        """What came of the work; if it raises something of ours, only it is undone."""
        ...

    def commit(self) -> None:
        """On disk when it comes back."""
        ...

    def rollback(self) -> None:
        """Forget what was not committed."""
        ...

    def worth_another(self, error: BaseException, tries: int) -> bool:
        """Whether the whole transaction is to run again."""
        ...

    def failure_of(self, error: Exception) -> Exception:
        """What the house is told."""
        ...


class Unit:
    """One unit of work, and who waits for it."""

    __slots__ = ("future", "result", "work")

    def __init__(self, work: Work, future: "asyncio.Future[Any]") -> None:
        self.work, self.future = work, future
        self.result: Any = None


class GroupCommit:
    """The one writer of a process."""

    def __init__(self, writer: Writer, threads: bool, measure: Measure) -> None:
        self._writer, self._measure = writer, measure
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
        batch = self._take_batch()
        notes, self._notes = self._notes, []
        self._began = time.perf_counter()
        here = self._writer.in_loop and all(isinstance(unit.work, Plan) for unit in batch)
        if here and self._begin_here():
            self._write_here(loop, batch, notes)
        else:
            self._do(loop, lambda: self._commit_alone(batch, notes), batch)

    def _take_batch(self) -> list[Unit]:
        """What waits, as long as it may share a transaction."""
        waiting, kind_of = self._waiting, self._writer.kind
        kind = kind_of(waiting[0].work)
        batch = [waiting.popleft()]
        while waiting and len(batch) < BATCH_LIMIT and kind_of(waiting[0].work) == kind:
            batch.append(waiting.popleft())
        return batch

    def _begin_here(self) -> bool:
        try:
            return self._writer.try_begin()
        except Exception:  # noqa: BLE001 tried again on the thread, and told then
            return False

    def _write_here(
        self, loop: asyncio.AbstractEventLoop, batch: list[Unit], notes: list[JournalRow]
    ) -> None:
        """The rows now, the commit on the thread."""
        try:
            self._write(batch, notes)
        except Exception:  # noqa: BLE001 tried again one by one, and told then
            self._writer.rollback()
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
            self._writer.commit()
        except Exception:  # noqa: BLE001
            self._writer.rollback()
            self._one_by_one(batch)

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
                unit.result = self._writer.failure_of(error)

    def _transact(self, batch: Sequence[Unit], notes: Sequence[JournalRow]) -> None:
        """The batch in a transaction; again, while it only was in somebody's way."""
        kind = self._writer.kind(batch[0].work)
        for tries in itertools.count(1):
            self._writer.begin(kind)
            try:
                self._write(batch, notes)
                self._writer.commit()
            except BaseException as error:
                self._writer.rollback()
                if not self._writer.worth_another(error, tries):
                    raise
            else:
                return

    # ------------------------------------------------------------------ rows

    def _write(self, batch: Sequence[Unit], notes: Sequence[JournalRow]) -> None:
        tx = self._writer.tx
        plans = [unit.work for unit in batch if isinstance(unit.work, Plan)]
        results = iter(apply_plans(tx, plans) if plans else ())
        for unit in batch:
            if isinstance(unit.work, Plan):
                unit.result = next(results)
            else:
                unit.result = self._writer.alone(unit.work)
        journal.add(tx, notes)
        tx.keep_sequences()


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
