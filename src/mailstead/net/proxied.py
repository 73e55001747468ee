"""Connections that come through a proxy: who the client is stands in a header before all else.

Holds: the header is required of a listed proxy, and from nobody else is it believed. TLS comes
after it.
"""

import asyncio
from datetime import timedelta

from mailstead.model.world import Endpoint, Stream
from mailstead.protocol.proxy import Incomplete, NotProxied, parse

HEADER_TIMEOUT = timedelta(seconds=10)


class NoHeader(ConnectionError):
    """The proxy did not say for whom it speaks."""


async def read_header(stream: Stream) -> Stream:
    """The client's stream inside the proxy's; NoHeader if the proxy names nobody in time."""
    data = b""
    try:
        async with asyncio.timeout(HEADER_TIMEOUT.total_seconds()):
            while isinstance(found := parse(data), Incomplete):
                piece = await stream.receive()
                if piece == b"":
                    raise NoHeader("the connection ended before the PROXY header")
                data += piece or b""
    except TimeoutError as error:
        raise NoHeader("the PROXY header did not come in time") from error
    if isinstance(found, NotProxied):
        raise NoHeader(found.reason)
    return ProxiedStream(stream, found.client or stream.peer, data[found.size :])


class ProxiedStream:
    """A Stream whose peer is the client behind the proxy."""

    __slots__ = ("_stream", "_unread", "peer")

    def __init__(self, stream: Stream, peer: Endpoint, unread: bytes) -> None:
        self._stream, self.peer, self._unread = stream, peer, unread

    @property
    def local(self) -> Endpoint:
        """Our end."""
        return self._stream.local

    @property
    def tls(self) -> str:
        """What the stream inside says."""
        return self._stream.tls

    async def receive(self) -> bytes | None:
        """What came with the header, then what comes in."""
        if self._unread:
            data, self._unread = self._unread, b""
            return data
        return await self._stream.receive()

    def wake(self) -> None:
        """Let `receive` return None."""
        self._stream.wake()

    def send(self, data: bytes) -> None:
        """Hand over bytes."""
        self._stream.send(data)

    @property
    def congested(self) -> bool:
        """Whether the peer is slow."""
        return self._stream.congested

    async def flush(self) -> None:
        """Wait for a slow peer."""
        await self._stream.flush()

    async def close(self) -> None:
        """Send what is left, then close."""
        await self._stream.close()

    def abort(self) -> None:
        """Drop the connection."""
        self._stream.abort()
