"""Asks the server of a relay domain whether it takes an address, while the sender waits at RCPT.

The null sender, the address, goodbye; never a message. Answers are kept in memory and in the store:
taken for a day, unknown for an hour; while the server is away, what was taken in the last 30 days
still is. Once a day it is asked about an address that nobody has, too.
Holds: an address is asked about once at a time; nobody waits longer than CALL_LIMIT; nothing is
raised for what the server does, and no doubt becomes a refusal for good.
"""

import asyncio
from collections import OrderedDict
from datetime import datetime, timedelta
from weakref import WeakValueDictionary

import msgspec

from mailstead.model.address import Address
from mailstead.model.reply import Reply
from mailstead.model.world import World
from mailstead.protocol.smtp.client import ask_about
from mailstead.services.delivery.relaying import Standing
from mailstead.services.metering import Meter
from mailstead.services.outbound.asking import answer
from mailstead.services.outbound.classify import classify
from mailstead.services.outbound.connect import Connection, Dialer, Target, Trouble
from mailstead.services.outbound.queue import Settings
from mailstead.services.outbound.relaying import relay_way
from mailstead.services.outbound.route import Hosts, Way, choose_way, find_hosts
from mailstead.services.outbound.rules import ReplyClass
from mailstead.services.outbound.targets import Targets, parse_networks
from mailstead.storage import call_ahead
from mailstead.storage.accounts import fold
from mailstead.storage.call_ahead import KEPT, TAKEN_FOR, UNKNOWN_FOR, Said
from mailstead.storage.relays import RelayDomain
from mailstead.storage.store import Store

CALL_LIMIT = timedelta(seconds=10)  # with the wait for a free place
CALLS_LIMIT = 20  # at a time
DOMAIN_CALLS_LIMIT = 5  # at a time to one domain
TARGETS_LIMIT = 2  # addresses of hosts that one call tries
UNSURE_FOR = timedelta(minutes=1)  # that a server which did not answer is left alone
REMEMBERED_LIMIT = 10_000  # addresses in memory
METRIC = "call_ahead_total"

# Refusals that say nothing about the address: of us, of this moment, of the way there.
_NOT_ABOUT_IT = frozenset(
    (
        ReplyClass.MAILBOX_FULL,
        ReplyClass.REPUTATION,
        ReplyClass.AUTHENTICATION,
        ReplyClass.CONTENT,
        ReplyClass.RATE_LIMIT,
        ReplyClass.GREYLISTED,
        ReplyClass.TOO_LARGE,
        ReplyClass.ROUTING,
        ReplyClass.THEIR_OUTAGE,
        ReplyClass.PROTOCOL,
        ReplyClass.TOO_MANY_RECIPIENTS,
    )
)


class _Heard(msgspec.Struct, frozen=True):
    """What a call brought: about the address, and about one that nobody has if that was asked."""

    standing: Standing
    reply: str = ""
    anybody: Standing = Standing.UNSURE
    silent: bool = False  # nobody answered


_SILENT = _Heard(Standing.UNSURE, silent=True)


class _Question(msgspec.Struct, frozen=True):
    domain: RelayDomain
    address: Address
    key: str
    known: dict[str, Said]

    @property
    def anybody(self) -> str:
        """The key of an address that nobody has."""
        return call_ahead.anybody(self.domain.name)

    def good(self, key: str, now: datetime, grace: timedelta = timedelta(0)) -> Said | None:
        """What was said, if it still holds."""
        said = self.known.get(key)
        return said if said is not None and said.expires + grace > now else None


