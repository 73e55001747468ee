"""A signature as its field states it (RFC 6376 section 3.5), ARC-Message-Signature included.

Read when the header is there: what it covers of the header is hashed at once, what it covers of
the body is told, so that the body can be hashed while it comes. Strict (section 6.1.1).
Holds: linear in the size of the header for each signature; never raises.
"""

import enum
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from mailstead.message import header as fields
from mailstead.model.address import Domain, parse_domain
from mailstead.model.dns import Question
from mailstead.msgauth.dkim.bodyhash import Cover
from mailstead.msgauth.dkim.canonical import Form, canonical_field, relaxed_field
from mailstead.msgauth.dkim.failure import Cause, Failure
from mailstead.msgauth.dkim.tags import (
    need,
    parse_base64,
    parse_list,
    parse_number,
    parse_tags,
    without,
)

SIGNATURES_LIMIT = 10  # of a message that are looked at, from the top (RFC 6376 section 8.4)
FIELD_LIMIT = 16 * 1024  # octets of a signature's field
LENGTH_DIGITS = 76  # of l=
TIME_DIGITS = 12  # of t= and x=
ALGORITHMS = ("rsa-sha256", "ed25519-sha256")

_FIELD_NAME = re.compile(r"[!-9<-~]+")  # and no semicolon


class Kind(enum.StrEnum):
    """Which field it is."""

    DKIM = "dkim-signature"
    ARC = "arc-message-signature"


class Fields:
    """The fields of a header by name; each is brought into the relaxed form once, if ever."""

    __slots__ = ("_named", "_relaxed")

    def __init__(self, header: bytes) -> None:
        self._named: dict[str, list[bytes]] = {}
        self._relaxed: dict[bytes, bytes] = {}
        for field in fields.fields(header):
            self._named.setdefault(field.name.lower(), []).append(field.raw)

    def named(self, name: str) -> Sequence[bytes]:
        """All of this name, in lower case, from the top."""
        return self._named.get(name, ())

    def canonical(self, raw: bytes, form: Form) -> bytes:
        """One of them in this form."""
        if form is Form.SIMPLE:
            return raw
        found = self._relaxed.get(raw)
        if found is None:
            found = self._relaxed[raw] = relaxed_field(raw)
        return found


class Signature(msgspec.Struct, frozen=True):
    """A signature that can be verified."""

    domain: Domain  # d=
    selector: str  # s=
    identity: str  # i=
    algorithm: str  # a=
    form: Form  # of the header
    names: tuple[str, ...]  # h=
    header_hash: bytes  # of the header fields that it covers, as they came
    cover: Cover
    body_hash: bytes  # bh=
    value: bytes  # b=
    signed: int | None  # t=, seconds since 1970
    expires: int | None  # x=

    @property
    def question(self) -> Question:
        """Where its key is."""
        return key_question(self.selector, self.domain)

    @property
    def of_domain(self) -> bool:
        """i= is of the very domain, not of one below it."""
        return self.identity.rpartition("@")[2] == self.domain


class Unusable(msgspec.Struct, frozen=True):
    """A signature that nobody need verify; domain and selector as far as they can be told."""

    failure: Failure
    domain: str
    selector: str


def key_question(selector: str, domain: str) -> Question:
    """What to ask the DNS for a key (RFC 6376 section 3.6.2.1)."""
    return Question("TXT", f"{selector}._domainkey.{domain}")


def signatures(header: bytes) -> list[Signature | Unusable]:
    """The message's DKIM signatures, from the top; those beyond the limit are passed over."""
    if Kind.DKIM.encode() not in header.lower():  # a hundredth of the work
        return []
    there = Fields(header)
    raws = there.named(Kind.DKIM)
    return [parse_signature(raw, there, Kind.DKIM) for raw in raws[:SIGNATURES_LIMIT]]


def parse_signature(raw: bytes, there: Fields, kind: Kind) -> Signature | Unusable:
    """What the field says (RFC 6376 section 6.1.1, RFC 8617 section 4.1.2)."""
    tags: dict[str, str] = {}
    try:
        if len(raw) > FIELD_LIMIT:
            raise ValueError(f"it is longer than {FIELD_LIMIT} octets")
        tags = parse_tags(raw.partition(b":")[2])
        return _unsupported(tags, kind, there) or _signature(raw, tags, there, kind)
    except ValueError as error:
        return _unusable(tags, Cause.MALFORMED, str(error))


def _unusable(tags: Mapping[str, str], cause: Cause, reason: str) -> Unusable:
    return Unusable(Failure(cause, reason), tags.get("d", "")[:255], tags.get("s", "")[:255])


