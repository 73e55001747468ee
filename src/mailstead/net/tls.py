"""TLS over any Stream, by memory BIOs (RFC 8446): the same code on sockets and in tests.

One layer for both loops: asyncio's own keeps 256 KiB a connection. The certificate is chosen by
the context's sni_callback. Over TLS a stream that ends without close_notify ends like one with:
SMTP and IMAP say in their own words when they are done.
"""

import ssl
from contextlib import suppress

from mailstead.model.world import Endpoint, Stream

READ_SIZE = 64 * 1024
_ENCODING_DER = 2  # OpenSSL's X509_FILETYPE_ASN1
RECORD_LIMIT = 16 * 1024  # so much is handed to the TLS layer at once; more only grows its buffers


class TlsError(ConnectionError):
    """The handshake or a record went wrong; the text says what."""


class TlsStream:
    """A Stream inside a Stream."""

    __slots__ = ("_incoming", "_object", "_outgoing", "_stream")

    def __init__(
        self,
        stream: Stream,
        context: ssl.SSLContext,
        server_side: bool,
        server_hostname: str | None = None,
    ) -> None:
        self._stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side, server_hostname
        )

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
        """Version and cipher."""
        cipher = self._object.cipher()
        return f"{self._object.version()} {cipher[0] if cipher else ''}".strip()

    @property
    def server_name(self) -> str:
        """The name that the client asked for, or that we asked for (RFC 6066 section 3)."""
        return self._object.server_hostname or ""

    def peer_chain(self) -> list[bytes]:
        """The certificates that the peer showed, as DER, its own first; nobody has checked them."""
        return _chain(self._object)

    def peer_certificate(self) -> bytes:
        """The peer's own, as DER, if it has shown one and it was verified; else empty."""
        return self._object.getpeercert(binary_form=True) or b""

    async def handshake(self) -> None:
        """Agree on keys; TlsError if that fails. The caller sets the time limit."""
        while True:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                await self._exchange()
            except ssl.SSLError as error:
                self._push()  # the alert that tells the peer why
                raise TlsError(_reason(error)) from error
            except ssl.CertificateError as error:
                raise TlsError(str(error)) from error
            else:
                self._push()
                return

    async def _exchange(self) -> None:
        """Send what is to be sent, wait for more to come in."""
        self._push()
        data = await self._stream.receive()
        if data == b"":
            self._incoming.write_eof()
        elif data is not None:
            self._incoming.write(data)

    async def receive(self) -> bytes | None:
        """What has come in, in the clear."""
        while True:
            data = self._read()
            if data is not None:
                return data
            self._push()
            raw = await self._stream.receive()
            if raw is None:
                return None
            if raw:
                self._incoming.write(raw)
            else:
                self._incoming.write_eof()

    def _read(self) -> bytes | None:
        """All that can be read now; b"" at the end, None if more has to come in first."""
        pieces = []
        try:
            while piece := self._object.read(READ_SIZE):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            return b"".join(pieces) if pieces else None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b"".join(pieces)
        except ssl.SSLError as error:
            raise TlsError(_reason(error)) from error
        return b"".join(pieces)

    def wake(self) -> None:
        """Let `receive` return None."""
        self._stream.wake()

    def send(self, data: bytes) -> None:
        """Encrypt and hand over."""
        try:
            if len(data) <= RECORD_LIMIT:
                self._object.write(data)
            else:
                view = memoryview(data)
                for start in range(0, len(data), RECORD_LIMIT):
                    self._object.write(view[start : start + RECORD_LIMIT])
        except ssl.SSLError:
            return  # the connection is over; the reader is told
        self._push()

    @property
    def congested(self) -> bool:
        """Whether the peer is slow."""
        return self._stream.congested

    async def flush(self) -> None:
        """Wait until the peer has caught up."""
        await self._stream.flush()

    async def close(self) -> None:
        """Say goodbye, then close."""
        with suppress(ssl.SSLError, ValueError):  # the peer's goodbye has not come; ours leaves
            self._object.unwrap()
        self._push()
        await self._stream.close()

    def abort(self) -> None:
        """Drop the connection."""
        self._stream.abort()

    def _push(self) -> None:
        if self._outgoing.pending:
            self._stream.send(self._outgoing.read())


def certificate_of(stream: Stream) -> bytes:
    """The verified certificate that the other end has shown in TLS, as DER; else empty."""
    return stream.peer_certificate() if isinstance(stream, TlsStream) else b""


def _chain(connection: ssl.SSLObject) -> list[bytes]:
    """Before Python 3.13 only the object beneath knows more than the first certificate."""
    public = getattr(connection, "get_unverified_chain", None)
    if public is not None:
        return list(public() or ())
    found = connection._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
    return [one.public_bytes(_ENCODING_DER) for one in found or ()]


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    return (error.reason or str(error)).replace("_", " ").lower()


def server_context() -> ssl.SSLContext:
    """TLS 1.2 and later, server side, no certificate yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_SINGLE_ECDH_USE
    return context


def opportunistic_context() -> ssl.SSLContext:
    """Client side, any certificate: better than clear text (RFC 7435)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def verifying_context(ca_file: str | None = None) -> ssl.SSLContext:
    """Client side, the certificate has to be valid for the name (RFC 9525).

    The CAs of the file are believed beside the system's.
    """
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context
