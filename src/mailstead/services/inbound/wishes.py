"""How recipients want their mail judged, and which authors' domains are hosted here.

Both are asked for each message from outside and hardly ever change: they are remembered for a
moment. What another worker changes counts a second later.
"""

from collections.abc import Sequence

import msgspec

from mailstead.model.address import Address, Domain
from mailstead.model.numbers import OrganisationId
from mailstead.model.world import Clock
from mailstead.services.delivery.recipients import Found
from mailstead.services.inbound.policy import Wishes
from mailstead.services.moment import Moment
from mailstead.services.telling import TellingStore
from mailstead.storage import accounts, arc_sealers, switches
from mailstead.storage.store import Tx

Key = tuple[OrganisationId, Domain]


class KnownWishes:
    """What was looked up within the last second."""

    def __init__(self, store: TellingStore, clock: Clock) -> None:
        self._store = store
        self._wishes: Moment[Key, Wishes] = Moment(store, clock)
        self._hosted: Moment[Domain, bool] = Moment(store, clock)

    async def find(self, found: Sequence[Found]) -> list[Wishes]:
        """How each of the recipients wants it."""
        keys = [(one.organisation, one.address.domain) for one in found]
        known = {key: wishes for key in keys if (wishes := self._wishes.find(key))}
        missing = [key for key in dict.fromkeys(keys) if key not in known]
        if missing:
            asked = await self._store.look_up(lambda tx: [_look_up(tx, key) for key in missing])
            known.update(zip(missing, asked, strict=True))
            for key in missing:
                self._wishes.keep(key, known[key])
        return [_for_one(known[key], one) for key, one in zip(keys, found, strict=True)]

    async def host_any(self, authors: Sequence[Address]) -> bool:
        """Whether one of the authors has an address in a domain that is hosted here."""
        for domain in dict.fromkeys(one.domain for one in authors):
            if await self._is_hosted(domain):
                return True
        return False

    async def _is_hosted(self, domain: Domain) -> bool:
        hosted = self._hosted.find(domain)
        if hosted is None:
            found = await self._store.look_up(lambda tx: accounts.find_domain(tx, domain))
            hosted = found is not None
            self._hosted.keep(domain, hosted)
        return hosted


def _look_up(tx: Tx, key: Key) -> Wishes:
    organisation, domain = key
    sealers = arc_sealers.believed_by(tx, organisation)
    said = switches.find_all(tx, organisation, domain)
    greylisted = said.get(switches.GREYLISTING) == "on"
    return Wishes(sealers, greylisted, said.get(switches.STRICT) == "on")


def _for_one(wishes: Wishes, found: Found) -> Wishes:
    """Postmaster and abuse hear everybody, at once."""
    if wishes.greylisted and found.rule == "role":
        return msgspec.structs.replace(wishes, greylisted=False)
    return wishes
