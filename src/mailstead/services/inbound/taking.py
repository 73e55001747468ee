"""Which recipients are taken: those that lead somewhere here, and elsewhere only for our own.

On port 25 only a recipient whose domain is ours is taken, so relaying is refused in all its forms;
who has logged in may send to anybody, and so may who is listed in `relay_from`, as an address of a
domain hosted here.
"""

from collections.abc import Sequence

import msgspec

from mailstead.model.address import Address
from mailstead.model.reply import Reply
from mailstead.protocol.smtp import replies
from mailstead.services.accounts import Login
from mailstead.services.delivery import recipients
from mailstead.services.delivery.recipients import Found, NotHere
from mailstead.services.inbound.site import Site
from mailstead.storage import accounts
from mailstead.storage.store import Tx


class Asker(msgspec.Struct, frozen=True):
    """Who wants to send: a login, a network that may relay, or a stranger; and from which path."""

    site: Site
    login: Login | None
    relays: bool
    reverse_path: Address | None


async def find_recipient(asker: Asker, recipient: Address) -> Found | Reply:
    """Where the recipient leads, or why it cannot be taken."""
    site = asker.site
    found: Found | NotHere | Reply | None = site.known.find(recipient)
    if found is None or site.catch is not None:
        found = await site.store.look_up(lambda tx: _find(tx, asker, recipient))
        site.known.remember(recipient, found)
    if not isinstance(found, NotHere):
        return found
    if asker.login is not None:
        return recipients.leave(recipient, asker.login.organisation)
    if not asker.relays:
        return replies.RELAY_DENIED
    return await site.store.look_up(lambda tx: _relay(tx, asker, recipient))


async def find_again(asker: Asker, taken: Sequence[Found]) -> list[Found | Reply]:
    """The same of recipients here that were taken before: as the store has it now."""
    return await asker.site.store.look_up(
        lambda tx: [_find_here(tx, asker, one.address) for one in taken]
    )


def _find(tx: Tx, asker: Asker, recipient: Address) -> Found | NotHere | Reply:
    return recipients.find(tx, recipient, asker.site.catch, bounce=asker.reverse_path is None)


def _find_here(tx: Tx, asker: Asker, recipient: Address) -> Found | Reply:
    found = _find(tx, asker, recipient)
    return replies.RELAY_DENIED if isinstance(found, NotHere) else found


def _relay(tx: Tx, asker: Asker, recipient: Address) -> Found | Reply:
    """Without log-in, from a listed network, as a sender of a domain hosted here."""
    sender = asker.reverse_path
    domain = accounts.find_domain(tx, sender.domain) if sender else None
    if domain is None:
        return replies.RELAY_SENDER_DENIED
    return recipients.leave(recipient, domain.organisation, "relay_from")
