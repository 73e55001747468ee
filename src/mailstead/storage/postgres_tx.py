"""PostgreSQL transactions: a connection that comes back, the Tx on it, ids given out in ranges.

Reads see one state (REPEATABLE READ); writes are SERIALIZABLE and may be asked to run again. Only
plans of nothing but new mail run at READ COMMITTED: all they rely on are rows that they lock.
Holds: synchronous_commit is on, so a commit is on disk when it comes back. Who was in others' way
runs again with all other writers waiting, so that nobody is put off for ever.
"""

import contextlib
import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import errors

from mailstead.model.errors import Refusal, TemporaryFailure
from mailstead.model.world import Clock
from mailstead.storage import arrays, dialect
from mailstead.storage.packfile import Place, Reader

CONNECT_TIMEOUT = 5  # seconds
STATEMENT_TIMEOUT = timedelta(seconds=30)
LOCK_TIMEOUT = timedelta(seconds=10)
PATIENCE = timedelta(milliseconds=100)  # with a lock, at the first try: it may be a deadlock
IDLE_TIMEOUT = timedelta(seconds=10)  # of a transaction in which nothing happens: we hang
BACK_OFF = (0.1, 2.0)  # seconds before the next connection is tried: the first time, at most
CLOCK_DRIFT = timedelta(minutes=1)  # how long the difference to the database's clock is believed
RANGE_LIMIT = 1024  # ids taken at once
RANGE_TIME = 1.0  # seconds: ids of all workers follow the clock that closely
PREPARED = 500  # statements

_LIMITS = {
    "statement_timeout": STATEMENT_TIMEOUT,
    "idle_in_transaction_session_timeout": IDLE_TIMEOUT,
}
_MILLISECOND = timedelta(milliseconds=1)
_KEEPALIVE = {"idle": 10, "interval": 5, "count": 3}  # seconds, seconds, probes: on both sides

# The statements that go ahead of the first one. A LOCK is taken before the transaction's state is,
# and on a table that is hardly ever written: it could be any.
PLAIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_AMONG_OTHERS = "; LOCK TABLE organisation IN ROW SHARE MODE"
WRITE = "BEGIN ISOLATION LEVEL SERIALIZABLE" + _AMONG_OTHERS
NEW_MAIL = PLAIN + _AMONG_OTHERS


def alone(kind: str) -> str:
    """The same while no other writer is at it."""
    patience = f"; SET LOCAL lock_timeout = {LOCK_TIMEOUT // _MILLISECOND}"
    return kind.replace(_AMONG_OTHERS, f"{patience}; LOCK TABLE organisation IN EXCLUSIVE MODE")


ONE = ""  # one statement by itself sees one state, too, and saves the trips of a transaction

# It warns of what the error says that comes with it, at every lost connection.
logging.getLogger("psycopg").setLevel(logging.ERROR)

Connection = psycopg.Connection[tuple[Any, ...]]


class Link:
    """A connection that is made when it is needed, and made again when it broke."""

    def __init__(self, url: str, relaxed: bool = False, patience: timedelta = LOCK_TIMEOUT) -> None:
        self._url, self._relaxed, self._patience = url, relaxed, patience
        self._connection: Connection | None = None
        self._not_before, self._wait = 0.0, BACK_OFF[0]

    def get(self) -> Connection:
        """The connection; TemporaryFailure while there is none to be had."""
        if self._connection is not None:
            if not self._connection.closed:
                return self._connection
            self._connection = None
        now = time.monotonic()
        if now < self._not_before:
            raise TemporaryFailure("the database cannot be reached")
        try:
            self._connection = connect(self._url, self._relaxed, self._patience)
        except psycopg.OperationalError as error:
            self._not_before = time.monotonic() + self._wait
            self._wait = min(self._wait * 2, BACK_OFF[1])
            raise TemporaryFailure(f"the database cannot be reached: {_line(error)}") from error
        self._wait = BACK_OFF[0]
        return self._connection

    def close(self) -> None:
        """Let go of it."""
        if self._connection is not None:
            self._connection.close()


def connect(url: str, relaxed: bool = False, patience: timedelta = LOCK_TIMEOUT) -> Connection:
    """A connection with the settings that everything here relies on.

    `relaxed` does not wait for the disk: for what may be lost if what comes later is lost, too.
    """
    limits = _LIMITS | {"lock_timeout": patience}
    options = [f"-c {name}={limit // _MILLISECOND}" for name, limit in limits.items()]
    # The server, too: the locks of a node that lost its power must not outlive it for hours.
    options += [f"-c tcp_keepalives_{name}={value}" for name, value in _KEEPALIVE.items()]
    durable = "off" if relaxed else "on"
    given = psycopg.conninfo.conninfo_to_dict(url).get("options", "")
    connection = psycopg.connect(
        url,
        autocommit=True,
        connect_timeout=CONNECT_TIMEOUT,
        application_name="mailstead",
        options=f"{given} {' '.join(options)} -c synchronous_commit={durable} -c timezone=UTC",
        keepalives_idle=_KEEPALIVE["idle"],
        keepalives_interval=_KEEPALIVE["interval"],
        keepalives_count=_KEEPALIVE["count"],
        tcp_user_timeout=30_000,
    )
    connection.prepare_threshold, connection.prepared_max = 1, PREPARED
    arrays.teach(connection)
    return connection


