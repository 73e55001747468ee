"""The one door to what is kept: `read`, `write`, `apply`, and `note` for what may ride along.

A transaction is a plain function of a Tx: short, no waiting inside, and it may run twice.
A Plan is the hot form of a write: a list of values that the store applies in batches.
Holds: what `write` and `apply` gave back is on disk; the commit is the only durability point.
Whatever the database cannot do for now (full disk, busy) is a TemporaryFailure.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

from mailstead.storage.packfile import Place
from mailstead.storage.plan import Applied, JournalRow, Plan

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

WRITE_LIMIT = 1000  # rows that one write may touch; longer commands are a series of writes


def to_micros(at: datetime) -> int:
    """A time as the database keeps it."""
    return (at - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """A time as the house uses it, in UTC."""
    return _EPOCH + timedelta(microseconds=micros)


class Tx(Protocol):
    """A running transaction. SQL is portable, with `:named` parameters; the clock is `now`."""

    @property
    def now(self) -> datetime: ...

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """All rows of the answer."""
        ...

    def stream(
        self, sql: str, at_once: int, **values: Any
    ) -> AbstractContextManager[Iterator[tuple[Any, ...]]]:
        """The rows of the answer, so many at once; those that are not taken are not read."""
        ...

    def row(self, sql: str, **values: Any) -> tuple[Any, ...] | None:
        """The first row of the answer, or None."""
        ...

    def value(self, sql: str, **values: Any) -> Any:
        """The first column of the first row, or None."""
        ...

    def run(self, sql: str, **values: Any) -> int:
        """Do it; how many rows it changed."""
        ...

    def many(self, sql: str, values: Iterable[dict[str, Any]]) -> None:
        """Do it for each of the dicts."""
        ...

    @property
    def errors(self) -> type[Exception]:
        """What the database raises."""
        ...

    def damage(self) -> list[str]:
        """What the database itself finds wrong with its files, if it can look."""
        ...

    def each(self, sql: str, ids: Collection[int], **values: Any) -> list[tuple[Any, ...]]:
        """The rows of a statement about `id = :id`, for all of the ids, in no order.

        The column may have another name; further parameters are the same for all ids.
        """
        ...

    def lock(self, sql: str, ids: Collection[int]) -> list[tuple[Any, ...]]:
        """The same of a SELECT; nobody else changes these rows until the end."""
        ...

    def together(self) -> AbstractContextManager[None]:
        """Statements in the block whose answers nobody looks at may travel together."""
        ...

    def allocate(self, name: str, count: int = 1) -> int:
        """The first of so many consecutive ids that nobody has had before."""
        ...

    def packed(self, places: Sequence[Place]) -> list[bytes]:
        """The octets of parts that lie in packs; DamagedBody if they are not as written."""
        ...


class Store(Protocol):
    """What both databases can do."""

    async def read(self, work: Callable[[Tx], T]) -> T:
        """work(tx) on one consistent state of the store."""
        ...

    async def look_up(self, work: Callable[[Tx], T]) -> T:
        """The same for a few rows by their key: a trip to a thread would cost more than they do."""
        ...

    async def write(self, work: Callable[[Tx], T]) -> T:
        """work(tx), committed; if work raises, nothing of it happened."""
        ...

    async def apply(self, plan: Plan) -> Applied:
        """The plan, committed; a plan that cannot be done raises and costs nobody else."""
        ...

    def note(self, row: JournalRow) -> None:
        """Write the row with the next commit, a second from now at the latest. Nobody waits."""
        ...

    async def close(self) -> None:
        """Commit what is waiting, then let go of the files."""
        ...
