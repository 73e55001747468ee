"""Remembering who writes: domains, addresses and networks, and whether it was welcome.

Each message is noted in memory; what was noted goes into the store together, once a minute at
most. A sender is remembered by a name only if the name is proven to be its own.
Holds: nobody waits for it but one message a minute; what is noted is bounded, and may be lost.
"""

import functools
import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta

from mailstead.model.address import Address
from mailstead.model.errors import TemporaryFailure
from mailstead.model.numbers import OrganisationId
from mailstead.msgauth.dmarc.check import Dmarc
from mailstead.msgauth.spf.record import Spf
from mailstead.services.inbound.evidence import Evidence
from mailstead.spam.lookalikes import main_domain
from mailstead.spam.names import Names
from mailstead.storage import sender_memory
from mailstead.storage.sender_memory import Change, Sender
from mailstead.storage.store import Store

WRITE_EVERY = timedelta(minutes=1)
NOTED_LIMIT = 500  # senders that wait to be written; each is a row and a bit


class Memory:
    """What a worker has seen since it last wrote it down."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._noted: dict[tuple[OrganisationId, Sender], tuple[int, int]] = {}
        self._since: datetime | None = None

    async def note(
        self,
        organisation: OrganisationId,
        senders: Sequence[Sender],
        spam: bool,
        now: datetime,
    ) -> None:
        """A message came from these."""
        for one in senders:
            ham_count, spam_count = self._noted.get((organisation, one), (0, 0))
            self._noted[organisation, one] = ham_count + (not spam), spam_count + spam
        self._since = self._since or now
        if now - self._since >= WRITE_EVERY or len(self._noted) >= NOTED_LIMIT:
            await self.write()

    async def write(self) -> None:
        """Everything that was noted into the store; a store that cannot now may forget it."""
        noted, self._noted, self._since = self._noted, {}, None
        changes = [
            Change(organisation, sender, ham, spam)
            for (organisation, sender), (ham, spam) in noted.items()
        ]
        try:
            await self._store.write(lambda tx: sender_memory.remember(tx, changes))
        except TemporaryFailure:
            return


def senders_of(evidence: Evidence, authors: Sequence[Address], names: Names) -> list[Sender]:
    """What the sender is remembered by, one of each kind at most."""
    found = [Sender("network", network_of(evidence.client.address))]
    domain = ""
    if authors and proves_author(evidence):
        domain = str(authors[0].domain)
        found.append(Sender("address", str(authors[0]).lower()))
    elif evidence.spf.result is Spf.PASS:
        domain = evidence.spf.identity
    if domain and domain not in names.freemail:
        found.append(Sender("domain", main_domain(domain.lower())))
    return found


def proves_author(evidence: Evidence) -> bool:
    """Whether From is who it says it is; without that nobody gets the credit of another."""
    dmarc = evidence.dmarc
    if dmarc is None:
        return False
    if dmarc.result is Dmarc.NONE and evidence.spf.result is Spf.PASS:
        return main_domain(evidence.spf.identity) == main_domain(dmarc.author_domain)
    return dmarc.result is Dmarc.PASS


@functools.lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """The network that is remembered: those around an address mostly do the same."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    if mapped is not None:
        ip = mapped
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 48), strict=False))
