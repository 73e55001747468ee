"""One request over HTTPS, by our own streams (RFC 9112): small answers, no redirects, no retry.

For files at well-known places whose host a stranger names; so the caller gives the address that it
has looked at, and limits to size. The time limit is the caller's too.
"""

import ssl

import msgspec

from mailstead.model.world import Network, Stream
from mailstead.net.tls import TlsStream

PORT = 443
HEAD_LIMIT = 16 * 1024  # octets of status line and header, and of the framing of chunks
_CRLF = b"\r\n"


class Request(msgspec.Struct, frozen=True):
    """What to ask for; `size_limit` is in octets of the body. With a form it is a POST."""

    host: str
    path: str
    size_limit: int
    port: int = PORT
    accept: str = "text/plain"
    form: bytes = b""  # application/x-www-form-urlencoded
    authorization: str = ""

    def __repr__(self) -> str:
        return f"Request({self.host!r}, {self.path!r})"


class Page(msgspec.Struct, frozen=True):
    """What came: any status, and the body if it was not too long."""

    status: int
    content_type: str
    body: bytes


class HttpError(Exception):
    """The answer is none, or too long; the text says what."""


async def get(network: Network, address: str, request: Request, context: ssl.SSLContext) -> Page:
    """The answer of the host at that address.

    Raises TlsError for its certificate, HttpError for its answer, OSError for its connection.
    """
    stream = await network.connect(address, request.port)
    try:
        secured = TlsStream(stream, context, False, request.host)
        await secured.handshake()
        secured.send(_format(request))
        return await read_page(secured, request.size_limit)
    finally:
        stream.abort()


async def read_page(stream: Stream, size_limit: int) -> Page:
    """The answer that comes on a stream, with at most so many octets of a body."""
    return await _Reader(stream, size_limit).page()


def _format(request: Request) -> bytes:
    host = request.host if request.port == PORT else f"{request.host}:{request.port}"
    lines = [
        f"{'POST' if request.form else 'GET'} {request.path} HTTP/1.1",
        f"Host: {host}",
        "User-Agent: Mailstead",
        f"Accept: {request.accept}",
        "Connection: close",
    ]
    if request.authorization:
        lines.append(f"Authorization: {request.authorization}")
    if request.form:
        lines.append("Content-Type: application/x-www-form-urlencoded")
        lines.append(f"Content-Length: {len(request.form)}")
    head = "".join(f"{line}\r\n" for line in (*lines, ""))
    return head.encode("ascii") + request.form


class _Reader:
    """The octets of an answer, in order."""

    def __init__(self, stream: Stream, size_limit: int) -> None:
        self._stream, self._size_limit = stream, size_limit
        self._have = b""

    async def page(self) -> Page:
        """The whole answer."""
        status, fields = await self._head()
        return Page(status, fields.get("content-type", ""), await self._body(fields))

    async def _head(self) -> tuple[int, dict[str, str]]:
        status_line = await self._line()
        version, _, rest = status_line.partition(" ")
        if version not in ("HTTP/1.1", "HTTP/1.0") or not rest[:3].isdecimal():
            raise HttpError("the answer is not HTTP")
        fields: dict[str, str] = {}
        left = HEAD_LIMIT - len(status_line)
        while line := await self._line():
            name, _, value = line.partition(":")
            fields.setdefault(name.lower(), value.strip(" \t"))
            if (left := left - len(line) - 2) < 0:
                raise HttpError("the header is too long")
        return int(rest[:3]), fields

    async def _body(self, fields: dict[str, str]) -> bytes:
        if fields.get("transfer-encoding", "").lower() == "chunked":
            return await self._chunks()
        if "transfer-encoding" in fields:
            raise HttpError("the transfer coding is not known")
        if (length := fields.get("content-length")) is None:
            return await self._rest()
        if not length.isdecimal() or not length.isascii():
            raise HttpError("the length is no number")
        return await self._take(self._bounded(int(length[:20])))

    async def _chunks(self) -> bytes:
        body = b""
        while size := await self._chunk_size():
            body += await self._take(self._bounded(size, len(body)))
            if await self._line():
                raise HttpError("a chunk is longer than it says")
        return body

    async def _chunk_size(self) -> int:
        text = (await self._line()).partition(";")[0].strip()
        try:
            return int(text[:16], 16)
        except ValueError:
            raise HttpError("a chunk has no size") from None

    async def _rest(self) -> bytes:
        """All until the end; whoever cuts it off can only make it shorter."""
        while self._bounded(len(self._have)) >= 0 and await self._more():
            pass
        return self._have

    def _bounded(self, size: int, before: int = 0) -> int:
        if size < 0 or before + size > self._size_limit:
            raise HttpError(f"the answer is longer than {self._size_limit} octets")
        return size

    async def _line(self) -> str:
        while _CRLF not in self._have:
            if len(self._have) > HEAD_LIMIT:
                raise HttpError("a line is too long")
            if not await self._more():
                raise HttpError("the answer is cut off")
        line, _, self._have = self._have.partition(_CRLF)
        return line.decode("latin-1")

    async def _take(self, size: int) -> bytes:
        while len(self._have) < size:
            if not await self._more():
                raise HttpError("the answer is cut off")
        taken, self._have = self._have[:size], self._have[size:]
        return taken

    async def _more(self) -> bool:
        data = await self._stream.receive()
        self._have += data or b""
        return data != b""
