"""Signed return paths: `bounces=day+number=hash@domain`, one for each recipient (VERP).

What comes back to one is a bounce of the recipient with that number in the queue. The hash is keyed
and covers all of the address; the key is made when first needed and kept in the store. SRS
(delivery.srs) uses the same key. Holds: only what we made is believed, for EXPIRY.
"""

import base64
import hmac
from collections.abc import Sequence
from datetime import date, datetime, timedelta

import msgspec

from mailstead.model.address import Address, Domain
from mailstead.model.numbers import QueueId
from mailstead.model.world import Random
from mailstead.storage import secrets
from mailstead.storage.store import Store

PURPOSE = "return path"
KEY_LENGTH = 32  # octets
PREFIX = "bounces="
EXPIRY = timedelta(days=30)  # as long as the journal knows the recipient, usually
HASH_LENGTH = 12  # characters: 60 bits
_DAYS = 1024  # two characters of base 32; then they come again
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_EPOCH = date(1970, 1, 1).toordinal()


class Home(msgspec.Struct, frozen=True):
    """Whose return path it is: the recipient in the queue, and the day (UTC) it came in."""

    queue_id: QueueId
    day: datetime


def sign(queue_id: QueueId, domain: Domain, key: bytes, created: datetime) -> Address:
    """The return path of a queued recipient; the same at each attempt."""
    number = _day(created) % _DAYS
    text = f"{_BASE32[number // 32]}{_BASE32[number % 32]}{_encode(queue_id)}"
    return Address(f"{PREFIX}{text}={_hash(text, domain, key)}", domain)


def is_signed(local_part: str) -> bool:
    """Whether it looks like one of ours."""
    return local_part[: len(PREFIX)].lower() == PREFIX


def read(address: Address, keys: Sequence[bytes], now: datetime) -> Home | None:
    """Whose return path it is; None if it is forged or too old."""
    text, _, hash_ = address.local_part[len(PREFIX) :].lower().partition("=")
    known = any(
        hmac.compare_digest(hash_.encode(), _hash(text, address.domain, key).encode())
        for key in keys
    )
    if not known or not is_signed(address.local_part):
        return None
    made = _BASE32.index(text[0]) * 32 + _BASE32.index(text[1])
    age = (_day(now) - made) % _DAYS
    if age > EXPIRY.days:
        return None
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return Home(QueueId(_decode(text[2:])), midnight - timedelta(days=age))


def _hash(text: str, domain: Domain, key: bytes) -> str:
    digest = hmac.digest(key, f"{PREFIX}{text}@{domain}".lower().encode(), "sha256")
    return base64.b32encode(digest).decode()[:HASH_LENGTH].lower()


def _day(moment: datetime) -> int:
    return moment.date().toordinal() - _EPOCH


def _encode(number: int) -> str:
    digits = ""
    while number or not digits:
        number, digit = divmod(number, 32)
        digits = _BASE32[digit] + digits
    return digits


def _decode(text: str) -> int:
    number = 0
    for digit in text:
        number = number * 32 + _BASE32.index(digit)
    return number


class ReturnPaths:
    """The service."""

    def __init__(self, store: Store, random: Random) -> None:
        self._store, self._random = store, random
        self._key = b""

    async def key(self) -> bytes:
        """The key for new return paths."""
        if not self._key:
            fresh = self._random.token(KEY_LENGTH)
            self._key = await self._store.write(lambda tx: secrets.ensure(tx, PURPOSE, fresh))
        return self._key
