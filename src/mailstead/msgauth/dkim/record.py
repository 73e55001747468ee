"""The key record of a signer, and whether a signature was made with its key (RFC 6376 section 3.6).

RSA as RFC 8301 wants it, Ed25519 as RFC 8463 has it. A record is read once and then remembered.
"""

import functools

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from mailstead.model.dns import Answer
from mailstead.msgauth.dkim.failure import Cause, Failure
from mailstead.msgauth.dkim.tags import parse_base64, parse_list, parse_tags

RECORDS_LIMIT = 5  # of one name that are tried; there should be one (RFC 6376 section 3.6.2.2)
RECORD_LIMIT = 4096  # characters; a key of 8192 bits has 1,400
REMEMBERED = 1024  # records in memory
BITS_LEAST = 1024  # of an RSA key that counts (RFC 8301 section 3.2)
BITS_WANTED = 2048  # of an RSA key that nobody needs to hear of
BITS_LIMIT = 8192  # more than that costs milliseconds
EXPONENT_BITS_LIMIT = 64  # the same

_PADDING, _HASHED = PKCS1v15(), Prehashed(SHA256())


class PublicKey(msgspec.Struct, frozen=True):
    """What a key record says."""

    key: RSAPublicKey | Ed25519PublicKey
    hashes: tuple[str, ...]  # h=; none is any
    services: tuple[str, ...]  # s=
    testing: bool  # t=y: the domain is trying DKIM out
    strict: bool  # t=s: i= has to be of the very domain

    @property
    def kind(self) -> str:
        """As a= names it."""
        return "rsa" if isinstance(self.key, RSAPublicKey) else "ed25519"

    @property
    def bits(self) -> int:
        """Its size."""
        return self.key.key_size if isinstance(self.key, RSAPublicKey) else 256


def check_value(hashed: bytes, value: bytes, algorithm: str, answer: Answer) -> PublicKey | Failure:
    """The key that made this value of b= for this hash, or why there is none (section 6.1.2)."""
    if answer.failed:
        return Failure(Cause.DNS, f"the DNS does not tell the key now ({answer.status})")
    if not answer.records:
        return Failure(Cause.NO_KEY, "the DNS has no key of this name")
    failures = []
    for text in answer.records[:RECORDS_LIMIT]:
        key = parse_record(text) if len(text) <= RECORD_LIMIT else _TOO_LONG
        found = _check(key, hashed, value, algorithm) if isinstance(key, PublicKey) else key
        if isinstance(found, PublicKey):
            return found
        failures.append(found)
    return min(failures, key=lambda one: one.cause is Cause.RECORD)  # some other text, perhaps


_TOO_LONG = Failure(Cause.RECORD, f"the key record is longer than {RECORD_LIMIT} characters")


@functools.lru_cache(maxsize=REMEMBERED)
def parse_record(text: str) -> PublicKey | Failure:
    """The key in the text of a TXT record (RFC 6376 section 3.6.1)."""
    try:
        tags = parse_tags(text.encode("utf-8", "replace"))
        if tags.get("v", "DKIM1") != "DKIM1" or ("v" in tags and next(iter(tags)) != "v"):
            raise ValueError("it does not begin with v=DKIM1")
        if "p" not in tags:
            raise ValueError("p= is missing")
        if not tags["p"]:
            return Failure(Cause.REVOKED, "the key was revoked by its owner: p= is empty")
        flags = parse_list(tags.get("t", ""))
        return PublicKey(
            key=_load(tags.get("k", "rsa"), parse_base64(tags["p"], "p")),
            hashes=tuple(parse_list(tags["h"])) if "h" in tags else (),
            services=tuple(parse_list(tags.get("s", "*"))),
            testing="y" in flags,
            strict="s" in flags,
        )
    except ValueError as error:
        return Failure(Cause.RECORD, f"the key record cannot be used: {error}")


def _load(kind: str, data: bytes) -> RSAPublicKey | Ed25519PublicKey:
    """The key; RFC 6376 writes RSA keys as PKCS #1, and everybody as SubjectPublicKeyInfo."""
    if kind == "ed25519":
        return Ed25519PublicKey.from_public_bytes(data)
    if kind != "rsa":
        raise ValueError(f"keys of the kind k={kind[:20]} are unknown")
    try:
        key = load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("p= is no key") from None
    if not isinstance(key, RSAPublicKey):
        raise ValueError("p= is no RSA key")
    if key.key_size > BITS_LIMIT or key.public_numbers().e.bit_length() > EXPONENT_BITS_LIMIT:
        raise ValueError(f"the key is beyond {BITS_LIMIT} bits, or its exponent is huge")
    return key


def _check(key: PublicKey, hashed: bytes, value: bytes, algorithm: str) -> PublicKey | Failure:
    if problem := _unfit(key, algorithm):
        return Failure(Cause.RECORD, problem)
    if isinstance(key.key, RSAPublicKey) and key.bits < BITS_LEAST:
        return Failure(Cause.WEAK, f"the RSA key has {key.bits} bits, less than {BITS_LEAST}")
    try:
        if isinstance(key.key, RSAPublicKey):
            key.key.verify(value, hashed, _PADDING, _HASHED)
        else:
            key.key.verify(value, hashed)
    except InvalidSignature:
        return _mismatch(key, value)
    return key


def _unfit(key: PublicKey, algorithm: str) -> str:
    """Why the key is not for such a signature, or nothing."""
    if key.hashes and "sha256" not in key.hashes:
        return f"the key is not for SHA-256: h={':'.join(key.hashes)[:40]}"
    if not {"*", "email"}.intersection(key.services):
        return f"the key is not for mail: s={':'.join(key.services)[:40]}"
    kind = algorithm.partition("-")[0]
    return "" if kind == key.kind else f"the signature is of {kind}, the key of {key.kind}"


def _mismatch(key: PublicKey, value: bytes) -> Failure:
    """What RSA lets one tell: whether b= was made with this key, for something else."""
    if isinstance(key.key, RSAPublicKey):
        if recover_hash(key, value):
            return Failure(Cause.HEADER, "header fields were changed after it was made")
        return Failure(Cause.VALUE, "it was made with another key, or was damaged")
    return Failure(Cause.HEADER, "header fields were changed, or it was made with another key")


def recover_hash(key: PublicKey, value: bytes) -> bytes | None:
    """The hash that an RSA signature was made for; None if it was not made with this key."""
    if not isinstance(key.key, RSAPublicKey):
        return None
    try:
        return key.key.recover_data_from_signature(value, _PADDING, SHA256())
    except (InvalidSignature, ValueError):
        return None