def _unsupported(tags: Mapping[str, str], kind: Kind, there: Fields) -> Unusable | None:
    """Versions and algorithms that we cannot or must not take, and what nobody should sign."""
    if kind is Kind.DKIM and need(tags, "v") != "1":
        return _unusable(tags, Cause.UNSUPPORTED, f"v={tags['v'][:20]} is another version")
    algorithm = need(tags, "a")
    if algorithm == "rsa-sha1":
        return _unusable(tags, Cause.SHA1, "rsa-sha1 proves nothing any more (RFC 8301)")
    if algorithm not in ALGORITHMS:
        return _unusable(tags, Cause.UNSUPPORTED, f"a={algorithm[:40]} is unknown")
    if "dns/txt" not in parse_list(tags.get("q", "dns/txt")):
        return _unusable(tags, Cause.UNSUPPORTED, f"q={tags['q'][:40]} is unknown")
    # Two From fields are forbidden (RFC 5322 section 3.6); whoever added one hopes that people
    # see it and the signature does not (RFC 6376 section 8.15).
    names = [name.lower() for name in parse_list(need(tags, "h"))]
    if len(there.named("from")) > names.count("from") > 0:
        return _unusable(tags, Cause.FROM, "it does not cover all From fields of the message")
    return None


def _signature(raw: bytes, tags: Mapping[str, str], there: Fields, kind: Kind) -> Signature:
    domain = parse_name(need(tags, "d"), "d")
    if "." not in domain:
        raise ValueError(f"d={domain} is no domain of somebody's")
    form, cover = _forms(tags)
    names = _names(need(tags, "h"), kind)
    signed, expires = (parse_number(tags, name, TIME_DIGITS) for name in ("t", "x"))
    if signed is not None and expires is not None and expires <= signed:
        raise ValueError("x= is not after t=")
    body_hash = parse_base64(need(tags, "bh"), "bh")
    if len(body_hash) != hashlib.sha256().digest_size:
        raise ValueError("bh= is no SHA-256")
    return Signature(
        domain=domain,
        selector=parse_name(need(tags, "s"), "s"),
        identity=_identity(tags, domain) if kind is Kind.DKIM else f"@{domain}",
        algorithm=tags["a"],
        form=form,
        names=names,
        header_hash=_hash_header(raw, names, there, form),
        cover=cover,
        body_hash=body_hash,
        value=parse_base64(need(tags, "b"), "b"),
        signed=signed,
        expires=expires,
    )


def parse_name(text: str, tag: str) -> Domain:
    """A domain name; no address literal."""
    if text.startswith("["):
        raise ValueError(f"{tag}= is no domain name")
    try:
        return parse_domain(text)
    except ValueError:
        raise ValueError(f"{tag}= is no domain name") from None


def _forms(tags: Mapping[str, str]) -> tuple[Form, Cover]:
    """c= and l=; what c= does not name is simple."""
    header, slash, body = tags.get("c", "simple/simple").partition("/")
    try:
        forms = Form(header), Form(body if slash else "simple")
    except ValueError:
        raise ValueError("c= names an unknown form") from None
    return forms[0], Cover(forms[1], parse_number(tags, "l", LENGTH_DIGITS))


def _names(text: str, kind: Kind) -> tuple[str, ...]:
    """h= in lower case; it has to cover the author (RFC 6376 section 5.4)."""
    names = tuple([name.lower() for name in parse_list(text)])
    if not all(map(_FIELD_NAME.fullmatch, names)):
        raise ValueError("h= has something that is no field's name")
    if "from" not in names:
        raise ValueError("h= does not cover From")
    if kind is Kind.ARC and "arc-seal" in names:  # it is made after this (RFC 8617 section 5.1)
        raise ValueError("h= covers ARC-Seal")
    return names


def _identity(tags: Mapping[str, str], domain: Domain) -> str:
    """i=, whose domain has to be d= or below it."""
    text = tags.get("i")
    if text is None:
        return f"@{domain}"
    local_part, at, own = "".join(text.split()).rpartition("@")
    if not at:
        raise ValueError("i= has no @")
    own = parse_name(own, "i")
    if own != domain and not own.endswith(f".{domain}"):
        raise ValueError(f"i= is not of the domain {domain}")
    return f"{local_part}@{own}"


def _chosen(there: Fields, names: Sequence[str], own: bytes) -> Iterator[bytes]:
    """The fields that h= means: of one name the lowest first (RFC 6376 section 5.4.2).

    Its own field is none of them (section 3.5).
    """
    left: dict[str, list[bytes]] = {}
    for name in names:
        if name not in left:
            left[name] = list(there.named(name))
            if own in left[name]:
                left[name].remove(own)
        if left[name]:
            yield left[name].pop()


def _hash_header(own: bytes, names: Sequence[str], there: Fields, form: Form) -> bytes:
    """The hash that is signed: of these fields, then of its own with b= empty (section 3.7)."""
    hashed = hashlib.sha256()
    for raw in _chosen(there, names, own):
        hashed.update(there.canonical(raw, form))
    hashed.update(unsigned(own, form))
    return hashed.digest()


def unsigned(own: bytes, form: Form) -> bytes:
    """A signature's own part of what it covers: with an empty b= and no line end."""
    name, colon, value = own.partition(b":")
    return canonical_field(name + colon + without(value, b"b"), form).removesuffix(b"\r\n")
