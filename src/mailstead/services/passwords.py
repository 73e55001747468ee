"""Passwords at rest: argon2id for people's own, keyed hashes for random ones, keys for SCRAM.

Hashes that came from another server (SHA512-CRYPT, PBKDF2) are checked as they are, and replaced
when the password is next seen. Salts of SCRAM are made of the log-in and a key of the store, so
that whoever asks gets the same one again, whether the account exists or not.
"""

import base64
import binascii
import hashlib
import hmac
import re

import argon2
import msgspec

from mailstead.model.world import Random
from mailstead.protocol import sasl_scram
from mailstead.protocol.sasl import Keys
from mailstead.services import sha512crypt
from mailstead.storage import secrets
from mailstead.storage.store import Store

PASSWORD_LIMIT = 1024  # octets
PBKDF2_ROUNDS_MOST = 2_000_000  # about a second; what costs more is not taken over
PURPOSE = "log-in"  # of the key in the store
KEY_LENGTH = 32  # octets
APP_PASSWORD_OCTETS = 15  # 24 characters, 120 bits

_hasher = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
# What an unknown login is checked against: the hash of nobody's password.
NOBODY = (
    "$argon2id$v=19$m=19456,t=2,p=1$heZKAm41HxzMFOC670om2A"
    "$2JWqiT48zL4qp4fLiHDZy0NEREnuR8258x3vdcOtthg"
)
_ARGON2 = re.compile(r"\$argon2(?:id|i)\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,2})\$[^$]+\$[^$]+")
_ARGON2_MEMORY_MOST = 256 * 1024  # KiB
_ARGON2_TIME_MOST = 10
# How others write PBKDF2: passlib, Django, Dovecot.
_PASSLIB = re.compile(r"\$pbkdf2(-sha256|-sha512|)\$(\d{1,8})\$([./A-Za-z0-9]+)\$([./A-Za-z0-9]+)")
_DJANGO = re.compile(r"pbkdf2_sha256\$(\d{1,8})\$([^$]+)\$([A-Za-z0-9+/=]+)")
_DOVECOT = re.compile(r"\$1\$([^$]+)\$(\d{1,8})\$([0-9a-f]{40})")
_SCHEME = re.compile(r"\{[A-Za-z0-9-]{1,30}\}")  # Dovecot's, before the hash


class Stored(msgspec.Struct, frozen=True):
    """What is kept of an account's password."""

    password: str  # the hash
    scram: str  # empty where nobody has seen the password yet


class _Pbkdf2(msgspec.Struct, frozen=True):
    digest: str
    rounds: int
    salt: bytes
    key: bytes


def hash_password(password: str) -> str:
    """The argon2id hash to store; takes 23 ms."""
    return _hasher.hash(password)


def store_password(password: str, salt: bytes) -> Stored:
    """All there is to store; takes 60 ms."""
    return Stored(hash_password(password), scram_keys(password, salt))


def scram_keys(password: str, salt: bytes) -> str:
    """What SCRAM proves the password with, as it is stored; takes 40 ms."""
    key = sasl_scram.derive(password, salt, sasl_scram.ITERATIONS)
    return sasl_scram.format_keys(Keys(salt, sasl_scram.ITERATIONS, (key,)))


def verify_password(stored: str, password: str) -> bool:
    """Whether the hash is that password's; takes 23 ms."""
    password = password[:PASSWORD_LIMIT]
    if stored.startswith("$6$"):
        return sha512crypt.verify(stored, password)
    if pbkdf2 := _parse_pbkdf2(stored):
        return _verify_pbkdf2(pbkdf2, password)
    try:
        return _hasher.verify(stored, password)
    except argon2.exceptions.Argon2Error:
        return False
    except argon2.exceptions.InvalidHashError:
        return False


def needs_rehash(stored: str) -> bool:
    """Whether the hash is not as we make them."""
    try:
        return _hasher.check_needs_rehash(stored)
    except argon2.exceptions.InvalidHashError:
        return True


# ---------------------------------------------------------------------- hashes of other servers


def parse_import(text: str) -> str | None:
    """The hash as it is stored; None if it is of no kind that can be checked here.

    SHA512-CRYPT, PBKDF2 (as passlib, Django and Dovecot write it) and argon2; not bcrypt.
    """
    text = text.strip()
    scheme = _SCHEME.match(text)
    stored = text[scheme.end() :] if scheme else text
    if sha512crypt.is_sha512_crypt(stored):
        return stored
    if found := _ARGON2.fullmatch(stored):
        cheap = int(found[1]) <= _ARGON2_MEMORY_MOST and int(found[2]) <= _ARGON2_TIME_MOST
        return stored if cheap else None
    pbkdf2 = _parse_pbkdf2(stored)
    return stored if pbkdf2 and 0 < pbkdf2.rounds <= PBKDF2_ROUNDS_MOST else None


def _parse_pbkdf2(stored: str) -> _Pbkdf2 | None:
    try:
        if found := _PASSLIB.fullmatch(stored):
            digest = found[1].removeprefix("-") or "sha1"
            return _Pbkdf2(digest, int(found[2]), _passlib64(found[3]), _passlib64(found[4]))
        if found := _DJANGO.fullmatch(stored):
            key = base64.b64decode(found[3], validate=True)
            return _Pbkdf2("sha256", int(found[1]), found[2].encode("utf-8"), key)
        if found := _DOVECOT.fullmatch(stored):
            salt = found[1].encode("utf-8")
            return _Pbkdf2("sha1", int(found[2]), salt, bytes.fromhex(found[3]))
    except binascii.Error:
        return None
    return None


def _passlib64(text: str) -> bytes:
    """Base64 with "." for "+", without padding."""
    return base64.b64decode(text.replace(".", "+") + "=" * (-len(text) % 4), validate=True)


def _verify_pbkdf2(stored: _Pbkdf2, password: str) -> bool:
    rounds = min(stored.rounds, PBKDF2_ROUNDS_MOST)
    key = hashlib.pbkdf2_hmac(
        stored.digest, password.encode("utf-8"), stored.salt, rounds, len(stored.key)
    )
    return hmac.compare_digest(key, stored.key)


# ---------------------------------------------------------------------- random passwords


def make_app_password(random: Random) -> str:
    """A password for one program: six groups of four, easy to type and to read out."""
    text = base64.b32encode(random.token(APP_PASSWORD_OCTETS)).decode("ascii").lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def salt_of(key: bytes, login: str) -> bytes:
    """The salt for the passwords of a log-in, of which no account need exist."""
    name = login.casefold().encode("utf-8", "surrogatepass")
    return hmac.digest(key, b"salt " + name, "sha256")[: sasl_scram.SALT_LENGTH]


def keyed_hash(key: bytes, password: str) -> str:
    """What is stored of a random password."""
    octets = password.encode("utf-8", "surrogatepass")
    return hmac.digest(key, b"app password " + octets, "sha256").hex()


async def find_key(store: Store, random: Random) -> bytes:
    """The key of the store for salts and hashes; made when it is first needed."""
    found = await store.look_up(lambda tx: secrets.find_all(tx, PURPOSE))
    if found:
        return found[0]
    fresh = random.token(KEY_LENGTH)
    return await store.write(lambda tx: secrets.ensure(tx, PURPOSE, fresh))
