"""Streams keep their contract, in memory and on sockets, in the clear and inside TLS."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailstead.model.world import Stream
from mailstead.net.stream import SocketNetwork, bind
from mailstead.net.tls import (
    TlsError,
    TlsStream,
    opportunistic_context,
    verifying_context,
)
from mailstead.server.certificates import ca_file, own_context

Server = Callable[[Stream], Awaitable[None]]
NOW = datetime(2026, 11, 21, tzinfo=UTC)


async def talk(server: Server, client: Server) -> None:
    """Run a server on a free port and a client against it."""
    network, sock = SocketNetwork(), bind("127.0.0.1", 0)
    async with asyncio.TaskGroup() as group:
        listener = await network.listen(sock, lambda stream: group.create_task(run(server, stream)))
        stream = await network.connect("127.0.0.1", sock.getsockname()[1])
        try:
            await client(stream)
        finally:
            await stream.close()
            listener.close()


async def run(server: Server, stream: Stream) -> None:
    try:
        await server(stream)
    finally:
        await stream.close()


async def read_all(stream: Stream) -> bytes:
    data = b""
    while piece := await stream.receive():
        data += piece
    return data


async def read_some(stream: Stream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = await stream.receive()
        assert piece
        data += piece
    return data


async def echo(stream: Stream) -> None:
    while data := await stream.receive():
        stream.send(data)
        await stream.flush()
    await stream.close()


async def test_what_is_sent_arrives_in_order() -> None:
    octets = bytes(range(256)) * 20_000  # more than any buffer on the way

    async def client(stream: Stream) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(send(stream))
            assert await read_some(stream, len(octets)) == octets

    async def send(stream: Stream) -> None:
        for start in range(0, len(octets), 100_000):
            stream.send(octets[start : start + 100_000])
            await stream.flush()

    await talk(echo, client)


async def send_much(stream: Stream) -> None:
    async with asyncio.timeout(0.3):
        for _ in range(1000):
            stream.send(bytes(100_000))
            await stream.flush()


async def test_a_sender_that_is_not_read_has_to_wait() -> None:
    reading = asyncio.Event()

    async def server(stream: Stream) -> None:
        await reading.wait()
        with suppress(ConnectionError):  # the client gave up
            await read_all(stream)

    async def client(stream: Stream) -> None:
        with pytest.raises(TimeoutError):
            await send_much(stream)
        reading.set()
        stream.abort()

    await talk(server, client)


async def test_wake_lets_receive_return_none() -> None:
    async def client(stream: Stream) -> None:
        asyncio.get_running_loop().call_later(0.01, stream.wake)
        assert await stream.receive() is None
        stream.wake()  # remembered until the next receive
        assert await stream.receive() is None
        stream.send(b"x")
        assert await stream.receive() == b"x"

    await talk(echo, client)


async def test_the_end_of_the_stream_is_empty_bytes() -> None:
    async def server(stream: Stream) -> None:
        stream.send(b"bye")
        await stream.close()

    async def client(stream: Stream) -> None:
        assert await read_all(stream) == b"bye"
        assert await stream.receive() == b""

    await talk(server, client)


async def test_nobody_listens() -> None:
    sock = bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    sock.close()
    with pytest.raises(OSError, match=r"[Rr]efused|Connect"):
        await SocketNetwork().connect("127.0.0.1", port)


def test_a_port_that_is_taken_is_named() -> None:
    sock = bind("127.0.0.1", 0)
    sock.listen()
    port = sock.getsockname()[1]
    with pytest.raises(OSError, match=f"127.0.0.1:{port}"):
        bind("127.0.0.1", port)
    sock.close()


# ---------------------------------------------------------------------- TLS


def secured(folder: Path, inner: Server) -> Server:
    context = own_context(folder, ["localhost"], datetime.now(UTC))  # noqa: TID251 OpenSSL looks at it

    async def server(stream: Stream) -> None:
        tls = TlsStream(stream, context, server_side=True)
        try:
            await tls.handshake()
        except TlsError:
            stream.abort()
            return
        await inner(tls)

    return server


async def test_tls_carries_big_messages(tmp_path: Path) -> None:
    octets = bytes(range(256)) * 4000

    async def client(stream: Stream) -> None:
        tls = TlsStream(stream, opportunistic_context(), False, "localhost")
        await tls.handshake()
        assert tls.tls.startswith("TLSv1.3 TLS_")
        tls.send(octets)
        assert await read_some(tls, len(octets)) == octets
        tls.wake()
        assert await tls.receive() is None
        await tls.close()

    await talk(secured(tmp_path, echo), client)


@pytest.mark.parametrize(
    ("trust", "name", "error"),
    [
        (True, "localhost", None),
        (True, "mx.example.org", "certificate is not trusted"),
        (False, "localhost", "certificate is not trusted"),
    ],
)
async def test_a_certificate_is_verified(
    tmp_path: Path, trust: bool, name: str, error: str | None
) -> None:
    server = secured(tmp_path, echo)

    async def client(stream: Stream) -> None:
        context = verifying_context(str(ca_file(tmp_path)) if trust else None)
        tls = TlsStream(stream, context, False, name)
        if error is None:
            await tls.handshake()
            return
        with pytest.raises(TlsError, match=error):
            await tls.handshake()

    await talk(server, client)


async def test_clear_text_instead_of_a_handshake_is_a_tls_error(tmp_path: Path) -> None:
    async def server(stream: Stream) -> None:
        stream.send(b"220 this is no TLS\r\n")
        await read_all(stream)

    async def client(stream: Stream) -> None:
        tls = TlsStream(stream, opportunistic_context(), False, "localhost")
        with pytest.raises(TlsError):
            await tls.handshake()

    await talk(server, client)


def test_certificates_of_our_own_are_kept_until_they_are_due(tmp_path: Path) -> None:
    own_context(tmp_path, ["a.example"], NOW)
    first = (tmp_path / "certificate.pem").read_bytes()
    own_context(tmp_path, ["a.example"], NOW)
    assert (tmp_path / "certificate.pem").read_bytes() == first
    own_context(tmp_path, ["a.example", "b.example"], NOW)  # another name
    second = (tmp_path / "certificate.pem").read_bytes()
    assert second != first
    own_context(tmp_path, ["a.example"], NOW.replace(year=2029))  # about to end
    assert (tmp_path / "certificate.pem").read_bytes() != second
    assert (tmp_path / "key.pem").stat().st_mode & 0o077 == 0


def test_tls_below_1_2_is_not_spoken(tmp_path: Path) -> None:
    context = own_context(tmp_path, ["a.example"], NOW)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
