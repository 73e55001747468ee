"""A log-in by SASL, for all protocols: drives the exchange, answers what it asks of the house.

One of these for each AUTH or AUTHENTICATE; the session passes challenges and responses on. Limits
and what the journal is told are those of services.accounts, whatever the mechanism.
Holds: what an exchange without an account is told has the same shape as with one.
"""

from mailstead.model.world import Endpoint
from mailstead.protocol import sasl, sasl_mechanisms
from mailstead.protocol.sasl import (
    BadResponse,
    CheckToken,
    Credentials,
    Disproven,
    External,
    FindKeys,
    Proven,
    TokenOwner,
)
from mailstead.services.accounts import Accounts, Login, LoginBusy, LoginRefused, Try

Result = Login | LoginRefused | LoginBusy | BadResponse


class Authentication:
    """One log-in under way; `certificate` is what the peer has shown in TLS."""

    def __init__(
        self, accounts: Accounts, protocol: str, peer: Endpoint, certificate: bytes = b""
    ) -> None:
        self._accounts, self._protocol, self._peer = accounts, protocol, peer
        self._certificate = certificate
        self._mechanism = ""
        self._try: Try | None = None
        self._guess = ""  # what was tried; the same again counts once

    async def begin(self, mechanism: str, initial: bytes | None) -> bytes | Result:
        """The first challenge, or what came of it; the mechanism is one that was offered."""
        self._mechanism = mechanism
        self._exchange = sasl_mechanisms.begin(mechanism, initial, self._accounts.make_nonce())
        return await self._go_on(None)

    async def respond(self, response: bytes) -> bytes | Result:
        """The next challenge, or what came of it."""
        return await self._go_on(response)

    async def _go_on(self, answer: bytes | sasl.Answer | None) -> bytes | Result:
        while True:
            match sasl.advance(self._exchange, answer):
                case bytes(challenge):
                    return challenge
                case FindKeys(login):
                    if not await self._approach(login):
                        return LoginBusy()
                    answer = await self._accounts.find_keys(self._trying)
                case CheckToken(login, token):
                    if not await self._approach(login):
                        return LoginBusy()
                    self._guess = token
                    answer = await self._accounts.check_token(token)
                    if isinstance(answer, TokenOwner) and not await self._approach(answer.login):
                        return LoginBusy()
                case outcome:
                    return await self._end(outcome)

    @property
    def _trying(self) -> Try:
        assert self._try is not None
        return self._try

    async def _approach(self, login: str) -> bool:
        """Whether a log-in under that name may be tried now."""
        found = await self._accounts.approach(login, self._mechanism, self._protocol, self._peer)
        if isinstance(found, LoginBusy):
            return False
        self._try = found
        return True

    async def _end(self, outcome: sasl.Outcome) -> Result:
        match outcome:
            case Credentials():
                return await self._accounts.log_in(outcome, self._protocol, self._peer)
            case Proven():
                return await self._admit(outcome)
            case Disproven(reason=reason):
                # Of a proof nobody sees which password it was; each counts.
                guess = self._guess or f"proof {self._accounts.make_nonce().hex()}"
                reason = reason if self._trying.account or self._guess else "no such account"
                return self._accounts.refuse(self._trying, reason, guess)
            case External(authorization_id):
                return await self._let_in_by_certificate(authorization_id)
            case _:
                return outcome

    async def _admit(self, proven: Proven) -> Login | LoginRefused:
        this = self._trying
        wanted = proven.authorization_id.casefold()
        if wanted not in ("", proven.login.casefold()):
            return self._accounts.refuse(this, "may not act for others", self._guess)
        found = self._accounts.admit(this, self._guess, proven.key)
        if isinstance(found, Login) and proven.key > 0:
            await self._accounts.note_use(this, proven.key)
        return found

    async def _let_in_by_certificate(self, wanted: str) -> Result:
        owner = await self._accounts.find_certificate_owner(self._certificate)
        if not await self._approach(owner or wanted):
            return LoginBusy()
        if owner is None or wanted.casefold() not in ("", owner):
            reason = "the certificate is not that account's"
            return self._accounts.refuse(self._trying, reason, f"certificate {wanted}")
        return self._accounts.admit(self._trying, "certificate")
