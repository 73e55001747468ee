"""Log-ins: is this password that account's? And what an account may do.

Passwords are argon2id; a check costs 23 ms of CPU, so successes are remembered for a while under a
keyed hash, and the work is done on a thread, a few at a time. An unknown login costs as much as a
wrong password: nobody learns from the time which accounts exist. Too many wrong ones are put off
(services.limits), before any is checked.
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
from mailstead.model.world import Endpoint, World
from mailstead.protocol.sasl import Credentials
from mailstead.services.doorkeeper import Doorkeeper
from mailstead.services.limits import Attempt, attempt_of
from mailstead.storage import accounts, senders
from mailstead.storage.plan import JournalRow
from mailstead.storage.store import Store

PASSWORD_LIMIT = 1024  # octets
SUCCESS_REMEMBERED = timedelta(minutes=10)
SUCCESSES_LIMIT = 10_000
OWNED_REMEMBERED = timedelta(seconds=5)  # that an account may write as an address
OWNED_LIMIT = 10_000
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
    """Too many log-ins are being checked, or too many failed from there: try again later."""


class LoginRefused(msgspec.Struct, frozen=True):
    """Login or password is wrong; the peer is not told which."""

    reason: str


class _Try(msgspec.Struct, frozen=True):
    """A log-in under way."""

    account: accounts.Account | None
    credentials: Credentials
    protocol: str
    peer: Endpoint
    attempt: Attempt


class _Success(msgspec.Struct, frozen=True):
    stored: str
    until: datetime


def hash_password(password: str) -> str:
    """The argon2id hash to store; takes 23 ms."""
    return _hasher.hash(password)


class Accounts:
    """The door for people."""

    def __init__(self, store: Store, world: World, doorkeeper: Doorkeeper) -> None:
        self._store, self._world, self._doorkeeper = store, world, doorkeeper
        self._key = world.random.token(32)
        self._successes: OrderedDict[bytes, _Success] = OrderedDict()
        self._slots = asyncio.Semaphore(CHECKS_LIMIT)
        self._waiting = 0
        self._owned: dict[tuple[AccountId, Address], datetime] = {}

    async def log_in(
        self, credentials: Credentials, protocol: str, peer: Endpoint
    ) -> Login | LoginRefused | LoginBusy:
        """Who that is, if the password is right."""
        account = await self._store.look_up(lambda tx: accounts.find_account(tx, credentials.login))
        attempt = attempt_of(credentials.login, peer.address)
        this = _Try(account, credentials, protocol, peer, attempt)
        if limit := self._doorkeeper.find_login_limit(attempt, peer):
            self._doorkeeper.refuse_login(limit, attempt, self._failure(this, limit))
            return LoginBusy()
        if credentials.authorization_id not in ("", credentials.login):
            return self._refused(this, "may not act for others")
        if self._waiting >= self._patience(attempt):
            return LoginBusy()
        right = await self._check(account, credentials.password)
        if account is None or not right:
            return self._refused(this, "wrong password" if account else "no such account")
        if not account.active:
            return self._refused(this, "the account is switched off")
        self._doorkeeper.log_in_worked(attempt)
        self._tell(
            account,
            LoggedIn(
                at=self._world.clock.now(),
                account=account.login,
                protocol=protocol,
                mechanism=credentials.mechanism,
                peer=str(peer),
            ),
        )
        return Login(account.id, account.organisation, account.login)

    async def find_login(self, login: str) -> Login | None:
        """Whose login that is, for a peer whose word on who logged in there is good enough."""
        found = await self._store.look_up(lambda tx: accounts.find_account(tx, login))
        if found is None or not found.active:
            return None
        return Login(found.id, found.organisation, found.login)

    def _patience(self, attempt: Attempt) -> int:
        """How many checks may wait before this one; strangers leave room for the others."""
        return CHECKS_WAITING * 2 if self._doorkeeper.is_known(attempt) else CHECKS_WAITING

    async def may_send_as(self, login: Login, address: Address) -> bool:
        """Whether the account may use the address as sender; a yes is remembered for seconds.

        It is asked twice for each message: of the envelope, and of From.
        """
        now, key = self._world.clock.now(), (login.account, address)
        if self._owned.get(key, now) > now:
            return True
        may = await self._store.look_up(lambda tx: senders.may_send_as(tx, login.account, address))
        if may:
            if len(self._owned) >= OWNED_LIMIT:
                self._owned.clear()
            self._owned[key] = now + OWNED_REMEMBERED
        return may

    def _refused(self, this: _Try, reason: str) -> LoginRefused:
        if self._doorkeeper.log_in_failed(this.attempt, this.credentials.password):
            self._tell(this.account, self._failure(this, reason))
        return LoginRefused(reason)

    def _failure(self, this: _Try, reason: str) -> LoginFailed:
        return LoginFailed(
            at=self._world.clock.now(),
            login=this.credentials.login,
            protocol=this.protocol,
            mechanism=this.credentials.mechanism,
            peer=str(this.peer),
            reason=reason,
        )

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
