"""Recipients of relay domains: taken only if the domain's own server has them (no backscatter).

Asked about an address only when it leads nowhere here, so ordinary mail pays nothing for it.
Not here: how the other server is asked (outbound.call_ahead), how mail gets there (outbound).
"""

import enum
from collections.abc import Awaitable, Callable

from mailstead.model.address import Address
from mailstead.model.numbers import OrganisationId
from mailstead.model.reply import Reply
from mailstead.services.delivery.recipients import Found
from mailstead.storage import relays
from mailstead.storage.accounts import ROLES, fold
from mailstead.storage.relays import RelayDomain, Relayed
from mailstead.storage.store import Store

RULE = "relay"
UNKNOWN = Reply(
    550, "5.1.1", "No such recipient in this domain; check the address for typing errors"
)
UNSURE = Reply(
    451,
    "4.2.0",
    "The recipient cannot be verified now: its server does not answer; try again later",
)


class Standing(enum.StrEnum):
    """What a server thinks of an address of its own."""

    TAKEN = "taken"
    UNKNOWN = "unknown"
    UNSURE = "unsure"  # it cannot be asked now, and has not been for long


Ask = Callable[[RelayDomain, Address], Awaitable[Standing]]


class Relays:
    """What a Visit asks when it would refuse a recipient."""

    def __init__(self, store: Store, ask: Ask) -> None:
        self._store, self._ask = store, ask

    async def find(self, address: Address, sender: OrganisationId | None) -> Found | Reply | None:
        """The recipient, or what refuses it; None if its domain is no relay domain.

        `sender` is the organisation of who has logged in; None for mail from outside.
        """
        if not address.domain:
            return None
        found = await self._store.look_up(lambda tx: relays.find_recipient(tx, address))
        if found is None:
            return None
        match await self._standing(found, address):
            case Standing.TAKEN:
                return _leave(found.domain, address, sender)
            case Standing.UNKNOWN:
                return UNKNOWN
            case Standing.UNSURE:
                return UNSURE

    async def _standing(self, found: Relayed, address: Address) -> Standing:
        # RFC 5321 section 4.5.1, RFC 2142: these exist in every domain.
        if found.listed or fold(address.local_part) in ROLES:
            return Standing.TAKEN
        if found.domain.recipients == "call":
            return await self._ask(found.domain, address)
        return Standing.UNKNOWN


def _leave(domain: RelayDomain, address: Address, sender: OrganisationId | None) -> Found:
    rule = "elsewhere" if sender is not None else RULE
    organisation = domain.organisation if sender is None else sender
    return Found(address, rule, organisation, elsewhere=(address,), days=domain.days)
