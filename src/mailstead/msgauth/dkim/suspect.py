"""What was probably done to a message whose signature is not good: for people who look for it.

Undoes what relays and mailing lists do, one thing at a time, until the signature is good again.
Not for each message that comes in: it costs some hundred verifications.
"""

import hashlib
import re
from collections.abc import Iterator

from mailstead.message import header as fields
from mailstead.message.header import Field
from mailstead.model.dns import Answer
from mailstead.msgauth.dkim.bodyhash import Cover
from mailstead.msgauth.dkim.canonical import CanonicalBody
from mailstead.msgauth.dkim.record import PublicKey, check_value
from mailstead.msgauth.dkim.signature import Fields, Kind, Signature, parse_signature
from mailstead.msgauth.dkim.tags import parse_tags

TRIES_LIMIT = 300
LINES_LIMIT = 10_000  # of the body, from its end
COPIES_LIMIT = 100  # fields in z=

_PREFIX = re.compile(rb"(:\s*(?:Re:\s*)?)\[[^\]\r\n]{1,80}\]\s*", re.I)
_QUOTED = re.compile(r"=([0-9A-Fa-f]{2})")
Guess = tuple[str, bytes]  # what was done, and the header without it


def find_header_change(header: bytes, own: bytes, answer: Answer) -> str:
    """What was done to the header; nothing if no guess is right. `own` is the signature's field."""
    for tries, (words, guess) in enumerate(_guesses(header, own)):
        if tries >= TRIES_LIMIT:
            break
        found = parse_signature(own, Fields(guess), Kind.DKIM)
        if isinstance(found, Signature) and isinstance(_check(found, answer), PublicKey):
            return words
    return ""


def _check(found: Signature, answer: Answer) -> object:
    return check_value(found.header_hash, found.value, found.algorithm, answer)


def _guesses(header: bytes, own: bytes) -> Iterator[Guess]:
    all_fields = fields.fields(header)
    signature = parse_signature(own, Fields(header), Kind.DKIM)
    names = set(signature.names) if isinstance(signature, Signature) else {"from"}
    covered = [one for one in all_fields if one.name.lower() in names and one.raw != own]
    for field in covered:
        yield from _guesses_of(header, field)
    yield from _copies(header, own, covered)


def _guesses_of(header: bytes, field: Field) -> Iterator[Guess]:
    yield f"a field {field.name} was added", header.replace(field.raw, b"", 1)
    if shorter := _without_prefix(field.raw):
        words = f"a prefix was put into {field.name}"
        yield words, header.replace(field.raw, shorter, 1)
    unfolded = b"%s: %s\r\n" % (field.name.encode(), field.value)
    if unfolded != field.raw:
        words = f"white space was changed in {field.name}"
        yield words, header.replace(field.raw, unfolded, 1)
    lines = fields.fold(field.name, field.value)
    if lines not in (field.raw, unfolded):
        yield f"white space was changed in {field.name}", header.replace(field.raw, lines, 1)


def _without_prefix(raw: bytes) -> bytes:
    """The field as it was before a list put its name in front, or nothing."""
    shorter = _PREFIX.sub(rb"\1", raw, count=1)
    return shorter if shorter != raw else b""


def _copies(header: bytes, own: bytes, covered: list[Field]) -> Iterator[Guess]:
    """The fields as z= has them, all at once (RFC 6376 section 3.5)."""
    try:
        text = parse_tags(own.partition(b":")[2]).get("z", "")
    except ValueError:
        return
    copied: dict[str, list[str]] = {}
    for copy in "".join(text.split()).split("|")[:COPIES_LIMIT]:
        name, _, value = copy.partition(":")
        copied.setdefault(name.lower(), []).append(_QUOTED.sub(_octet, value))
    changed = []
    for field in covered:
        values = copied.get(field.name.lower(), [])
        if len(values) == 1 and values[0].strip().encode("latin-1", "replace") != field.value:
            changed.append(field.name)
            raw = f"{field.name}: {values[0].strip()}\r\n".encode("latin-1", "replace")
            header = header.replace(field.raw, raw, 1)
    if changed:
        yield f"changed: {', '.join(changed)}", header


def _octet(match: "re.Match[str]") -> str:
    return chr(int(match[1], 16))


def find_added_text(body: bytes, cover: Cover, body_hash: bytes) -> bytes:
    """What was put below the body that was signed; nothing if that is not what was done."""
    canonical = CanonicalBody(cover.form)
    whole = b"".join([*canonical.add(body), *canonical.finish()])
    ends = [found.end() for found in re.finditer(rb"\r\n", whole)][-LINES_LIMIT:]
    hashed, at = hashlib.sha256(), 0
    for end in ends:
        hashed.update(whole[at:end])
        at = end
        if hashed.copy().digest() == body_hash:
            return whole[end:]
    return b""
