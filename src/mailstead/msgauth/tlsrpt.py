"""What reports about TLS are made of: results, policies, and who wants reports (RFC 8460).

Pure: asks the DNS by yielding questions. Not here: the figures themselves (storage.tls_policies),
how reports are written and sent.
"""

import enum
import re
from collections.abc import Generator

import msgspec

from mailstead.model.dns import Answer, Question

ADDRESSES_LIMIT = 10  # of one record; nobody has more reports sent
RECORD_LIMIT = 4096  # octets of a record


class Result(enum.StrEnum):
    """How a session, or what had to come before it, ended (RFC 8460 section 4.3)."""

    SUCCESS = "success"  # counted, not listed among the failures
    STARTTLS_NOT_SUPPORTED = "starttls-not-supported"
    HOST_MISMATCH = "certificate-host-mismatch"
    EXPIRED = "certificate-expired"
    NOT_TRUSTED = "certificate-not-trusted"
    VALIDATION_FAILURE = "validation-failure"
    TLSA_INVALID = "tlsa-invalid"
    DNSSEC_INVALID = "dnssec-invalid"
    DANE_REQUIRED = "dane-required"
    STS_FETCH_ERROR = "sts-policy-fetch-error"
    STS_INVALID = "sts-policy-invalid"
    STS_WEBPKI_INVALID = "sts-webpki-invalid"


class PolicyType(enum.StrEnum):
    """By what the session was to be judged (RFC 8460 section 4.4)."""

    TLSA = "tlsa"
    STS = "sts"
    NONE = "no-policy-found"


class Policy(msgspec.Struct, frozen=True):
    """The policy that was applied, and its text: TLSA records, or the lines of the file."""

    type: PolicyType
    strings: tuple[str, ...] = ()


NO_POLICY = Policy(PolicyType.NONE)


class Session(msgspec.Struct, frozen=True):
    """What is counted: how it went with one host of a domain, under one policy."""

    domain: str
    policy: Policy
    mx_host: str
    result: Result


_RECORD = re.compile(r"v=TLSRPTv1[ \t]*;[ \t]*(.*)", re.DOTALL)
_ADDRESS = re.compile(r"(?:mailto|https):[\x21-\x2b\x2d-\x3a\x3c-\x7e]+", re.IGNORECASE)


def find_addresses(domain: str) -> Generator[Question, Answer, tuple[str, ...] | None]:
    """Where the domain wants its reports; none if nowhere, None if the DNS does not say now."""
    answer = yield Question("TXT", f"_smtp._tls.{domain}")
    return None if answer.failed else parse_record(answer.records)


def parse_record(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The URIs of a record, in their order; none unless there is exactly one record (section 3)."""
    found = [match[1] for text in texts if (match := _RECORD.fullmatch(text[:RECORD_LIMIT]))]
    if len(found) != 1:
        return ()
    pairs = (field.strip().partition("=") for field in found[0].split(";"))
    values = [value.strip() for name, _, value in pairs if name.strip() == "rua"]
    addresses = [one.strip() for one in values[0].split(",")] if values else []
    return tuple(filter(_ADDRESS.fullmatch, addresses))[:ADDRESSES_LIMIT]
