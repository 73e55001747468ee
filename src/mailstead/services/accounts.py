"""Log-ins: is this password that account's? And what an account may do.

Passwords are argon2id; a check costs 23 ms of CPU, so successes are remembered for a while under a
keyed hash, and the work is done on a thread, a few at a time. An unknown login costs as much as a
wrong password: nobody learns from the time which accounts exist. Too many wrong ones are put off
(services.limits), before any is checked.
"""

import asyncio
import hashlib
import hmac
import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from mailstead.model.address import Address
from mailstead.model.entries import LoggedIn, LoginFailed
from mailstead.model.errors import TemporaryFailure
from mailstead.model.numbers import AccountId, OrganisationId, TraceId
from mailstead.model.world import Endpoint, World
from mailstead.protocol import sasl_scram
from mailstead.protocol.sasl import Credentials, Key, Keys, TokenOwner, TokenRefused
from mailstead.protocol.sasl_mechanisms import Offer
from mailstead.services import passwords
from mailstead.services.doorkeeper import Doorkeeper
from mailstead.services.limits import Attempt, attempt_of
from mailstead.services.tokens import Tokens
from mailstead.storage import accounts, app_passwords, login_certificates, senders, token_issuers
from mailstead.storage.app_passwords import AppPassword
from mailstead.storage.plan import JournalRow
from mailstead.storage.store import Store, Tx

SUCCESS_REMEMBERED = timedelta(minutes=10)
SUCCESSES_LIMIT = 10_000
OWNED_REMEMBERED = timedelta(seconds=5)  # that an account may write as an address
OWNED_LIMIT = 10_000
OFFER_REMEMBERED = timedelta(minutes=1)  # which mechanisms can work
USE_NOTED = timedelta(hours=1)  # of an app password, not more often
CHECKS_LIMIT = 2  # at the same time
CHECKS_WAITING = 200  # beyond, a log-in is put off rather than queued

log = logging.getLogger("mailstead.accounts")


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


class Try(msgspec.Struct, frozen=True):
    """A log-in under way."""

    account: accounts.Account | None
    app_passwords: tuple[AppPassword, ...]
    login: str
    mechanism: str
    protocol: str
    peer: Endpoint
    attempt: Attempt


class _Success(msgspec.Struct, frozen=True):
    stored: str
    until: datetime


