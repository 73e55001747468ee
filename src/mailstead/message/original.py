"""The message that a report is about: its header, found among the report's parts. Pure.

Reports bring the message back whole (message/rfc822), its header only (text/rfc822-headers,
message/global-headers: RFC 6522 section 4, RFC 6533 section 4), or as text behind a line of dashes.
Holds: never raises; at most PARTS_LIMIT parts and HEADER_LIMIT octets are looked at.
"""

import re
from collections.abc import Iterator

import msgspec

from mailstead.message.charset import decode_text
from mailstead.message.header import decode, get
from mailstead.message.mime import Buffer, Part, decode_body
from mailstead.message.parameters import decode_parameter

PARTS_LIMIT = 50  # of a report; its machine-readable part is the second one
HEADER_LIMIT = 64 * 1024  # octets of the returned header that are kept
TEXT_LIMIT = 64 * 1024  # characters of the part for people that are looked at
ID_LIMIT = 998  # characters of a Message-ID: a line (RFC 5322 section 2.1.1)

_MESSAGE_ID = re.compile(rb"<[^<>\s]{1,900}>")
_HEADER_TYPES = frozenset(
    [("text", "rfc822-headers"), ("text", "rfc822-header"), ("message", "global-headers")]
)


class Original(msgspec.Struct, frozen=True):
    """The message that came back, as much as there was of it."""

    header: bytes = b""
    message_id: str = ""  # with its angle brackets

    @property
    def subject(self) -> str:
        """The subject as people read it."""
        return decode(get(self.header, "Subject") or b"")[:ID_LIMIT]


def parts_of(part: Part) -> Iterator[Part]:
    """The parts of a report, without what is inside the returned message."""
    waiting, seen = [part], 0
    while waiting and seen < PARTS_LIMIT:
        one = waiting.pop(0)
        seen += 1
        yield one
        if one.is_multipart:
            waiting[:0] = one.children


def find_part(part: Part, subtypes: frozenset[str]) -> Part | None:
    """The first part message/..., one of these subtypes."""
    for one in parts_of(part):
        if one.type == "message" and one.subtype in subtypes:
            return one
    return None


def find_original(part: Part, body: Buffer) -> Original:
    """The returned message, empty if none came back."""
    for one in parts_of(part):
        if one.is_message and one.children:
            inner = one.children[0]
            start = inner.header_start
            return original_of(body[start : start + min(inner.header_size, HEADER_LIMIT)])
        if (one.type, one.subtype) in _HEADER_TYPES:
            return original_of(decode_body(one, body, HEADER_LIMIT))
    return Original()


def original_of(header: bytes) -> Original:
    """The returned message of this header."""
    header = header[:HEADER_LIMIT]
    found = _MESSAGE_ID.search(get(header, "Message-ID") or b"")
    return Original(header, found[0].decode("latin-1") if found else "")


def first_text(part: Part, body: Buffer) -> str:
    """What the report says to people."""
    for one in parts_of(part):
        if one.type == "text" and one.subtype in ("plain", "html"):
            data = decode_body(one, body, TEXT_LIMIT)
            charset = decode_parameter(one.params, "charset") or "us-ascii"
            text = decode_text(data, charset)[:TEXT_LIMIT]
            return _TAG.sub("\n", text) if one.subtype == "html" else text
    return ""


_TAG = re.compile(r"<(?:br|p|div|tr|td|/)[^<>]{0,200}>", re.I)
