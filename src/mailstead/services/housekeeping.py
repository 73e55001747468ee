"""What has to be done now and then: old journal rows go, deletions that were cut short are ended.

Each step is a series of small writes, so that mail goes on meanwhile.
"""

import logging
from collections.abc import Callable
from datetime import timedelta

from mailstead.model.errors import TemporaryFailure
from mailstead.model.world import Clock
from mailstead.storage import journal, messages
from mailstead.storage.store import WRITE_LIMIT, Store, Tx

ROUND = timedelta(hours=1)

log = logging.getLogger("mailstead.housekeeping")


class Housekeeping:
    """The service. `run` it in a TaskGroup; cancel it to end it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    async def run(self) -> None:
        """A round now, then one an hour."""
        while True:
            try:
                await self.tidy()
            except TemporaryFailure as failure:
                log.warning("housekeeping has to wait: %s", failure.reason)
            except Exception:
                log.exception("housekeeping failed, by our own fault")
            await self._clock.sleep(ROUND)

    async def tidy(self) -> None:
        """One round."""
        await self._repeat(lambda tx: journal.expire(tx, WRITE_LIMIT))
        await self._repeat(lambda tx: messages.clear_left_behind(tx, WRITE_LIMIT))

    async def _repeat(self, step: Callable[[Tx], int]) -> None:
        while await self._store.write(step) >= WRITE_LIMIT:
            pass
