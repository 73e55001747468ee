"""What submission does to a message (RFC 6409): may this account send it, and what is missing?

The sender in the envelope and the author in From have to be addresses of the account; Date and
Message-ID are added, Bcc is taken away. The Visit asks; nothing here touches the world.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec

from mailstead.message import header as fields
from mailstead.message.addresses import author_addresses
from mailstead.message.dates import format_date
from mailstead.model.address import Address, Domain, parse_address
from mailstead.model.envelope import TlsWish
from mailstead.model.numbers import TraceId
from mailstead.model.reply import Reply

AUTHOR_NOT_OWNED = Reply(
    550, "5.7.1", "You may not write as the address in From; use an address of your own"
)
AUTHORS_LIMIT = 10  # addresses in From

# Fields that the author does not want told, or that only the last server may say.
_TAKEN_AWAY = ("Bcc", "Resent-Bcc", "Return-Path", "Delivered-To", "Mailstead-Stream")


class CompletedHeader(msgspec.Struct, frozen=True):
    """The header as it leaves, and what was changed, in words."""

    header: bytes
    changes: tuple[str, ...]


async def check_author(header: bytes, owns: Callable[[Address], Awaitable[bool]]) -> Reply | None:
    """The reply that refuses a message in somebody else's name; None if all is well."""
    authors = author_addresses(header)
    if len(authors) > AUTHORS_LIMIT:
        return Reply(550, "5.7.1", f"From has more than {AUTHORS_LIMIT} addresses")
    for author in authors:
        if not await owns(author):
            return AUTHOR_NOT_OWNED
    if not authors and fields.get(header, "From") is not None:
        return Reply(550, "5.6.0", "The From field holds no address that can be used")
    return None


def author_domain(header: bytes, login: str) -> Domain:
    """The domain that the message is from, as DMARC sees it; without From, that of the login."""
    authors = author_addresses(header)
    return authors[0].domain if authors else parse_address(login).domain


def tls_wish(header: bytes, require_tls: bool) -> TlsWish:
    """What the sender says about TLS; the parameter counts more than the field (RFC 8689 4.1)."""
    if require_tls:
        return TlsWish.REQUIRED
    said = fields.get_all(header, "TLS-Required")
    if len(said) == 1 and said[0].strip().lower() == b"no":
        return TlsWish.OPTIONAL
    return TlsWish.USUAL


def complete(
    header: bytes, login: str, hostname: str, trace: TraceId, now: datetime
) -> CompletedHeader:
    """The header with what is missing and without what is not to be told (RFC 6409 section 8)."""
    changes = []
    if fields.has_any(header, _TAKEN_AWAY):
        changes = [f"{name} taken away" for name in _TAKEN_AWAY if fields.has_any(header, (name,))]
        header = fields.remove(header, _TAKEN_AWAY)
    missing = {
        "From": login,
        "Date": format_date(now),
        "Message-ID": f"<{trace}@{hostname}>",
    }
    for name, value in missing.items():
        if not fields.has_any(header, (name,)):
            header = fields.append_field(header, name, value)
            changes.append(f"{name} added")
    return CompletedHeader(header, tuple(changes))
