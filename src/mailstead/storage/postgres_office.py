"""An office among the nodes on one PostgreSQL: an advisory lock of a session.

`run` waits until the office is ours, does the work, and stops it when the office may be somebody
else's: whoever dies, or is cut off, loses it.
Holds: for some seconds after a cut two may believe in it; what an office does must bear that.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import psycopg

from mailstead.model.errors import TemporaryFailure
from mailstead.model.world import Clock, Offload
from mailstead.storage.postgres_tx import Connection, Link

log = logging.getLogger("mailstead.office")

LOOK_AGAIN = timedelta(seconds=3)
_LOCKS = 0x6D736F66  # the first half of our advisory locks; the second is the schema's


class Lost(Exception):
    """The office may be somebody else's now."""


class PostgresOffice:
    """An office among all nodes on one PostgreSQL."""

    def __init__(self, url: str, clock: Clock, offload: Offload) -> None:
        self._link, self._clock, self._offload = Link(url), clock, offload

    async def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do the work whenever the office is ours, until cancelled."""
        try:
            while True:
                connection = await self._acquire()
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(work())
                        group.create_task(self._watch(connection))
                except* Lost:
                    log.warning("another node may do the common duties now")
        finally:
            self._link.close()

    async def _acquire(self) -> Connection:
        while True:
            connection = await self._offload.run(self._try)
            if connection is not None:
                return connection
            await self._clock.sleep(LOOK_AGAIN)

    def _try(self) -> Connection | None:
        try:
            connection = self._link.get()
            row = connection.execute(
                "SELECT pg_try_advisory_lock(%s::int, hashtext(current_schema()))", (_LOCKS,)
            ).fetchone()
        except (psycopg.Error, TemporaryFailure):
            return None
        return connection if row and row[0] else None

    async def _watch(self, connection: Connection) -> None:
        while True:
            await self._clock.sleep(LOOK_AGAIN)
            if not await self._offload.run(lambda: _is_alive(connection)):
                raise Lost


def _is_alive(connection: Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.Error:
        connection.close()
        return False
    return True
