"""Hashes of passwords: those of other servers, and what is made of random words."""

import base64
import hashlib

import pytest

from mailstead.services import passwords
from mailstead.testing.clock import SeededRandom


def ab64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=").replace("+", ".")


def pbkdf2(name: str) -> bytes:
    return hashlib.pbkdf2_hmac(name, b"secret", b"salt", 1000)


IMPORTED = {
    "passlib": f"$pbkdf2-sha256$1000${ab64(b'salt')}${ab64(pbkdf2('sha256'))}",
    "passlib-512": f"$pbkdf2-sha512$1000${ab64(b'salt')}${ab64(pbkdf2('sha512'))}",
    "passlib-1": f"$pbkdf2$1000${ab64(b'salt')}${ab64(pbkdf2('sha1'))}",
    "django": f"pbkdf2_sha256$1000$salt${base64.b64encode(pbkdf2('sha256')).decode()}",
    "dovecot": "{PBKDF2}$1$salt$1000$" + pbkdf2("sha1").hex(),
    "argon2": "{ARGON2ID}" + passwords.hash_password("secret"),
}


@pytest.mark.parametrize("name", IMPORTED)
def test_hashes_of_others(name):
    stored = passwords.parse_import(IMPORTED[name])
    assert stored is not None
    assert passwords.verify_password(stored, "secret")
    assert not passwords.verify_password(stored, "Secret")
    assert passwords.needs_rehash(stored) is (name != "argon2")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "$2b$12$abcdefghijklmnopqrstuuLrKQEOPxo9nZwrWUDnfnzz0Xt4x5r6y",  # bcrypt
        "{PLAIN}secret",
        "$1$salt$qJH7.N4xYta3aEG/dfqo/0",  # MD5-CRYPT
        "$6$rounds=200001$salt$" + "x" * 86,
        f"pbkdf2_sha256$2000001$salt${base64.b64encode(b'x' * 32).decode()}",
        f"pbkdf2_sha256$0$salt${base64.b64encode(b'x' * 32).decode()}",
        "$argon2id$v=19$m=1000000,t=2,p=1$c2FsdHNhbHQ$aGFzaA",
        "$pbkdf2-sha256$1000$!$!",
    ],
)
def test_what_cannot_be_taken_over(text):
    assert passwords.parse_import(text) is None


def test_a_random_password():
    word = passwords.make_app_password(SeededRandom(1))
    assert [len(group) for group in word.split("-")] == [4] * 6
    assert word != passwords.make_app_password(SeededRandom(2))
    key = b"k" * 32
    assert passwords.keyed_hash(key, word) == passwords.keyed_hash(key, word)
    assert passwords.keyed_hash(key, word) != passwords.keyed_hash(b"x" * 32, word)


def test_the_salt_of_a_login_is_one_whatever_its_case():
    key = b"k" * 32
    assert passwords.salt_of(key, "Alice@example.org") == passwords.salt_of(
        key, "alice@example.org"
    )
    assert passwords.salt_of(key, "bob@example.org") != passwords.salt_of(key, "alice@example.org")
