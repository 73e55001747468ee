"""SASL exchanges (RFC 4422), and the mechanisms of one message: PLAIN (RFC 4616), LOGIN, EXTERNAL.

An exchange is a generator: it yields challenges for the peer and questions for the house, is sent
responses and answers, and returns what came of it; `advance` drives it. Whether a password is
right, and what an account may do, is not decided here.
"""

import base64
import binascii
import unicodedata
from collections.abc import Generator

import msgspec

FIELD_LIMIT = 1024  # octets of an authorization id, a login or a password

_BASE64_STRICT = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="


class Credentials(msgspec.Struct, frozen=True):
    """Who wants to be let in, and as whom; an empty authorization id means as oneself."""

    authorization_id: str
    login: str
    password: str
    mechanism: str

    def __repr__(self) -> str:
        return f"Credentials({self.authorization_id!r}, {self.login!r}, {self.mechanism!r})"


class BadResponse(msgspec.Struct, frozen=True):
    """The response makes no sense; `reason` is a sentence for people."""

    reason: str


class Proven(msgspec.Struct, frozen=True):
    """Who has shown to know a password or to hold a token; `key` says which password it was."""

    authorization_id: str
    login: str
    mechanism: str
    key: int = 0


class Disproven(msgspec.Struct, frozen=True):
    """What was shown proves nothing."""

    login: str
    mechanism: str
    reason: str


class External(msgspec.Struct, frozen=True):
    """The peer wants to be who its certificate says, or the account of this name (RFC 4422)."""

    authorization_id: str


class FindKeys(msgspec.Struct, frozen=True):
    """A question: what does this log-in prove its passwords with?"""

    login: str


class Key(msgspec.Struct, frozen=True):
    """What the server keeps of one password (RFC 5802 section 3); `id` is the asker's own."""

    id: int
    stored_key: bytes
    server_key: bytes


class Keys(msgspec.Struct, frozen=True):
    """The passwords of one log-in, all with the same salt: any of them will do."""

    salt: bytes
    iterations: int
    keys: tuple[Key, ...]


class CheckToken(msgspec.Struct, frozen=True):
    """A question: whose is this token? `login` is whose the peer says, perhaps nobody's."""

    login: str
    token: str

    def __repr__(self) -> str:
        return f"CheckToken({self.login!r})"


class TokenOwner(msgspec.Struct, frozen=True):
    """Whose the token is."""

    login: str


class TokenRefused(msgspec.Struct, frozen=True):
    """The token is not believed."""

    reason: str


Question = FindKeys | CheckToken
Answer = Keys | TokenOwner | TokenRefused
Outcome = Credentials | Proven | Disproven | External | BadResponse
Exchange = Generator[bytes | Question, bytes | Answer, Outcome]


def decode(text: bytes) -> bytes | None:
    """The octets behind base64 (RFC 4648 section 4), or None if it is not strictly that."""
    if text.translate(None, _BASE64_STRICT):
        return None
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return data if base64.b64encode(data) == text else None  # no stray bits or padding


def advance(
    exchange: Exchange, response: bytes | Answer | None
) -> bytes | FindKeys | CheckToken | Outcome:
    """The next challenge or question, or how the exchange ended; the first response is None."""
    try:
        return next(exchange) if response is None else exchange.send(response)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome


def plain(initial: bytes | None) -> Exchange:
    """The server's side of PLAIN; the challenge is empty (RFC 4616 section 2)."""
    message = initial if initial is not None else response((yield b""))
    fields = message.split(b"\0")
    if len(fields) != 3:
        return BadResponse("PLAIN is authorization id, NUL, login, NUL, password")
    return _credentials("PLAIN", *fields)


def login(initial: bytes | None) -> Exchange:
    """The server's side of LOGIN, which has no RFC but many clients."""
    name = initial if initial is not None else response((yield b"Username:"))
    password = response((yield b"Password:"))
    return _credentials("LOGIN", b"", name, password)


def external(initial: bytes | None) -> Exchange:
    """The server's side of EXTERNAL; the certificate is known already (RFC 4422 appendix A)."""
    message = initial if initial is not None else response((yield b""))
    try:
        return External(normalise_login(field(message)))
    except ValueError as error:
        return BadResponse(str(error))


def response(sent: bytes | Answer) -> bytes:
    """What was sent after a challenge."""
    assert isinstance(sent, bytes)
    return sent


def normalise_login(text: str) -> str:
    """The login in one spelling: NFC, without spaces around it.

    RFC 8265 section 3.3 (UsernameCasePreserved) is followed in its normalisation.
    """
    return unicodedata.normalize("NFC", text.strip())


def _credentials(mechanism: str, authorization_id: bytes, login: bytes, password: bytes) -> Outcome:
    try:
        fields = [field(octets) for octets in (authorization_id, login, password)]
    except ValueError as error:
        return BadResponse(str(error))
    identity, name = normalise_login(fields[0]), normalise_login(fields[1])
    if not name or not fields[2]:
        return BadResponse("login and password must not be empty")
    return Credentials(identity, name, fields[2], mechanism)


def field(octets: bytes) -> str:
    """The text of an identity or a password; ValueError if it cannot be one."""
    if len(octets) > FIELD_LIMIT:
        raise ValueError(f"login and password are at most {FIELD_LIMIT} octets")
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("login and password must be UTF-8") from None
    if any(unicodedata.category(c) == "Cc" for c in text):
        raise ValueError("login and password must not hold control characters")
    return text


def plain_initial(login: str, password: str) -> bytes:
    """The client's only response for PLAIN, as oneself (RFC 4616 section 2)."""
    return b"\0".join((b"", login.encode("utf-8"), password.encode("utf-8")))


def login_responses(login: str, password: str) -> tuple[bytes, bytes]:
    """The client's two responses for LOGIN."""
    return login.encode("utf-8"), password.encode("utf-8")


def encode(data: bytes) -> bytes:
    """The octets in base64, as they go into a response line."""
    return base64.b64encode(data)
