"""Which address of ours a message leaves from: sources, their pools, and who sends from which.

A recipient gets its source when it is queued, by chance among those of its pool, and keeps it; what
greylists would else begin anew. Only a source that may not be used now (no confirmed PTR record, or
its day's allowance is used up while it is warming) gives way to another of its pool; where there
is none, the recipient waits. Where there are no pools, mail leaves as the kernel chooses, and
nothing is asked. Not here: how fast a site is sent to (shaping).
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from mailstead.model.entries import AnyEntry, Departed
from mailstead.model.numbers import OrganisationId
from mailstead.model.reply import Reply
from mailstead.model.world import Random, World
from mailstead.services.outbound.asking import answer
from mailstead.services.outbound.providers import OTHER, Providers, shipped_providers
from mailstead.services.outbound.ptr import PtrVerdict, check_ptr
from mailstead.services.outbound.retry import Deferred
from mailstead.services.outbound.route import Hosts, Lookup
from mailstead.services.outbound.targets import Targets
from mailstead.storage import sources as rows
from mailstead.storage.plan import Applied, CountSent, Enqueue, JournalRow, Plan, Step
from mailstead.storage.queue import Job
from mailstead.storage.sources import EVERYBODY, Arrangement, PoolUse, Source
from mailstead.storage.store import Store

REMEMBERED = timedelta(minutes=1)  # so long until a change by `mailstead pool` is seen
PTR_REMEMBERED = timedelta(hours=1)
PTR_UNKNOWN_REMEMBERED = timedelta(minutes=1)  # while the DNS does not answer
PTR_LIMIT = 2 * rows.SOURCES_LIMIT
NIGHT_SPREAD = timedelta(minutes=30)  # what waits for tomorrow does not begin all at midnight


class Departure(msgspec.Struct, frozen=True):
    """Where an attempt leaves from: the addresses to bind to and the name to say in EHLO.

    The empty one is as the kernel and the configuration have it.
    """

    source: str = ""
    helo: str = ""
    addresses: tuple[str, ...] = ()
    unconfirmed: frozenset[str] = frozenset()  # of them; not for what only the DNS names
    exempt: frozenset[str] = frozenset()  # targets that the operator named
    provider: str = ""  # counted for it, while the source is warming
    recipients: int = 0  # that are under way
    instead: str = ""  # why it is not the source that the recipients were queued for

    def towards(self, address: str) -> str | None:
        """The address to bind to; None if there is none that may be used."""
        if not self.addresses:
            return ""
        for own in self.addresses:
            if (":" in own) == (":" in address):
                return own if own not in self.unconfirmed or address in self.exempt else None
        return None


AS_USUAL = Departure()


class Departing(msgspec.Struct, frozen=True):
    """Where an attempt leaves from, and to which hosts."""

    departure: Departure
    hosts: Lookup[Hosts | Reply]


class Sender(msgspec.Struct, frozen=True):
    """Whose mail it is, as pools are chosen by it."""

    organisation: OrganisationId
    domain: str
    stream: str


class Sources:
    """The service; it remembers what the store said for a minute."""

    def __init__(self, store: Store, world: World, providers: Providers | None = None) -> None:
        self._store, self._world = store, world
        self._providers = providers or shipped_providers()
        self._arrangement, self._until = Arrangement(), datetime.min.replace(tzinfo=UTC)
        self._confirmed: dict[tuple[str, str], tuple[datetime, bool]] = {}
        self._under_way: dict[tuple[str, str], int] = {}  # recipients, by source and provider

    async def assign(self, plan: Plan) -> Plan:
        """The plan, with a source for each recipient that it queues."""
        if not any(isinstance(step, Enqueue) for step in plan.steps):
            return plan
        arrangement = await self._load()
        if not arrangement.uses:
            return plan
        steps = [self._assign(step, plan.organisation, arrangement) for step in plan.steps]
        return msgspec.structs.replace(plan, steps=tuple(steps))

    def _assign(self, step: Step, organisation: OrganisationId, known: Arrangement) -> Step:
        """One source for all, so that recipients at one host share a transaction."""
        if not isinstance(step, Enqueue):
            return step
        sender = Sender(organisation, step.reverse_path.rpartition("@")[2].lower(), step.stream)
        if not (names := pool_of(known, sender)):
            return step
        source = chosen(names, self._world.random)
        recipients = [
            msgspec.structs.replace(one, source=one.source or source) for one in step.recipients
        ]
        return msgspec.structs.replace(step, recipients=tuple(recipients))

    async def depart(
        self, job: Job, hosts: Lookup[Hosts | Reply], targets: Targets
    ) -> Departing | Deferred:
        """Where the job leaves from now, or why it waits; when it is recorded, `arrived`."""
        source = job.recipients[0].source
        if not source:
            return Departing(AS_USUAL, hosts)
        arrangement = await self._load()
        names = [source, *self._others(arrangement, _sender(job), source)]
        candidates = [arrangement.sources[name] for name in names if name in arrangement.sources]
        found = await answer(hosts, self._world.resolver)
        if not candidates or isinstance(found, Reply):
            return Departing(AS_USUAL, _given(found))
        departure = await self._first(candidates, found, len(job.recipients), targets)
        return departure if isinstance(departure, Deferred) else Departing(departure, _given(found))

    async def _first(
        self, candidates: list[Source], hosts: Hosts, recipients: int, targets: Targets
    ) -> Departure | Deferred:
        """The first of them that may be used now."""
        refusals: list[Deferred] = []
        for source in candidates:
            departure = await self._towards(source, hosts, targets)
            if not _fits(departure, hosts):
                text = f"The source {source.name} has no address that may be used to get there"
                refusals.append(_waits(f"{text}: mailstead source check {source.name}"))
            elif refusal := await self._reserve(source, departure, recipients):
                refusals.append(refusal)
            else:
                instead = refusals[0].reply.text if refusals else ""
                return msgspec.structs.replace(departure, recipients=recipients, instead=instead)
        if not hosts.public:
            return AS_USUAL
        # Who waits for the night does so only if nobody may be ready before.
        return min(refusals, key=lambda one: one.until or _LONG_AGO)

    async def _towards(self, source: Source, hosts: Hosts, targets: Targets) -> Departure:
        if not hosts.public:
            return Departure(source.name, source.helo, source.addresses)
        addresses = [address for host in hosts.hosts for address in host.addresses]
        names = [host.name for host in hosts.hosts]
        warming = self.allowance(source, OTHER, self._world.clock.now()) is not None
        return Departure(
            source.name,
            source.helo,
            source.addresses,
            await self._unconfirmed(source),
            frozenset(filter(targets.is_allowed, addresses)),
            self._providers.find(names).name if warming else "",
        )

    async def _reserve(
        self, source: Source, departure: Departure, recipients: int
    ) -> Deferred | None:
        """Count the recipients as under way, or say why they have to wait."""
        now, key = self._world.clock.now(), (source.name, departure.provider)
        allowance = self.allowance(source, departure.provider, now)
        if not departure.provider or allowance is None:
            return None
        day = rows.day_of(now)
        sent = await self._store.look_up(lambda tx: rows.sent_to(tx, *key, day))
        under_way = self._under_way.get(key, 0)
        if sent + under_way >= allowance:
            text = f"The source {source.name} is new and sent {key[1]} its {allowance} of today"
            spread = NIGHT_SPREAD * self._world.random.uniform(0, 1)
            return _waits(text, tomorrow(now) + spread)
        self._under_way[key] = under_way + recipients
        return None

    def tell(self, departure: Departure) -> tuple[AnyEntry, ...]:
        """What the journal is told of where it left from."""
        if not departure.source:
            return ()
        now = self._world.clock.now()
        source, helo, instead = departure.source, departure.helo, departure.instead
        return (Departed(at=now, source=source, helo=helo, instead=instead),)

    def count(self, departure: Departure, taken: int) -> tuple[Step, ...]:
        """What to write down of those that were taken."""
        if not departure.provider or not taken:
            return ()
        day = rows.day_of(self._world.clock.now())
        return (CountSent(departure.source, departure.provider, day, taken),)

    def arrived(self, departure: Departure) -> None:
        """What came of them is written down."""
        if departure.provider:
            key = (departure.source, departure.provider)
            self._under_way[key] = self._under_way.get(key, 0) - departure.recipients
            if self._under_way[key] <= 0:
                del self._under_way[key]

    def _others(self, known: Arrangement, sender: Sender, source: str) -> list[str]:
        """What else the sender's mail may leave from, in any order."""
        others = [name for name in pool_of(known, sender) if name != source]
        self._world.random.shuffle(others)
        return others

    def allowance(self, source: Source, provider: str, now: datetime) -> int | None:
        """What the source may send to the provider today; None: as much as it likes."""
        if source.warming is None:
            return None
        day = rows.day_of(now) - rows.day_of(source.warming)
        return self._providers.allowance(provider, day)

    async def _unconfirmed(self, source: Source) -> frozenset[str]:
        """Its addresses whose PTR record does not lead back to them."""
        return frozenset(
            [own for own in source.addresses if not await self._is_confirmed(own, source.helo)]
        )

    async def _is_confirmed(self, address: str, helo: str) -> bool:
        now, key = self._world.clock.now(), (address, helo)
        until, confirmed = self._confirmed.get(key, (now, False))
        if until > now:
            return confirmed
        found = await answer(check_ptr(address, helo), self._world.resolver)
        # A DNS that does not answer says nothing against the address.
        unknown = found.verdict is PtrVerdict.UNKNOWN
        remembered = PTR_UNKNOWN_REMEMBERED if unknown else PTR_REMEMBERED
        if len(self._confirmed) >= PTR_LIMIT:
            self._confirmed.clear()
        self._confirmed[key] = (now + remembered, found.confirmed or unknown)
        return found.confirmed or unknown

    async def _load(self) -> Arrangement:
        now = self._world.clock.now()
        if now >= self._until:
            self._arrangement = await self._store.look_up(rows.load)
            self._until = now + REMEMBERED
        return self._arrangement


