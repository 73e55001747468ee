"""PostgreSQL behind the one door: the same tables and statements, for more than one machine.

One writing connection for the group commit, READERS for reads, one for ids; each is made anew when
it broke. With `threads=False` all happens in the loop's own thread, in order: the simulated
world's way. Needs the extra `postgres` (psycopg).
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg

from mailstead.model.world import Clock
from mailstead.storage import dialect, reading, schema
from mailstead.storage.group_commit import GroupCommit, Measure, Work, unmeasured
from mailstead.storage.packfile import Known, NotHere, PackGone, Packs, Place
from mailstead.storage.plan import Applied, JournalRow, Plan
from mailstead.storage.postgres_tx import (
    LOCK_TIMEOUT,
    NEW_MAIL,
    ONE,
    PATIENCE,
    PLAIN,
    READ,
    WRITE,
    DatabaseClock,
    IdRanges,
    Link,
    PostgresTx,
    SecondStatement,
    alone,
    check_server,
    failure_of,
    is_conflict,
    unusable,
)
from mailstead.storage.store import Tx

T = TypeVar("T")

READERS = 4  # threads, each with a connection
FETCHERS = 4  # threads that wait for an object store; there are none until there is one
TRIES = 5  # of a transaction that others are in the way of: the second should do
_MIGRATION = 0x6D61696C  # whoever migrates has this advisory lock


class PostgresWriter:
    """The one writing connection of a process, as group commit uses it."""

    in_loop = False  # each statement is a trip

    def __init__(self, tx: PostgresTx) -> None:
        self.tx = tx
        self._alone = self._next_alone = False  # this transaction, the next one

    def kind(self, work: Work) -> str:
        """New mail locks the counters that it changes, and relies on nothing else."""
        return NEW_MAIL if isinstance(work, Plan) and work.only_adds else WRITE

    def try_begin(self) -> bool:
        """Never: it would wait for the network."""
        return False

    def begin(self, kind: str) -> None:
        """Begin."""
        self._alone, self._next_alone = self._next_alone, False
        self.tx.begin(alone(kind) if self._alone else kind)

    def alone(self, work: Callable[[PostgresTx], Any]) -> Any:
        """What came of the work; if it raises something of ours, only it is undone."""
        self.tx.run("SAVEPOINT unit")
        try:
            result = work(self.tx)
        except psycopg.Error:
            raise
        except Exception as error:  # noqa: BLE001 handed to whoever asked for the work
            self.tx.run("ROLLBACK TO SAVEPOINT unit")
            result = error
        self.tx.run("RELEASE SAVEPOINT unit")
        return result

    def commit(self) -> None:
        """On disk when it comes back."""
        self.tx.commit()

    def rollback(self) -> None:
        """Forget what was not committed."""
        self.tx.rollback()

    def worth_another(self, error: BaseException, tries: int) -> bool:
        """Whether somebody else was in the way: the next time nobody is."""
        waited = isinstance(error, psycopg.errors.LockNotAvailable) and not self._alone
        self._next_alone = (waited or is_conflict(error)) and tries < TRIES
        return self._next_alone

    def failure_of(self, error: Exception) -> Exception:
        """What the house is told."""
        return failure_of(error)


class PostgresStore:
    """The store of one machine or many."""

    def __init__(
        self,
        url: str,
        packs: Packs,
        clock: Clock,
        threads: bool = True,
        measure: Measure = unmeasured,
    ) -> None:
        self._url, self.packs = url, packs
        self._clock = DatabaseClock(clock, follow=threads)
        self._ids = IdRanges(Link(url, relaxed=True))
        self._writer = PostgresWriter(self._transaction(self._ids))
        self._migrate()
        self._commits = GroupCommit(self._writer, threads, measure)
        self._local = threading.local()
        self._readers: list[PostgresTx] = []
        self._pool = ThreadPoolExecutor(READERS, "reader") if threads else None
        self._fetchers = ThreadPoolExecutor(FETCHERS, "fetcher")

    async def read(self, work: Callable[[Tx], T]) -> T:
        """work(tx) on one consistent state of the store."""
        return await reading.repeat(lambda known: self._read_once(work, known), self._fetch)

    async def look_up(self, work: Callable[[Tx], T]) -> T:
        """The same in one trip, if one statement is enough."""
        try:
            return await self._read_once(work, Known(newest=False), ONE)
        except (SecondStatement, NotHere, PackGone):
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
        """Commit what is waiting, then let go of the connections."""
        await self._commits.close()
        if self._pool is not None:
            pool = self._pool
            await asyncio.get_running_loop().run_in_executor(None, pool.shutdown)
        self._fetchers.shutdown(wait=False, cancel_futures=True)
        for tx in [*self._readers, self._writer.tx]:
            tx.close()
        self._ids.close()

    def _transaction(self, ids: IdRanges | None = None) -> PostgresTx:
        link = Link(self._url, patience=PATIENCE if ids else LOCK_TIMEOUT)
        return PostgresTx(link, self._clock, self.packs.reader(), ids)

    async def _read_once(self, work: Callable[[Tx], T], known: Known, how: str = READ) -> T:
        if self._pool is None:
            return self._read(work, known, how)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._read, work, known, how)

    async def _fetch(self, places: Sequence[Place]) -> dict[Place, bytes]:
        if self._pool is None:
            return self.packs.fetch(places)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._fetchers, self.packs.fetch, places)

    def _read(self, work: Callable[[Tx], T], known: Known, how: str) -> T:
        tx: PostgresTx | None = getattr(self._local, "tx", None)
        if tx is None:
            tx = self._local.tx = self._transaction()
            self._readers.append(tx)
        tx.packs.known = known
        return _read(tx, work, how)

    def _migrate(self) -> None:
        tx = self._writer.tx
        try:
            check_server(tx.link.get())
            self._writer.begin(PLAIN)
            tx.run("SET LOCAL statement_timeout = 0")  # another node may be at it
            tx.run("SET LOCAL lock_timeout = 0")
            tx.value("SELECT pg_advisory_xact_lock(:lock)", lock=_MIGRATION)
            schema.migrate(tx, dialect.POSTGRES)
            self._writer.commit()
        except BaseException as error:
            self._writer.rollback()
            tx.close()
            if isinstance(error, psycopg.Error):
                raise unusable(error) from error
            raise


def _read(tx: PostgresTx, work: Callable[[Tx], T], how: str) -> T:
    for tries in (1, 2):
        try:
            tx.begin(how)
            result = work(tx)
            tx.commit()
        except psycopg.Error as error:
            broken = tx.is_broken
            tx.rollback()
            if not broken or tries == 2:
                raise failure_of(error) from error
        except BaseException:
            tx.rollback()
            raise
        else:
            return result
    raise AssertionError
