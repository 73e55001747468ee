"""One POST over HTTP or HTTPS, by our own streams (RFC 9112), to a program that the operator named.

No redirects, no second try. The time limit is the caller's; for what strangers name see https.
"""

import contextlib
import ssl
from collections.abc import Iterable
from urllib.parse import urlsplit

import msgspec

from mailstead.model.world import Network, Stream
from mailstead.net.https import HttpError, Page, read_page
from mailstead.net.tls import TlsStream


class Url(msgspec.Struct, frozen=True):
    """Where a program listens."""

    host: str
    port: int
    path: str
    tls: bool


class Post(msgspec.Struct, frozen=True):
    """What is sent; `size` is that of all pieces together."""

    fields: tuple[tuple[str, str], ...]
    size: int
    answer_limit: int  # octets of the answer


def parse_url(text: str) -> Url:
    """The parts of an address of a program; ValueError if it is none of http or https."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ValueError(f"{text!r} is no address like http://127.0.0.1:11333/checkv2")
    tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Url(parts.hostname, parts.port or (443 if tls else 80), path, tls)


async def post(
    network: Network,
    address: str,
    url: Url,
    what: Post,
    pieces: Iterable[bytes],
    context: ssl.SSLContext | None = None,
) -> Page:
    """The answer of the program at that address; HttpError, TlsError or OSError if none comes."""
    stream = await network.connect(address, url.port)
    try:
        if url.tls:
            secured = TlsStream(stream, context or ssl.create_default_context(), False, url.host)
            await secured.handshake()
            stream = secured
        with contextlib.suppress(ConnectionError):  # an answer may come before all is sent
            await _send(stream, _head(url, what), pieces)
        return await read_page(stream, what.answer_limit)
    finally:
        stream.abort()


async def _send(stream: Stream, head: bytes, pieces: Iterable[bytes]) -> None:
    stream.send(head)
    for piece in pieces:
        stream.send(piece)
        if stream.congested:
            await stream.flush()


def _head(url: Url, what: Post) -> bytes:
    host = f"[{url.host}]" if ":" in url.host else url.host
    lines = [
        f"POST {url.path} HTTP/1.1",
        f"Host: {host}:{url.port}",
        "User-Agent: Mailstead",
        "Connection: close",
        f"Content-Length: {what.size}",
        *(f"{name}: {_clean(value)}" for name, value in what.fields),
    ]
    head = "".join(f"{line}\r\n" for line in (*lines, ""))
    try:
        return head.encode("utf-8")
    except UnicodeEncodeError as error:
        raise HttpError("a header field cannot be written") from error


def _clean(value: str) -> str:
    """Nobody smuggles a field in."""
    return "".join(" " if ord(letter) < 32 or ord(letter) == 127 else letter for letter in value)
