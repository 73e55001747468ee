"""Verifying a signature, once header, body and key are there (RFC 6376 section 6.1, RFC 8301).

    found = signatures(header)                  when the header is there; now ask for the keys
    hashes = body_hashes(found)                 add() each piece of the body
    verify(one, hashes.finish(), answer, now)   for each signature

Not here: what a message without good signatures is worth (RFC 6376 section 6.1: as much as one
without signatures).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import msgspec

from mailstead.model.dns import Answer
from mailstead.msgauth.dkim.bodyhash import BodyHashes, Cover, Digest
from mailstead.msgauth.dkim.failure import Cause, Failure, Verdict
from mailstead.msgauth.dkim.record import BITS_WANTED, PublicKey, check_value
from mailstead.msgauth.dkim.signature import Signature, Unusable

# Clocks go wrong; t= and x= prove nothing anyway (RFC 6376 section 3.5).
FUTURE_GRACE = timedelta(hours=12)  # that t= may lie ahead: a time zone misunderstood
EXPIRY_GRACE = timedelta(minutes=5)  # that x= may have passed


class Result(msgspec.Struct, frozen=True):
    """What came of one signature."""

    verdict: Verdict
    reason: str  # in words; of a good one too, if there is something to say
    cause: Cause | None  # None if it is good
    domain: str
    selector: str
    identity: str = ""
    algorithm: str = ""
    bits: int = 0  # of the key; 0 if it was not seen
    uncovered: int = 0  # octets at the end of the body that it says nothing of (l=)
    testing: bool = False  # the domain asks to be treated as if it had not signed (t=y)


def body_hashes(found: Iterable[Signature | Unusable]) -> BodyHashes:
    """Takes the body in pieces, for all these signatures at once."""
    return BodyHashes(one.cover for one in found if isinstance(one, Signature))


def verify(
    signature: Signature | Unusable,
    bodies: Mapping[Cover, Digest],
    answer: Answer,
    now: datetime,
) -> Result:
    """Whether it is good; `answer` is what the DNS said to its question."""
    if isinstance(signature, Unusable):
        failure = signature.failure
        return Result(
            failure.verdict, failure.reason, failure.cause, signature.domain, signature.selector
        )
    if failed := _too_early_or_late(signature, now):
        return _failed(signature, failed)
    key = check_value(signature.header_hash, signature.value, signature.algorithm, answer)
    if isinstance(key, Failure) and key.cause not in (Cause.HEADER, Cause.VALUE):
        return _failed(signature, key)
    digest = bodies[signature.cover]
    failed = _body_failure(signature, digest, key)
    if isinstance(key, Failure):
        return _failed(signature, failed or key)
    if key.strict and not signature.of_domain:
        failed = Failure(Cause.RECORD, f"the key is for {signature.domain} only, not for i=")
    return _failed(signature, failed, key) if failed else _passed(signature, digest, key)


def _too_early_or_late(signature: Signature, now: datetime) -> Failure | None:
    late, early = (now - EXPIRY_GRACE).timestamp(), (now + FUTURE_GRACE).timestamp()
    if signature.expires is not None and signature.expires < late:
        return Failure(Cause.EXPIRED, "it has expired (x=)")
    if signature.signed is not None and signature.signed > early:
        return Failure(Cause.FUTURE, "it was made in the future (t=)")
    return None


def _body_failure(signature: Signature, digest: Digest, key: PublicKey | Failure) -> Failure | None:
    length = signature.cover.length
    if length is not None and length > digest.size:
        return Failure(
            Cause.LENGTH, f"the body has {digest.size} octets, and not the {str(length)[:20]} of l="
        )
    if signature.body_hash == digest.hash:
        return None
    also = key.reason if isinstance(key, Failure) else "the header fields are as they were"
    return Failure(Cause.BODY, f"the body was changed after it was made; {also}")


def _failed(signature: Signature, failure: Failure, key: PublicKey | None = None) -> Result:
    return Result(
        verdict=failure.verdict,
        reason=failure.reason,
        cause=failure.cause,
        domain=signature.domain,
        selector=signature.selector,
        identity=signature.identity,
        algorithm=signature.algorithm,
        bits=key.bits if key else 0,
        testing=key.testing if key else False,
    )


def _passed(signature: Signature, digest: Digest, key: PublicKey) -> Result:
    length = signature.cover.length
    uncovered = 0 if length is None else digest.size - length
    return Result(
        verdict=Verdict.PASS,
        reason="; ".join(_remarks(key, uncovered)),
        cause=None,
        domain=signature.domain,
        selector=signature.selector,
        identity=signature.identity,
        algorithm=signature.algorithm,
        bits=key.bits,
        uncovered=uncovered,
        testing=key.testing,
    )


def _remarks(key: PublicKey, uncovered: int) -> Iterable[str]:
    """What makes a good signature less good."""
    if uncovered:
        yield f"the last {uncovered} octets of the body are not covered (l=)"
    if key.kind == "rsa" and key.bits < BITS_WANTED:
        yield f"the RSA key has only {key.bits} bits"
    if key.testing:
        yield "the domain is only testing (t=y)"
