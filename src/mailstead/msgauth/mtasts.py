"""MTA-STS: a domain's word on which hosts take its mail, and with what TLS (RFC 8461).

Pure: the record is asked for by yielding a question; the file comes as octets. Also writes both,
for domains of ours. Not here: fetching and caching (services.outbound.tls_policy).
"""

import enum
import re
from collections.abc import Generator, Sequence
from datetime import timedelta

import msgspec

from mailstead.model.address import parse_domain
from mailstead.model.dns import Answer, Question

SIZE_LIMIT = 64 * 1024  # octets of a policy file (RFC 8461 section 3.3)
MAX_AGE_LIMIT = timedelta(seconds=31_557_600)  # RFC 8461 section 3.2
PATH = "/.well-known/mta-sts.txt"
ID_LIMIT = 32  # RFC 8461 section 3.1


class Mode(enum.StrEnum):
    """What a sender does with mail for which the policy cannot be kept."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


class Policy(msgspec.Struct, frozen=True):
    """What the file says; `mx` has names and patterns ("*.example.net"), in lower case."""

    mode: Mode
    mx: tuple[str, ...]
    max_age: timedelta


class Invalid(msgspec.Struct, frozen=True):
    """Why a file is no policy."""

    reason: str


_FIELD = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}=[\x21-\x3a\x3c-\x7e]+"
_RECORD = re.compile(rf"v=STSv1(?:[ \t]*;[ \t]*{_FIELD})+(?:[ \t]*;)?[ \t]*")
_ID = re.compile(rf";[ \t]*id=([A-Za-z0-9]{{1,{ID_LIMIT}}})[ \t]*(?:;|$)")


def policy_host(domain: str) -> str:
    """The host whose file it is (RFC 8461 section 3.2)."""
    return f"mta-sts.{domain}"


def find_id(domain: str) -> Generator[Question, Answer, str | None]:
    """The id of the policy that the domain has now; None if it names none, or the DNS is silent."""
    answer = yield Question("TXT", f"_mta-sts.{domain}")
    return parse_record(answer.records)


def parse_record(texts: Sequence[str]) -> str | None:
    """The id, if there is exactly one record of this version and that is well-formed."""
    found = [text for text in texts if re.match(r"v=STSv1[ \t]*;", text)]
    if len(found) != 1 or not _RECORD.fullmatch(found[0]):
        return None
    if not (first := re.search(r";[ \t]*id=", found[0])):
        return None
    match = _ID.match(found[0], first.start())  # a second id is passed over, not taken instead
    return match[1] if match else None


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def parse_policy(body: bytes) -> Policy | Invalid:
    """The policy in the file (RFC 8461 section 3.2); of fields given twice the first counts."""
    if len(body) > SIZE_LIMIT:
        return Invalid(f"it is longer than {SIZE_LIMIT} octets")
    try:
        lines = body.decode("utf-8").split("\n")
        fields, mx = _fields([line.removesuffix("\r") for line in lines])
        return _policy(fields, mx)
    except ValueError as error:  # UnicodeDecodeError is one
        return Invalid(str(error))


def _fields(lines: list[str]) -> tuple[dict[str, str], list[str]]:
    fields: dict[str, str] = {}
    mx = []
    if lines and not lines[-1]:
        lines.pop()  # the end of the last line
    for number, line in enumerate(lines, 1):
        name, _, value = line.partition(":")
        value = value.strip(" \t")
        if not _NAME.fullmatch(name) or not value or _CONTROL.search(value):
            raise ValueError(f"line {number} is no field with a value")
        if name == "mx":
            mx.append(_pattern(value))
        fields.setdefault(name, value)
    return fields, mx


def _pattern(text: str) -> str:
    if not text.isascii() or text.startswith("["):
        raise ValueError("an mx field is no domain name in A-labels")
    wildcard = "*." if text.startswith("*.") else ""
    return wildcard + parse_domain(text.removeprefix("*."))


def _policy(fields: dict[str, str], mx: list[str]) -> Policy:
    if fields.get("version") != "STSv1":
        raise ValueError("its version is not STSv1")
    if fields.get("mode") not in list(Mode):
        raise ValueError("it names no mode that is known")
    if not re.fullmatch("[0-9]{1,10}", fields.get("max_age", "")):
        raise ValueError("it has no max_age, or one that is no number")
    mode = Mode(fields["mode"])
    if not mx and mode is not Mode.NONE:
        raise ValueError("it names no mx")
    max_age = min(timedelta(seconds=int(fields["max_age"])), MAX_AGE_LIMIT)
    return Policy(mode, tuple(dict.fromkeys(mx)), max_age)


def allows(mx: Sequence[str], host: str) -> bool:
    """Whether the host is one of them; "*" stands for exactly one label (RFC 8461 section 4.1)."""
    name = host.lower()
    return name in mx or "*." + name.partition(".")[2] in mx


def policy_text(mx: Sequence[str], mode: Mode, max_age: timedelta) -> str:
    """The file that mta-sts.DOMAIN has to serve as text/plain at PATH."""
    return "".join(line + "\r\n" for line in policy_lines(Policy(mode, tuple(mx), max_age)))


def policy_lines(policy: Policy) -> tuple[str, ...]:
    """The policy line by line, as reports quote it (RFC 8460 section 4.4)."""
    age = f"max_age: {int(policy.max_age.total_seconds())}"
    return ("version: STSv1", f"mode: {policy.mode}", *(f"mx: {one}" for one in policy.mx), age)


def record_text(policy_id: str) -> str:
    """The TXT record of _mta-sts.DOMAIN; ValueError unless the id is letters and digits."""
    record = f"v=STSv1; id={policy_id};"
    if parse_record([record]) != policy_id:
        raise ValueError(f"{policy_id!r} is not 1 to {ID_LIMIT} letters and digits")
    return record
