"""The text of a DMARC policy record (RFC 9989 sections 4.7 and 4.8).

What breaks the syntax counts as not said; a tag given twice with two values says nothing either.
Addresses for reports are kept as they stand.
Holds: never raises, linear in the size of the record.
"""

import enum
import functools
import re
from collections.abc import Sequence
from datetime import timedelta

import msgspec

RECORD_LIMIT = 8192  # characters of a record that is one
URIS_LIMIT = 20  # of one tag; nobody else has reports sent
DEFAULT_INTERVAL = timedelta(days=1)
REMEMBERED = 1024  # records in memory


class Policy(enum.StrEnum):
    """What the domain asks for where a message fails."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


class Mode(enum.StrEnum):
    """How near an authenticated domain has to be to the author's."""

    RELAXED = "r"  # the same organizational domain
    STRICT = "s"  # the same domain


class Psd(enum.StrEnum):
    """Whether the domain is a public suffix."""

    YES = "y"
    NO = "n"  # and it is the organizational domain of all below it
    UNKNOWN = "u"


class Record(msgspec.Struct, frozen=True):
    """One record; `p` is None where it is of no use, and `problem` says why."""

    p: Policy | None
    sp: Policy | None = None
    np: Policy | None = None
    adkim: Mode = Mode.RELAXED
    aspf: Mode = Mode.RELAXED
    psd: Psd = Psd.UNKNOWN
    testing: bool = False
    rua: tuple[str, ...] = ()
    ruf: tuple[str, ...] = ()
    fo: tuple[str, ...] = ("0",)  # counts only with ruf
    ri: timedelta = DEFAULT_INTERVAL  # obsolete: nobody has to mind it any more
    problem: str = ""  # what is wrong with p, sp or np


_VERSION = re.compile(r"[vV][ \t]*+=[ \t]*+DMARC1[ \t]*+(?:;|\Z)")
_TAG = re.compile(r"[ \t]*+([A-Za-z]++)[ \t]*+=([\t\x20-\x3a\x3c-\x7e]*+)")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*+:[!-~]+")
_SIZE = re.compile(r"![0-9]{1,20}[kmgtKMGT]?\Z")  # obsolete (RFC 9989 section 4.8)


def only_record(texts: Sequence[str]) -> Record | None:
    """The record, if there is exactly one of this version (RFC 9989 section 4.10, step 2)."""
    found = [text for text in texts if _VERSION.match(text)]
    if len(found) != 1 or len(found[0]) > RECORD_LIMIT:
        return None
    return _record(found[0])


def softened(policy: Policy) -> Policy:
    """One level below: what applies while the domain tests its policy (RFC 9989 section 4.7, t)."""
    return Policy.QUARANTINE if policy is Policy.REJECT else Policy.NONE


def _tags(text: str) -> dict[str, str]:
    """Name -> value of the parts that have the form of a tag."""
    tags: dict[str, str] = {}
    for part in text.split(";")[1:]:
        if found := _TAG.fullmatch(part):
            name, value = found[1].lower(), found[2].strip(" \t")
            # Two values are a fault like another: neither counts.
            tags[name] = value if tags.get(name, value) == value else ""
    return tags


@functools.lru_cache(maxsize=REMEMBERED)
def _record(text: str) -> Record:
    tags = _tags(text)
    rua, ruf = _uris(tags.get("rua", "")), _uris(tags.get("ruf", ""))
    problem = _problem(tags)
    # A domain that wants reports asks for nothing else then (RFC 9989 section 4.10.1).
    p, sp, np = (Policy.NONE if rua else None, None, None) if problem else _policies(tags)
    return Record(
        p=p,
        sp=sp,
        np=np,
        adkim=_mode(tags.get("adkim", "")),
        aspf=_mode(tags.get("aspf", "")),
        psd=_psd(tags.get("psd", "")),
        testing=tags.get("t", "").lower() == "y",
        rua=rua,
        ruf=ruf,
        fo=_options(tags.get("fo", "")) if ruf else _DEFAULT_OPTIONS,
        ri=_interval(tags.get("ri", "")),
        problem=problem,
    )


_DEFAULT_OPTIONS = ("0",)
_POLICIES: dict[str, Policy] = {policy.value: policy for policy in Policy}


def _problem(tags: dict[str, str]) -> str:
    """What is wrong with the tags that ask for a policy, or nothing."""
    if "p" not in tags:
        return "it has no p="
    for name in ("p", "sp", "np"):
        if name in tags and tags[name].lower() not in _POLICIES:
            return f"its {name}= is none of none, quarantine, reject, or is given twice"
    return ""


def _policies(tags: dict[str, str]) -> tuple[Policy | None, Policy | None, Policy | None]:
    p, sp, np = (_POLICIES.get(tags.get(name, "").lower()) for name in ("p", "sp", "np"))
    return p, sp, np


def _mode(value: str) -> Mode:
    return Mode.STRICT if value.lower() == "s" else Mode.RELAXED


def _psd(value: str) -> Psd:
    return {"y": Psd.YES, "n": Psd.NO}.get(value.lower(), Psd.UNKNOWN)


def _uris(value: str) -> tuple[str, ...]:
    """The URIs of a list, without the size limits that nobody has to mind any more."""
    parts = (_SIZE.sub("", part.strip(" \t")) for part in value.split(","))
    found = [part for part in parts if "!" not in part and _URI.fullmatch(part)]
    return tuple(dict.fromkeys(found))[:URIS_LIMIT]


def _options(value: str) -> tuple[str, ...]:
    """What failure reports are wanted of; the default where it is no such list."""
    options = tuple(option.strip(" \t").lower() for option in value.split(":"))
    known = set(options) <= {"0", "1", "d", "s"} and len(set(options)) == len(options)
    return options if known and not {"0", "1"} <= set(options) else _DEFAULT_OPTIONS


def _interval(value: str) -> timedelta:
    return timedelta(seconds=int(value)) if re.fullmatch("[0-9]{1,8}", value) else DEFAULT_INTERVAL
