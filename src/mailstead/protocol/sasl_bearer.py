"""OAUTHBEARER (RFC 7628) and XOAUTH2: a token of somebody whom the house believes.

Both say an identity and a token in one message, and are told in JSON why it was refused, before
the log-in fails. Whose the token is, the house says.
"""

import re

import msgspec

from mailstead.protocol.sasl import (
    BadResponse,
    CheckToken,
    Disproven,
    Exchange,
    Proven,
    TokenOwner,
    TokenRefused,
    response,
)
from mailstead.protocol.sasl_scram import unescape

OAUTHBEARER, XOAUTH2 = "OAUTHBEARER", "XOAUTH2"
TOKEN_LIMIT = 8 * 1024  # octets; those with many claims have three thousand
MESSAGE_LIMIT = TOKEN_LIMIT + 4 * 1024

_HEADER = re.compile(rb"[ny],(?:a=(?P<identity>[^,]*))?,\x01(?P<pairs>.*)\x01", re.DOTALL)
_XOAUTH2 = re.compile(rb"user=(?P<identity>[^\x01]*)\x01(?P<pairs>.*)\x01", re.DOTALL)
_TOKEN = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9\-._~+/]+=*) *")  # RFC 6750 section 2.1


def oauthbearer(initial: bytes | None) -> Exchange:
    """The server's side of OAUTHBEARER (RFC 7628 section 3)."""
    message = initial if initial is not None else response((yield b""))
    refusal = msgspec.json.encode({"status": "invalid_token", "scope": "mail"})
    return (yield from _bearer(_HEADER, OAUTHBEARER, message, refusal))


def xoauth2(initial: bytes | None) -> Exchange:
    """The server's side of XOAUTH2, which has no RFC but many clients."""
    message = initial if initial is not None else response((yield b""))
    refusal = msgspec.json.encode({"status": "401", "schemes": "bearer", "scope": "mail"})
    return (yield from _bearer(_XOAUTH2, XOAUTH2, message, refusal))


def _bearer(
    pattern: "re.Pattern[bytes]", mechanism: str, message: bytes, refusal: bytes
) -> Exchange:
    asked = _parse(pattern, message)
    if isinstance(asked, BadResponse):
        return asked
    answer = yield asked
    if isinstance(answer, TokenOwner):
        return Proven(asked.login, answer.login, mechanism)
    assert isinstance(answer, TokenRefused)
    yield refusal  # whatever the client says to that (RFC 7628 section 3.2.3)
    return Disproven(asked.login, mechanism, answer.reason)


def _parse(pattern: "re.Pattern[bytes]", message: bytes) -> CheckToken | BadResponse:
    found = pattern.fullmatch(message) if len(message) <= MESSAGE_LIMIT else None
    if found is None:
        return BadResponse("that is no message of OAUTHBEARER or XOAUTH2")
    pairs = dict(pair.partition(b"=")[::2] for pair in found["pairs"].split(b"\x01") if pair)
    token = _TOKEN.fullmatch(pairs.get(b"auth", b"").decode("latin-1"))
    if token is None or len(token[1]) > TOKEN_LIMIT:
        return BadResponse("a bearer token is missing")
    try:
        return CheckToken(unescape(found["identity"] or b""), token[1])
    except ValueError as error:
        return BadResponse(str(error))


def client_message(login: str, token: str) -> bytes:
    """The client's message of OAUTHBEARER."""
    name = login.replace("=", "=3D").replace(",", "=2C")
    return f"n,a={name},\x01auth=Bearer {token}\x01\x01".encode()
