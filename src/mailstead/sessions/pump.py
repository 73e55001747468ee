"""Between a Stream and an engine: bytes in, events to the session, bytes out.

Output is joined while there are events to handle and sent when there are none, so that pipelined
commands get their replies in one segment.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Protocol, TypeVar

from mailstead.model.world import Stream

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)

OUTPUT_LIMIT = 64 * 1024  # octets that are joined before they are sent
SLOWEST = 100  # octets a second: what comes in more slowly has no more time than a command
WHOLE_LIMIT = timedelta(hours=1)  # for one command or one message, however steadily it comes


class Engine(Protocol[E_co]):
    """A protocol engine, as far as the pump knows it."""

    def receive(self, data: bytes) -> Sequence[E_co]:
        """Events; called with b"" to go on after an event was answered."""
        ...


class Output:
    """What goes back to the peer: joined while events are at hand, sent when they are not."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Some more; sent now only if much has gathered."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size > OUTPUT_LIMIT:
            self.send()

    def send(self) -> None:
        """Hand all of it to the stream."""
        if self._pieces:
            pieces, self._pieces, self._size = self._pieces, [], 0
            self.stream.send(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    async def flush(self, limit: timedelta) -> None:
        """Send, and wait for a slow peer; TimeoutError after the limit."""
        self.send()
        if self.stream.congested:
            async with asyncio.timeout(limit.total_seconds()):
                await self.stream.flush()


class Pace:
    """How long a peer may take: measured from where a command or message begins, not from its
    last octet, with more time for what comes in at SLOWEST or faster (RFC 5321 section 4.5.3.2).
    """

    def __init__(self) -> None:
        self._begin = self._octets = 0.0
        self._answered = True

    def answered(self) -> None:
        """What comes next is something new."""
        self._answered = True

    def took(self, octets: int) -> None:
        """So much more of it has come in."""
        self._octets += octets

    def left(self, limit: timedelta) -> timedelta:
        """How long the peer may go on, if it has `limit` to begin with."""
        now = asyncio.get_running_loop().time()
        if self._answered:
            self._begin, self._octets, self._answered = now, 0.0, False
        whole = min(limit.total_seconds() + self._octets / SLOWEST, WHOLE_LIMIT.total_seconds())
        return timedelta(seconds=max(0.0, self._begin + whole - now))


async def drive(engine: Engine[E], data: bytes, handle: Callable[[E], Awaitable[None]]) -> None:
    """Handle everything that these bytes bring about, in order."""
    while events := engine.receive(data):
        for event in events:
            await handle(event)
        data = b""


class Reader:
    """Receives within a limit. One timer serves many: it is set anew only when it goes off."""

    __slots__ = ("_deadline", "_late", "_stream", "_timer")

    def __init__(self) -> None:
        self._deadline, self._late = 0.0, False
        self._stream: Stream | None = None  # while it is waited for
        self._timer: asyncio.TimerHandle | None = None

    async def receive(self, stream: Stream, limit: timedelta) -> bytes | None:
        """What comes in, None if somebody woke the stream; TimeoutError after the limit."""
        loop = asyncio.get_running_loop()
        self._deadline, self._late = loop.time() + limit.total_seconds(), False
        if self._timer is None or self._timer.when() > self._deadline:
            self._set(loop)
        self._stream = stream
        try:
            data = await stream.receive()
        finally:
            self._stream = None
        if data is None and self._late:
            raise TimeoutError
        return data

    def close(self) -> None:
        """Nothing more is received; an old timer would keep what it knows in memory."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        self.close()
        self._timer = loop.call_at(self._deadline, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._stream is None:
            return  # the next receive sets it
        if loop.time() < self._deadline:
            self._set(loop)
        else:
            self._late = True
            self._stream.wake()
