"""Word of a long command while it goes on (RFC 9585): a client neither gives up nor wonders."""

import asyncio
from datetime import timedelta

from mailstead.protocol.imap import responses
from mailstead.protocol.imap.commands import Tag
from mailstead.sessions.imap.state import Session

EVERY = timedelta(seconds=10)


class Progress:
    """How far one command has come."""

    def __init__(self, session: Session, tag: Tag, goal: int) -> None:
        self._session, self._tag, self._goal = session, tag, goal
        self._next = _now() + EVERY.total_seconds()

    async def tell(self, done: int) -> None:
        """So many of the messages are done; the client is told, if it is time for that."""
        if _now() >= self._next and done < self._goal:
            self._session.write(responses.in_progress(self._tag, done, self._goal))
            await self._session.flush()
            self._next = _now() + EVERY.total_seconds()


def _now() -> float:
    return asyncio.get_running_loop().time()
