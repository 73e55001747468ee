"""Signing: the DKIM-Signature field for a header and the hash of a body (RFC 6376 section 5).

Both in relaxed form. A field that a reader believes is named once more than it occurs, so that
nobody can add another without breaking the signature (RFC 6376 section 8.15). No l=, which would
let text be added (section 8.2), and no x=: a signature does not grow bad with age.
"""

import base64
import hashlib
from collections.abc import Iterable
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from mailstead.message import header as fields
from mailstead.msgauth.dkim.canonical import Form, canonical_field
from mailstead.msgauth.dkim.key import PrivateKey, SigningKey, load

INSTANCES_LIMIT = 20  # of one field that are signed; of most there may be only one anyway
LINE_ROOM = 72  # characters of h= and b= in a line

# Signed however often they occur, and once more.
_SEALED = (
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
)
# The same if the author wrote them. Else mailing lists may: they add these and nothing more to
# messages that they pass on whole, whose signature so stays good.
_SEALED_IF_THERE = (
    "Sender",
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
)


def sign(header: bytes, body_hash: bytes, key: SigningKey, now: datetime) -> bytes:
    """The DKIM-Signature field, with its CRLF, to be put on top of the header."""
    chosen = choose_fields(header)
    unsigned = _compose(key, [name for name, _ in chosen], body_hash, now)
    data = signed_data([raw for _, raw in chosen], unsigned, Form.RELAXED)
    return complete(unsigned, data, key)


def complete(unsigned: bytes, data: bytes, key: SigningKey) -> bytes:
    """The field, which ends with an empty b=, with the signature of the data in it."""
    value = base64.b64encode(sign_data(data, load(key.pem)))
    return b"%s%s\r\n" % (unsigned, _fold(value))


def algorithm(key: SigningKey) -> str:
    """What a= says of this key."""
    return "rsa-sha256" if isinstance(load(key.pem), RSAPrivateKey) else "ed25519-sha256"


def choose_fields(header: bytes) -> list[tuple[str, bytes]]:
    """What h= names, in its order, each with the field meant; nothing where none is left.

    Of fields of one name the last is the first meant (RFC 6376 section 5.4.2).
    """
    there: dict[str, list[bytes]] = {}
    for field in fields.fields(header):
        there.setdefault(field.name.lower(), []).append(field.raw)
    names = [*_SEALED, *(name for name in _SEALED_IF_THERE if name.lower() in there)]
    return [
        (name, raw)
        for name in names
        for raw in [*reversed(there.get(name.lower(), [])), b""][:INSTANCES_LIMIT]
    ]


def signed_data(raws: Iterable[bytes], signature: bytes, form: Form) -> bytes:
    """What is signed: the fields, then the signature's own with an empty b= and no line end.

    RFC 6376 section 3.7.
    """
    canonical = [canonical_field(raw, form) for raw in (*raws, signature) if raw]
    return b"".join(canonical).removesuffix(b"\r\n")


def sign_data(data: bytes, key: PrivateKey) -> bytes:
    """The signature: rsa-sha256 (RFC 6376 section 3.3.1) or ed25519-sha256 (RFC 8463 section 3)."""
    if isinstance(key, RSAPrivateKey):
        return key.sign(data, PKCS1v15(), SHA256())
    return key.sign(hashlib.sha256(data).digest())


def _compose(key: SigningKey, names: list[str], body_hash: bytes, now: datetime) -> bytes:
    """The field up to the value of b=, which is its last tag (RFC 6376 section 3.5)."""
    lines = (
        f"DKIM-Signature: v=1; a={algorithm(key)}; c=relaxed/relaxed; t={int(now.timestamp())};",
        f"\td={key.domain}; s={key.selector};",
        f"\tbh={base64.b64encode(body_hash).decode()};",
        f"\th={fold_names(names)};",
        "\tb=",
    )
    return "\r\n".join(lines).encode("ascii")


def fold_names(names: list[str]) -> str:
    """The names between colons, on as many lines as they need."""
    lines = [""]
    for name in names:
        if len(lines[-1]) + len(name) > LINE_ROOM:
            lines.append("")
        lines[-1] += f"{name.lower()}:"
    return "\r\n\t".join(lines).rstrip(":")


def _fold(text: bytes) -> bytes:
    return b"\r\n\t".join(text[at : at + LINE_ROOM] for at in range(0, len(text), LINE_ROOM))
