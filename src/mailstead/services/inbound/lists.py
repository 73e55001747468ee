"""The lists in the DNS that are in use: which, whether they can be trusted now, and what they say.

A zone is tested before it is used (RFC 5782 section 5), and again now and then; one that fails, or
that raises an alarm later, is off until it passes again. Holds: a list that is gone, refuses us or
lists everything is never evidence; while the DNS is silent nothing is listed.
"""

import asyncio
import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from mailstead.model.world import Clock, Resolver
from mailstead.msgauth.dnsbl import (
    Alarm,
    Health,
    Listed,
    Subject,
    Unanswered,
    check_health,
    kind_of,
    look_up,
)
from mailstead.services.inbound.facts import Fact
from mailstead.services.inbound.zones import KnownZone, shipped_zones, with_key
from mailstead.services.metering import Meter
from mailstead.services.outbound.asking import answer
from mailstead.storage import dnsbl_uses
from mailstead.storage.dnsbl_uses import Use
from mailstead.storage.store import Store

USES_REMEMBERED = timedelta(minutes=1)  # so long until a change by `mailstead filter` is seen
GOOD_FOR = timedelta(hours=1)
BAD_FOR = timedelta(minutes=10)
SILENT_FOR = timedelta(minutes=1)  # the DNS did not answer: ask again soon
UNANSWERED_LIMIT = 3  # look-ups in a row without an answer; then the zone is tested anew

log = logging.getLogger("mailstead.lists")


class Hit(msgspec.Struct, frozen=True):
    """A list has something of the message."""

    zone: str
    subject: str
    labels: tuple[str, ...]
    weight: float
    allows: bool = False
    reason: str = ""
    of_client: bool = False  # it is the address of the client that is listed

    @property
    def fact(self) -> Fact:
        """The same as one fact among others."""
        family = "dnswl" if self.allows else "dnsbl"
        return Fact(f"{family}.{self.zone}", self.weight, f"{self.subject}: {self.labels[0]}")


class Standing(msgspec.Struct, frozen=True):
    """What the last test of a zone said, and until when that counts."""

    health: Health
    until: datetime


class Lists:
    """Asks the zones that are in use and healthy."""

    def __init__(self, store: Store, clock: Clock, meter: Meter) -> None:
        self._store, self._clock, self._meter = store, clock, meter
        self._used: tuple[datetime, tuple[KnownZone, ...]] | None = None
        self._standings: dict[str, Standing] = {}
        self._testing: dict[str, asyncio.Lock] = {}
        self._silences: dict[str, int] = {}

    async def ask(self, subjects: Iterable[Subject], resolver: Resolver) -> list[Hit]:
        """Where these are listed, asked all together."""
        wanted = [(one, kind_of(one)) for one in dict.fromkeys(subjects)]
        asked = [
            (zone, subject)
            for zone in await self._zones()
            for subject, kind in wanted
            if kind in zone.zone.kinds and not self._is_off(zone)
        ]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._ask(*each, resolver)) for each in asked]
        return [hit for task in tasks if (hit := task.result()) is not None]

    async def _ask(self, known: KnownZone, subject: Subject, resolver: Resolver) -> Hit | None:
        if not await self._is_usable(known, resolver):
            return None
        try:
            found = await answer(look_up(known.zone, subject), resolver)
        except ValueError:  # too long to make a name of
            return None
        match found:
            case Listed():
                name = str(getattr(subject, "digest", subject))
                weight = known.weight_of(found.labels)
                return Hit(known.zone.name, name, found.labels, weight, found.allows, found.reason)
            case Alarm(problem=problem):
                self._remember(Health(known.zone.name, (problem,)), BAD_FOR)
            case Unanswered():
                self._count_silence(known.zone.name)
            case _:
                self._silences.pop(known.zone.name, None)
        return None

    # ------------------------------------------------------------------ which are in use

    async def _zones(self) -> tuple[KnownZone, ...]:
        now = self._clock.now()
        if self._used is None or self._used[0] <= now:
            uses = await self._store.look_up(dnsbl_uses.list_all)
            self._used = (now + USES_REMEMBERED, zones_in_use(uses))
        return self._used[1]

    # ------------------------------------------------------------------ which can be trusted

    def _is_off(self, known: KnownZone) -> bool:
        """Whether it failed its test, and is not to be tested yet."""
        standing = self._standings.get(known.zone.name)
        if standing is None or standing.health.good:
            return False
        return standing.until > self._clock.now()

    async def _is_usable(self, known: KnownZone, resolver: Resolver) -> bool:
        name = known.zone.name
        standing = self._standings.get(name)
        if standing is None or standing.until <= self._clock.now():
            async with self._testing.setdefault(name, asyncio.Lock()):
                standing = self._standings.get(name)
                if standing is None or standing.until <= self._clock.now():
                    standing = await self._test(known, resolver)
        return standing.health.good

    async def _test(self, known: KnownZone, resolver: Resolver) -> Standing:
        health = await answer(check_health(known.zone), resolver)
        if health.good:
            return self._remember(health, GOOD_FOR)
        return self._remember(health, SILENT_FOR if health.temporary else BAD_FOR)

    def _remember(self, health: Health, for_: timedelta) -> Standing:
        before = self._standings.get(health.zone)
        standing = Standing(health, self._clock.now() + for_)
        self._standings[health.zone] = standing
        self._silences.pop(health.zone, None)
        was_good = before is not None and before.health.good
        if was_good != health.good:
            self._meter.count("lists_usable", 1 if health.good else -1 if before else 0)
            self._meter.count("list_tests_total", result="passed" if health.good else "failed")
        if not health.good and (before is None or was_good):
            problems = "; ".join(dict.fromkeys(health.problems))
            log.warning("list-off zone=%s reason=%r", health.zone, problems)
        elif health.good and before is not None and not was_good:
            log.info("list-on zone=%s", health.zone)
        return standing

    def _count_silence(self, name: str) -> None:
        count = self._silences.get(name, 0) + 1
        self._silences[name] = count
        if count >= UNANSWERED_LIMIT:
            self._remember(Health(name, ("the DNS does not answer",), True), SILENT_FOR)


def zones_in_use(uses: Iterable[Use]) -> tuple[KnownZone, ...]:
    """The zones that are on, by themselves or by what the operator says of them."""
    said = {one.zone: one for one in uses}
    found = []
    for known in shipped_zones():
        use = said.get(known.zone.name)
        if use.active if use else known.on:
            found.append(with_key(known, use.key if use else ""))
    return tuple(found)