class CallAhead:
    """The service; `ask` is what services.delivery.relaying wants."""

    def __init__(
        self,
        store: Store,
        world: World,
        settings: Settings,
        meter: Meter,
    ) -> None:
        self._store, self._world, self._settings = store, world, settings
        self._meter = meter
        self._targets = Targets(parse_networks(settings.allowed_targets), settings.own_addresses)
        self._dialer: Dialer | None = None  # made when it is needed: few houses relay
        self._remembered: OrderedDict[str, tuple[Standing, datetime]] = OrderedDict()
        self._running: dict[str, asyncio.Future[Standing]] = {}
        self._places = asyncio.Semaphore(CALLS_LIMIT)
        self._domain_places: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def ask(self, domain: RelayDomain, address: Address) -> Standing:
        """Whether the domain's server takes the address."""
        key = f"{fold(address.local_part)}@{address.domain}"
        if standing := self._recall(key):
            self._meter.count(METRIC, result="cached")
            return standing
        if running := self._running.get(key):
            return await asyncio.shield(running)
        self._running[key] = told = asyncio.get_running_loop().create_future()
        standing = Standing.UNSURE
        try:
            standing = await self._find_out(domain, address, key)
            return standing
        finally:
            del self._running[key]
            told.set_result(standing)

    async def _find_out(self, domain: RelayDomain, address: Address, key: str) -> Standing:
        keys = [key, call_ahead.anybody(domain.name)]
        known = await self._store.look_up(lambda tx: call_ahead.find(tx, keys))
        question = _Question(domain, address, key, known)
        if said := question.good(key, self._now()):
            standing = Standing.TAKEN if said.taken else Standing.UNKNOWN
            self._remember(key, standing, said.expires)
            self._meter.count(METRIC, result="cached")
            return standing
        heard = _SILENT if self._recall(question.anybody) else await self._call(question)
        self._meter.count(METRIC, result=heard.standing.value)
        if heard.standing is Standing.UNSURE:
            return self._guess(question, heard)
        await self._keep(question, heard)
        return heard.standing

    # ------------------------------------------------------------------ what is known

    def _guess(self, question: _Question, heard: _Heard) -> Standing:
        """The server cannot say now: what was taken not too long ago still is."""
        now = self._now()
        if heard.silent and not self._recall(question.anybody):
            self._remember(question.anybody, Standing.UNSURE, now + UNSURE_FOR)
        said = [question.good(key, now, KEPT) for key in (question.key, question.anybody)]
        taken = any(one is not None and one.taken for one in said)
        standing = Standing.TAKEN if taken else Standing.UNSURE
        self._remember(question.key, standing, now + UNSURE_FOR)
        return standing

    async def _keep(self, question: _Question, heard: _Heard) -> None:
        """Remember an answer; where every address is taken, single ones are not worth a row."""
        now, taken = self._now(), heard.standing is Standing.TAKEN
        until = now + (TAKEN_FOR if taken else UNKNOWN_FOR)
        self._remember(question.key, heard.standing, until)
        said = []
        if heard.anybody is not Standing.UNSURE:
            everybody = heard.anybody is Standing.TAKEN
            said.append(Said(question.anybody, everybody, "", now + TAKEN_FOR))
        else:
            before = question.good(question.anybody, now, KEPT)
            everybody = before is not None and before.taken
        if not everybody:
            said.append(Said(question.key, taken, heard.reply, until))
        if said:
            await self._store.write(lambda tx: call_ahead.keep(tx, said))

    def _recall(self, key: str) -> Standing | None:
        found = self._remembered.get(key)
        if found is None or found[1] <= self._now():
            return None
        self._remembered.move_to_end(key)
        return found[0]

    def _remember(self, key: str, standing: Standing, until: datetime) -> None:
        self._remembered[key] = (standing, until)
        self._remembered.move_to_end(key)
        while len(self._remembered) > REMEMBERED_LIMIT:
            self._remembered.popitem(last=False)

    def _now(self) -> datetime:
        return self._world.clock.now()

    # ------------------------------------------------------------------ the call

    async def _call(self, question: _Question) -> _Heard:
        name = question.domain.name
        places = self._domain_places.setdefault(name, asyncio.Semaphore(DOMAIN_CALLS_LIMIT))
        try:
            async with asyncio.timeout(CALL_LIMIT.total_seconds()), places, self._places:
                return await self._talk(question)
        except TimeoutError:
            return _SILENT

    async def _talk(self, question: _Question) -> _Heard:
        domain = question.domain
        way = relay_way(domain, choose_way(domain.name, "", self._settings.routes, None))
        world, hostname = self._world, self._settings.hostname
        lookup = find_hosts(domain.name, way, hostname, self._targets, world.random)
        found = await answer(lookup, world.resolver)
        if isinstance(found, Reply):
            return _SILENT
        for target in _targets(found)[:TARGETS_LIMIT]:
            if connection := await self._dial(target, way):
                return await self._converse(connection, question)
        return _SILENT

    async def _dial(self, target: Target, way: Way) -> Connection | None:
        """TLS if it works, else without (RFC 7435)."""
        dialer = self._dialer = self._dialer or Dialer(self._world, self._settings.hostname)
        dialed = await dialer.dial(target, way)
        if isinstance(dialed, Trouble) and dialed.tls_failed:
            dialed = await dialer.dial(target, way, clear=True)
        return None if isinstance(dialed, Trouble) else dialed

    async def _converse(self, connection: Connection, question: _Question) -> _Heard:
        if not question.address.is_ascii and not connection.capabilities.offers("SMTPUTF8"):
            await connection.quit()
            return _Heard(Standing.UNKNOWN)  # RFC 6531 section 3.2: it could never get there
        asked = [question.address]
        if question.good(question.anybody, self._now()) is None:
            asked.append(Address(f"x{self._world.random.token(8).hex()}", question.domain.name))
        try:
            mail, rcpts = await connection.perform(ask_about(asked, connection.capabilities))
        except BaseException:
            connection.stream.abort()
            raise
        await connection.quit()
        if not mail.ok or not rcpts:
            return _Heard(Standing.UNSURE, silent=bool(connection.trouble))
        host = connection.target.host
        standings = [understand(one, host) for one in rcpts]
        anybody = standings[1] if len(standings) > 1 else Standing.UNSURE
        return _Heard(standings[0], str(rcpts[0]), anybody)


def understand(reply: Reply, host: str) -> Standing:
    """What the reply to RCPT says about the address itself."""
    if reply.ok:
        return Standing.TAKEN
    if not reply.permanent or classify(reply, host).class_ in _NOT_ABOUT_IT:
        return Standing.UNSURE
    return Standing.UNKNOWN


def _targets(found: Hosts) -> list[Target]:
    return [
        Target(host.name, address, found.port) for host in found.hosts for address in host.addresses
    ]
