"""ENVELOPE: what an IMAP client shows of a header (RFC 9051 section 7.5.2, RFC 3501 7.4.2).

Rendered once and stored as octets. Values are raw: encoded words stay encoded.
Also here: nstring, the one way to write a value that may need a literal.
"""

import re

from mailstead.message.addresses import Group, HeaderAddress, parse_addresses

_WANTED = re.compile(
    rb"\n(date|subject|from|sender|reply-to|to|cc|bcc|in-reply-to|message-id)[ \t]*:"
    rb"([^\n]*+(?:\n[ \t][^\n]*+)*+)",
    re.I,
)
_ADDRESS_FIELDS = frozenset((b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc"))
_NEEDS_CARE = re.compile(rb'[^\x01-\x7f]|[\r\n"\\]')
_NEEDS_LITERAL = re.compile(rb"[^\x01-\x7f]|[\r\n]")
_QUOTED_SPECIALS = re.compile(rb'(["\\])')


def envelope(header: bytes) -> bytes:
    """The envelope structure in its parentheses, ready to follow `ENVELOPE `."""
    found = _values(header)
    from_ = _addresses(found.get(b"from"))
    sender = _addresses(found.get(b"sender"))
    reply_to = _addresses(found.get(b"reply-to"))
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        nstring(found.get(b"date")),
        nstring(found.get(b"subject")),
        from_,
        from_ if sender == b"NIL" else sender,
        from_ if reply_to == b"NIL" else reply_to,
        _addresses(found.get(b"to")),
        _addresses(found.get(b"cc")),
        _addresses(found.get(b"bcc")),
        nstring(found.get(b"in-reply-to")),
        nstring(found.get(b"message-id")),
    )


def _values(header: bytes) -> dict[bytes, bytes]:
    """Each wanted field, unfolded: the first of a name; of address lists all, as one list."""
    found: dict[bytes, bytes] = {}
    repeated: dict[bytes, list[bytes]] = {}
    for name, value in _WANTED.findall(b"\n" + header):
        name = name.lower()
        if b"\n" in value:
            value = value.replace(b"\r\n", b"").replace(b"\n", b"")
        if name not in found:
            found[name] = value.strip()
        elif name in _ADDRESS_FIELDS:
            repeated.setdefault(name, [found[name]]).append(value.strip())
    for name, values in repeated.items():
        found[name] = b", ".join(values)
    return found


def nstring(value: bytes | None) -> bytes:
    """The value as NIL, quoted string or literal (RFC 9051 section 4.3); NULs are dropped."""
    if value is None:
        return b"NIL"
    if _NEEDS_CARE.search(value) is None:
        return b'"%b"' % value
    value = value.replace(b"\0", b"")
    if _NEEDS_LITERAL.search(value):
        return b"{%d}\r\n%b" % (len(value), value)
    return b'"%b"' % _QUOTED_SPECIALS.sub(rb"\\\1", value)


def _addresses(value: bytes | None) -> bytes:
    if not value:
        return b"NIL"
    rendered: list[bytes] = []
    for item in parse_addresses(value):
        match item:
            case HeaderAddress():
                rendered.append(_address(item))
            case Group(name=name, members=members):
                rendered.append(b"(NIL NIL %b NIL)" % nstring(name))
                rendered += map(_address, members)
                rendered.append(b"(NIL NIL NIL NIL)")
    return b"(%b)" % b"".join(rendered) if rendered else b"NIL"


def _address(mailbox: HeaderAddress) -> bytes:
    # A host of NIL would mean a group, so that an address without a domain has an empty one.
    return b"(%b %b %b %b)" % (
        nstring(mailbox.name),
        nstring(mailbox.route),
        nstring(mailbox.local_part),
        nstring(mailbox.domain),
    )