class Accounts:
    """The door for people."""

    def __init__(
        self, store: Store, world: World, doorkeeper: Doorkeeper, tokens: Tokens | None = None
    ) -> None:
        self._store, self._world, self._doorkeeper = store, world, doorkeeper
        self._tokens = tokens
        self._key = world.random.token(32)
        self._successes: OrderedDict[bytes, _Success] = OrderedDict()
        self._slots = asyncio.Semaphore(CHECKS_LIMIT)
        self._waiting = 0
        self._owned: dict[tuple[AccountId, Address], datetime] = {}
        self._store_key = b""
        self._offer, self._offer_until = Offer(), datetime.min.replace(tzinfo=UTC)

    # ------------------------------------------------------------------ log-ins

    async def find_offer(self, certificate: bool = False) -> Offer:
        """Which mechanisms can work, for a peer that has shown a certificate or has not."""
        now = self._world.clock.now()
        if now >= self._offer_until:
            self._offer_until = now + OFFER_REMEMBERED
            try:
                self._offer = await self._store.read(_find_offer)
            except TemporaryFailure as failure:
                log.warning("which log-ins can work is not known: %s", failure.reason)
        by_certificate = certificate and self._offer.certificate
        return msgspec.structs.replace(self._offer, certificate=by_certificate)

    def make_nonce(self) -> bytes:
        """Octets that nobody can guess, for one exchange."""
        return self._world.random.token(sasl_scram.NONCE_LENGTH)

    async def approach(
        self, login: str, mechanism: str, protocol: str, peer: Endpoint
    ) -> Try | LoginBusy:
        """Somebody who wants to be let in under this name; whether it may be tried now."""
        account, words = await self._store.look_up(lambda tx: _find(tx, login))
        attempt = attempt_of(login, peer.address)
        this = Try(account, words, login, mechanism, protocol, peer, attempt)
        if limit := self._doorkeeper.find_login_limit(attempt, peer):
            self._doorkeeper.refuse_login(limit, attempt, self._failure(this, limit))
            return LoginBusy()
        return this

    async def log_in(
        self, credentials: Credentials, protocol: str, peer: Endpoint
    ) -> Login | LoginRefused | LoginBusy:
        """Who that is, if the password is right."""
        name, word = credentials.login, credentials.password
        this = await self.approach(name, credentials.mechanism, protocol, peer)
        if isinstance(this, LoginBusy):
            return this
        if credentials.authorization_id not in ("", name):
            return self.refuse(this, "may not act for others", word)
        if this.app_passwords and (found := await self._find_app_password(this, word)):
            return await self._let_in_by(this, found, word)
        if self._waiting >= self._patience(this.attempt):
            return LoginBusy()
        if not await self._check(this.account, word):
            reason = "wrong password" if this.account else "no such account"
            return self.refuse(this, reason, word)
        return self.admit(this, word)

    def admit(self, this: Try, guess: str, key: int = 0) -> Login | LoginRefused:
        """Let in who has proven to be the owner, unless the account is switched off.

        `key` is the id of the app password that it was proven with.
        """
        account = this.account
        if account is None:
            return self.refuse(this, "no such account", guess)
        if not account.active:
            return self.refuse(this, "the account is switched off", guess)
        self._doorkeeper.log_in_worked(this.attempt)
        self._tell(
            account,
            LoggedIn(
                at=self._world.clock.now(),
                account=account.login,
                protocol=this.protocol,
                mechanism=this.mechanism + _name_of(this, key),
                peer=str(this.peer),
            ),
        )
        return Login(account.id, account.organisation, account.login)

    def refuse(self, this: Try, reason: str, guess: str) -> LoginRefused:
        """Turn somebody away; the same guess again counts once (services.limits)."""
        if self._doorkeeper.log_in_failed(this.attempt, guess):
            self._tell(this.account, self._failure(this, reason))
        return LoginRefused(reason)

    # ------------------------------------------------------------------ other than by password

    async def find_keys(self, this: Try) -> Keys:
        """What SCRAM proves the passwords of the log-in with; the same shape for everybody."""
        now, kept = self._world.clock.now(), []
        if this.account is not None:
            kept.append(sasl_scram.parse_keys(this.account.scram, 0))
        good = (one for one in this.app_passwords if one.is_good_for(this.protocol, now))
        kept += [sasl_scram.parse_keys(one.scram, one.id) for one in good]
        found = [one for one in kept if one is not None]
        if not found:
            return self._nobodys_keys(this.login, await self._get_key())
        salt, iterations = found[0].salt, found[0].iterations
        keys = (
            k for one in found if (one.salt, one.iterations) == (salt, iterations) for k in one.keys
        )
        return Keys(salt, iterations, tuple(keys))

    def _nobodys_keys(self, login: str, key: bytes) -> Keys:
        """A salt that stays the same, and a key that nothing proves."""
        nothing = hashlib.blake2b(login.encode("utf-8", "surrogatepass"), key=self._key).digest()
        fake = Key(-1, nothing[:32], nothing[32:])
        return Keys(passwords.salt_of(key, login), sasl_scram.ITERATIONS, (fake,))

    async def check_token(self, token: str) -> TokenOwner | TokenRefused:
        """Whose the token is (RFC 7628)."""
        if self._tokens is None:
            return TokenRefused("no issuer is believed")
        return await self._tokens.check(token)

    async def find_certificate_owner(self, certificate: bytes) -> str | None:
        """The login that this certificate, as DER, is for."""
        if not certificate:
            return None
        fingerprint = hashlib.sha256(certificate).hexdigest()
        return await self._store.look_up(lambda tx: login_certificates.find_owner(tx, fingerprint))

    async def note_use(self, this: Try, id_: int) -> None:
        """An app password has let somebody in; how long ago the last time was is not exact."""
        now = self._world.clock.now()
        for one in this.app_passwords:
            if one.id == id_ and (one.last_used is None or now - one.last_used > USE_NOTED):
                await self._try_to_write(lambda tx: app_passwords.note_use(tx, id_))

    async def _try_to_write(self, work: Callable[[Tx], None]) -> None:
        """On a full disk people can still log in."""
        try:
            await self._store.write(work)
        except TemporaryFailure as failure:
            log.warning("what is known of a log-in is not kept: %s", failure.reason)

    async def _find_app_password(self, this: Try, word: str) -> AppPassword | None:
        secret = passwords.keyed_hash(await self._get_key(), word)
        found = None
        for one in this.app_passwords:
            if hmac.compare_digest(one.secret, secret):
                found = one
        return found

    async def _let_in_by(self, this: Try, found: AppPassword, word: str) -> Login | LoginRefused:
        if not found.is_good_for(this.protocol, self._world.clock.now()):
            return self.refuse(this, f"the app password {found.name} is not for that", word)
        admitted = self.admit(this, word, found.id)
        if isinstance(admitted, Login):
            await self.note_use(this, found.id)
        return admitted

    async def _get_key(self) -> bytes:
        if not self._store_key:
            self._store_key = await passwords.find_key(self._store, self._world.random)
        return self._store_key

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

    def _failure(self, this: Try, reason: str) -> LoginFailed:
        return LoginFailed(
            at=self._world.clock.now(),
            login=this.login,
            protocol=this.protocol,
            mechanism=this.mechanism,
            peer=str(this.peer),
            reason=reason,
        )

    def _tell(self, account: accounts.Account | None, entry: LoggedIn | LoginFailed) -> None:
        organisation = OrganisationId(0) if account is None else account.organisation
        self._store.note(JournalRow(TraceId(""), organisation, (entry,)))

    async def _check(self, account: accounts.Account | None, password: str) -> bool:
        stored = passwords.NOBODY if account is None else account.password
        key = self._key_of(stored, password)
        if self._remembered(key, stored):
            return True
        self._waiting += 1
        try:
            async with self._slots:
                right = await self._world.offload.run(
                    lambda: passwords.verify_password(stored, password)
                )
                if right and account is not None:
                    await self._renew(account, password)
        finally:
            self._waiting -= 1
        if right and account is not None:
            self._remember(key, stored)
        return right and account is not None

    async def _renew(self, account: accounts.Account, password: str) -> None:
        """What could not be kept of the password before it was seen."""
        if account.scram and not passwords.needs_rehash(account.password):
            return
        salt = passwords.salt_of(await self._get_key(), account.login)
        stored = await self._world.offload.run(lambda: passwords.store_password(password, salt))
        if not passwords.needs_rehash(account.password):
            stored = msgspec.structs.replace(stored, password=account.password)
        await self._try_to_write(
            lambda tx: accounts.renew_password(
                tx, account.id, account.password, stored.password, stored.scram
            )
        )

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


def _name_of(this: Try, key: int) -> str:
    """What the journal adds about the password that was used, if it is not the account's own."""
    names = [one.name for one in this.app_passwords if one.id == key]
    return f" (app password {names[0]})" if names else ""


def _find(tx: Tx, login: str) -> tuple[accounts.Account | None, tuple[AppPassword, ...]]:
    account = accounts.find_account(tx, login)
    words = () if account is None else tuple(app_passwords.list_all(tx, account.id))
    return account, words


def _find_offer(tx: Tx) -> Offer:
    return Offer(
        scram=not accounts.any_without_scram(tx),
        tokens=token_issuers.any_at_all(tx),
        certificate=login_certificates.any_at_all(tx),
    )
