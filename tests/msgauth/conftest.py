"""A key that is made once: RSA keys take a tenth of a second."""

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from mailstead.model.address import Domain
from mailstead.msgauth.dkim.key import SigningKey


@pytest.fixture(scope="session")
def key() -> SigningKey:
    """The key `m1` of example.org."""
    made = rsa.generate_private_key(65537, 2048)
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return SigningKey(Domain("example.org"), "m1", pem)
