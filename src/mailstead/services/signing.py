"""Signing what our accounts write (RFC 6376): the author's domain, the key it has, the signature.

Mail is signed if the domain of its author is hosted here and has an active key: with the newest of
each algorithm. A key is made when its domain is added and replaced by operators: a new one is made,
published, then used. What was replaced is kept a week, should somebody want it back.
"""

from datetime import datetime, timedelta
from string import ascii_lowercase

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from mailstead.message.addresses import author_addresses
from mailstead.model.address import Domain
from mailstead.model.dns import Question
from mailstead.model.errors import Refusal
from mailstead.model.world import Clock, Offload, Resolver
from mailstead.msgauth.dkim.canonical import BodyHash
from mailstead.msgauth.dkim.key import SigningKey
from mailstead.msgauth.dkim.sign import sign
from mailstead.services.submission import CompletedHeader
from mailstead.storage import accounts, dkim
from mailstead.storage.store import Store, Tx

ALGORITHMS = ("rsa", "ed25519")  # RFC 8463 section 5: a second signature for those who know it
RETIRED_KEPT = timedelta(days=7)
RSA_BITS = 2048  # RFC 8301 section 3.2; a longer key needs TCP in many a resolver
KEYS_REMEMBERED = timedelta(minutes=1)  # so long until a change by `mailstead domain dkim` is seen
DOMAINS_LIMIT = 10_000  # of which keys, or that there are none, are remembered


class Signing:
    """Signs with the keys of the store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._keys: dict[Domain, tuple[datetime, tuple[SigningKey, ...]]] = {}

    async def sign(self, done: CompletedHeader, body_hash: bytes) -> CompletedHeader:
        """The header with signatures on top, if its author's domain has keys; and says so."""
        authors = author_addresses(done.header)
        keys = await self.keys_of(authors[0].domain) if authors else ()
        if not keys:
            return done
        now = self._clock.now()
        signatures = b"".join([sign(done.header, body_hash, key, now) for key in keys])
        selectors = " and ".join(key.selector for key in keys)
        change = f"signed for {keys[0].domain} with selector {selectors}"
        return CompletedHeader(signatures + done.header, (*done.changes, change))

    async def sign_notice(self, header: bytes, body: bytes, hostname: str) -> bytes:
        """The header of a notice of ours with signatures, by a domain that our name lies in.

        Its author is MAILER-DAEMON at our host name, which is hosted by itself hardly anywhere.
        """
        labels = hostname.split(".")
        for at in range(len(labels) - 1):
            if keys := await self.keys_of(Domain(".".join(labels[at:]))):
                hashing = BodyHash()
                hashing.add(body)
                digest, now = hashing.finish(), self._clock.now()
                return b"".join([sign(header, digest, key, now) for key in keys]) + header
        return header

    async def keys_of(self, domain: Domain) -> tuple[SigningKey, ...]:
        """The keys that the domain signs with now."""
        now = self._clock.now()
        until, keys = self._keys.get(domain, (now, ()))
        if until > now:
            return keys
        keys = await self._store.look_up(lambda tx: find_keys(tx, domain))
        if len(self._keys) >= DOMAINS_LIMIT:
            self._keys.clear()
        self._keys[domain] = (now + KEYS_REMEMBERED, keys)
        return keys


def find_keys(tx: Tx, domain: Domain) -> tuple[SigningKey, ...]:
    """The keys that the domain signs with: of each algorithm the newest that is active."""
    newest: dict[str, SigningKey] = {}
    for key in dkim.active(tx, domain):
        newest.setdefault(key.algorithm, SigningKey(domain, key.selector, key.private_key))
    return tuple(newest[algorithm] for algorithm in ALGORITHMS if algorithm in newest)


# ---------------------------------------------------------------------- keys, as operators see them


async def make_key(offload: Offload, algorithm: str = "rsa") -> bytes:
    """A new key as PEM, made on a thread: an RSA key takes up to half a second."""
    return await offload.run(_generate_rsa if algorithm == "rsa" else _generate_ed25519)


def _generate_rsa() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _generate_ed25519() -> bytes:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def keep_key(
    tx: Tx, domain: Domain, pem: bytes, active: bool = True, algorithm: str = "rsa"
) -> SigningKey:
    """Keep the key for the domain, under a selector of today that is free."""
    hosted = accounts.get_domain(tx, domain)
    today = f"m{tx.now:%Y%m%d}"
    names = (today, *(today + letter for letter in ascii_lowercase[1:]))
    free = (name for name in names if dkim.find(tx, hosted.id, name) is None)
    selector = next(free, None)
    if selector is None:
        raise Refusal(f"{domain} got {len(names)} keys today: go on tomorrow", "LIMIT")
    dkim.create(tx, hosted.id, selector, algorithm, pem, active)
    return SigningKey(domain, selector, pem)


async def ensure_key(store: Store, offload: Offload, domain: Domain) -> SigningKey:
    """The key that signs for the domain, made if it has none."""
    if found := await store.read(lambda tx: _key_of_hosted(tx, domain)):
        return found
    pem = await make_key(offload)
    return await store.write(lambda tx: _key_of_hosted(tx, domain) or keep_key(tx, domain, pem))


def _key_of_hosted(tx: Tx, domain: Domain) -> SigningKey | None:
    accounts.get_domain(tx, domain)
    return next(iter(find_keys(tx, domain)), None)


async def prepare_key(
    store: Store, offload: Offload, domain: Domain, algorithm: str = "rsa"
) -> SigningKey:
    """One more key for the domain, which signs nothing before `use_key`."""
    await store.read(lambda tx: accounts.get_domain(tx, domain))
    pem = await make_key(offload, algorithm)
    return await store.write(lambda tx: keep_key(tx, domain, pem, False, algorithm))


def use_key(tx: Tx, domain: Domain, selector: str) -> None:
    """Sign with this key of the domain, and with others of its algorithm no more."""
    hosted = accounts.get_domain(tx, domain)
    dkim.activate(tx, hosted.id, selector)
    keys = dkim.list_all(tx, hosted.id)
    algorithm = next(key.algorithm for key in keys if key.selector == selector)
    for key in keys:
        if key.active and key.algorithm == algorithm and key.selector != selector:
            dkim.retire(tx, hosted.id, key.selector)


async def find_gap(store: Store, resolver: Resolver, domain: Domain, selector: str) -> str:
    """Why the world could not verify what this key signs; "" if its record is in the DNS."""
    hosted = await store.read(lambda tx: accounts.get_domain(tx, domain))
    stored = await store.read(lambda tx: dkim.find(tx, hosted.id, selector))
    if stored is None:
        raise Refusal(f"there is no key {selector}", "NONEXISTENT")
    key = SigningKey(domain, selector, stored.private_key)
    answer = await resolver.ask(Question("TXT", key.name))
    if answer.failed:
        return f"the DNS does not say whether {key.name} is there ({answer.status.value})"
    if not answer.records:
        return f"the DNS has no record {key.name}"
    wanted = _tags(key.record)["p"]
    if not any(_tags(text).get("p") == wanted for text in answer.records):
        return f"the record {key.name} is another key's"
    return ""


def _tags(record: str) -> dict[str, str]:
    """The tags of a key record (RFC 6376 section 3.2), without white space."""
    pairs = (tag.partition("=") for tag in record.split(";"))
    return {name.strip(): "".join(value.split()) for name, _, value in pairs}
