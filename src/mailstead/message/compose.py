"""Messages that the server itself writes: plain text, and multiparts of ready parts.

Everything made here is ASCII on the wire (quoted-printable or base64 where the text is not), so
that it passes any relay; only a non-ASCII address in a field goes as UTF-8 (RFC 6532).
Date and Message-ID are the caller's: nothing here knows the time. Line ends are CRLF.
"""

import binascii
import hashlib
import re

from mailstead.message.addresses import Group, HeaderAddress, parse_addresses
from mailstead.message.header import LINE_LIMIT, encode_text, ensure_crlf, fold
from mailstead.model.address import quote_local_part

_ADDRESS_FIELDS = frozenset(("from", "sender", "reply-to", "to", "cc", "bcc"))
_ATOMS = re.compile(rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*\Z")
_NOT_TEXT = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\xff]")
_LONG_LINE = re.compile(rb"[^\n]{%d}" % LINE_LIMIT)


def compose(fields: list[tuple[str, str]], text: str) -> bytes:
    """A message of these fields, in this order, and one text/plain body."""
    return compose_header(fields) + text_part(text)


def compose_header(fields: list[tuple[str, str]]) -> bytes:
    """The fields and MIME-Version, without the empty line: a part's own fields come next."""
    lines = [format_field(name, value) for name, value in fields]
    return b"".join(lines) + b"MIME-Version: 1.0\r\n"


def format_field(name: str, value: str) -> bytes:
    """One whole field; names of people and free text become encoded words where needed."""
    if value.isascii():
        return fold(name, value)
    if name.lower() in _ADDRESS_FIELDS:
        addresses = parse_addresses(value.encode("utf-8", "replace"))
        return fold(name, b", ".join(map(_format_item, addresses)))
    return fold(name, encode_text(value))


def _format_item(item: HeaderAddress | Group) -> bytes:
    if isinstance(item, Group):
        return b"%b: %b;" % (_phrase(item.name), b", ".join(map(_format_item, item.members)))
    local_part = quote_local_part(item.local_part.decode("utf-8", "replace"))
    address = local_part.encode("utf-8", "replace") + b"@" + item.domain
    return b"%b <%b>" % (_phrase(item.name), address) if item.name else address


def _phrase(name: bytes) -> bytes:
    if not name.isascii():
        return encode_text(name.decode("utf-8", "replace"))
    if _ATOMS.match(name):
        return name
    return b'"%b"' % re.sub(rb'(["\\])', rb"\\\1", name)


def text_part(text: str) -> bytes:
    """A text/plain part: its content fields, the empty line, the text."""
    charset = "us-ascii" if text.isascii() else "utf-8"
    return part(f"text/plain; charset={charset}", text.encode("utf-8", "replace"))


def part(content_type: str, content: bytes, description: str = "") -> bytes:
    """A body part of text, with the transfer encoding that it needs (RFC 2045 section 6)."""
    encoding, data = _encode(ensure_crlf(content))
    header = fold("Content-Type", content_type)
    if description:
        header += format_field("Content-Description", description)
    return header + fold("Content-Transfer-Encoding", encoding) + b"\r\n" + data


def message_part(message: bytes, description: str = "") -> bytes:
    """A message as it is inside another; it must not be encoded (RFC 2046 section 5.2.1)."""
    header = fold("Content-Type", "message/rfc822")
    if description:
        header += format_field("Content-Description", description)
    encoding = "7bit" if message.isascii() else "8bit"
    return header + fold("Content-Transfer-Encoding", encoding) + b"\r\n" + message


def multipart(subtype: str, parts: list[bytes]) -> bytes:
    """A multipart of ready parts: its Content-Type, the empty line, the parts (RFC 2046 5.1).

    `subtype` may carry parameters: `report; report-type=delivery-status`.
    """
    # "=_" cannot stand in quoted-printable or base64, and a digest of the parts is not in them.
    boundary = "=_" + hashlib.blake2b(b"".join(parts), digest_size=16).hexdigest()
    delimiter = b"--" + boundary.encode("ascii")
    header = fold("Content-Type", f'multipart/{subtype}; boundary="{boundary}"')
    if not all(one.isascii() for one in parts):
        header += fold("Content-Transfer-Encoding", "8bit")  # RFC 2045 section 6.4
    body = b"".join([b"%b\r\n%b\r\n" % (delimiter, _ended(one)) for one in parts])
    return header + b"\r\n" + body + delimiter + b"--\r\n"


def _ended(one: bytes) -> bytes:
    return one if one.endswith(b"\r\n") else one + b"\r\n"


def _encode(data: bytes) -> tuple[str, bytes]:
    if data and not data.endswith(b"\r\n"):
        data += b"\r\n"
    special = len(_NOT_TEXT.findall(data))
    if not special and not _LONG_LINE.search(data):
        return "7bit", data
    if special * 3 > len(data):
        lines = binascii.b2a_base64(data, newline=False)
        return "base64", b"".join(
            [lines[at : at + 76] + b"\r\n" for at in range(0, len(lines), 76)]
        )
    return "quoted-printable", binascii.b2a_qp(data)
