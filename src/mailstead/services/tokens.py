"""Tokens of issuers that operators believe: whose are they? (RFC 7628, 7519, 7662).

A token that is signed is checked with the issuer's keys, which are kept for an hour; any other is
asked about where it was issued. Holds: a token that names an issuer is only that issuer's; what
cannot be checked is refused, and so costs nothing but the log-in.
"""

import asyncio
import base64
import logging
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from mailstead.model.numbers import OrganisationId
from mailstead.protocol.sasl import TokenOwner, TokenRefused
from mailstead.services.fetching import FetchFailed, Fetching
from mailstead.storage import accounts, token_issuers
from mailstead.storage.store import Store
from mailstead.storage.token_issuers import Issuer

ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "Ed25519"),
)
KEYS_KEPT = timedelta(hours=1)
KEYS_PAUSE = timedelta(minutes=1)  # between two looks for a key that is not known
KEYS_SIZE = 256 * 1024  # octets of a set of keys
KEYS_LIMIT = 50  # that are looked at
ANSWER_SIZE = 64 * 1024  # of an answer about a token
LEEWAY = 60  # seconds that clocks may differ
ASKING_LIMIT = 20  # questions at the same time
LOGIN_LIMIT = 1024  # characters

log = logging.getLogger("mailstead.accounts")

Claims = dict[str, Any]


class _Keys(msgspec.Struct, frozen=True):
    fetched: datetime
    keys: Any  # of joserfc, by id; None where there are none to be had


class Tokens:
    """The service."""

    def __init__(self, store: Store, fetching: Fetching) -> None:
        self._store, self._fetching = store, fetching
        self._clock = fetching.world.clock
        self._keys: dict[str, _Keys] = {}
        self._slots = asyncio.Semaphore(ASKING_LIMIT)
        self._one_fetches = asyncio.Lock()

    async def check(self, token: str) -> TokenOwner | TokenRefused:
        """Whose the token is."""
        issuers = await self._store.look_up(token_issuers.list_all)
        named = named_issuer(token)
        if named is not None:
            issuers = [one for one in issuers if one.issuer == named]
        else:
            issuers = [one for one in issuers if one.introspection_url]
        refused = TokenRefused("its issuer is not believed")
        for issuer in issuers:
            found = await self._check_with(issuer, token)
            if not isinstance(found, TokenRefused):
                return await self._find_owner(issuer, found)
            refused = found
        return refused

    async def _check_with(self, issuer: Issuer, token: str) -> Claims | TokenRefused:
        async with self._slots:
            if issuer.jwks_url:
                return await self._verify(issuer, token)
            return await self._ask(issuer, token)

    async def _find_owner(self, issuer: Issuer, claims: Claims) -> TokenOwner | TokenRefused:
        login = claims.get(issuer.claim)
        if not isinstance(login, str) or not 0 < len(login) <= LOGIN_LIMIT:
            return TokenRefused(f"it has no claim {issuer.claim}")
        if issuer.claim == "email" and claims.get("email_verified") is False:
            return TokenRefused("its issuer has not verified the address")
        account = await self._store.look_up(lambda tx: accounts.find_account(tx, login))
        if account is None:
            return TokenRefused("it is nobody's here")
        if issuer.organisation not in (OrganisationId(0), account.organisation):
            return TokenRefused("its issuer is not believed about that account")
        return TokenOwner(account.login)

    # ------------------------------------------------------------------ by keys (RFC 7519)

    async def _verify(self, issuer: Issuer, token: str) -> Claims | TokenRefused:
        keys = await self._find_keys(issuer, KEYS_KEPT)
        found = verify(token, keys, issuer, self._clock.now())
        if not isinstance(found, TokenRefused):
            return found
        renewed = await self._find_keys(issuer, KEYS_PAUSE)  # the issuer may have new ones
        return found if renewed is keys else verify(token, renewed, issuer, self._clock.now())

    async def _find_keys(self, issuer: Issuer, oldest: timedelta) -> Any:
        async with self._one_fetches:
            known, now = self._keys.get(issuer.jwks_url), self._clock.now()
            if known is not None and now - known.fetched < oldest:
                return known.keys
            keys = await self._fetch_keys(issuer)
            if keys is None and known is not None:
                keys = known.keys
            self._forget_strangers()
            self._keys[issuer.jwks_url] = _Keys(now, keys)
            return keys

    async def _fetch_keys(self, issuer: Issuer) -> Any:
        page = await self._fetching.fetch(issuer.jwks_url, KEYS_SIZE)
        if isinstance(page, FetchFailed):
            log.warning("no keys of the issuer %s: %s", issuer.issuer, page.reason)
            return None
        keys = read_keys(page.body) if page.status == 200 else None
        if keys is None:
            log.warning("no keys of the issuer %s: %s is no set", issuer.issuer, issuer.jwks_url)
        return keys

    def _forget_strangers(self) -> None:
        while len(self._keys) >= token_issuers.ISSUERS_LIMIT:
            del self._keys[next(iter(self._keys))]

    # ------------------------------------------------------------------ by asking (RFC 7662)

    async def _ask(self, issuer: Issuer, token: str) -> Claims | TokenRefused:
        form = urlencode({"token": token, "token_type_hint": "access_token"}).encode("ascii")
        page = await self._fetching.fetch(
            issuer.introspection_url, ANSWER_SIZE, form, _authorization(issuer)
        )
        if isinstance(page, FetchFailed):
            log.warning("the issuer %s does not answer: %s", issuer.issuer, page.reason)
            return TokenRefused("its issuer does not answer")
        if page.status != 200:
            log.warning("the issuer %s answers %d", issuer.issuer, page.status)
            return TokenRefused(f"its issuer answers {page.status}")
        return read_introspection(page.body, issuer, self._clock.now())


