"""The outbound queue: which recipient is tried when, and what came of it.

Owns: the waiting -> claimed -> done states in storage.queue. Nobody else changes them.
Not here: where to connect (route), how to talk (attempt), when to try again (retry).
Holds: a recipient leaves the queue only in the transaction that records its outcome; a job that
fails by our own fault is logged, stays claimed until its lease ends, and stops nothing else.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar

import msgspec

from mailstead.model.address import Address, Domain, parse_address
from mailstead.model.entries import Attempted
from mailstead.model.errors import TemporaryFailure
from mailstead.model.numbers import QueueId
from mailstead.model.reply import Reply
from mailstead.model.world import Endpoint, World
from mailstead.net.tls import verifying_context
from mailstead.services import return_path
from mailstead.services.delivery.plan import LOCAL
from mailstead.services.delivery.recipients import Catch
from mailstead.services.metering import NO_METER, Meter
from mailstead.services.outbound.attempt import Attempt, Curfew, Errand, attempt
from mailstead.services.outbound.bounce import Bounces, Event, plain_plan, wakes_of
from mailstead.services.outbound.classify import classify
from mailstead.services.outbound.connect import Dialer
from mailstead.services.outbound.incidents import Incidents
from mailstead.services.outbound.lanes import WAITING_LIMIT, Lanes
from mailstead.services.outbound.local import Local
from mailstead.services.outbound.octets import Loaded, domain_of, facts_of, load, pieces
from mailstead.services.outbound.pool import Pool
from mailstead.services.outbound.providers import Limits
from mailstead.services.outbound.record import events_of
from mailstead.services.outbound.relaying import Flushing, patient, relay_way
from mailstead.services.outbound.retry import LANE_WAIT, Deferred, Failed, Relayed
from mailstead.services.outbound.route import Smarthost, Way, choose_way, find_hosts
from mailstead.services.outbound.shaping import RELAYED, Shaping
from mailstead.services.outbound.sites import SEPARATOR, Sites, lane_of
from mailstead.services.outbound.sources import AS_USUAL, Departing, Sources
from mailstead.services.outbound.targets import Targets, parse_networks
from mailstead.services.outbound.tls_policy import TlsPolicies
from mailstead.services.outbound.turns import LEASE, Turns
from mailstead.services.return_path import ReturnPaths
from mailstead.services.watch import Watch
from mailstead.storage import queue
from mailstead.storage.claims import Asked, Claimed, claim
from mailstead.storage.plan import Plan, Postpone
from mailstead.storage.queue import Job, in_lane
from mailstead.storage.store import WRITE_LIMIT, Store, Tx

RENEWAL = timedelta(minutes=10)
URGENT_PAUSE = timedelta(milliseconds=100)  # between looks for the urgent while hands are full
SLOW_PAUSE = timedelta(minutes=5)  # at least, for a site that said we are too fast, or blocked
TROUBLE_PAUSE = timedelta(seconds=10)  # while the store cannot be used
RECORD_TRIES = 60  # to write down an outcome, that long apart
# For running attempts, when the service ends; a worker that takes 40 s to end is killed
# (server.supervisor), and sessions may have taken 20 of them (server.lifecycle).
GRACE = timedelta(seconds=10)
LAST_GRACE = timedelta(seconds=5)  # to write down what came of those that had to be broken off

T = TypeVar("T")

log = logging.getLogger("mailstead.outbound")


class Settings(msgspec.Struct, frozen=True):
    """What the operator says about outgoing mail."""

    hostname: str
    routes: Mapping[str, Endpoint] = {}  # "example.net", "*.example.net", "*"
    smarthost: Smarthost | None = None
    allowed_targets: tuple[str, ...] = ()  # networks
    own_addresses: frozenset[str] = frozenset()  # where this house listens for SMTP
    connections: int = 100  # at a time
    lane_connections: int = 10  # at a time to one lane
    catch: Catch | None = None  # a developer's server: DSNs to outside are caught too


class Outbound:
    """The service. `run` it in a TaskGroup; cancel it to end it."""

    def __init__(
        self,
        store: Store,
        world: World,
        watch: Watch,
        settings: Settings,
        verifying: ssl.SSLContext | None = None,
        meter: Meter = NO_METER,
    ) -> None:
        self._store, self._world, self._watch, self._settings = store, world, watch, settings
        self._meter = meter
        self._targets = Targets(parse_networks(settings.allowed_targets), settings.own_addresses)
        verifying = verifying or verifying_context()
        self._dialer = Dialer(world, settings.hostname, verifying)
        self._policies = TlsPolicies(store, world, self._targets, verifying)
        self._bounces = Bounces(store, world, settings.hostname, settings.catch)
        self._return_paths = ReturnPaths(store, world.random)
        self._incidents = Incidents(store, world.clock)
        self._local = Local(
            store, world, watch, self._return_paths, settings.hostname, settings.catch
        )
        self._shaping = Shaping(settings.lane_connections)
        self._sites = Sites(world.resolver, world.clock)
        self._lanes = Lanes(settings.connections, self._limits_of)
        self._unplaced: set[QueueId] = set()  # claimed, and their site is being looked up
        self._turns = Turns(world.clock.now())
        self._pool = Pool()
        self._flushing = Flushing(store, world.clock, watch)
        self._sources = Sources(store, world)
        self._wake = asyncio.Event()
        self._held: set[QueueId] = set()  # rows whose lease is ours
        self._tasks: set[asyncio.Task[None]] = set()
        self._curfew = Curfew()
        self._full = self._ended = False
        self._look_at: datetime | None = world.clock.now()  # when something may be there to claim
        self._looked = world.clock.now()
        self._alarm: asyncio.Timeout | None = None

    async def run(self) -> None:
        """Pass mail on until cancelled; then running attempts get GRACE to end well."""
        self._watch.add_queue(self._wake.set)
        async with asyncio.TaskGroup() as group:
            keeping = [group.create_task(self._keep_leases())]
            keeping.append(group.create_task(self._pool.sweep()))
            keeping.append(group.create_task(self._policies.run()))
            try:
                while True:
                    await self._turn(group)
            finally:
                await self._wind_up()
                for task in keeping:
                    task.cancel()

    # ------------------------------------------------------------------ claiming

    async def _turn(self, group: asyncio.TaskGroup) -> None:
        """Claim what is due, begin what may begin, wait for what changes that."""
        now, woken = self._world.clock.now(), self._wake.is_set()
        self._wake.clear()
        self._lanes.resume(now)
        self._begin(group)
        if woken or (self._look_at is not None and self._look_at <= now):
            self._look_at = None
            if due := await self._claim_more(group):
                self._look_no_later_than(due)
        await self._wait()

    async def _claim_more(self, group: asyncio.TaskGroup) -> datetime | None:
        """Claim until nothing is due or the hands are full; when there is more to do."""
        try:
            while True:
                below = self._lanes.below(len(self._unplaced))
                self._full = self._full or below is not None
                if below is not None and (when := self._looked + URGENT_PAUSE) > self._now():
                    return when
                claimed = await self._claim(group, below)
                self._begin(group)
                if not claimed.more:
                    return claimed.next_due
        except TemporaryFailure as failure:
            log.warning("the queue cannot be used: %s", failure.reason)
            return self._now() + TROUBLE_PAUSE
        except Exception:
            log.exception("the queue cannot be used, by our own fault")
            return self._now() + TROUBLE_PAUSE

    async def _claim(self, group: asyncio.TaskGroup, below: int | None) -> Claimed:
        """Take what is due into the lanes."""
        self._looked = now = self._now()
        asked = self._turns.ask(self._lanes.shut(), below, now)
        claimed, jobs = await self._store.write(lambda tx: _claim(tx, asked))
        self._turns.learn(claimed, now)
        for loaded in jobs:
            self._held.update(row.id for row in loaded.job.recipients)
        await self._place(group, jobs)
        return claimed

    async def _place(self, group: asyncio.TaskGroup, jobs: list[Loaded]) -> None:
        """Each job into the lane of its site; those whose site is not known are looked up."""
        unknown: dict[str, list[Loaded]] = {}
        placed: list[tuple[Loaded, str]] = []
        for loaded in jobs:
            if site := self._site_of(loaded):
                placed.append((loaded, site))
            else:
                unknown.setdefault(domain_of(loaded.job), []).append(loaded)
        for domain, several in unknown.items():
            self._unplaced.update(row.id for one in several for row in one.job.recipients)
            group.create_task(self._learn(group, domain, several))
        await self._stand(placed)

    async def _learn(self, group: asyncio.TaskGroup, domain: str, several: list[Loaded]) -> None:
        try:
            site = await self._sites.find(domain)
            ids = {row.id for one in several for row in one.job.recipients}
            if self._ended or not ids <= self._unplaced:
                return
            self._unplaced -= ids
            await self._stand([(loaded, site) for loaded in several])
            self._begin(group)
        except Exception:
            log.exception("mail for %s waits until its lease ends, by our own fault", domain)

    async def _stand(self, placed: list[tuple[Loaded, str]]) -> None:
        """Into the lanes; what came by another name into a lane that is shut goes back."""
        back: list[Job] = []
        for loaded, site in placed:
            lane = lane_of(site, loaded.job.source)
            job = in_lane(loaded.job, lane)
            if lane != loaded.job.lane and self._lanes.is_shut(lane, job.priority):
                back.append(job)
            else:
                self._lanes.add(msgspec.structs.replace(loaded, job=job))
        if not back:
            return
        rows = [row for job in back for row in job.recipients]
        try:
            await self._store.write(lambda tx: queue.give_back_to(tx, rows))
        except TemporaryFailure as failure:  # they are due when their lease ends
            log.warning("recipients could not be given back: %s", failure.reason)
        self._held.difference_update(row.id for row in rows)
        for row in rows:
            self._turns.give_back(row.lane, row.priority, row.due)

    def _site_of(self, loaded: Loaded) -> str | None:
        """The site that a job goes to; None if that has to be looked up."""
        job = loaded.job
        if job.transport == LOCAL:
            return LOCAL
        if loaded.relay and not job.route:
            return loaded.relay.name
        try:
            way = self._way(loaded)
        except ValueError:
            return domain_of(job)
        return str(way.endpoint) if way.endpoint else self._sites.known(domain_of(job))

    def _way(self, loaded: Loaded) -> Way:
        job, settings = loaded.job, self._settings
        domain = Domain(domain_of(job))
        way = choose_way(domain, job.route, settings.routes, settings.smarthost)
        return way if job.route else relay_way(loaded.relay, way)

    def _limits_of(self, lane: str) -> Limits:
        return self._shaping.limits(self._sites.described(lane))

    async def _wait(self) -> None:
        """Until there may be something to claim, until a lane may go on, or a wake-up."""
        times = [time for time in (self._look_at, self._lanes.next_resume()) if time is not None]
        try:
            async with asyncio.timeout_at(self._loop_time(min(times)) if times else None) as alarm:
                self._alarm = alarm
                await self._wake.wait()
        except TimeoutError:
            return
        finally:
            self._alarm = None

    def _look_no_later_than(self, due: datetime) -> None:
        """Something is due then, maybe earlier than anybody waits for."""
        self._look_at = min(due, self._look_at or due)
        self._wait_no_longer_than(due)

    def _wait_no_longer_than(self, due: datetime) -> None:
        if self._alarm is not None:
            when = self._loop_time(due)
            if (now := self._alarm.when()) is None or when < now:
                self._alarm.reschedule(when)

    def _now(self) -> datetime:
        return self._world.clock.now()

    def _loop_time(self, at: datetime) -> float:
        left = (at - self._world.clock.now()).total_seconds()
        return asyncio.get_running_loop().time() + max(left, 0.0)

    # ------------------------------------------------------------------ running

    def _begin(self, group: asyncio.TaskGroup) -> None:
        while not self._ended and (loaded := self._lanes.begin(self._now())):
            task = group.create_task(self._run(group, loaded))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if rested := self._lanes.next_resume():  # of a lane that began something just now
            self._wait_no_longer_than(rested)
        # Every claim is a transaction: ask for more only when there is room for a good many.
        room = self._full and self._lanes.waiting + len(self._unplaced) <= WAITING_LIMIT // 2
        if self._lanes.reopened or room:
            self._lanes.reopened = self._full = False
            self._wake.set()

    async def _run(self, group: asyncio.TaskGroup, loaded: Loaded) -> None:
        """One job, from its first connection to the commit of what came of it."""
        try:
            if loaded.job.transport == LOCAL:
                await self._file(group, loaded)
            else:
                await self._send(group, loaded)
        except TemporaryFailure as failure:
            log.warning("an outcome could not be recorded: %s", failure.reason)
        except Exception:
            log.exception("an attempt of ours failed; id=%s", loaded.job.outgoing.trace)
        finally:
            self._held.difference_update(row.id for row in loaded.job.recipients)

    async def _file(self, group: asyncio.TaskGroup, loaded: Loaded) -> None:
        """Recipients here whose time has come."""
        try:
            left, tried = await self._local.deliver(loaded)
        finally:
            self._lanes.end(loaded.job.lane)
        self._begin(group)
        if left.job.recipients:
            addresses = {row.recipient: parse_address(row.recipient) for row in left.job.recipients}
            await self._finish(left, tried, addresses)

    async def _send(self, group: asyncio.TaskGroup, loaded: Loaded) -> None:
        """Talk to the other side; the lane is free again before the outcome is written down."""
        job = loaded.job
        try:
            addresses = {row.recipient: parse_address(row.recipient) for row in job.recipients}
            tried = await self._try(loaded, addresses)
        finally:
            self._lanes.end(job.lane)
        if pause := self._shaping_says(job.lane, tried):
            self._lanes.pause(job.lane, self._now() + pause)
            self._wake.set()
        self._begin(group)
        await self._finish(loaded, tried, addresses, pause or LANE_WAIT)
        site = job.lane.partition(SEPARATOR)[0]
        await self._incidents.heard(site, job.source, job.outgoing, tried)

    def _shaping_says(self, lane: str, tried: Attempt) -> timedelta | None:
        """How long the lane pauses after these answers."""
        now, site = self._now(), self._sites.described(lane)
        pauses: list[timedelta] = []
        answers: dict[str, str] = {}
        for outcome in tried.outcomes.values():
            if isinstance(outcome, Relayed):
                answers[RELAYED] = ""
            elif outcome.host and self._sites.speaks_for(outcome.host, lane):
                said = classify(outcome.reply, outcome.host)
                if said.about_site:
                    answers.setdefault(said.class_, outcome.reply.text)
                pauses += [SLOW_PAUSE] if said.slow else []
        for class_, text in answers.items():
            if pause := self._shaping.told(site, class_, now, text):
                pauses.append(pause)
        return max(pauses, default=None)

    async def _try(self, loaded: Loaded, addresses: dict[str, Address]) -> Attempt:
        job, settings = loaded.job, self._settings
        recipients = tuple(dict.fromkeys(addresses.values()))
        domain = recipients[0].domain
        try:
            way = self._way(loaded)
        except ValueError as error:
            wrong = Failed(Reply(550, "5.4.4", f"The route is wrong: {error}"))
            return Attempt(dict.fromkeys(recipients, wrong))
        world, reverse_path = self._world, await self._reverse_path(job)
        hosts = find_hosts(domain, way, settings.hostname, self._targets, world.random)
        hosts = patient(hosts) if loaded.relay else hosts
        if loaded.relay and loaded.relay.host:  # often on a network where no source leads
            departing: Departing | Deferred = Departing(AS_USUAL, hosts)
        else:
            departing = await self._sources.depart(job, hosts, self._targets)
        if isinstance(departing, Deferred):
            return Attempt(dict.fromkeys(recipients, departing), route=way.name)
        departure = departing.departure
        errand = Errand(
            # Who has the same smarthost or route may share connections, whatever the lane.
            key=(way.name, f"{way.endpoint or domain} {departure.source}".strip()),
            domain=Domain(domain),
            reverse_path=reverse_path,
            recipients=recipients,
            facts=facts_of(loaded),
            pieces=lambda: pieces(self._store, loaded),
            way=way,
            again=any(row.attempts for row in job.recipients),
            wishes={addresses[row.recipient]: row.wish for row in job.recipients},
            tls=job.outgoing.tls,
            envid=job.outgoing.envid,
            ret=job.outgoing.ret,
            departure=departure,
        )
        try:
            return await attempt(
                errand,
                departing.hosts,
                world.resolver,
                self._dialer,
                self._pool,
                self._policies,
                self._curfew,
            )
        except BaseException:
            self._sources.arrived(departure)
            raise

    async def _reverse_path(self, job: Job) -> Address | None:
        """With a return domain each recipient is alone in its job, and has a path of its own."""
        outgoing = job.outgoing
        if not outgoing.return_domain or not outgoing.reverse_path:
            return _path(outgoing.reverse_path)
        key, domain = await self._return_paths.key(), Domain(outgoing.return_domain)
        return return_path.sign(job.recipients[0].id, domain, key, outgoing.created)

    # ------------------------------------------------------------------ recording

    async def _finish(
        self,
        loaded: Loaded,
        tried: Attempt,
        addresses: dict[str, Address],
        lane_wait: timedelta = LANE_WAIT,
    ) -> None:
        now, random = self._now(), self._world.random
        told = self._sources.tell(tried.departure)
        count = self._sources.count(tried.departure, _taken(tried, addresses))
        try:
            for event in events_of(loaded, addresses, tried, now, random, lane_wait):
                steps, entries = (*event.steps, *count), (*told, *event.entries)
                await self._record(msgspec.structs.replace(event, steps=steps, entries=entries))
                told, count = (), ()
        finally:
            self._sources.arrived(tried.departure)
        await self._flushing.notice(loaded, tried)

    async def _record(self, event: Event) -> None:
        """Write down what came of it; a DSN that cannot be made must not keep it from that."""
        try:
            plan = await self._insist(lambda: self._bounces.plan(event))
            await self._insist(lambda: self._store.apply(plan))
        except TemporaryFailure:
            raise
        except Exception:
            log.exception("no DSN; id=%s", event.outgoing.trace)
            plan = plain_plan(event)
            await self._insist(lambda: self._store.apply(plan))
        self._tell(plan)
        self._measure(event)
        for step in event.steps:
            if isinstance(step, Postpone):
                self._look_no_later_than(step.due)

    def _measure(self, event: Event) -> None:
        """How long those waited that are relayed now."""
        for entry in event.entries:
            if isinstance(entry, Attempted) and entry.outcome == "relayed":
                waited = entry.at - event.outgoing.created
                self._meter.observe("queue_seconds", waited.total_seconds())

    async def _insist(self, work: Callable[[], Awaitable[T]]) -> T:
        """Forgetting an outcome would send a message twice: wait until the store can be used."""
        for _ in range(RECORD_TRIES):
            try:
                return await work()
            except TemporaryFailure as failure:
                log.warning("an outcome has to wait: %s", failure.reason)
                await self._world.clock.sleep(TROUBLE_PAUSE)
        return await work()

    def _tell(self, plan: Plan) -> None:
        wakes = wakes_of(plan)
        if wakes.mailboxes:
            self._watch.wake(wakes.mailboxes)
        if wakes.queue:
            self._watch.wake_queue()

    # ------------------------------------------------------------------ keeping house

    async def _keep_leases(self) -> None:
        """What is claimed stays ours as long as it takes."""
        while True:
            await self._world.clock.sleep(RENEWAL)
            try:
                for ids in _slices(self._held):
                    await self._store.write(lambda tx, ids=ids: queue.renew(tx, ids, LEASE))  # type: ignore[misc]
            except TemporaryFailure as failure:
                log.warning("leases could not be renewed: %s", failure.reason)

    async def _wind_up(self) -> None:
        """Give back what has not begun, let the rest end, close what lies idle."""
        self._ended = True
        left = [row.id for loaded in self._lanes.drain() for row in loaded.job.recipients]
        left += self._unplaced
        self._unplaced.clear()
        with suppress(TemporaryFailure):  # then they are due when their lease ends
            for ids in _slices(left):
                await self._store.write(lambda tx, ids=ids: queue.give_back(tx, ids))  # type: ignore[misc]
        for grace in (GRACE, LAST_GRACE):
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=grace.total_seconds())
            self._curfew.call()  # what was taken already must not be sent again
        await self._pool.close()
        await self._policies.close()


def _claim(tx: Tx, asked: Asked) -> tuple[Claimed, list[Loaded]]:
    """All in one transaction: each further one costs more than it does."""
    claimed = claim(tx, asked)
    return claimed, load(tx, claimed.jobs)


def _slices(ids: Iterable[QueueId]) -> list[list[QueueId]]:
    rest = iter(sorted(ids))
    return list(iter(lambda: list(islice(rest, WRITE_LIMIT)), []))


def _taken(tried: Attempt, addresses: dict[str, Address]) -> int:
    """How many of the recipients the other side took."""
    return sum(isinstance(tried.outcomes[one], Relayed) for one in addresses.values())


def _path(reverse_path: str) -> Address | None:
    return parse_address(reverse_path) if reverse_path else None
