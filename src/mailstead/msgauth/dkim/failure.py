"""Why a signature is not good: causes to count, reasons to read, and the words of RFC 8601."""

import enum

import msgspec


class Verdict(enum.StrEnum):
    """What Authentication-Results says of one signature (RFC 8601 section 2.7.1)."""

    PASS = "pass"
    FAIL = "fail"  # it was checked, and it does not belong to this message
    POLICY = "policy"  # it may be right, and is not acceptable
    NEUTRAL = "neutral"  # it cannot be understood
    TEMPERROR = "temperror"  # it may be checked later
    PERMERROR = "permerror"  # it can never be checked


class Cause(enum.StrEnum):
    """What is wrong."""

    MALFORMED = "malformed"  # the signature's field is not as RFC 6376 wants it
    UNSUPPORTED = "unsupported"  # an algorithm, a form or a version that we do not know
    SHA1 = "sha1"
    FROM = "from"  # there are From fields that it says nothing of
    EXPIRED = "expired"
    FUTURE = "future"
    DNS = "dns"
    NO_KEY = "no-key"
    RECORD = "record"  # the key record is none, or is not for this
    REVOKED = "revoked"
    WEAK = "weak"
    LENGTH = "length"  # the body is shorter than l=
    BODY = "body"
    HEADER = "header"
    VALUE = "value"  # b= was not made with this key


class Failure(msgspec.Struct, frozen=True):
    """A cause with its reason in words."""

    cause: Cause
    reason: str

    @property
    def verdict(self) -> Verdict:
        """The word for it."""
        return _VERDICTS[self.cause]


_VERDICTS = {
    Cause.MALFORMED: Verdict.NEUTRAL,
    Cause.UNSUPPORTED: Verdict.NEUTRAL,
    Cause.SHA1: Verdict.POLICY,
    Cause.FROM: Verdict.POLICY,
    Cause.EXPIRED: Verdict.FAIL,
    Cause.FUTURE: Verdict.FAIL,
    Cause.DNS: Verdict.TEMPERROR,
    Cause.NO_KEY: Verdict.PERMERROR,
    Cause.RECORD: Verdict.PERMERROR,
    Cause.REVOKED: Verdict.PERMERROR,
    Cause.WEAK: Verdict.POLICY,
    Cause.LENGTH: Verdict.FAIL,
    Cause.BODY: Verdict.FAIL,
    Cause.HEADER: Verdict.FAIL,
    Cause.VALUE: Verdict.FAIL,
}
