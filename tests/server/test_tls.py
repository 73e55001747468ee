"""Certificates by name, and always the newest."""

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from mailstead.net.stream import SocketNetwork, bind
from mailstead.net.tls import TlsStream, opportunistic_context
from mailstead.server import tls
from mailstead.server.certificates import own_pair
from mailstead.server.tls import Certificates, Pair

NOW = datetime.now(UTC)  # noqa: TID251 OpenSSL looks at the real clock


def make(folder: Path, name: str) -> Pair:
    return own_pair(folder / name, [name, f"*.{name}"], NOW)


async def shown(context: ssl.SSLContext, name: str | None) -> bytes:
    """The certificate that a client gets who asks for the name."""
    network, sock = SocketNetwork(), bind("127.0.0.1", 0)
    async with asyncio.TaskGroup() as group:

        async def serve(stream):  # type: ignore[no-untyped-def]
            secured = TlsStream(stream, context, server_side=True)
            await secured.handshake()
            await secured.receive()
            await secured.close()

        listener = await network.listen(sock, lambda stream: group.create_task(serve(stream)))
        stream = await network.connect("127.0.0.1", sock.getsockname()[1])
        client = TlsStream(stream, opportunistic_context(), False, name)
        await client.handshake()
        certificate = client._object.getpeercert(binary_form=True)
        await client.close()
        listener.close()
    assert certificate
    return certificate


def der(pair: Pair) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    first = x509.load_pem_x509_certificates(pair.certificate.read_bytes())[0]
    return first.public_bytes(Encoding.DER)


@pytest.mark.rfc("6066 section 3")
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("a.example", "a.example"),
        ("B.example", "b.example"),
        ("mail.b.example", "b.example"),  # by its wildcard
        ("c.example", "a.example"),  # nobody's: the first
        (None, "a.example"),
    ],
)
async def test_the_name_decides(tmp_path: Path, asked: str | None, expected: str) -> None:
    pairs = {name: make(tmp_path, name) for name in ("a.example", "b.example")}
    missing = Pair(tmp_path / "none.pem", tmp_path / "none.key")
    certificates = Certificates([missing, *pairs.values()])
    assert await shown(certificates.context, asked) == der(pairs[expected])


async def test_a_renewed_certificate_is_used_at_once(tmp_path: Path) -> None:
    pair = make(tmp_path, "a.example")
    certificates = Certificates([pair])
    old = der(pair)
    assert await shown(certificates.context, "a.example") == old
    pair.certificate.unlink()
    make(tmp_path, "a.example")
    assert der(pair) != old
    certificates._looked -= tls.LOOK_AGAIN
    assert await shown(certificates.context, "a.example") == der(pair)
    new = der(pair)
    pair.certificate.write_text("half a file")  # somebody is writing it
    certificates._looked -= tls.LOOK_AGAIN
    assert await shown(certificates.context, "a.example") == new


def test_no_certificate_at_all(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no certificate"):
        Certificates([Pair(tmp_path / "none.pem", tmp_path / "none.key")])
