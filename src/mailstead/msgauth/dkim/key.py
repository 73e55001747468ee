"""A key to sign with, and the DNS record in which the world finds its public half.

RSA with 2048 bits or more (RFC 8301 section 3.2) or Ed25519 (RFC 8463). A key is read from its PEM
form once and then remembered.
"""

import base64
import functools

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from mailstead.model.address import Domain

STRING_LIMIT = 255  # octets of one string of a TXT record (RFC 1035 section 3.3)
REMEMBERED = 1024  # keys in memory, some KiB each

PrivateKey = RSAPrivateKey | Ed25519PrivateKey


class SigningKey(msgspec.Struct, frozen=True):
    """Which domain signs (d=), by which name the key is found (s=), and the key itself."""

    domain: Domain
    selector: str
    pem: bytes

    @property
    def name(self) -> str:
        """Where the record stands in the DNS (RFC 6376 section 3.6.2.1)."""
        return f"{self.selector}._domainkey.{self.domain}"

    @property
    def record(self) -> str:
        """The text of the record (RFC 6376 section 3.6.1)."""
        key = load(self.pem)
        kind = "rsa" if isinstance(key, RSAPrivateKey) else "ed25519"
        return f"v=DKIM1; k={kind}; p={base64.b64encode(_public(key)).decode()}"


@functools.lru_cache(maxsize=REMEMBERED)
def load(pem: bytes) -> PrivateKey:
    """The key that the PEM text holds; ValueError if it holds none to sign with."""
    key = load_pem_private_key(pem, None)
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise ValueError("DKIM knows RSA and Ed25519 keys only")
    return key


def _public(key: PrivateKey) -> bytes:
    if isinstance(key, RSAPrivateKey):
        return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)  # RFC 8463 section 4.2


def txt_strings(text: str) -> list[str]:
    """The text in pieces that a TXT record can hold; the reader joins them (RFC 6376 3.6.2.2)."""
    return [text[at : at + STRING_LIMIT] for at in range(0, len(text), STRING_LIMIT)]
