"""The operator's address against every kind of client."""

import asyncio

import pytest

from mailstead.model.world import Endpoint
from mailstead.server import operator
from mailstead.server.operator import Answer, Health, Request, format_health, parse_head, serve

GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


class Client:
    """A Stream whose peer sends these pieces, then ends, or says no more."""

    tls = ""
    peer = local = Endpoint("127.0.0.1", 1)

    def __init__(self, *pieces: bytes | None) -> None:
        self.pieces, self.sent = list(pieces), b""

    async def receive(self) -> bytes | None:
        if not self.pieces:
            return b""
        if (piece := self.pieces.pop(0)) is None:
            await asyncio.Event().wait()
        return piece

    def send(self, data: bytes) -> None:
        self.sent += data

    def wake(self) -> None:
        """Nobody wakes it."""

    async def flush(self) -> None:
        """All is sent."""

    async def close(self) -> None:
        """All is sent."""

    def abort(self) -> None:
        """All is sent."""


async def echo(request: Request) -> Answer:
    return Answer(200, f"page {request.target}")


def talk(*pieces: bytes | None) -> bytes:
    client = Client(*pieces)
    asyncio.run(serve(client, echo))
    return client.sent


@pytest.mark.rfc("9112 section 3")
@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ((GET,), 200),
        (tuple(GET[n : n + 1] for n in range(len(GET))), 200),
        ((b"GET / HTTP/1.0\r\n\r\n",), 200),
        ((GET + b"GET /second HTTP/1.1\r\n\r\n",), 200),  # the rest is not looked at
        ((b"POST /metrics HTTP/1.1\r\n\r\n",), 405),
        ((b"HEAD /metrics HTTP/1.1\r\n\r\n",), 405),
        ((b"CONNECT x:25 HTTP/1.1\r\n\r\n",), 400),
        ((b"GET http://x/metrics HTTP/1.1\r\n\r\n",), 400),
        ((b"GET /metrics HTTP/2.0\r\n\r\n",), 400),
        ((b"GET /metrics\r\n\r\n",), 400),  # HTTP/0.9
        ((b"GET  /metrics HTTP/1.1\r\n\r\n",), 400),
        ((b"GET /a b HTTP/1.1\r\n\r\n",), 400),
        ((b"GET /\xff\x00 HTTP/1.1\r\n\r\n",), 400),
        ((b"get / HTTP/1.1\r\n\r\n",), 400),
        ((b"\r\n\r\n",), 400),
        ((b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",), 400),  # TLS
        ((b"EHLO x\r\n", b""), 400),
        ((b"GET / HTTP/1.1\n\n", b""), 400),
        ((b"GET / HTTP/1.1\r\nHost: x\r\n", b""), 400),
        ((b"",), 400),
        ((b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",), 431),
        ((b"GET / HTTP/1.1\r\n", *[b"X: " + b"y" * 1000 + b"\r\n"] * 9, b"\r\n"), 431),
        ((b"A" * 1_000_000,), 431),
    ],
)
def test_requests(pieces: tuple[bytes, ...], status: int) -> None:
    sent = talk(*pieces)
    assert sent.startswith(b"HTTP/1.1 %d " % status)
    head, _, body = sent.partition(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % len(body) in head
    assert b"\r\nConnection: close" in head
    assert (b"Allow: GET" in head) == (status == 405)


def test_who_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator, "TIME_LIMIT", 0.01)
    assert talk(b"GET / HT", None).startswith(b"HTTP/1.1 408 ")


def test_health_in_words_and_in_json() -> None:
    assert format_health(Health(True, "ok", 2), False) == Answer(200, "ok\n")
    bad = format_health(Health(False, "the disk is gone", 2), True)
    assert bad.status == 503
    assert bad.text == '{"ok":false,"reason":"the disk is gone","workers":2}\n'


@pytest.mark.rfc("9112 section 3")
@pytest.mark.parametrize(
    ("fields", "host"),
    [
        (b"Host: mta-sts.Example.ORG\r\n", "mta-sts.example.org"),
        (b"A: b\r\nhost:x.example:8443 \r\n", "x.example"),
        (b"Host: \r\n", ""),
        (b"Host: a b\r\n", ""),
        (b"X-Host: x\r\n", ""),
        (b"", ""),
    ],
)
def test_the_host(fields: bytes, host: str) -> None:
    head = b"GET /a HTTP/1.1\r\n" + fields + b"\r\n"
    assert parse_head(head) == Request("/a", host)
