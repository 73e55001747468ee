"""The house put together: one function, read from top to bottom. No container, no registry.

`build` is given a configuration, a world and a store, and is the same for the real server, for the
command line and for the simulated world. `open_house` gives it the real ones.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from mailstead.model.address import Domain
from mailstead.model.errors import Refusal
from mailstead.model.world import Clock, Network, World
from mailstead.net.bus import ClosableBus, DatagramBus, JoinedBus, machine_of
from mailstead.net.clock import SystemClock, SystemRandom, ThreadOffload
from mailstead.net.interfaces import own_addresses
from mailstead.net.resolver import StubResolver, system_servers
from mailstead.net.shared import SharedCounters
from mailstead.net.stream import SocketNetwork
from mailstead.net.tls import verifying_context
from mailstead.server import config as config_file
from mailstead.server.config import Config, Dns, parse_endpoint
from mailstead.services import doorkeeper as doorkeeping
from mailstead.services.accounts import Accounts
from mailstead.services.delivery.known import KnownRecipients
from mailstead.services.delivery.recipients import Catch
from mailstead.services.delivery.relaying import Relays
from mailstead.services.doorkeeper import Doorkeeper
from mailstead.services.fetching import Fetching
from mailstead.services.filters.asking import Filters
from mailstead.services.housekeeping import Housekeeping
from mailstead.services.inbound.lists import Lists
from mailstead.services.inbound.own_code import OwnCode
from mailstead.services.inbound.scoring import Scoring
from mailstead.services.inbound.site import Site
from mailstead.services.inbound.wishes import KnownWishes
from mailstead.services.limits import LOOPBACK, Counters, parse_networks
from mailstead.services.mailboxes.service import Mailboxes
from mailstead.services.maildrops import Maildrops
from mailstead.services.metering import NO_METER, Meter, counting, measuring_commits
from mailstead.services.outbound.call_ahead import CallAhead
from mailstead.services.outbound.operators import Operators
from mailstead.services.outbound.queue import Outbound, Settings
from mailstead.services.outbound.route import Security, Smarthost, choose_way
from mailstead.services.outbound.sources import Sources, SourcingStore
from mailstead.services.outbound.targets import Targets
from mailstead.services.packing import Packing
from mailstead.services.return_path import ReturnPaths
from mailstead.services.signing import Signing
from mailstead.services.telling import Tell, TellingStore
from mailstead.services.tokens import Tokens
from mailstead.services.training import Training
from mailstead.services.watch import Watch
from mailstead.sessions.imap.state import Site as ImapSite
from mailstead.sessions.pop3.state import Site as Pop3Site
from mailstead.storage import copying
from mailstead.storage.blobs import Budget
from mailstead.storage.group_commit import Measure, unmeasured
from mailstead.storage.objects import ObjectStoreSettings
from mailstead.storage.office import Office, OnlyNode
from mailstead.storage.packbucket import open_bucket
from mailstead.storage.packfile import PackFolder, Packs
from mailstead.storage.packs import PACKS
from mailstead.storage.sqlite import SqliteStore
from mailstead.storage.store import Store


class House(msgspec.Struct, frozen=True):
    """All services, wired."""

    config: Config
    world: World
    store: Store
    meter: Meter
    watch: Watch
    doorkeeper: Doorkeeper
    accounts: Accounts
    mailboxes: Mailboxes
    outbound: Outbound
    operators: Operators
    housekeeping: Housekeeping
    packing: Packing
    training: Training
    site: Site
    imap: ImapSite
    pop3: Pop3Site
    office: Office
    packs: Packs


def build(
    config: Config,
    world: World,
    store: Store,
    tell: Tell,
    meter: Meter = NO_METER,
    counters: Counters | None = None,
    office: Office | None = None,
    packs: Packs | None = None,
) -> House:
    """Every service of a house, on this store, in this world; `counters` others may share."""
    packs = packs or PackFolder(config.folder / PACKS)
    sourced, voice = SourcingStore(store, Sources(store, world)), counting(tell, meter)
    told = TellingStore(sourced, voice)
    traffic = TellingStore(sourced, voice)  # what it writes changes nothing that is remembered
    watch, budget = Watch(world.bus), Budget()
    door = Doorkeeper(
        counters or SharedCounters(), at_the_door(config), world.clock, told.note, meter
    )
    site = _site(config, world, told, watch, door, budget, meter)
    mailboxes = Mailboxes(traffic, world, watch, config.folder, budget)
    drops = Maildrops(traffic, world, watch, mailboxes)
    return House(
        config=config,
        world=world,
        store=told,
        meter=meter,
        watch=watch,
        doorkeeper=door,
        accounts=site.accounts,
        mailboxes=mailboxes,
        outbound=Outbound(traffic, world, watch, sending(config), _verifying(config), meter),
        operators=Operators(told, world, watch, config.hostname, _catch(config)),
        housekeeping=Housekeeping(traffic, world.clock, watch, drops),
        packing=Packing(store, world.clock, world.offload, packs),
        training=Training(told, world.clock, config.hostname, meter),
        site=site,
        imap=_imap_site(site, mailboxes),
        pop3=_pop3_site(site, mailboxes, drops),
        office=office or OnlyNode(),
        packs=packs,
    )


def _site(
    config: Config,
    world: World,
    told: TellingStore,
    watch: Watch,
    door: Doorkeeper,
    budget: Budget,
    meter: Meter,
) -> Site:
    """What a visit needs."""
    return Site(
        hostname=config.hostname,
        size_limit=config.limits.message_size,
        spool=config.folder,
        store=told,
        world=world,
        watch=watch,
        accounts=Accounts(told, world, door, Tokens(told, _fetching(config, world))),
        signing=Signing(told, world.clock),
        known=KnownRecipients(told, world.clock),
        relays=Relays(told, CallAhead(told, world, sending(config), meter).ask),
        return_paths=ReturnPaths(told, world.random),
        doorkeeper=door,
        budget=budget,
        lists=Lists(told, world.clock, meter),
        scoring=Scoring(told, world.clock, world.offload),
        filters=Filters(told, world, config.folder, budget, meter),
        own_code=OwnCode(told, world),
        wishes=KnownWishes(told, world.clock),
        catch=_catch(config),
        meter=meter,
    )


def _imap_site(site: Site, mailboxes: Mailboxes) -> ImapSite:
    return ImapSite(
        hostname=site.hostname,
        size_limit=site.size_limit,
        world=site.world,
        watch=site.watch,
        accounts=site.accounts,
        mailboxes=mailboxes,
        doorkeeper=site.doorkeeper,
    )


def _pop3_site(site: Site, mailboxes: Mailboxes, drops: Maildrops) -> Pop3Site:
    return Pop3Site(
        hostname=site.hostname,
        watch=site.watch,
        accounts=site.accounts,
        mailboxes=mailboxes,
        maildrops=drops,
        doorkeeper=site.doorkeeper,
    )


def at_the_door(config: Config) -> doorkeeping.Settings:
    """What the configuration says about limits."""
    loopback = LOOPBACK if config.limits.loopback_exempt else ()
    return doorkeeping.Settings(
        connections_per_address=config.limits.connections_per_address,
        connections_per_minute=config.limits.connections_per_minute,
        connections_per_account=config.limits.connections_per_account,
        exempt=(*loopback, *parse_networks((*config.proxies, *config.xclient_from))),
        relay_from=parse_networks(config.relay_from),
        xclient_from=parse_networks(config.xclient_from),
    )


def sending(config: Config) -> Settings:
    """What the configuration says about outgoing mail."""
    return Settings(
        hostname=config.hostname,
        routes={domain: parse_endpoint(at, 25) for domain, at in config.routes.items()},
        smarthost=_smarthost(config.smarthost),
        allowed_targets=config.allowed_targets,
        own_addresses=own_addresses(parse_endpoint(at).address for at in config.listen.smtp),
        catch=_catch(config),
    )


def _catch(config: Config) -> Catch | None:
    if not config.catch_outside:
        return None
    routes = {domain: parse_endpoint(at, 25) for domain, at in config.routes.items()}

    def is_routed(domain: Domain) -> bool:
        return choose_way(domain, "", routes, None).endpoint is not None

    return Catch(config.catch_outside, is_routed)


def _fetching(config: Config, world: World) -> Fetching:
    settings = sending(config)
    targets = Targets(parse_networks(settings.allowed_targets), settings.own_addresses)
    return Fetching(world, targets, _verifying(config) or verifying_context())


def _smarthost(config: config_file.Smarthost | None) -> Smarthost | None:
    if config is None:
        return None
    password = ""
    if config.password_file:
        password = Path(config.password_file).read_text("utf-8").strip()
    endpoint, implicit = config_file.parse_smarthost(config.host)
    security = Security.IMPLICIT if implicit else Security.STARTTLS
    return Smarthost(endpoint, security, config.login, password)


def _verifying(config: Config) -> ssl.SSLContext | None:
    return verifying_context(config.tls.ca_file) if config.tls.ca_file else None


def open_store(
    config: Config, clock: Clock, packs: Packs, measure: Measure = unmeasured, threads: bool = True
) -> Store:
    """The database that the configuration names."""
    if config.sqlite_path:
        return SqliteStore(config.sqlite_path, clock, threads, measure=measure, packs=packs)
    try:
        from mailstead.storage.postgres import PostgresStore
    except ImportError as error:
        raise Refusal("PostgreSQL needs psycopg: pip install 'mailstead[postgres]'") from error
    return PostgresStore(config.database, packs, clock, threads, measure)


def open_packs(config: Config) -> Packs:
    """Where the configuration says that packs lie."""
    if not config.blobs.startswith("s3://"):
        return PackFolder(Path(config.blobs) if config.blobs else config.folder / PACKS)
    key, secret = _credentials(config.s3.credentials)
    bucket = config_file.parse_bucket(config.blobs)
    settings = ObjectStoreSettings(
        url=bucket.url,
        cache=config.folder / "cache",
        endpoint=bucket.endpoint,
        region=bucket.region,
        access_key=key,
        secret_key=secret,
        allow_http=bucket.endpoint.startswith("http://"),
        cache_limit=config.s3.cache,
    )
    return open_bucket(settings)


def _credentials(path: str) -> tuple[str, str]:
    """The two lines of the file; nothing if there is none: then the environment is asked."""
    if not path:
        return "", ""
    match Path(path).read_text("utf-8").split():
        case [key, secret]:
            return key, secret
        case _:
            raise Refusal(f"{path} has to hold two lines: the id of the access key, and the key")


@asynccontextmanager
async def open_house(
    config: Config,
    tell: Tell,
    meter: Meter = NO_METER,
    counters: Counters | None = None,
    unfinished: bool = False,
) -> AsyncIterator[House]:
    """A house in the real world, for as long as the block lasts.

    Refusal if its store is an `unfinished` copy of another, unless that is expected.
    """
    clock, network, offload = SystemClock(), SocketNetwork(), ThreadOffload()
    async with AsyncExitStack() as stack:
        stack.callback(offload.close)
        packs = open_packs(config)
        stack.callback(packs.close)
        bus, office = _between_nodes(config, clock, offload)
        stack.callback(bus.close)
        world = World(
            clock=clock,
            random=SystemRandom(),
            resolver=_resolver(config.dns, network, clock),
            network=network,
            bus=bus,
            offload=offload,
        )
        store = open_store(config, clock, packs, measuring_commits(meter))
        stack.push_async_callback(store.close)
        if not unfinished:
            await store.look_up(copying.check_finished)
        yield build(config, world, store, tell, meter, counters, office, packs)


def _between_nodes(
    config: Config, clock: SystemClock, offload: ThreadOffload
) -> tuple[ClosableBus, Office]:
    """How the processes on this store wake each other, and who has the duties they share."""
    bus = DatagramBus(config.folder / "bus")
    if config.sqlite_path:
        return bus, OnlyNode()
    from mailstead.storage.postgres_bus import PostgresBus
    from mailstead.storage.postgres_office import PostgresOffice

    far = PostgresBus(config.database, machine_of(config.folder))
    return JoinedBus(bus, far), PostgresOffice(config.database, clock, offload)


def _resolver(dns: Dns, network: Network, clock: SystemClock) -> StubResolver:
    servers = [parse_endpoint(text, 53) for text in dns.servers]
    return StubResolver(servers or system_servers(), network, clock, dns.trusted)
