"""SCRAM-SHA-256, both sides: a password is proven without being sent (RFC 5802, RFC 7677).

The server keeps what cannot be turned back into the password, and proves in its turn that it
knows it. An account with several passwords has one salt for all; the proof says which it was.
Not here: channel bindings (SCRAM-SHA-256-PLUS); a client that asks for them is refused.
"""

import binascii
import hashlib
import hmac
import re
import stringprep
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Generator

import msgspec

from mailstead.protocol.sasl import (
    FIELD_LIMIT,
    BadResponse,
    Disproven,
    Exchange,
    FindKeys,
    Key,
    Keys,
    Proven,
    decode,
    field,
    normalise_login,
    response,
)

MECHANISM = "SCRAM-SHA-256"
ITERATIONS = 100_000
SALT_LENGTH = 16  # octets
KEY_LENGTH = 32  # of a key and of a proof
NONCE_LENGTH = 18  # octets of ours, 24 characters
NONCE_LIMIT = 256  # characters of the client's
MESSAGE_LIMIT = 3 * FIELD_LIMIT  # octets: two identities with escapes, a nonce
ITERATIONS_LIMIT = 10_000_000  # that a client of ours would do

_ATTRIBUTE = rb"[\x21-\x2b\x2d-\x7e]"  # printable, no comma
_FIRST = re.compile(
    rb"(?P<header>(?P<flag>[ny]|p=[^,]*),(?:a=(?P<identity>[^,]*))?,)"
    rb"(?P<bare>n=(?P<name>[^,]*),r=(?P<nonce>" + _ATTRIBUTE + rb"+)(?:,.*)?)",
    re.DOTALL,
)
_FINAL = re.compile(
    rb"(?P<bare>c=(?P<binding>[A-Za-z0-9+/=]+),r=(?P<nonce>" + _ATTRIBUTE + rb"+)(?:,.*)?)"
    rb",p=(?P<proof>[A-Za-z0-9+/=]+)",
    re.DOTALL,
)
_STORED = re.compile(
    r"SCRAM-SHA-256\$(\d{1,8}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)"
)


class _First(msgspec.Struct, frozen=True):
    """What the client-first-message says."""

    header: bytes
    bare: bytes
    identity: str
    login: str
    nonce: bytes


# ---------------------------------------------------------------------- the server's side


def server(initial: bytes | None, nonce: bytes) -> Exchange:
    """The server's side; `nonce` is ours, fresh for each exchange."""
    message = initial if initial is not None else response((yield b""))
    first = _parse_first(message)
    if isinstance(first, BadResponse):
        return first
    keys = yield FindKeys(first.login)
    assert isinstance(keys, Keys)
    both = first.nonce + nonce
    ours = b"r=%s,s=%s,i=%d" % (both, b64encode(keys.salt), keys.iterations)
    final = response((yield ours))
    parsed = _parse_final(final, first, both)
    if isinstance(parsed, BadResponse):
        return parsed
    bare, proof = parsed
    text = b",".join((first.bare, ours, bare))
    key = _find_key(keys.keys, proof, text)
    if key is None:
        return Disproven(first.login, MECHANISM, "wrong password")
    # With the protocols that have no room beside success the client answers with nothing.
    yield b"v=" + b64encode(hmac.digest(key.server_key, text, "sha256"))
    return Proven(first.identity, first.login, MECHANISM, key.id)


def _parse_first(message: bytes) -> _First | BadResponse:
    if len(message) > MESSAGE_LIMIT:
        return BadResponse(f"a message of SCRAM is at most {MESSAGE_LIMIT} octets")
    found = _FIRST.fullmatch(message)
    if found is None:
        return BadResponse("that is no client-first-message (RFC 5802 section 7)")
    if found["flag"].startswith(b"p="):
        return BadResponse("channel bindings are not offered")
    if len(found["nonce"]) > NONCE_LIMIT:
        return BadResponse(f"a nonce is at most {NONCE_LIMIT} characters")
    try:
        identity, login = (unescape(found[name] or b"") for name in ("identity", "name"))
    except ValueError as error:
        return BadResponse(str(error))
    if not login:
        return BadResponse("the name must not be empty")
    return _First(found["header"], found["bare"], identity, login, found["nonce"])


def unescape(octets: bytes) -> str:
    """A saslname (RFC 5802 section 5.1) as a login; ValueError if it is none."""
    text = field(octets)
    if re.search(r"=(?!2C|3D)", text):
        raise ValueError("= and , are written =3D and =2C in a name")
    return normalise_login(text.replace("=2C", ",").replace("=3D", "="))


