"""The envelope: who sent a message and who shall get it, apart from what the header says.

RFC 5321 section 2.3.1. A reverse-path of None is the null reverse-path `<>` of bounces.
"""

import enum
from datetime import datetime, timedelta

import msgspec

from mailstead.model.address import Address


class BodyType(enum.StrEnum):
    """What the sender declared of the octets (RFC 6152, RFC 3030)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT_MIME = "8BITMIME"
    BINARY_MIME = "BINARYMIME"


class Wish(msgspec.Struct, frozen=True):
    """What the sender wants to hear of one recipient (RFC 3461 sections 4.1 and 4.2).

    `notify` is "NEVER", or "SUCCESS", "FAILURE", "DELAY" with commas; `orcpt` the original
    recipient as "rfc822;bob@example.net" in xtext. Both are empty if nothing was said.
    """

    notify: str = ""
    orcpt: str = ""

    def wants(self, event: str) -> bool:
        """Whether a DSN of the event is due; failures and delays are told unless said otherwise."""
        return event in (self.notify or "FAILURE,DELAY").split(",")


NO_WISH = Wish()


class TlsWish(enum.IntEnum):
    """What the sender says about TLS on the way (RFC 8689)."""

    USUAL = 0
    REQUIRED = 1  # REQUIRETLS: all of the way, or not at all
    OPTIONAL = 2  # TLS-Required: No: whatever the recipient's domain demands


class Release(msgspec.Struct, frozen=True):
    """When a message may leave at the earliest (RFC 4865): after a time, or at a time.

    `text` is how it was asked for, as a DSN tells it: "for;3600", "until;2026-12-24T18:00:00Z".
    """

    text: str
    after: timedelta | None = None
    at: datetime | None = None

    def due(self, now: datetime) -> datetime:
        """The time, if it was asked for now."""
        return self.at or now + (self.after or timedelta())


class Envelope(msgspec.Struct, frozen=True):
    """One reverse-path, one or more recipients, and how the octets may travel.

    `wishes` are those of the recipients, in their order, or nothing at all; `envid` and `ret`
    those about the message (RFC 3461 sections 4.3 and 4.4).
    """

    reverse_path: Address | None
    recipients: tuple[Address, ...]
    body_type: BodyType = BodyType.SEVEN_BIT
    smtputf8: bool = False
    wishes: tuple[Wish, ...] = ()
    envid: str = ""
    ret: str = ""
    require_tls: bool = False


def format_path(address: Address | None) -> str:
    """The path in angle brackets, `<>` for the null reverse-path (RFC 5321 section 4.1.2)."""
    return f"<{address or ''}>"
