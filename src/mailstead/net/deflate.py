"""Compression over any Stream: raw DEFLATE both ways (RFC 4978, RFC 1951).

What comes in is taken out piece by piece, so that a bomb fills no memory: nobody has to take more
at once than READ_SIZE. Each `send` leaves whole: the peer never waits for what is still gathered.
"""

import zlib

from mailstead.model.world import Endpoint, Stream

READ_SIZE = 64 * 1024
LEVEL = 6
_OUT_WINDOW, _OUT_MEMORY = -13, 6  # 64 KiB for each connection; the default would take 256
_IN_WINDOW = -15  # what a client may use


class DeflateStream:
    """A Stream inside a Stream."""

    __slots__ = ("_deflate", "_inflate", "_stream")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, _OUT_WINDOW, _OUT_MEMORY)
        self._inflate = zlib.decompressobj(_IN_WINDOW)

    @property
    def peer(self) -> Endpoint:
        """The other end."""
        return self._stream.peer

    @property
    def local(self) -> Endpoint:
        """Our end."""
        return self._stream.local

    @property
    def tls(self) -> str:
        """Version and cipher of the TLS that this is in."""
        return self._stream.tls

    async def receive(self) -> bytes | None:
        """What has come in, READ_SIZE octets at most; ConnectionError for what is no DEFLATE."""
        while True:
            if self._inflate.unconsumed_tail:
                raw: bytes | None = self._inflate.unconsumed_tail
            else:
                raw = await self._stream.receive()
            if not raw:
                return raw
            if data := self._take_out(raw):
                return data
            if self._inflate.eof:
                return b""

    def _take_out(self, raw: bytes) -> bytes:
        try:
            return self._inflate.decompress(raw, READ_SIZE)
        except zlib.error as error:
            raise ConnectionAbortedError(f"what came is no DEFLATE: {error}") from error

    def wake(self) -> None:
        """Let `receive` return None."""
        self._stream.wake()

    def send(self, data: bytes) -> None:
        """Compress and hand over."""
        self._stream.send(self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH))

    @property
    def congested(self) -> bool:
        """Whether the peer is slow."""
        return self._stream.congested

    async def flush(self) -> None:
        """Wait until the peer has caught up."""
        await self._stream.flush()

    async def close(self) -> None:
        """End the compressed data, then close."""
        self._stream.send(self._deflate.flush(zlib.Z_FINISH))
        await self._stream.close()

    def abort(self) -> None:
        """Drop the connection."""
        self._stream.abort()
