"""Certificates by name, and always the newest."""

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mailstead.net.stream import SocketNetwork, bind
from mailstead.net.tls import TlsError, TlsStream, certificate_of, opportunistic_context
from mailstead.server import tls
from mailstead.server.certificates import own_pair
from mailstead.server.tls import Certificates, Pair
from mailstead.testing.certificates import Authority, Issued

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


# ---------------------------------------------------------------------- clients with certificates


CA = Authority()


async def dialogue(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes | str:
    """The certificate that the server knows its client by, or why they do not talk."""
    network, sock = SocketNetwork(), bind("127.0.0.1", 0)
    known: list[bytes] = []
    async with asyncio.TaskGroup() as group:

        async def serve(stream):  # type: ignore[no-untyped-def]
            secured = TlsStream(stream, server, server_side=True)
            try:
                await secured.handshake()
                known.append(certificate_of(secured))
                secured.send(b"hello")
                await secured.receive()
            except TlsError:
                return
            finally:
                await secured.close()

        listener = await network.listen(sock, lambda stream: group.create_task(serve(stream)))
        stream = await network.connect("127.0.0.1", sock.getsockname()[1])
        secured = TlsStream(stream, client, False, None)
        try:
            await secured.handshake()
            await secured.receive()
        except (TlsError, ConnectionError) as error:
            return str(error)
        finally:
            await secured.close()
            listener.close()
    return known[0]


def client_with(issued: Issued | None, folder: Path) -> ssl.SSLContext:
    """A client that shows this certificate when it is asked for one."""
    context = opportunistic_context()
    if issued is not None:
        path = folder / "client.pem"
        path.write_bytes(issued.pem())
        context.load_cert_chain(path)
    return context


@pytest.mark.loopback
@pytest.mark.rfc("4422 appendix A")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_certificates_of_clients(tmp_path: Path, version: ssl.TLSVersion) -> None:
    alone = Authority("Her own").issue("alice")
    believed = tmp_path / "ca.pem"
    believed.write_bytes(CA.pem + alone.certificate.public_bytes(Encoding.PEM))
    certificates = Certificates([make(tmp_path, "a.example")], ca_file=str(believed))
    certificates.asking.maximum_version = version
    alice = CA.issue("alice")
    for issued, expected in ((None, b""), (alice, alice.chain[0]), (alone, alone.chain[0])):
        assert await dialogue(certificates.asking, client_with(issued, tmp_path)) == expected
    stranger = client_with(Authority("Other").issue("alice"), tmp_path)
    assert isinstance(await dialogue(certificates.asking, stranger), str)
    assert await dialogue(certificates.context, stranger) == b""  # on port 25 nobody is asked
    nobody = Certificates([make(tmp_path, "a.example")])
    assert await dialogue(nobody.asking, client_with(alice, tmp_path)) == b""
