"""When a site says that it is about us: blocked, or not believed who we are.

That opens an incident for the operator; the lane is slow meanwhile (shaping), recipients are not
suppressed (record). It ends when the site takes mail from the same source again, an hour after it
last refused some. Written down when it opens, when it ends, and once a minute while it goes on.
"""

import logging
from datetime import datetime, timedelta

import msgspec

from mailstead.model.entries import Incident as IncidentEntry
from mailstead.model.errors import TemporaryFailure
from mailstead.model.numbers import OrganisationId, TraceId
from mailstead.model.world import Clock
from mailstead.services.outbound.attempt import Attempt
from mailstead.services.outbound.classify import classify
from mailstead.services.outbound.retry import Relayed
from mailstead.services.outbound.rules import ReplyClass
from mailstead.storage import incidents
from mailstead.storage.incidents import Incident, Key
from mailstead.storage.plan import JournalRow
from mailstead.storage.queue import Outgoing
from mailstead.storage.store import Store

OURS = (ReplyClass.REPUTATION, ReplyClass.AUTHENTICATION)
QUIET = timedelta(hours=1)  # without a refusal, before a success ends it
WRITTEN_EVERY = timedelta(minutes=1)

log = logging.getLogger("mailstead.outbound")


class _Open(msgspec.Struct):
    incident: Incident
    last: datetime
    written: datetime
    times: int = 0  # since then


class Incidents:
    """Those that are open, in memory; the store has them all."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._open: dict[Key, _Open] | None = None

    async def heard(self, site: str, source: str, outgoing: Outgoing, tried: Attempt) -> None:
        """What an attempt says about us. Costs nothing while all is well."""
        try:
            await self._heard(site, source, outgoing, tried)
        except TemporaryFailure as failure:
            log.warning("an incident cannot be written down: %s", failure.reason)

    async def _heard(self, site: str, source: str, outgoing: Outgoing, tried: Attempt) -> None:
        refused = _about_us(site, source, tried)
        for key, (host, said) in refused.items():
            await self._refused(key, host, said, outgoing)
        if self._open != {} and any(isinstance(one, Relayed) for one in tried.outcomes.values()):
            for key in await self._load():
                if (key.site, key.source) == (site, source) and key not in refused:
                    await self._accepted(key, outgoing)

    async def _load(self) -> list[Key]:
        if self._open is None:
            found, now = await self._store.read(incidents.list_open), self._clock.now()
            self._open = {one.key: _Open(one, one.last, now) for one in found}
        return list(self._open)

    async def _refused(self, key: Key, host: str, said: str, outgoing: Outgoing) -> None:
        await self._load()
        assert self._open is not None
        now = self._clock.now()
        if key not in self._open:
            trace = outgoing.trace
            found, new = await self._store.write(
                lambda tx: incidents.open_one(tx, key, host, said, trace)
            )
            self._open[key] = _Open(found, now, now)
            if new:
                self._tell("opened", found, outgoing.trace, outgoing.organisation)
                return
        one = self._open[key]
        one.last, one.times = now, one.times + 1
        if now - one.written >= WRITTEN_EVERY:
            number, times = one.incident.id, one.times
            one.written, one.times = now, 0
            await self._store.write(lambda tx: incidents.again(tx, number, times))

    async def _accepted(self, key: Key, outgoing: Outgoing) -> None:
        assert self._open is not None
        one = self._open[key]
        if self._clock.now() - one.last < QUIET:
            return
        del self._open[key]
        number, times = one.incident.id, one.times
        if times:
            await self._store.write(lambda tx: incidents.again(tx, number, times))
        if await self._store.write(lambda tx: incidents.close(tx, number)):
            self._tell("closed", one.incident, outgoing.trace, outgoing.organisation)

    def _tell(
        self, state: str, one: Incident, trace: TraceId, organisation: OrganisationId
    ) -> None:
        entry = IncidentEntry(
            at=self._clock.now(),
            state=state,
            site=one.key.site,
            source=one.key.source,
            kind=one.key.kind,
            number=one.id,
            said=f"{one.host}: {one.said}",
        )
        self._store.note(JournalRow(trace, organisation, (entry,)))


def _about_us(site: str, source: str, tried: Attempt) -> dict[Key, tuple[str, str]]:
    """Which of the answers say that it is about us: the host, and its words."""
    found: dict[Key, tuple[str, str]] = {}
    for outcome in tried.outcomes.values():
        if isinstance(outcome, Relayed) or not outcome.host:
            continue
        class_ = classify(outcome.reply, outcome.host).class_
        if class_ in OURS:
            found[Key(site, source, class_.value)] = (outcome.host, str(outcome.reply))
    return found
