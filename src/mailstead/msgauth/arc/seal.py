"""Sealing: what a host adds to a message that it passes on (RFC 8617 section 5.1).

After all other changes, a DKIM signature of ours included. A chain that its last host gave up, or
that is as long as it may be, stays as it is.
"""

import base64
from collections.abc import Iterator
from datetime import datetime

from mailstead.message import header as fields
from mailstead.msgauth.arc.chain import Broken, Chain, Found
from mailstead.msgauth.arc.validate import Status, Validation
from mailstead.msgauth.authres import (
    INSTANCE_LIMIT,
    ArcResults,
    AuthenticationResults,
    format_arc,
)
from mailstead.msgauth.dkim.canonical import Form, relaxed_field
from mailstead.msgauth.dkim.key import SigningKey
from mailstead.msgauth.dkim.sign import (
    INSTANCES_LIMIT,
    algorithm,
    choose_fields,
    complete,
    fold_names,
    signed_data,
)

_SIGNATURE = "DKIM-Signature"


def seal(
    header: bytes,
    body_hash: bytes,
    found: Found,
    validation: Validation,
    results: AuthenticationResults,
    key: SigningKey,
    now: datetime,
) -> bytes:
    """The three fields with their line ends, for the top of the header; none if it stays as it is.

    `found` and `validation` are of the message as it came, `header` and `body_hash` (of the whole
    body, relaxed) as it goes on.
    """
    instance = _highest(found) + 1
    if instance > INSTANCE_LIMIT or (isinstance(found, Broken) and found.given_up):
        return b""
    own_results = format_arc(ArcResults(instance, results))
    message = _sign_message(header, body_hash, instance, key, now)
    before = _sealed_before(found) if validation.status is Status.PASS else b""
    own = _unsigned_seal(instance, validation.status, key, now)
    data = before + signed_data([own_results, message], own, Form.RELAXED)
    return complete(own, data, key) + message + own_results


def _highest(found: Found) -> int:
    match found:
        case Chain(sets=sets):
            return len(sets)
        case Broken(highest=highest):
            return highest
        case None:
            return 0


def _sign_message(
    header: bytes, body_hash: bytes, instance: int, key: SigningKey, now: datetime
) -> bytes:
    """ARC-Message-Signature: what DKIM would sign, and DKIM's signatures (section 4.1.2)."""
    chosen = [*choose_fields(header), *_signatures(header)]
    lines = (
        f"ARC-Message-Signature: i={instance}; a={algorithm(key)}; c=relaxed/relaxed;",
        f"\td={key.domain}; s={key.selector}; t={int(now.timestamp())};",
        f"\tbh={base64.b64encode(body_hash).decode()};",
        f"\th={fold_names([name for name, _ in chosen])};",
        "\tb=",
    )
    unsigned = "\r\n".join(lines).encode("ascii")
    return complete(unsigned, signed_data([raw for _, raw in chosen], unsigned, Form.RELAXED), key)


def _signatures(header: bytes) -> Iterator[tuple[str, bytes]]:
    raws = [one.raw for one in fields.fields(header) if one.name.lower() == _SIGNATURE.lower()]
    for raw in raws[: -INSTANCES_LIMIT - 1 : -1]:  # the lowest first
        yield _SIGNATURE, raw


def _sealed_before(found: Found) -> bytes:
    """All fields of a good chain; of a broken one none are covered (section 5.1.2)."""
    sets = found.sets if isinstance(found, Chain) else ()
    return b"".join([relaxed_field(raw) for one in sets for raw in one.fields])


def _unsigned_seal(instance: int, status: Status, key: SigningKey, now: datetime) -> bytes:
    lines = (
        f"ARC-Seal: i={instance}; a={algorithm(key)}; cv={status.value};",
        f"\td={key.domain}; s={key.selector}; t={int(now.timestamp())};",
        "\tb=",
    )
    return "\r\n".join(lines).encode("ascii")
