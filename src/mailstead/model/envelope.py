"""The envelope: who sent a message and who shall get it, apart from what the header says.

RFC 5321 section 2.3.1. A reverse-path of None is the null reverse-path `<>` of bounces.
"""

import enum

import msgspec

from mailstead.model.address import Address


class BodyType(enum.StrEnum):
    """What the sender declared of the octets (RFC 6152, RFC 3030)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT_MIME = "8BITMIME"
    BINARY_MIME = "BINARYMIME"


class Envelope(msgspec.Struct, frozen=True):
    """One reverse-path, one or more recipients, and how the octets may travel."""

    reverse_path: Address | None
    recipients: tuple[Address, ...]
    body_type: BodyType = BodyType.SEVEN_BIT
    smtputf8: bool = False


def format_path(address: Address | None) -> str:
    """The path in angle brackets, `<>` for the null reverse-path (RFC 5321 section 4.1.2)."""
    return f"<{address or ''}>"
