"""Certificates: those the configuration names, or a CA and a certificate of our own making.

Our own CA is for the developer's machine (`localserve`) and the first minutes of a new server:
other mail servers encrypt to it, mail programs warn about it.
"""

import fcntl
import ipaddress
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mailstead.net.tls import server_context
from mailstead.server.tls import Pair, names_of, write_private

CA_LIFETIME = timedelta(days=3650)
LIFETIME = timedelta(days=825)  # what Apple's clients accept at most
RENEW_BEFORE = timedelta(days=30)


def context_from_files(certificate: Path | str, key: Path | str) -> ssl.SSLContext:
    """The server's side of TLS; OSError or ssl.SSLError if the files cannot be used."""
    context = server_context()
    context.load_cert_chain(certificate, key)
    return context


def own_context(folder: Path, names: list[str], now: datetime) -> ssl.SSLContext:
    """TLS with a certificate of our own CA, made if it is not there or about to end."""
    pair = own_pair(folder, names, now)
    return context_from_files(pair.certificate, pair.key)


def own_pair(folder: Path, names: list[str], now: datetime) -> Pair:
    """The files of a certificate of our own CA, made if they are not there or about to end."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    with _alone(folder):  # workers that start together make one
        if not _fresh(certificate, names, now):
            ca_key, ca = _own_ca(folder, now)
            new_key = ec.generate_private_key(ec.SECP256R1())
            new = _issue(names, new_key, ca, ca_key, now)
            write_private(key, _pem_key(new_key))
            write_private(certificate, _pem(new) + _pem(ca))
    return Pair(certificate, key)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def ca_file(folder: Path) -> Path:
    """The CA's certificate, for clients that want to trust it."""
    return folder / "ca.pem"


def _fresh(certificate: Path, names: list[str], now: datetime) -> bool:
    try:
        have = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError):
        return False
    return set(names) <= set(names_of(have)) and have.not_valid_after_utc > now + RENEW_BEFORE


def _own_ca(folder: Path, now: datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key_path, path = folder / "ca-key.pem", ca_file(folder)
    try:
        key = serialization.load_pem_private_key(key_path.read_bytes(), None)
        ca = x509.load_pem_x509_certificate(path.read_bytes())
        if isinstance(key, ec.EllipticCurvePrivateKey) and ca.not_valid_after_utc > now + LIFETIME:
            return key, ca
    except (OSError, ValueError):
        pass
    key = ec.generate_private_key(ec.SECP256R1())
    ca = _sign_ca(key, now)
    write_private(key_path, _pem_key(key))
    write_private(path, _pem(ca))
    return key, ca


def _sign_ca(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Mailstead on this machine")])
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )


def _issue(
    names: list[str],
    key: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> x509.Certificate:
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(authority, critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
