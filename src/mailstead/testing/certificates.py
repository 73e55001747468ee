"""Certificates for tests: authorities, what they issue, and TLS contexts made of both.

Valid from 1970 to 2200 unless said otherwise, so that simulated time does not matter.
"""

import ssl
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from mailstead.net.tls import server_context, verifying_context

ALWAYS = (datetime(1970, 1, 2, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))


class Issued(msgspec.Struct, frozen=True):
    """A certificate, its key, and the certificates above it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    above: tuple[x509.Certificate, ...] = ()

    @property
    def chain(self) -> list[bytes]:
        """All of them as DER, the lowest first."""
        return [one.public_bytes(Encoding.DER) for one in (self.certificate, *self.above)]

    @property
    def spki(self) -> bytes:
        """The public key, as TLSA records with selector 1 have it."""
        return self.certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )

    def pem(self, above: bool = True) -> bytes:
        """Certificates and key in one file."""
        certificates = (self.certificate, *(self.above if above else ()))
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return b"".join(one.public_bytes(Encoding.PEM) for one in certificates) + key

    def context(self) -> ssl.SSLContext:
        """For a server that shows the whole chain."""
        context = server_context()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "pair.pem"
            file.write_bytes(self.pem())
            context.load_cert_chain(file)
        return context


class Authority:
    """Issues certificates; its own is from the authority `above`, or from itself."""

    def __init__(
        self,
        name: str = "Test CA",
        above: "Authority | None" = None,
        extensions: Sequence[x509.ExtensionType] = (),
        ca: bool = True,
        path_length: int | None = None,
    ) -> None:
        basic = x509.BasicConstraints(ca, path_length if ca else None)
        self.issued = _issue(_named(name), above, (basic, *extensions), ALWAYS)

    def issue(
        self,
        *names: str,
        extensions: Sequence[x509.ExtensionType] = (),
        valid: tuple[datetime, datetime] = ALWAYS,
    ) -> Issued:
        """A certificate for these DNS names."""
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        every = (alternatives, *extensions) if names else extensions
        return _issue(_named(names[0] if names else "nobody"), self, every, valid)

    @property
    def pem(self) -> bytes:
        """The authority's certificate."""
        return self.issued.certificate.public_bytes(Encoding.PEM)

    def trusting(self) -> ssl.SSLContext:
        """For a client that trusts this authority too."""
        context = verifying_context()
        context.load_verify_locations(cadata=self.pem.decode())
        return context


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _issue(
    subject: x509.Name,
    above: Authority | None,
    extensions: Sequence[x509.ExtensionType],
    valid: tuple[datetime, datetime],
) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above.issued.certificate.subject if above else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
    )
    for extension in extensions:
        critical = not isinstance(extension, x509.SubjectAlternativeName)
        builder = builder.add_extension(extension, critical)
    certificate = builder.sign(above.issued.key if above else key, hashes.SHA256())
    higher = (above.issued.certificate, *above.issued.above) if above else ()
    return Issued(certificate, key, higher)
