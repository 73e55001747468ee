"""Whether a chain holds, and who sealed it (RFC 8617 section 5.2).

Asks for keys by yielding questions, the newest first, and no more once something is wrong;
`questions` tells all beforehand, for who wants to ask while the body comes. Whom to believe is
not decided here: a good chain proves only who says so.
Holds: every failure is for good, also that of the DNS (section 5.2.1).
"""

import enum
from collections.abc import Generator, Mapping
from datetime import datetime
from typing import TypeVar

import msgspec

from mailstead.model import dns
from mailstead.model.dns import Answer, Question
from mailstead.msgauth.arc.chain import Broken, Chain, Found, Set
from mailstead.msgauth.dkim.bodyhash import Cover, Digest
from mailstead.msgauth.dkim.failure import Failure, Verdict
from mailstead.msgauth.dkim.record import check_value
from mailstead.msgauth.dkim.signature import Signature
from mailstead.msgauth.dkim.verify import Result, verify

T = TypeVar("T")
Lookup = Generator[Question, Answer, T]


class Status(enum.StrEnum):
    """The Chain Validation Status (RFC 8617 section 4.4)."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"


class Sealer(msgspec.Struct, frozen=True):
    """Who sealed, as the seal states it."""

    instance: int
    domain: str
    selector: str


class Validation(msgspec.Struct, frozen=True):
    """What came of the chain."""

    status: Status
    reason: str = ""  # in words, of a failure
    sealers: tuple[Sealer, ...] = ()  # from the first on; believe them only if the status is pass
    oldest_pass: int | None = None  # the oldest signature still good; 0 if all are (section 5.2)


def questions(found: Found) -> list[Question]:
    """All keys that the chain may need, the newest first, each once."""
    if not isinstance(found, Chain):
        return []
    asked: dict[Question, None] = {}
    for one in reversed(found.sets):
        if isinstance(one.message, Signature):
            asked[one.message.question] = None
        asked[one.seal.question] = None
    return list(asked)


def validate(found: Found, bodies: Mapping[Cover, Digest], now: datetime) -> Lookup[Validation]:
    """The status of the chain; `bodies` are the hashes that its signatures want."""
    match found:
        case None:
            return Validation(Status.NONE)
        case Broken(reason=reason):
            return Validation(Status.FAIL, reason)
        case Chain(sets=sets):
            return (yield from _validate(sets, bodies, now))


def _validate(
    sets: tuple[Set, ...], bodies: Mapping[Cover, Digest], now: datetime
) -> Lookup[Validation]:
    sealers = tuple(Sealer(one.instance, one.seal.domain, one.seal.selector) for one in sets)
    newest = yield from _check_message(sets[-1], bodies, now)
    if newest.verdict is not Verdict.PASS:
        reason = f"the message is not as i={len(sets)} signed it: {newest.reason}"
        return Validation(Status.FAIL, reason, sealers)
    oldest = yield from _oldest_pass(sets, bodies, now)
    for one in reversed(sets):
        if failure := (yield from _check_seal(one)):
            reason = f"the seal i={one.instance} is not good: {failure.reason}"
            return Validation(Status.FAIL, reason, sealers)
    return Validation(Status.PASS, "", sealers, oldest)


_NOTHING = Answer(dns.Status.NOERROR)  # to a question that nobody need ask


def _check_message(one: Set, bodies: Mapping[Cover, Digest], now: datetime) -> Lookup[Result]:
    message = one.message
    answer = (yield message.question) if isinstance(message, Signature) else _NOTHING
    return verify(message, bodies, answer, now)


def _oldest_pass(
    sets: tuple[Set, ...], bodies: Mapping[Cover, Digest], now: datetime
) -> Lookup[int]:
    """Since which host nobody changed the message (section 5.2, step 5)."""
    for one in reversed(sets[:-1]):
        result = yield from _check_message(one, bodies, now)
        if result.verdict is not Verdict.PASS:
            return one.instance + 1
    return 0


def _check_seal(one: Set) -> Lookup[Failure | None]:
    answer = yield one.seal.question
    key = check_value(one.seal.header_hash, one.seal.value, one.seal.algorithm, answer)
    return key if isinstance(key, Failure) else None
