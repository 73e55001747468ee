"""Connections that lie idle for a moment, for the next message of the same lane.

Ready for the next MAIL as they are (RFC 5321 section 3.3). One that died meanwhile costs nothing:
the attempt notices before MAIL is answered and takes a fresh one.
"""

import asyncio
from collections import OrderedDict, deque

from mailstead.services.outbound.connect import Connection
from mailstead.services.outbound.providers import profile_of_host

IDLE_TIME = 5.0  # seconds
IDLE_LIMIT = 50  # connections

Key = tuple[str, str]  # name of the way, and endpoint or lane


class Pool:
    """Idle connections by key."""

    def __init__(self) -> None:
        self._idle: OrderedDict[Key, deque[Connection]] = OrderedDict()
        self._changed = asyncio.Event()
        self._count = 0

    def take(self, key: Key) -> Connection | None:
        """The connection that was used last, or None."""
        waiting = self._idle.get(key)
        if not waiting:
            return None
        return self._remove(key, -1)

    async def give(self, key: Key, connection: Connection) -> None:
        """Keep the connection for the next message, unless it has done enough."""
        if not connection.open:
            await connection.close()
        elif connection.messages >= messages_limit(connection) or self._count >= IDLE_LIMIT:
            await connection.quit()
        else:
            connection.until = asyncio.get_running_loop().time() + IDLE_TIME
            self._idle.setdefault(key, deque()).append(connection)
            self._count += 1
            self._changed.set()

    async def sweep(self) -> None:
        """Close what was idle too long; runs until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._count:
                self._changed.clear()
                await self._changed.wait()
            await asyncio.sleep(IDLE_TIME / 2)
            for connection in self._expired(loop.time()):
                await connection.quit()

    async def close(self) -> None:
        """Close everything."""
        for connection in self._expired(float("inf")):
            await connection.quit()

    def _expired(self, now: float) -> list[Connection]:
        expired = []
        for key in list(self._idle):
            while (waiting := self._idle.get(key)) and waiting[0].until <= now:
                expired.append(self._remove(key, 0))
        return expired

    def _remove(self, key: Key, at: int) -> Connection:
        waiting = self._idle[key]
        connection = waiting.pop() if at else waiting.popleft()
        if not waiting:
            del self._idle[key]
        self._count -= 1
        return connection


def messages_limit(connection: Connection) -> int:
    """How many messages go over one connection: what it says itself (RFC 9422), or is known for."""
    known = profile_of_host(connection.target.host).limits.messages_a_connection
    return min(known, connection.capabilities.mail_limit or known)
