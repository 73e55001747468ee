"""One GET: answers of all kinds, good and bad."""

import asyncio
import ssl

import pytest

from mailstead.model.world import Stream
from mailstead.net import https
from mailstead.net.https import HttpError, Page, Request
from mailstead.net.tls import TlsError, TlsStream
from mailstead.testing.certificates import Authority
from mailstead.testing.clock import simulate
from mailstead.testing.network import SimulatedNetwork

HOST, ADDRESS = "mta-sts.example.net", "192.0.2.80"
CA = Authority()
RIGHT = CA.issue(HOST).context()
ASK = Request(HOST, "/.well-known/mta-sts.txt", 100)


def ask(answer: bytes, server: ssl.SSLContext = RIGHT, split: int = 0) -> tuple[object, bytes]:
    """What becomes of the answer, and what was asked."""
    asked: list[bytes] = []

    async def serve(stream: Stream) -> None:
        secured = TlsStream(stream, server, server_side=True)
        await secured.handshake()
        asked.append(await secured.receive() or b"")
        secured.send(answer)
        await secured.close()

    async def story() -> object:
        network = SimulatedNetwork()
        network.split = split
        network.listen(ADDRESS, 443, serve)
        try:
            async with asyncio.timeout(60):
                return await https.get(network, ADDRESS, ASK, CA.trusting())
        except (HttpError, TlsError) as error:
            return error

    found: list[object] = []

    async def whole() -> None:
        found.append(await story())

    simulate(whole)
    return found[0], b"".join(asked)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


def good(body: bytes) -> Page:
    return Page(200, "text/plain", body)


@pytest.mark.rfc("9112 section 6.3")
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (HEAD + b"Content-Length: 5\r\n\r\nhello", good(b"hello")),
        (HEAD + b"Content-Length: 5\r\n\r\nhello and more", good(b"hello")),
        (HEAD + b"content-length:0\r\n\r\n", good(b"")),
        (HEAD + b"\r\nuntil the end", good(b"until the end")),
        (
            HEAD
            + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
            good(b"hello0123456789"),
        ),
        (HEAD + b"Content-Length: 100\r\n\r\n" + b"x" * 100, good(b"x" * 100)),
        (b"HTTP/1.0 200 OK\r\n\r\nold", Page(200, "", b"old")),
        (b"HTTP/1.1 301 Moved\r\nLocation: https://x/\r\n\r\n", Page(301, "", b"")),
    ],
)
@pytest.mark.parametrize("split", [0, 1])
def test_answers(answer: bytes, expected: Page, split: int) -> None:
    found, asked = ask(answer, split=split)
    assert found == expected
    assert asked.startswith(
        b"GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.example.net\r\n"
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "the answer is cut off"),
        (b"220 mx.example ESMTP\r\n", "the answer is not HTTP"),
        (HEAD + b"Content-Length: 5\r\n\r\nhell", "the answer is cut off"),
        (HEAD + b"Content-Length: 101\r\n\r\n", "the answer is longer than 100 octets"),
        (HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", "the answer is longer"),
        (HEAD + b"Content-Length: -1\r\n\r\n", "the length is no number"),
        (HEAD + b"\r\n" + b"x" * 101, "the answer is longer than 100 octets"),
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", "the transfer coding is not known"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n65\r\n", "the answer is longer"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n", "the answer is longer"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nhello\r\n", "a chunk has no size"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nhello\r\n", "a chunk is longer"),
        (b"x" * 20_000, "a line is too long"),
        (HEAD + b"X: y\r\n" * 5_000, "the header is too long"),
    ],
)
def test_no_answers(answer: bytes, reason: str) -> None:
    found, _ = ask(answer)
    assert isinstance(found, HttpError)
    assert reason in str(found)


@pytest.mark.parametrize("issuer", [CA, Authority("Other")])
def test_wrong_certificates(issuer: Authority) -> None:
    names = ["www.example.net"] if issuer is CA else [HOST]
    found, asked = ask(HEAD, issuer.issue(*names).context())
    assert isinstance(found, TlsError)
    assert asked == b""
