"""A network in memory: hosts by IP address, connections as pipes, faults on demand.

Bytes take LATENCY to arrive and arrive in order. A host that is not there refuses; a host that is
`dark` never answers; `split` cuts what is sent into pieces of that size.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec

from mailstead.model.world import Endpoint, Stream

LATENCY = 0.001  # seconds

Serve = Callable[[Stream], Awaitable[None]]


class MemoryStream:
    """One end of a connection in memory."""

    def __init__(self, local: Endpoint, peer: Endpoint, split: int = 0) -> None:
        self.local, self.peer = local, peer
        self.sent = bytearray()  # everything this end ever sent
        self._split = split
        self._other: MemoryStream | None = None
        self._under_way: deque[bytes | ConnectionError | None] = deque()
        self._received: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._woken = self._eof = self._closed = False
        self._error: ConnectionError | None = None

    @property
    def tls(self) -> str:
        """Nothing: this is a connection in the clear."""
        return ""

    def join(self, other: "MemoryStream") -> None:
        """Make the two one connection."""
        self._other, other._other = other, self

    async def receive(self) -> bytes | None:
        """What has come in: b"" at the end of the stream, None if `wake` was called."""
        while True:
            if self._received:
                return self._received.popleft()
            if self._woken:
                self._woken = False
                return None
            if self._error:
                raise self._error
            if self._eof or self._closed:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def wake(self) -> None:
        """Let the running or the next `receive` return None, unless bytes come first."""
        self._woken = True
        self._resolve()

    def send(self, data: bytes) -> None:
        """Hand over bytes; they arrive in order."""
        if self._closed or not data:
            return
        self.sent += data
        size = self._split or len(data)
        for start in range(0, len(data), size):
            self._post(bytes(data[start : start + size]))

    @property
    def congested(self) -> bool:
        """Never, but where the connection broke: then `flush` says so."""
        return self._error is not None

    async def flush(self) -> None:
        """The network is never slow."""
        if self._error:
            raise self._error

    async def close(self) -> None:
        """The other end sees the end of the stream."""
        if not self._closed:
            self._closed = True
            self._post(None)

    def abort(self, reason: str = "connection reset by peer") -> None:
        """Both ends break."""
        if not self._closed:
            self._closed = True
            self._post(ConnectionResetError(reason))
            self._resolve()

    def _post(self, what: bytes | ConnectionError | None) -> None:
        if self._other is not None:
            self._other._under_way.append(what)
            asyncio.get_running_loop().call_later(LATENCY, self._other._arrive)

    def _arrive(self) -> None:
        what = self._under_way.popleft()
        if isinstance(what, bytes):
            self._received.append(what)
        elif what is None:
            self._eof = True
        else:
            self._error = what
        self._resolve()

    def _resolve(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Dial(msgspec.Struct, frozen=True):
    """One connection that was tried."""

    address: str
    port: int
    source: str


class SimulatedNetwork:
    """All hosts there are."""

    def __init__(self) -> None:
        self.split = 0  # pieces that bytes are cut into; 0 leaves them whole
        self.dark: set[str] = set()  # addresses that never answer
        self.dials: list[Dial] = []
        self._servers: dict[Endpoint, Serve] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ports = 40_000

    def listen(self, address: str, port: int, serve: Serve) -> None:
        """From now on somebody listens there."""
        self._servers[Endpoint(address, port)] = serve

    def unlisten(self, address: str, port: int) -> None:
        """From now on connections are refused there."""
        self._servers.pop(Endpoint(address, port), None)

    async def connect(self, address: str, port: int, source: str | None = None) -> Stream:
        """A stream to whoever listens there; OSError if nobody does."""
        self.dials.append(Dial(address, port, source or ""))
        if address in self.dark:
            await asyncio.Event().wait()
        await asyncio.sleep(LATENCY)
        serve = self._servers.get(Endpoint(address, port))
        if serve is None:
            raise ConnectionRefusedError(111, "Connection refused")
        return self._dial(Endpoint(address, port), source or "192.0.2.200", serve)

    def _dial(self, server: Endpoint, source: str, serve: Serve) -> MemoryStream:
        self._ports = 40_000 if self._ports >= 60_000 else self._ports + 1
        client = Endpoint(source, self._ports)
        ours = MemoryStream(client, server, self.split)
        theirs = MemoryStream(server, client, self.split)
        ours.join(theirs)
        task = asyncio.get_running_loop().create_task(_serve(serve, theirs))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return ours

    async def close(self) -> None:
        """End every session; raises what a server of the simulation raised."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result


async def _serve(serve: Serve, stream: MemoryStream) -> None:
    try:
        await serve(stream)
    finally:
        await stream.close()
