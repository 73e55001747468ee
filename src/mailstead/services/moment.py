"""What is asked of the store for every message and hardly ever changes, remembered for a moment.

Holds: what this process itself changes counts at once, but for a look-up that was under way; what
another one changes counts after REMEMBERED. Not here: whether that may be, which is for those who
remember to say.
"""

from collections.abc import Hashable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from mailstead.model.world import Clock
from mailstead.services.telling import TellingStore

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

REMEMBERED = timedelta(seconds=1)
LIMIT = 10_000  # values


class Moment(Generic[K, V]):
    """Values that were looked up within the last second."""

    def __init__(self, store: TellingStore, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._known: dict[K, V] = {}
        self._until: datetime = clock.now()
        self._changes = store.changes

    def find(self, key: K) -> V | None:
        """The value, if it is known and still counts."""
        return None if self._is_over() else self._known.get(key)

    def keep(self, key: K, value: V) -> None:
        """Remember what was just looked up."""
        if self._is_over() or len(self._known) >= LIMIT:
            self._known.clear()
            self._until = self._clock.now() + REMEMBERED
            self._changes = self._store.changes
        self._known[key] = value

    def _is_over(self) -> bool:
        return self._store.changes != self._changes or self._clock.now() >= self._until