class IdRanges:
    """Ids taken from `sequence` by the range, outside the transactions that use them.

    What a rollback leaves of a range is never used. A range is given up after a second,
    so that ids follow the clock. The connection may be relaxed: a commit that is on disk has taken
    all earlier ones with it.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._ranges: dict[str, tuple[int, int, float, int]] = {}  # next, end, taken, length

    def take(self, name: str, count: int) -> int:
        """The first of so many consecutive ids."""
        now = time.monotonic()
        first, end, taken, length = self._ranges.get(name, (0, 0, 0.0, 1))
        fresh = now - taken < RANGE_TIME
        if first + count > end or not fresh:
            length = min(length * 2, RANGE_LIMIT) if fresh else 1
            first = self._reserve(name, max(count, length))
            end, taken = first + max(count, length), now
        self._ranges[name] = (first + count, end, taken, length)
        return first

    def forget(self) -> None:
        """Give up all ranges: a server that crashed may have forgotten that they are taken."""
        self._ranges.clear()

    def _reserve(self, name: str, count: int) -> int:
        row = self._link.get().execute(_RESERVE, {"name": name, "count": count}).fetchone()
        assert row is not None
        first: int = row[0]
        return first

    def close(self) -> None:
        """Let go of the connection."""
        self._link.close()


_RESERVE = (
    "INSERT INTO sequence (name, next) VALUES (%(name)s, 1 + %(count)s)"
    " ON CONFLICT (name) DO UPDATE SET next = sequence.next + %(count)s"
    " RETURNING next - %(count)s"
)


class DatabaseClock:
    """The database's time, so that all nodes have the same; or the Clock's, if told so."""

    def __init__(self, clock: Clock, follow: bool) -> None:
        self._clock, self._follow = clock, follow
        self._ahead = timedelta(0)
        self._compare_at = clock.now()

    def now(self, connection: Connection | None = None) -> datetime:
        """The time; through the connection the database is asked once a minute."""
        now = self._clock.now()
        if self._follow and connection is not None and now >= self._compare_at:
            row = connection.execute("SELECT clock_timestamp()").fetchone()
            assert row is not None
            now = self._clock.now()
            self._ahead, self._compare_at = row[0] - now, now + CLOCK_DRIFT
        return now + self._ahead


class SecondStatement(Exception):
    """Two statements would see two states: the work has to run in a transaction."""


class PostgresTx:
    """A transaction on one connection; the same object serves one after the other."""

    def __init__(
        self, link: Link, clock: "DatabaseClock", packs: Reader, ids: IdRanges | None = None
    ) -> None:
        self.link, self.packs = link, packs
        self._clock, self._ids = clock, ids
        self._connection: Connection | None = None
        self._last: Connection | None = None  # that a transaction was on
        self._begin: list[str] = []  # what goes ahead of the first statement
        self._one = self._asked = False  # one statement by itself; whether it was asked
        self._types: dict[tuple[str, str], str] = {}
        self._bulks: dict[str, dialect.Bulk] = {}
        self.now: datetime = clock.now()

    # ------------------------------------------------------------------ statements

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """All rows of the answer."""
        return self._execute(dialect.for_psycopg(sql), values).fetchall()

    @contextlib.contextmanager
    def stream(self, sql: str, at_once: int, **values: Any) -> Iterator[Iterator[tuple[Any, ...]]]:
        """The rows of the answer, so many at once; those that are not taken are not read."""
        if self._one:
            raise SecondStatement  # a cursor needs a transaction
        with self._open().cursor("stream", binary=True) as cursor:
            cursor.itersize = at_once
            cursor.execute(dialect.for_psycopg(sql), values)
            yield iter(cursor)

    def row(self, sql: str, **values: Any) -> tuple[Any, ...] | None:
        """The first row of the answer, or None."""
        return self._execute(dialect.for_psycopg(sql), values).fetchone()

    def value(self, sql: str, **values: Any) -> Any:
        """The first column of the first row, or None."""
        row = self._execute(dialect.for_psycopg(sql), values).fetchone()
        return row[0] if row else None

    def run(self, sql: str, **values: Any) -> int:
        """Do it; how many rows it changed."""
        return self._execute(dialect.for_psycopg(sql), values).rowcount

    def many(self, sql: str, values: Iterable[dict[str, Any]]) -> None:
        """Do it for all of the dicts, in one statement."""
        rows = values if isinstance(values, list) else list(values)
        if not rows:
            return
        bulk = self._bulks.get(sql)
        if bulk is None:
            bulk = self._bulks[sql] = dialect.bulk(sql, self._column_types())
        columns = {
            name: arrays.Column(type_, [row[name] for row in rows]) for name, type_ in bulk.columns
        }
        self._execute(bulk.sql, columns)

    errors: type[Exception] = psycopg.Error

    def damage(self) -> list[str]:
        """Nothing: PostgreSQL's own pg_amcheck looks."""
        return []

    def each(self, sql: str, ids: Collection[int], **values: Any) -> list[tuple[Any, ...]]:
        """The rows of the statement about `id = :id` for all of the ids, in no order."""
        if not ids:
            return []
        column = arrays.Column("bigint", list(ids))
        return self._execute(dialect.each_for_psycopg(sql), {"id": column, **values}).fetchall()

    def lock(self, sql: str, ids: Collection[int]) -> list[tuple[Any, ...]]:
        """The same; nobody else changes these rows until the end. Always in the same order."""
        return self.each(f"{sql} ORDER BY id FOR UPDATE", ids)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Statements in the block whose answers nobody looks at go to the database as one."""
        with self._open().pipeline():
            yield

    def allocate(self, name: str, count: int = 1) -> int:
        """The first of so many consecutive ids that nobody has had before."""
        assert self._ids is not None, "ids are for writers"
        return self._ids.take(name, count)

    def packed(self, places: Sequence[Place]) -> list[bytes]:
        """The octets of parts that lie in packs; DamagedBody if they are not as written."""
        return self.packs.parts(places)

    # ------------------------------------------------------------------ begin and end

    def begin(self, how: str) -> None:
        """Start over, with the time of the database; ONE is no transaction but one statement."""
        self._connection = connection = self.link.get()
        if connection is not self._last and self._ids is not None:
            self._ids.forget()
        self._last = connection
        self._one, self._asked = how == ONE, False
        self._begin = [] if self._one else how.split("; ")
        self.now = self._clock.now(self._connection)

    def commit(self) -> None:
        """On disk when it comes back."""
        if self._begin or self._one:  # nothing was asked, or nothing is open
            self._begin = []
        elif (said := self._open().execute("COMMIT").statusmessage) != "COMMIT":
            raise errors.InFailedSqlTransaction(f"COMMIT came back as {said}")
        self._connection = None

    def rollback(self) -> None:
        """Forget what was not committed."""
        connection, self._connection = self._connection, None
        if connection and not (self._begin or self._one or connection.closed):
            try:
                connection.execute("ROLLBACK")
            except psycopg.Error:
                connection.close()
        self._begin = []

    def keep_sequences(self) -> None:
        """Ids that were given out are written down already."""

    @property
    def is_broken(self) -> bool:
        """Whether the connection is lost."""
        return self._connection is not None and self._connection.closed

    def close(self) -> None:
        """Let go of the files and the connection."""
        self.packs.close()
        self.link.close()

    # ------------------------------------------------------------------ below

    def _open(self) -> Connection:
        """The connection, within the transaction."""
        connection = self._connection
        assert connection is not None, "no transaction has begun"
        begin, self._begin = self._begin, []
        for sql in begin:
            connection.execute(sql)
        return connection

    def _execute(self, sql: str, values: Mapping[str, Any]) -> psycopg.Cursor[tuple[Any, ...]]:
        connection = self._connection
        assert connection is not None, "no transaction has begun"
        if self._one:
            if self._asked:
                raise SecondStatement
            self._asked = True
        if not self._begin:
            return connection.execute(sql, values, binary=True)
        begin, self._begin = self._begin, []
        with connection.pipeline():  # all in one round trip
            for first in begin:
                connection.execute(first)
            return connection.execute(sql, values, binary=True)

    def _column_types(self) -> dict[tuple[str, str], str]:
        if not self._types:
            rows = self.rows(
                "SELECT table_name, column_name, data_type FROM information_schema.columns"
                " WHERE table_schema = current_schema()"
            )
            self._types = {(table, column): type_ for table, column, type_ in rows}
        return self._types


# What says that a statement or a value is wrong. All else is the server, or the way to it; a
# connection that breaks within a pipeline shows in more than one kind of error.
_OURS = (
    psycopg.ProgrammingError,
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.NotSupportedError,
)


def failure_of(error: Exception) -> Exception:
    """What the house is told: the world is in the way, or our own bug as it is."""
    if isinstance(error, psycopg.Error) and not isinstance(error, _OURS):
        return TemporaryFailure(f"the database cannot do it now: {_line(error)}")
    if isinstance(error, OSError):
        return TemporaryFailure(f"the store cannot be used: {error}")
    return error


def unusable(error: psycopg.Error) -> Exception:
    """What the house is told if it cannot even begin: often a database that lacks a permission."""
    if isinstance(error, psycopg.ProgrammingError):
        return Refusal(f"the database cannot be used: {_line(error)}")
    return failure_of(error)


def is_conflict(error: BaseException) -> bool:
    """Whether another transaction was in the way: this one may simply run again."""
    return isinstance(error, errors.SerializationFailure | errors.DeadlockDetected)


def check_server(connection: Connection) -> None:
    """Refusal if the server is too old, or keeps text in another encoding."""
    if connection.info.server_version < 140000:
        raise Refusal(
            f"PostgreSQL {connection.info.server_version // 10000} is too old: 14 or later is"
            " needed"
        )
    if connection.info.parameter_status("server_encoding") != "UTF8":
        raise Refusal("the database is not in UTF-8: createdb --encoding UTF8 --template template0")


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
