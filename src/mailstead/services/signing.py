"""Signing what our accounts write (RFC 6376): the author's domain, the key it has, the signature.

Mail is signed if the domain of its author is hosted here and has an active key. A key is made when
its domain is added and replaced by operators: a new one is made, published, then used.
"""

from datetime import datetime, timedelta
from string import ascii_lowercase

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from mailstead.message.addresses import author_addresses
from mailstead.model.address import Domain
from mailstead.model.errors import Refusal
from mailstead.model.world import Clock, Offload
from mailstead.msgauth.dkim.key import SigningKey
from mailstead.msgauth.dkim.sign import sign
from mailstead.services.submission import CompletedHeader
from mailstead.storage import accounts, dkim
from mailstead.storage.store import Store, Tx

RSA_BITS = 2048  # RFC 8301 section 3.2; a longer key needs TCP in many a resolver
KEYS_REMEMBERED = timedelta(minutes=1)  # so long until a change by `mailstead domain dkim` is seen
DOMAINS_LIMIT = 10_000  # of which keys, or that there are none, are remembered


class Signing:
    """Signs with the keys of the store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._keys: dict[Domain, tuple[datetime, SigningKey | None]] = {}

    async def sign(self, done: CompletedHeader, body_hash: bytes) -> CompletedHeader:
        """The header with a signature on top, if its author's domain has a key; and says so."""
        authors = author_addresses(done.header)
        key = await self._key_of(authors[0].domain) if authors else None
        if key is None:
            return done
        field = sign(done.header, body_hash, key, self._clock.now())
        change = f"signed for {key.domain} with selector {key.selector}"
        return CompletedHeader(field + done.header, (*done.changes, change))

    async def _key_of(self, domain: Domain) -> SigningKey | None:
        now = self._clock.now()
        until, key = self._keys.get(domain, (now, None))
        if until > now:
            return key
        key = await self._store.look_up(lambda tx: find_key(tx, domain))
        if len(self._keys) >= DOMAINS_LIMIT:
            self._keys.clear()
        self._keys[domain] = (now + KEYS_REMEMBERED, key)
        return key


def find_key(tx: Tx, domain: Domain) -> SigningKey | None:
    """The key that the domain signs with: the newest of the active ones."""
    found = dkim.active(tx, domain)
    return SigningKey(domain, found[0].selector, found[0].private_key) if found else None


# ---------------------------------------------------------------------- keys, as operators see them


async def make_key(offload: Offload) -> bytes:
    """A new RSA key as PEM, made on a thread: it takes up to half a second."""
    return await offload.run(_generate)


def _generate() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def keep_key(tx: Tx, domain: Domain, pem: bytes, active: bool = True) -> SigningKey:
    """Keep the key for the domain, under a selector of today that is free."""
    hosted = accounts.get_domain(tx, domain)
    today = f"m{tx.now:%Y%m%d}"
    names = (today, *(today + letter for letter in ascii_lowercase[1:]))
    free = (name for name in names if dkim.find(tx, hosted.id, name) is None)
    selector = next(free, None)
    if selector is None:
        raise Refusal(f"{domain} got {len(names)} keys today: go on tomorrow", "LIMIT")
    dkim.create(tx, hosted.id, selector, "rsa", pem, active)
    return SigningKey(domain, selector, pem)


async def ensure_key(store: Store, offload: Offload, domain: Domain) -> SigningKey:
    """The key that signs for the domain, made if it has none."""
    if found := await store.read(lambda tx: _key_of_hosted(tx, domain)):
        return found
    pem = await make_key(offload)
    return await store.write(lambda tx: _key_of_hosted(tx, domain) or keep_key(tx, domain, pem))


def _key_of_hosted(tx: Tx, domain: Domain) -> SigningKey | None:
    accounts.get_domain(tx, domain)
    return find_key(tx, domain)


async def prepare_key(store: Store, offload: Offload, domain: Domain) -> SigningKey:
    """One more key for the domain, which signs nothing before `use_key`."""
    await store.read(lambda tx: accounts.get_domain(tx, domain))
    pem = await make_key(offload)
    return await store.write(lambda tx: keep_key(tx, domain, pem, active=False))


def use_key(tx: Tx, domain: Domain, selector: str) -> None:
    """Sign with this key of the domain, and with the others no more."""
    hosted = accounts.get_domain(tx, domain)
    dkim.activate(tx, hosted.id, selector)
    for key in dkim.list_all(tx, hosted.id):
        if key.active and key.selector != selector:
            dkim.retire(tx, hosted.id, key.selector)