def _authorization(issuer: Issuer) -> str:
    """RFC 6749 section 2.3.1."""
    if not issuer.client_id:
        return ""
    secret = quote(issuer.client_secret.decode("utf-8"), safe="")
    pair = f"{quote(issuer.client_id, safe='')}:{secret}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def named_issuer(token: str) -> str | None:
    """The issuer that a signed token names; nobody has checked it yet. None of any other token."""
    parts = token.split(".")
    issuer = _decode(parts[1]).get("iss") if len(parts) == 3 else None
    return issuer if isinstance(issuer, str) else None


def _decode(part: str) -> Claims:
    """A part of a token (RFC 7519 section 3); empty if it is none."""
    try:
        found = msgspec.json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, msgspec.MsgspecError):
        return {}
    return found if isinstance(found, dict) else {}


def read_keys(body: bytes) -> Any:
    """Keys (RFC 7517) by their id; None if that is no set of keys."""
    from joserfc.errors import JoseError
    from joserfc.jwk import JWKRegistry

    try:
        listed = msgspec.json.decode(body)["keys"][:KEYS_LIMIT]
    except (msgspec.MsgspecError, TypeError, KeyError):
        return None
    keys: dict[str, Any] = {}
    for number, one in enumerate(listed):
        # What is of a kind that we do not know costs nothing but itself.
        with suppress(JoseError, ValueError, TypeError, KeyError, AttributeError):
            if one["kty"] in ("RSA", "EC", "OKP"):
                keys[str(one.get("kid", number))] = JWKRegistry.import_key(one)
    return keys or None


def verify(
    token: str, keys: dict[str, Any] | None, issuer: Issuer, now: datetime
) -> Claims | TokenRefused:
    """The claims of a token that is signed with one of the keys, and good now."""
    from joserfc import jwt
    from joserfc.errors import JoseError

    if not keys:
        return TokenRefused("the keys of its issuer are not known")
    named = _decode(token.partition(".")[0]).get("kid")
    candidates = list(keys.values()) if named is None else [keys.get(str(named))]
    reason = "it names a key that its issuer does not have"
    for key in candidates:
        try:
            if key is not None:
                claims = jwt.decode(token, key, algorithms=list(ALGORITHMS)).claims
                return check_claims(claims, issuer, now, must_expire=True)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            reason = f"it is not signed by its issuer: {error}"
    return TokenRefused(reason)


def read_introspection(body: bytes, issuer: Issuer, now: datetime) -> Claims | TokenRefused:
    """The claims in an answer of RFC 7662 section 2.2, if the token is good."""
    try:
        claims = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return TokenRefused("its issuer gives no sensible answer")
    if not isinstance(claims, dict) or claims.get("active") is not True:
        return TokenRefused("its issuer does not know it, or it has ended")
    return check_claims({"iss": issuer.issuer, **claims}, issuer, now, must_expire=False)


def check_claims(
    claims: Claims, issuer: Issuer, now: datetime, must_expire: bool
) -> Claims | TokenRefused:
    """The claims, if they are of this issuer, for us, and good now (RFC 7519 section 4.1)."""
    if claims.get("iss") != issuer.issuer:
        return TokenRefused("it is of another issuer")
    audience = claims.get("aud", [])
    if issuer.audience and issuer.audience not in (
        audience if isinstance(audience, list) else [audience]
    ):
        return TokenRefused("it is meant for somebody else")
    seconds = now.timestamp()
    expires, begins = claims.get("exp"), claims.get("nbf", 0)
    if expires is None and not must_expire:
        expires = seconds
    if not isinstance(expires, int | float) or expires < seconds - LEEWAY:
        return TokenRefused("it has expired")
    if not isinstance(begins, int | float) or begins > seconds + LEEWAY:
        return TokenRefused("it is not good yet")
    return claims
