"""What delivery keeps of a message: BODYSTRUCTURE and BODY rendered for IMAP, and a digest.

RFC 9051 section 7.5.2, RFC 3501 section 7.4.2, RFC 5256 section 2.1. Rendered once and stored as
octets with RENDER_VERSION; when that grows, older ones are rendered again from the stored Part.
ENVELOPE is rendered in message.envelope and offered here too.
"""

import re
from datetime import datetime

import msgspec

from mailstead.message.addresses import mailboxes
from mailstead.message.dates import parse_date
from mailstead.message.envelope import envelope, nstring
from mailstead.message.header import decode, unfold
from mailstead.message.mime import US_ASCII, Part
from mailstead.message.parameters import Parameters, decode_parameter
from mailstead.message.text import fold_case

__all__ = [
    "RENDER_VERSION",
    "Digest",
    "body",
    "body_structure",
    "digest",
    "dump",
    "envelope",
    "load",
]

RENDER_VERSION = 1
MESSAGE_ID_LIMIT = 998  # characters
REFERENCES_LIMIT = 100  # message identifiers
SUBJECT_LIMIT = 500  # characters
SORT_KEY_LIMIT = 320  # characters: a local-part of 64, "@", a domain of 255

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Part)


def dump(part: Part) -> bytes:
    """The part tree as octets for storage."""
    return _encoder.encode(part)


def load(data: bytes) -> Part:
    """The part tree out of storage; msgspec.DecodeError for anything else."""
    return _decoder.decode(data)


def body_structure(part: Part) -> bytes:
    """The body structure with extension data, ready to follow `BODYSTRUCTURE `."""
    return _render(part, extended=True)


def body(part: Part) -> bytes:
    """The body structure without extension data, ready to follow `BODY `."""
    return _render(part, extended=False)


def _render(part: Part, extended: bool) -> bytes:
    if part.is_multipart:
        children = b"".join([_render(child, extended) for child in part.children])
        tail = b" %b" % _parameters(part.params) + _tail(part) if extended else b""
        return b"(%b %b%b)" % (children, nstring(part.subtype.encode()), tail)
    params = part.params
    if part.type == "text" and not any(name == "charset" for name, _ in params):
        params = (*params, *US_ASCII)  # which must be assumed (RFC 2046 section 4.1.2)
    basic = b"%b %b %b %b %b %b %d" % (
        nstring(part.type.encode()),
        nstring(part.subtype.encode()),
        _parameters(params),
        nstring(part.id),
        nstring(part.description),
        nstring(part.encoding.encode()),
        part.body_size,
    )
    if part.envelope is not None:
        inner = _render(part.children[0], extended)
        basic += b" %b %b %d" % (part.envelope, inner, part.lines)
    elif part.type == "text":
        basic += b" %d" % part.lines
    return b"(%b %b%b)" % (basic, nstring(part.md5), _tail(part)) if extended else b"(%b)" % basic


def _tail(part: Part) -> bytes:
    """Disposition, language and location."""
    disposition = b"NIL"
    if part.disposition is not None:
        name = nstring(part.disposition.encode())
        disposition = b"(%b %b)" % (name, _parameters(part.disposition_params))
    languages = b" ".join(map(nstring, part.language))
    language = b"(%b)" % languages if languages else b"NIL"
    return b" %b %b %b" % (disposition, language, nstring(part.location))


def _parameters(parameters: Parameters) -> bytes:
    if not parameters:
        return b"NIL"
    pairs = [b"%b %b" % (nstring(k.encode("latin-1")), nstring(v)) for k, v in parameters]
    return b"(%b)" % b" ".join(pairs)


class Digest(msgspec.Struct, frozen=True):
    """What is stored of a header in columns of their own, decoded and bounded.

    `from_`, `to` and `cc` are the sort keys of RFC 5256 section 3: the folded addr-mailbox of the
    first address, empty if there is none. Message identifiers are without angle brackets.
    """

    message_id: str
    in_reply_to: str
    references: tuple[str, ...]
    subject: str
    base_subject: str
    sent: datetime | None
    from_: str
    to: str
    cc: str
    has_attachment: bool


