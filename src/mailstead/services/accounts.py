"""Log-ins: is this password that account's? And what an account may do.

Passwords are argon2id; a check costs 23 ms of CPU, so successes are remembered for a while under a
keyed hash, and the work is done on a thread, a few at a time. An unknown login costs as much as a
wrong password: nobody learns from the time which accounts exist.
"""

import asyncio
import hashlib
import hmac
from collections import OrderedDict
from datetime import datetime, timedelta

import argon2
import msgspec

from mailstead.model.address import Address
from mailstead.model.entries import LoggedIn, LoginFailed
from mailstead.model.numbers import AccountId, OrganisationId, TraceId
from mailstead.model.world import World
from mailstead.protocol.sasl import Credentials
from mailstead.storage import accounts
from mailstead.storage.plan import JournalRow
from mailstead.storage.store import Store

PASSWORD_LIMIT = 1024  # octets
SUCCESS_REMEMBERED = timedelta(minutes=10)
SUCCESSES_LIMIT = 10_000
CHECKS_LIMIT = 2  # at the same time
CHECKS_WAITING = 200  # beyond, a log-in is put off rather than queued

_hasher = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
# What an unknown login is checked against: the hash of nobody's password.
_NOBODY = (
    "$argon2id$v=19$m=19456,t=2,p=1$heZKAm41HxzMFOC670om2A"
    "$2JWqiT48zL4qp4fLiHDZy0NEREnuR8258x3vdcOtthg"
)


class Login(msgspec.Struct, frozen=True):
    """Who has logged in."""

    account: AccountId
    organisation: OrganisationId
    login: str


class LoginBusy(msgspec.Struct, frozen=True):
    """Too many log-ins are being checked: try again later."""


class LoginRefused(msgspec.Struct, frozen=True):
    """Login or password is wrong; the peer is not told which."""

    reason: str


class _Success(msgspec.Struct, frozen=True):
    stored: str
    until: datetime


def hash_password(password: str) -> str:
    """The argon2id hash to store; takes 23 ms."""
    return _hasher.hash(password)


class Accounts:
    """The door for people."""

    def __init__(self, store: Store, world: World) -> None:
        self._store, self._world = store, world
        self._key = world.random.token(32)
        self._successes: OrderedDict[bytes, _Success] = OrderedDict()
        self._slots = asyncio.Semaphore(CHECKS_LIMIT)
        self._waiting = 0

    async def log_in(
        self, credentials: Credentials, protocol: str, peer: str
    ) -> Login | LoginRefused | LoginBusy:
        """Who that is, if the password is right."""
        account = await self._store.look_up(lambda tx: accounts.find_account(tx, credentials.login))
        if credentials.authorization_id not in ("", credentials.login):
            return self._refused(account, credentials, protocol, peer, "may not act for others")
        if self._waiting >= CHECKS_WAITING:
            return LoginBusy()
        if not await self._check(account, credentials.password):
            reason = "no such account" if account is None else "wrong password"
            return self._refused(account, credentials, protocol, peer, reason)
        assert account is not None
        if not account.active:
            return self._refused(
                account, credentials, protocol, peer, "the account is switched off"
            )
        self._tell(
            account,
            LoggedIn(
                at=self._world.clock.now(),
                account=account.login,
                protocol=protocol,
                mechanism=credentials.mechanism,
                peer=peer,
            ),
        )
        return Login(account.id, account.organisation, account.login)

    async def may_send_as(self, login: Login, address: Address) -> bool:
        """Whether the account may use the address as sender."""
        return await self._store.look_up(
            lambda tx: accounts.owns_address(tx, login.account, address)
        )

    def _refused(
        self,
        account: accounts.Account | None,
        credentials: Credentials,
        protocol: str,
        peer: str,
        reason: str,
    ) -> LoginRefused:
        self._tell(
            account,
            LoginFailed(
                at=self._world.clock.now(),
                login=credentials.login,
                protocol=protocol,
                mechanism=credentials.mechanism,
                peer=peer,
                reason=reason,
            ),
        )
        return LoginRefused(reason)

    def _tell(self, account: accounts.Account | None, entry: LoggedIn | LoginFailed) -> None:
        organisation = OrganisationId(0) if account is None else account.organisation
        self._store.note(JournalRow(TraceId(""), organisation, (entry,)))

    async def _check(self, account: accounts.Account | None, password: str) -> bool:
        stored = _NOBODY if account is None else account.password
        key = self._key_of(stored, password)
        if self._remembered(key, stored):
            return True
        self._waiting += 1
        try:
            async with self._slots:
                right = await self._world.offload.run(lambda: verify_password(stored, password))
        finally:
            self._waiting -= 1
        if right and account is not None:
            self._remember(key, stored)
        return right and account is not None

    def _key_of(self, stored: str, password: str) -> bytes:
        text = f"{stored}\0{password}".encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, key=self._key, digest_size=32).digest()

    def _remembered(self, key: bytes, stored: str) -> bool:
        success = self._successes.get(key)
        return (
            success is not None
            and success.until > self._world.clock.now()
            and hmac.compare_digest(success.stored, stored)
        )

    def _remember(self, key: bytes, stored: str) -> None:
        self._successes[key] = _Success(stored, self._world.clock.now() + SUCCESS_REMEMBERED)
        while len(self._successes) > SUCCESSES_LIMIT:
            self._successes.popitem(last=False)


def verify_password(stored: str, password: str) -> bool:
    """Whether the hash is that password's; takes 23 ms."""
    try:
        return _hasher.verify(stored, password[:PASSWORD_LIMIT])
    except argon2.exceptions.Argon2Error:
        return False
    except argon2.exceptions.InvalidHashError:
        return False