def _parse_final(message: bytes, first: _First, nonce: bytes) -> tuple[bytes, bytes] | BadResponse:
    """The client-final-message without its proof, and the proof."""
    found = _FINAL.fullmatch(message) if len(message) <= MESSAGE_LIMIT else None
    if found is None:
        return BadResponse("that is no client-final-message (RFC 5802 section 7)")
    if not hmac.compare_digest(found["nonce"], nonce):
        return BadResponse("the nonce is not the one of this exchange")
    if decode(found["binding"]) != first.header:
        return BadResponse("the channel binding is not the one of this exchange")
    proof = decode(found["proof"])
    if proof is None or len(proof) != KEY_LENGTH:
        return BadResponse("that is no proof")
    return found["bare"], proof


def _find_key(keys: tuple[Key, ...], proof: bytes, text: bytes) -> Key | None:
    """Whose proof it is (RFC 5802 section 3)."""
    found = None
    for key in keys:
        signature = hmac.digest(key.stored_key, text, "sha256")
        client_key = _xor(proof, signature)
        if hmac.compare_digest(hashlib.sha256(client_key).digest(), key.stored_key):
            found = key
    return found


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


# ---------------------------------------------------------------------- what is kept


def derive(password: str, salt: bytes, iterations: int, id_: int = 0) -> Key:
    """What to keep of a password; with ITERATIONS it takes about 40 ms of CPU."""
    salted = _salted(password, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return Key(id_, hashlib.sha256(client_key).digest(), server_key)


def format_keys(keys: Keys) -> str:
    """One key as it is kept (RFC 5803 section 2)."""
    (key,) = keys.keys
    salt, stored, served = (
        b64encode(octets).decode() for octets in (keys.salt, key.stored_key, key.server_key)
    )
    return f"{MECHANISM}${keys.iterations}:{salt}${stored}:{served}"


def parse_keys(text: str, id_: int) -> Keys | None:
    """The key that was kept; None if there is none, or another mechanism's."""
    found = _STORED.fullmatch(text)
    if found is None:
        return None
    try:
        salt, stored, served = (b64decode(found[n], validate=True) for n in (2, 3, 4))
    except binascii.Error:
        return None
    if len(stored) != KEY_LENGTH or len(served) != KEY_LENGTH:
        return None
    return Keys(salt, int(found[1]), (Key(id_, stored, served),))


def prepare(password: str) -> str:
    """The password as all clients spell it (SASLprep, RFC 4013); as it is where that forbids it."""
    mapped = "".join(
        " " if stringprep.in_table_c12(c) else c for c in password if not stringprep.in_table_b1(c)
    )
    normal = unicodedata.normalize("NFKC", mapped)
    if not normal or any(_is_prohibited(c) for c in normal):
        return password
    return normal


def _is_prohibited(character: str) -> bool:
    return (
        stringprep.in_table_c12(character)
        or stringprep.in_table_c21_c22(character)
        or stringprep.in_table_c3(character)
        or stringprep.in_table_c5(character)
        or stringprep.in_table_c6(character)
        or stringprep.in_table_c7(character)
    )


def _salted(password: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", prepare(password).encode("utf-8"), salt, iterations)


# ---------------------------------------------------------------------- the client's side


def client(login: str, password: str, nonce: bytes) -> Generator[bytes, bytes, bool]:
    """The client's side: yields messages, is sent challenges; whether the server is the right one.

    The last message is empty: it answers what the server has proven.
    """
    name = login.replace("=", "=3D").replace(",", "=2C").encode()
    bare = b"n=%s,r=%s" % (name, nonce)
    challenge = yield b"n,," + bare
    found = re.fullmatch(rb"r=([^,]+),s=([^,]+),i=(\d{1,8})", challenge)
    if found is None or not found[1].startswith(nonce) or int(found[3]) > ITERATIONS_LIMIT:
        return False
    salted = _salted(password, b64decode(found[2]), int(found[3]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    without = b"c=biws,r=" + found[1]
    text = b",".join((bare, challenge, without))
    signature = hmac.digest(hashlib.sha256(client_key).digest(), text, "sha256")
    final = yield without + b",p=" + b64encode(_xor(client_key, signature))
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    expected = b"v=" + b64encode(hmac.digest(server_key, text, "sha256"))
    if not hmac.compare_digest(final, expected):
        return False
    yield b""
    return True
