"""Sockets as Streams: connections out and in, over one shared read buffer a loop.

A BufferedProtocol with a buffer of its own would cost 256 KiB a connection, a plain Protocol three
times the CPU. Reading pauses while more than a megabyte waits to be taken, so that a fast sender
cannot fill the memory; `flush` waits while the peer is slow to take what we send.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from mailstead.model.world import Endpoint, Stream

READ_BUFFER = 256 * 1024
UNREAD_LIMIT = 1024 * 1024  # octets taken from the socket that nobody has asked for yet
UNSENT_LIMIT = 256 * 1024  # octets given to `send` from which on `flush` waits
CLOSE_TIMEOUT = 5.0  # seconds for the last bytes to leave
BACKLOG = 1024


class SocketStream(asyncio.BufferedProtocol):
    """One TCP connection."""

    __slots__ = (
        "_buffer",
        "_closed",
        "_eof",
        "_error",
        "_flushers",
        "_on_connect",
        "_paused",
        "_received",
        "_transport",
        "_waiter",
        "_woken",
        "local",
        "peer",
    )

    def __init__(
        self, buffer: memoryview, on_connect: "Callable[[SocketStream], None] | None" = None
    ) -> None:
        self._buffer = buffer
        self._on_connect = on_connect
        self._received = b""
        self._waiter: asyncio.Future[None] | None = None
        self._flushers: asyncio.Future[None] | None = None
        self._woken = self._eof = self._paused = self._closed = False
        self._error: ConnectionError | None = None
        self.peer = self.local = Endpoint("", 0)

    @property
    def tls(self) -> str:
        """Nothing: this is a connection in the clear."""
        return ""

    # ------------------------------------------------------------------ from the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop has connected us."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._transport.set_write_buffer_limits(UNSENT_LIMIT)
        self.peer = _endpoint(transport.get_extra_info("peername"))
        self.local = _endpoint(transport.get_extra_info("sockname"))
        if self._on_connect:
            self._on_connect(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the loop puts what comes in next."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """So much has come in."""
        self._received += self._buffer[:nbytes]
        if len(self._received) > UNREAD_LIMIT and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._resolve()

    def eof_received(self) -> bool:
        """The peer sends no more; we still may."""
        self._eof = True
        self._resolve()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if not (self._eof and exc is None):
            self._error = ConnectionResetError(str(exc) if exc else "the connection was closed")
        self._eof = self._closed = True
        self._resolve()
        self._release_flushers()

    def pause_writing(self) -> None:
        """The peer is slow."""
        if self._flushers is None:
            self._flushers = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._release_flushers()

    # ------------------------------------------------------------------ for the house

    async def receive(self) -> bytes | None:
        """What has come in: b"" at the end of the stream, None if `wake` was called."""
        while True:
            if self._received:
                return self._take()
            if self._woken:
                self._woken = False
                return None
            if self._error:
                raise self._error
            if self._eof:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _take(self) -> bytes:
        data, self._received = self._received, b""
        if self._paused:
            self._paused = False
            if not self._closed:
                self._transport.resume_reading()
        return data

    def wake(self) -> None:
        """Let the running or the next `receive` return None, unless bytes come first."""
        self._woken = True
        self._resolve()

    def send(self, data: bytes) -> None:
        """Hand over bytes; they leave in order."""
        if not self._closed:
            self._transport.write(data)

    @property
    def congested(self) -> bool:
        """Whether the peer is slow to take what we send, or gone: then `flush` says so."""
        return self._flushers is not None or self._error is not None

    async def flush(self) -> None:
        """Wait until the peer has taken so much that more may be sent."""
        if self._flushers is not None:
            await asyncio.shield(self._flushers)
        if self._error:
            raise self._error

    async def close(self) -> None:
        """Send what is left, then close."""
        if self._closed:
            return
        self._transport.set_write_buffer_limits(0)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.flush()
        except (TimeoutError, ConnectionError):
            self.abort()
            return
        self._transport.close()

    def abort(self) -> None:
        """Drop the connection and what was not sent."""
        if not self._closed:
            self._transport.abort()

    def _resolve(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _release_flushers(self) -> None:
        flushers, self._flushers = self._flushers, None
        if flushers is not None and not flushers.done():
            flushers.set_result(None)


class SocketNetwork:
    """Connections in and out through the kernel."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(READ_BUFFER))

    async def connect(self, address: str, port: int, source: str | None = None) -> Stream:
        """A stream to an IP address, or to a path on this machine; OSError if nobody answers."""
        loop = asyncio.get_running_loop()
        if address.startswith("/"):
            _, stream = await loop.create_unix_connection(
                lambda: SocketStream(self._buffer), address
            )
            return stream
        local = (source, 0) if source else None
        _, stream = await loop.create_connection(
            lambda: SocketStream(self._buffer), address, port, local_addr=local
        )
        return stream

    async def listen(
        self, sock: socket.socket, accept: Callable[[Stream], None]
    ) -> asyncio.AbstractServer:
        """Call accept(stream) for each connection that comes in on the bound socket."""
        loop = asyncio.get_running_loop()
        return await loop.create_server(
            lambda: SocketStream(self._buffer, accept), sock=sock, backlog=BACKLOG
        )


def bind(address: str, port: int, shared: bool = False) -> socket.socket:
    """A socket to listen on; OSError, with the address in it, if that cannot be had.

    With `shared` others of our processes may bind the same port (SO_REUSEPORT).
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"{Endpoint(address, port)}: {error.strerror}") from error
    sock.setblocking(False)
    return sock


def _endpoint(name: object) -> Endpoint:
    if isinstance(name, tuple) and len(name) >= 2:
        return Endpoint(str(name[0]).removeprefix("::ffff:"), int(name[1]))
    return Endpoint("", 0)
