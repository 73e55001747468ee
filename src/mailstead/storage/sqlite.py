"""SQLite behind the one door: group commit, reader threads, quick look-ups in the loop.

Writers of different processes take turns by two file locks: SQLite's own busy handler lets one
starve the other. With `threads=False` all happens in the loop's own thread, in order: the
simulated world's way.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import apsw

from mailstead.model.errors import Refusal, TemporaryFailure
from mailstead.model.world import Clock
from mailstead.storage import dialect, reading, schema
from mailstead.storage.group_commit import GroupCommit, Measure, unmeasured
from mailstead.storage.packfile import Known, NotHere, PackFolder, PackGone, Packs, Place
from mailstead.storage.packs import PACKS
from mailstead.storage.plan import Applied, JournalRow, Plan
from mailstead.storage.sqlite_tx import (
    SqliteTx,
    SqliteWriter,
    check_version,
    connect,
    failure_of,
)
from mailstead.storage.store import Tx

T = TypeVar("T")

READERS = 2  # threads
FETCHERS = 4  # threads that wait for an object store; there are none until there is one


class SqliteStore:
    """The store of one machine."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        threads: bool = True,
        vfs: str | None = None,
        measure: Measure = unmeasured,
        packs: Packs | None = None,
    ) -> None:
        check_version()
        self.path, self.clock, self.vfs = path, clock, vfs
        self.packs = packs or PackFolder(path.parent / PACKS)
        self._writer = SqliteWriter(
            self._connect(writer=True), path, lambda: connect(path, vfs, writer=True)
        )
        self._migrate()
        self._commits = GroupCommit(self._writer, threads, measure)
        self._quick = self._connect(writer=False)
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(READERS, "reader") if threads else None
        self._fetchers = ThreadPoolExecutor(FETCHERS, "fetcher")

    async def read(self, work: Callable[[Tx], T]) -> T:
        """work(tx) on one consistent state of the store."""
        return await reading.repeat(lambda known: self._read_once(work, known), self._fetch)

    async def look_up(self, work: Callable[[Tx], T]) -> T:
        """work(tx) for a few rows by their key: done at once, in the loop's own thread."""
        try:
            return _read(self._quick, work, Known(newest=False))
        except (NotHere, PackGone):
            return await self.read(work)

    async def write(self, work: Callable[[Tx], T]) -> T:
        """work(tx), committed; if work raises, nothing of it happened."""
        result: T = await self._commits.submit(work)
        return result

    async def apply(self, plan: Plan) -> Applied:
        """The plan, committed; a plan that cannot be done raises and costs nobody else."""
        applied: Applied = await self._commits.submit(plan)
        return applied

    def note(self, row: JournalRow) -> None:
        """Write the row with the next commit, a second from now at the latest. Nobody waits."""
        self._commits.note(row)

    async def close(self) -> None:
        """Commit what is waiting, then let go of the files."""
        await self._commits.close()
        self._fetchers.shutdown(wait=False, cancel_futures=True)
        if self._pool is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._close_readers)
        self._quick.close()
        self._writer.close()

    def _connect(self, writer: bool) -> SqliteTx:
        connection = connect(self.path, self.vfs, writer)
        return SqliteTx(connection, self.clock, self.packs)

    async def _read_once(self, work: Callable[[Tx], T], known: Known) -> T:
        if self._pool is None:
            return _read(self._quick, work, known)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._read_on_thread, work, known)

    async def _fetch(self, places: Sequence[Place]) -> dict[Place, bytes]:
        if self._pool is None:
            return self.packs.fetch(places)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._fetchers, self.packs.fetch, places)

    def _read_on_thread(self, work: Callable[[Tx], T], known: Known) -> T:
        tx: SqliteTx | None = getattr(self._local, "tx", None)
        if tx is None:
            tx = self._local.tx = self._connect_late()
        return _read(tx, work, known)

    def _connect_late(self) -> SqliteTx:
        """In a server that runs, a file that cannot be opened is the world's fault."""
        try:
            return self._connect(writer=False)
        except Refusal as refusal:
            raise TemporaryFailure(refusal.reason) from refusal

    def _close_readers(self) -> None:
        assert self._pool is not None
        barrier = threading.Barrier(READERS)

        def close_one() -> None:
            with suppress(threading.BrokenBarrierError):
                barrier.wait(5)  # so that each thread closes its own connection
            tx: SqliteTx | None = getattr(self._local, "tx", None)
            if tx is not None:
                tx.close()

        for _ in range(READERS):
            self._pool.submit(close_one)
        self._pool.shutdown(wait=True)

    def _migrate(self) -> None:
        try:
            self._writer.begin("")
            try:
                schema.migrate(self._writer.tx, dialect.SQLITE)
                self._writer.commit()
            except BaseException:
                self._writer.rollback()
                raise
        except apsw.Error as error:
            raise failure_of(error) from error


def _read(tx: SqliteTx, work: Callable[[Tx], T], known: Known) -> T:
    tx.packs.known = known
    try:
        tx.connection.execute("BEGIN")
        try:
            tx.begin()
            return work(tx)
        finally:
            tx.commit()
    except apsw.Error as error:
        raise failure_of(error) from error
