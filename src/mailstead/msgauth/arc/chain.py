"""The sets of a message: each host that passed it on added three fields (RFC 8617 section 4.2).

Read when the header is there: what each seal covers is hashed at once, what the signatures cover
of the body is told, so that the body can be hashed while it comes.
Holds: linear in the size of the header but for the signatures; never raises.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from mailstead.message.header import strip_comments, unfold
from mailstead.model.address import Domain
from mailstead.model.dns import Question
from mailstead.msgauth.authres import INSTANCE_LIMIT
from mailstead.msgauth.dkim.canonical import Form, relaxed_field
from mailstead.msgauth.dkim.signature import (
    ALGORITHMS,
    FIELD_LIMIT,
    Fields,
    Kind,
    Signature,
    Unusable,
    key_question,
    parse_name,
    parse_signature,
    unsigned,
)
from mailstead.msgauth.dkim.tags import need, parse_base64, parse_tags

RESULTS, MESSAGE, SEAL = "arc-authentication-results", Kind.ARC.value, "arc-seal"
NAMES = (RESULTS, MESSAGE, SEAL)  # in the order in which they are sealed (section 5.1.1)

_NUMBER = re.compile(r"[0-9]{1,2}")
_RESULTS_NUMBER = re.compile(rb"\s*i\s*=\s*([0-9]{1,2})\s*;")


class Seal(msgspec.Struct, frozen=True):
    """An ARC-Seal field."""

    domain: Domain
    selector: str
    algorithm: str
    cv: str  # what its host found the chain before it to be
    header_hash: bytes  # of all fields that it covers
    value: bytes

    @property
    def question(self) -> Question:
        """Where its key is."""
        return key_question(self.selector, self.domain)


class Set(msgspec.Struct, frozen=True):
    """What one host added."""

    instance: int
    fields: tuple[bytes, bytes, bytes]  # as they came, in the order of NAMES
    message: Signature | Unusable
    seal: Seal


class Chain(msgspec.Struct, frozen=True):
    """Sets from 1 on, without gaps; each but the first found those before it good."""

    sets: tuple[Set, ...]

    @property
    def messages(self) -> list[Signature | Unusable]:
        """What verify.body_hashes wants."""
        return [one.message for one in self.sets]


class Broken(msgspec.Struct, frozen=True):
    """Fields that are no chain, or one that its last host gave up; it is not to be mended."""

    reason: str
    highest: int  # the highest instance that can be told
    given_up: bool = False  # the last seal says cv=fail


Found = Chain | Broken | None
_Numbered = dict[int, list[bytes]]


def parse_chain(header: bytes) -> Found:
    """The message's chain; None if it has none (RFC 8617 section 5.2, steps 1 to 3)."""
    if b"arc-" not in header.lower():  # as in most mail; a hundredth of the work
        return None
    there = Fields(header)
    raws = {name: there.named(name) for name in NAMES}
    if not any(raws.values()):
        return None
    if max(map(len, raws.values())) > INSTANCE_LIMIT:
        return Broken(f"there are more than {INSTANCE_LIMIT} sets", INSTANCE_LIMIT)
    highest = 0
    try:
        numbered = {name: _number(found, name) for name, found in raws.items()}
        highest = max(max(one) for one in numbered.values() if one)
        return _chain(numbered, highest, there)
    except ValueError as error:
        return Broken(str(error), highest)


def _number(raws: Sequence[bytes], name: str) -> _Numbered:
    numbered: _Numbered = {}
    for raw in raws:
        numbered.setdefault(_instance(raw, name), []).append(raw)
    return numbered


def _instance(raw: bytes, name: str) -> int:
    """The field's i= (section 4.2.1)."""
    if len(raw) > FIELD_LIMIT:
        raise ValueError(f"an {name} field is longer than {FIELD_LIMIT} octets")
    value = raw.partition(b":")[2]
    if name == RESULTS:
        match = _RESULTS_NUMBER.match(strip_comments(unfold(value)))
        text = match[1].decode() if match else ""
    else:
        text = parse_tags(value).get("i", "")
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= INSTANCE_LIMIT:
        raise ValueError(f"an {name} field has no i= from 1 to {INSTANCE_LIMIT}")
    return int(text)


def _chain(numbered: Mapping[str, _Numbered], highest: int, there: Fields) -> Chain | Broken:
    last = numbered[SEAL].get(highest, [])
    if len(last) == 1 and parse_tags(last[0].partition(b":")[2]).get("cv") == "fail":
        return Broken(f"it was broken already when i={highest} was added", highest, True)
    for instance in range(1, highest + 1):
        for name in NAMES:
            count = len(numbered[name].get(instance, []))
            if count != 1:
                raise ValueError(f"the set i={instance} has {count} fields {name}")
    return Chain(tuple(_sets(numbered, highest, there)))


def _sets(numbered: Mapping[str, _Numbered], highest: int, there: Fields) -> Iterator[Set]:
    hashed = hashlib.sha256()  # of all fields so far, as every seal covers those before it
    for instance in range(1, highest + 1):
        results, message, seal = (numbered[name][instance][0] for name in NAMES)
        hashed.update(relaxed_field(results) + relaxed_field(message))
        own = hashed.copy()
        own.update(unsigned(seal, Form.RELAXED))
        hashed.update(relaxed_field(seal))
        yield Set(
            instance=instance,
            fields=(results, message, seal),
            message=parse_signature(message, there, Kind.ARC),
            seal=_seal(seal, instance, own.digest()),
        )


def _seal(raw: bytes, instance: int, header_hash: bytes) -> Seal:
    """What the field says (section 4.1.3)."""
    tags = parse_tags(raw.partition(b":")[2])
    wanted = "none" if instance == 1 else "pass"
    try:
        if "h" in tags:
            raise ValueError("h= is not allowed there")
        if (cv := need(tags, "cv")) != wanted:
            raise ValueError(f"cv= is {cv[:20]}, not {wanted}")
        if (algorithm := need(tags, "a")) not in ALGORITHMS:
            raise ValueError(f"a={algorithm[:40]} is unknown, or proves nothing")
        return Seal(
            domain=parse_name(need(tags, "d"), "d"),
            selector=parse_name(need(tags, "s"), "s"),
            algorithm=algorithm,
            cv=cv,
            header_hash=header_hash,
            value=parse_base64(need(tags, "b"), "b"),
        )
    except ValueError as error:
        raise ValueError(f"the seal i={instance} is malformed: {error}") from None
