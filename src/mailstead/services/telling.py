"""A Store that tells: what was committed is said once, to the log and to whoever else listens.

Holds: nothing is told before it is on disk.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from mailstead.model.entries import AnyEntry
from mailstead.model.numbers import TraceId
from mailstead.storage.plan import Applied, JournalRow, Plan
from mailstead.storage.store import Store, Tx

T = TypeVar("T")

Tell = Callable[[TraceId, Sequence[AnyEntry]], None]


class TellingStore:
    """The same door, with a voice."""

    def __init__(self, store: Store, tell: Tell) -> None:
        self._store, self._tell = store, tell
        self.read = store.read
        self.look_up = store.look_up
        self.close = store.close
        self.changes = 0  # transactions that were no mail coming in (see services.moment)

    async def write(self, work: Callable[[Tx], T]) -> T:
        """work(tx), committed; if work raises, nothing of it happened."""
        done = await self._store.write(work)
        self.changes += 1
        return done

    async def apply(self, plan: Plan) -> Applied:
        """The plan, committed, then told."""
        applied = await self._store.apply(plan)
        self._tell(plan.trace, applied.story)
        for row in plan.rows:
            self._tell(row.trace, row.entries)
        return applied

    def note(self, row: JournalRow) -> None:
        """Write the row some time soon; told at once, for it tells of a refusal."""
        self._store.note(row)
        self._tell(row.trace, row.entries)
