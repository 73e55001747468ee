"""The Received field that this house puts on top (RFC 5321 section 4.4), and loops it shows."""

import re
from datetime import datetime

import msgspec

from mailstead.message.dates import format_date
from mailstead.model.address import Address
from mailstead.model.numbers import TraceId

HOPS_LIMIT = (
    50  # Received fields; RFC 5321 section 6.3 asks for a large number, practice settled here
)

_RECEIVED = re.compile(rb"^received[ \t]*:", re.I | re.M)
_DELIVERED_TO = re.compile(rb"^delivered-to[ \t]*:[ \t]*(\S+)[ \t]*\r?$", re.I | re.M)
_UNSAFE = re.compile(r"[^!-~]|[()<>\\]")


class Hop(msgspec.Struct, frozen=True):
    """Who gave us the message and how, as the Received field tells it."""

    helo: str
    address: str  # IP address; empty to hide it
    hostname: str  # ours
    protocol: str  # "ESMTPS" and so on (RFC 3848, RFC 6531)
    trace: TraceId
    recipient: Address | None  # only where there is one: others are none of its business
    at: datetime


def received(hop: Hop) -> bytes:
    """The Received field with its line end."""
    origin = _UNSAFE.sub("?", hop.helo)[:255] or "unknown"
    literal = f"IPv6:{hop.address}" if ":" in hop.address else hop.address
    source = f"{origin} ([{literal}])" if hop.address else origin
    recipient = f"\r\n\tfor <{hop.recipient}>" if hop.recipient else ""
    line = (
        f"Received: from {source}\r\n\tby {hop.hostname} with {hop.protocol} id {hop.trace}"
        f"{recipient};\r\n\t{format_date(hop.at)}\r\n"
    )
    return line.encode()


def with_protocol(extended: bool, tls: bool, login: bool, utf8: bool, lmtp: bool = False) -> str:
    """The keyword after "with" (RFC 3848; RFC 6531 section 4.3)."""
    if not extended:
        return "SMTP"
    if lmtp:
        return ("UTF8LMTP" if utf8 else "LMTP") + "S" * tls
    return ("UTF8SMTP" if utf8 else "ESMTP") + "S" * tls + "A" * login


def goes_in_circles(header: bytes, recipients: list[Address]) -> bool:
    """Whether the message has been through too many hands, or here before for the same address."""
    if len(_RECEIVED.findall(header)) > HOPS_LIMIT:
        return True
    been = {found.lower() for found in _DELIVERED_TO.findall(header)}
    return bool(been) and any(str(one).lower().encode() in been for one in recipients)
