"""SASL exchanges for log-ins with a password: PLAIN (RFC 4616) and LOGIN, both sides.

An exchange is a generator that yields challenges, is sent responses, and returns Credentials or a
BadResponse; `advance` drives it. Whether the password is right is not decided here.
"""

import base64
import binascii
import unicodedata
from collections.abc import Callable, Generator

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


Outcome = Credentials | BadResponse
Exchange = Generator[bytes, bytes, Outcome]


def decode(text: bytes) -> bytes | None:
    """The octets behind base64 (RFC 4648 section 4), or None if it is not strictly that."""
    if text.translate(None, _BASE64_STRICT):
        return None
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return data if base64.b64encode(data) == text else None  # no stray bits or padding


def advance(exchange: Exchange, response: bytes | None) -> bytes | Outcome:
    """The next challenge, or how the exchange ended; the first response is always None."""
    try:
        return next(exchange) if response is None else exchange.send(response)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome


def plain(initial: bytes | None) -> Exchange:
    """The server's side of PLAIN; the challenge is empty (RFC 4616 section 2)."""
    message = (yield b"") if initial is None else initial
    fields = message.split(b"\0")
    if len(fields) != 3:
        return BadResponse("PLAIN is authorization id, NUL, login, NUL, password")
    return _credentials("PLAIN", *fields)


def login(initial: bytes | None) -> Exchange:
    """The server's side of LOGIN, which has no RFC but many clients."""
    name = (yield b"Username:") if initial is None else initial
    password = yield b"Password:"
    return _credentials("LOGIN", b"", name, password)


MECHANISMS: dict[str, Callable[[bytes | None], Exchange]] = {"PLAIN": plain, "LOGIN": login}


def normalise_login(text: str) -> str:
    """The login in one spelling: NFC, without spaces around it.

    RFC 8265 section 3.3 (UsernameCasePreserved) is followed in its normalisation.
    """
    return unicodedata.normalize("NFC", text.strip())


def _credentials(mechanism: str, authorization_id: bytes, login: bytes, password: bytes) -> Outcome:
    try:
        fields = [_field(octets) for octets in (authorization_id, login, password)]
    except ValueError as error:
        return BadResponse(str(error))
    identity, name = normalise_login(fields[0]), normalise_login(fields[1])
    if not name or not fields[2]:
        return BadResponse("login and password must not be empty")
    return Credentials(identity, name, fields[2], mechanism)


def _field(octets: bytes) -> str:
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
