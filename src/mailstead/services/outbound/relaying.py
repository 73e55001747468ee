"""Mail for relay domains on its way to their own servers: which way, how patiently, and at once.

The way is looked up when mail leaves, so a changed host counts for what waits already. What only
shows that the DNS or the operator are wrong keeps mail waiting: it was accepted for somebody else,
and no sender would be told. When the server answers again, all that waits for it is due.
"""

import logging
from datetime import datetime, timedelta

from mailstead.model.errors import TemporaryFailure
from mailstead.model.reply import Reply
from mailstead.model.world import Clock
from mailstead.services.outbound.attempt import Attempt
from mailstead.services.outbound.octets import Loaded
from mailstead.services.outbound.retry import Relayed
from mailstead.services.outbound.route import Hosts, Lookup, Way, parse_route
from mailstead.services.watch import Watch
from mailstead.storage import queue
from mailstead.storage.relays import RelayDomain
from mailstead.storage.store import WRITE_LIMIT, Store

FLUSH_PAUSE = timedelta(minutes=1)  # at least, between two flushes of a domain
SLICES_LIMIT = 100  # transactions of one flush
FLUSHED_LIMIT = 1000  # domains that are remembered

log = logging.getLogger("mailstead.outbound")


def relay_way(relay: RelayDomain | None, usual: Way) -> Way:
    """The way to the domain's own server, where the operator named it; else the usual one.

    ValueError if what they named is no host:port.
    """
    if relay is None or not relay.host:
        return usual
    lmtp = relay.transport == "lmtp"
    return Way("lmtp" if lmtp else "relay", parse_route(relay.host), lmtp=lmtp)


def patient(hosts: Lookup[Hosts | Reply]) -> Lookup[Hosts | Reply]:
    """The same, but what would end the mail keeps it waiting."""
    found = yield from hosts
    if isinstance(found, Reply) and found.permanent:
        text = f"We relay for this domain, but do not know where to: {found.text}"
        return Reply(451, "4.4.4", text)
    return found


class Flushing:
    """Lets all that waits for a server be tried when it is back."""

    def __init__(self, store: Store, clock: Clock, watch: Watch) -> None:
        self._store, self._clock, self._watch = store, clock, watch
        self._flushed: dict[str, datetime] = {}  # domain -> when; the oldest first

    async def notice(self, loaded: Loaded, tried: Attempt) -> None:
        """An attempt ended; if it shows that a relay domain's server is there, flush."""
        here = any(isinstance(one, Relayed) for one in tried.outcomes.values())
        if loaded.relay is None or not here or not self._may_flush(loaded.relay.name):
            return
        try:
            await flush(self._store, self._watch, loaded.relay.name)
        except TemporaryFailure as failure:  # it will be due by itself
            log.warning("mail for %s must wait: %s", loaded.relay.name, failure.reason)

    def _may_flush(self, domain: str) -> bool:
        now = self._clock.now()
        if (last := self._flushed.get(domain)) is not None and now - last < FLUSH_PAUSE:
            return False
        self._flushed.pop(domain, None)
        while len(self._flushed) >= FLUSHED_LIMIT:
            del self._flushed[next(iter(self._flushed))]
        self._flushed[domain] = now
        return True


async def flush(store: Store, watch: Watch, domain: str, whatever: bool = False) -> int:
    """Let what waits for the domain because its server was away be due; how many.

    With `whatever`, also what the server put off itself: somebody asked for it.
    """
    flushed = 0
    for _ in range(SLICES_LIMIT):
        some = await _flush_some(store, domain, whatever)
        flushed += some
        if some:
            watch.wake_queue()
        if some < WRITE_LIMIT:
            break
    return flushed


async def _flush_some(store: Store, domain: str, whatever: bool) -> int:
    ids = await store.look_up(lambda tx: queue.waiting_in(tx, domain, whatever, WRITE_LIMIT))
    if ids:
        await store.write(lambda tx: queue.make_due(tx, ids))
    return len(ids)
