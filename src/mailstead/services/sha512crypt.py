"""SHA512-CRYPT: the hash of `/etc/shadow` and of many mail servers, to check old passwords with.

Python's own `crypt` is gone since 3.13. The rounds cost about 3 us each.
"""

import hashlib
import hmac
import re

ROUNDS = 5000  # where the hash does not say
ROUNDS_LEAST, ROUNDS_MOST = 1000, 200_000  # 600 ms

_STORED = re.compile(r"\$6\$(?:rounds=(\d{1,9})\$)?([^$:\n]{0,16})\$([./0-9A-Za-z]{86})")
_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def is_sha512_crypt(stored: str) -> bool:
    """Whether it is a hash that can be checked in bearable time."""
    found = _STORED.fullmatch(stored)
    return found is not None and int(found[1] or ROUNDS) <= ROUNDS_MOST


def verify(stored: str, password: str) -> bool:
    """Whether the hash is that password's."""
    found = _STORED.fullmatch(stored)
    if found is None:
        return False
    rounds = max(ROUNDS_LEAST, min(int(found[1] or ROUNDS), ROUNDS_MOST))
    digest = _digest(password.encode("utf-8"), found[2].encode("utf-8"), rounds)
    return hmac.compare_digest(_encode(digest), found[3])


def _digest(password: bytes, salt: bytes, rounds: int) -> bytes:
    """The steps of the algorithm as its author numbers them."""
    other = hashlib.sha512(password + salt + password).digest()
    mixed = hashlib.sha512(password + salt + _stretch(other, len(password)))
    bits = len(password)
    while bits:  # step 11
        mixed.update(other if bits & 1 else password)
        bits >>= 1
    digest = mixed.digest()
    passwords = _stretch(hashlib.sha512(password * len(password)).digest(), len(password))
    salts = _stretch(hashlib.sha512(salt * (16 + digest[0])).digest(), len(salt))
    for number in range(rounds):  # step 21
        odd = number & 1
        step = hashlib.sha512(passwords if odd else digest)
        if number % 3:
            step.update(salts)
        if number % 7:
            step.update(passwords)
        step.update(digest if odd else passwords)
        digest = step.digest()
    return digest


def _stretch(octets: bytes, length: int) -> bytes:
    return (octets * (length // len(octets) + 1))[:length]


def _encode(digest: bytes) -> str:
    """The base 64 of crypt: three octets at a time, taken 21 apart, the lowest bits first."""
    text = ""
    for number in range(21):
        first, second, third = (digest[number + 21 * n] for n in _turn(number))
        text += _digits(first << 16 | second << 8 | third, 4)
    return text + _digits(digest[63], 2)


def _turn(number: int) -> tuple[int, int, int]:
    """Which of the three octets comes first changes from group to group."""
    return ((0, 1, 2), (1, 2, 0), (2, 0, 1))[number % 3]


def _digits(value: int, count: int) -> str:
    return "".join(_ALPHABET[value >> 6 * place & 63] for place in range(count))