_WANTED = re.compile(
    rb"\n(message-id|in-reply-to|references|subject|date|from|to|cc)[ \t]*:"
    rb"([^\n]*+(?:\n[ \t][^\n]*+)*+)",
    re.I,
)


def digest(header: bytes, part: Part) -> Digest:
    """The digest of a message."""
    found: dict[bytes, bytes] = {}
    for name, value in _WANTED.findall(b"\n" + header):
        found.setdefault(name.lower(), unfold(value))
    subject = decode(found.get(b"subject", b"")[: SUBJECT_LIMIT * 20])
    date = found.get(b"date")
    return Digest(
        message_id=_first_id(found.get(b"message-id", b"")),
        in_reply_to=_first_id(found.get(b"in-reply-to", b"")),
        references=_references(found.get(b"references", b"")),
        subject=subject[:SUBJECT_LIMIT],
        base_subject=base_subject(subject)[:SUBJECT_LIMIT],
        sent=parse_date(date) if date is not None else None,
        from_=_sort_key(found.get(b"from")),
        to=_sort_key(found.get(b"to")),
        cc=_sort_key(found.get(b"cc")),
        has_attachment=_has_attachment(part),
    )


_MESSAGE_ID = re.compile(rb"<([^<>\s]+)>")


def _first_id(value: bytes) -> str:
    match = _MESSAGE_ID.search(value)
    return decode(match[1] if match else value.strip(b"<> \t"))[:MESSAGE_ID_LIMIT]


def _references(value: bytes) -> tuple[str, ...]:
    """The identifiers in order; of too many the first, which began the thread, and the last."""
    found = _MESSAGE_ID.findall(value)
    if len(found) > REFERENCES_LIMIT:
        found = [found[0], *found[1 - REFERENCES_LIMIT :]]
    return tuple([decode(identifier)[:MESSAGE_ID_LIMIT] for identifier in found])


def _sort_key(value: bytes | None) -> str:
    found = mailboxes(value) if value else []
    return fold_case(decode(found[0].local_part))[:SORT_KEY_LIMIT] if found else ""


# RFC 5256 section 5. A blob may not hold brackets; what follows "re" may be blobs, too.
_BLOB = r"\[[^\[\]]*+\][ \t]*+"
_LEADER = re.compile(rf"(?:{_BLOB})*+(?:re|fwd?)[ \t]*+(?:{_BLOB})?:[ \t]*+", re.I)
_LEADING_BLOB = re.compile(_BLOB)
_FORWARDED = re.compile(r"\[fwd:(.*)\]\Z", re.I | re.S)
_BASE_ROUNDS = 100  # replies and forwards that are taken off


def base_subject(subject: str) -> str:
    """What a subject has in common with its replies and forwards, folded (RFC 5256 section 2.1)."""
    text = " ".join(subject[: SUBJECT_LIMIT * 4].split())
    for _ in range(_BASE_ROUNDS):
        text = _without_leaders(_without_trailers(text))
        wrapped = _FORWARDED.match(text)
        if wrapped is None:
            break
        text = wrapped[1].strip()
    return fold_case(text)


def _without_trailers(text: str) -> str:
    while text.endswith(" ") or text[-5:].lower() == "(fwd)":
        text = text.rstrip() if text.endswith(" ") else text[:-5]
    return text


def _without_leaders(text: str) -> str:
    at = 0
    for _ in range(_BASE_ROUNDS):
        while match := _LEADER.match(text, at):
            at = match.end()
        blob = _LEADING_BLOB.match(text, at)
        if blob is None or blob.end() == len(text):
            break  # a blob goes only if something is left
        at = blob.end()
    return text[at:].strip()


# Parts that belong to the machinery of their multipart, not to what the sender attached.
_MACHINERY = frozenset(("pgp-signature", "pkcs7-signature", "x-pkcs7-signature", "pgp-encrypted"))


def _has_attachment(part: Part) -> bool:
    if part.is_multipart:
        if part.subtype == "report":
            return any(child.disposition == "attachment" for child in part.children)
        return any(map(_has_attachment, part.children))
    if part.disposition is not None:
        return part.disposition == "attachment"
    if part.subtype in _MACHINERY or part.id is not None:
        return False
    named = decode_parameter(part.params, "name") is not None
    return named or part.type not in ("text", "multipart") or part.envelope is not None