class SourcingStore:
    """A Store that gives each recipient its source on the way into the queue."""

    def __init__(self, store: Store, sources: Sources) -> None:
        self._store, self._sources = store, sources
        self.read = store.read
        self.look_up = store.look_up
        self.write = store.write
        self.close = store.close

    async def apply(self, plan: Plan) -> Applied:
        """The plan, committed."""
        return await self._store.apply(await self._sources.assign(plan))

    def note(self, row: JournalRow) -> None:
        """Write the row some time soon."""
        self._store.note(row)


def pool_of(known: Arrangement, sender: Sender) -> tuple[str, ...]:
    """The names of the sources that the sender's mail leaves from; the most exact use counts."""
    matching = [use for use in known.uses if _matches(use, sender)]
    if not matching:
        return ()
    return known.pools.get(max(matching, key=_exactness).pool, ())


def _matches(use: PoolUse, sender: Sender) -> bool:
    return (
        use.organisation in (EVERYBODY, sender.organisation)
        and use.domain in ("", sender.domain)
        and use.stream in ("", sender.stream)
    )


def _exactness(use: PoolUse) -> tuple[int, bool, bool, bool]:
    said = (use.organisation != EVERYBODY, use.domain != "", use.stream != "")
    return (sum(said), *said)


def chosen(names: Sequence[str], random: Random) -> str:
    """One of them, by chance."""
    return names[min(int(random.uniform(0, len(names))), len(names) - 1)]


def _sender(job: Job) -> Sender:
    outgoing = job.outgoing
    domain = outgoing.reverse_path.rpartition("@")[2].lower()
    return Sender(outgoing.organisation, domain, outgoing.stream)


def _fits(departure: Departure, hosts: Hosts) -> bool:
    """Whether one of the addresses can be reached from the source."""
    addresses = [address for host in hosts.hosts for address in host.addresses]
    return any(departure.towards(address) is not None for address in addresses)


def _given(found: Hosts | Reply) -> Lookup[Hosts | Reply]:
    """The question that is answered already."""
    yield from ()
    return found


def tomorrow(now: datetime) -> datetime:
    """The beginning of the next day, in UTC."""
    return (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)


def _waits(text: str, until: datetime | None = None) -> Deferred:
    return Deferred(Reply(451, "4.4.0", text), until=until)


_LONG_AGO = datetime.min.replace(tzinfo=UTC)
