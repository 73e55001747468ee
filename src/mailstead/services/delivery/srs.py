"""SRS: reverse-paths of forwarded mail, rewritten so that SPF passes and bounces find home.

`SRS0=hash=day=domain=local-part@ours`; of a path that is one already `SRS1=hash=domain==rest@ours`,
which leads back to its first forwarder (Sender Rewriting Scheme, Meng Weng Wong, 2004). The hash
is a keyed one over all that follows it, in lower case, for local-parts lose their case on the way.
Holds: only what we made comes back, for EXPIRY after it was made; pure.
"""

import base64
import hmac
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from mailstead.model.address import Address, Domain, parse_address

EXPIRY = timedelta(days=21)  # mail waits five days at us, and longer at those behind us
LOCAL_PART_LIMIT = 64  # octets (RFC 5321 section 4.5.3.1.1)
HASH_LENGTH = 8  # characters: 40 bits
_DAYS = 1024  # two characters of base 32; then they come again
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_EPOCH = date(1970, 1, 1).toordinal()


def rewrite(sender: Address, domain: Domain, key: bytes, now: datetime) -> Address | None:
    """The reverse-path that mail forwarded by an alias in the domain gets; None if it is too long.

    Without one the sender stays: some receivers will not believe the mail, but bounces get home.
    """
    local_part = sender.local_part
    kind, rest = local_part[:5].upper(), local_part[5:]
    if kind == "SRS0=":
        path = _sign("SRS1", f"{sender.domain}=={rest}", key)
    elif kind == "SRS1=" and "=" in rest:
        path = _sign("SRS1", rest.partition("=")[2], key)
    else:
        path = _sign("SRS0", f"{_day(now)}={sender.domain}={local_part}", key)
    if len(path.encode()) > LOCAL_PART_LIMIT:
        return None
    return Address(path, domain)


def is_rewritten(local_part: str) -> bool:
    """Whether it looks like one of ours."""
    return local_part[:5].upper() in ("SRS0=", "SRS1=")


def restore(local_part: str, keys: Sequence[bytes], now: datetime) -> Address | None:
    """Whom a bounce to it is for; None if it is forged or too old."""
    kind, _, rest = local_part.partition("=")
    hash_, _, signed = rest.partition("=")
    if not any(_is_hash(hash_, signed, kind.upper(), key) for key in keys):
        return None
    found = _first(signed) if kind.upper() == "SRS1" else _original(signed, now)
    try:
        return None if found is None else parse_address(str(found))
    except ValueError:
        return None


def _sign(kind: str, text: str, key: bytes) -> str:
    return f"{kind}={_hash(kind, text, key)}={text}"


def _hash(kind: str, text: str, key: bytes) -> str:
    digest = hmac.digest(key, f"{kind}={text}".lower().encode(), "sha256")
    return base64.b32encode(digest).decode()[:HASH_LENGTH]


def _is_hash(hash_: str, text: str, kind: str, key: bytes) -> bool:
    expected = _hash(kind, text, key).lower()
    return hmac.compare_digest(hash_.lower().encode(), expected.encode())


def _day(now: datetime) -> str:
    number = _number(now) % _DAYS
    return _BASE32[number // 32] + _BASE32[number % 32]


def _number(now: datetime) -> int:
    return now.date().toordinal() - _EPOCH


def _original(signed: str, now: datetime) -> Address | None:
    day, _, rest = signed.partition("=")
    domain, _, local_part = rest.partition("=")
    if len(day) != 2 or not set(day.lower()) <= set(_BASE32):
        return None
    made = _BASE32.index(day[0].lower()) * 32 + _BASE32.index(day[1].lower())
    age = (_number(now) - made) % _DAYS
    return Address(local_part, Domain(domain)) if age <= EXPIRY.days else None


def _first(signed: str) -> Address | None:
    """The address at the first forwarder, which knows the rest."""
    domain, separator, rest = signed.partition("==")
    return Address(f"SRS0={rest}", Domain(domain)) if separator else None
