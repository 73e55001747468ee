"""One attempt to pass a message on: host after host until every recipient has an answer.

The next host is asked after a failure to connect, a refusing greeting or EHLO, a loss before the
final dot, and a 4yz to MAIL, RCPT or DATA. It is not asked after a 5yz to them, after words about
rates and blocks (`slow`), and when the outcome is unknown. Opportunistic TLS that fails (RFC 7435):
other hosts first, then the same one in clear from the second attempt on; where a policy demands TLS
(demand), never in clear. Addresses that did not answer lately (hosts) are asked after all others.
Holds: never raises for what peers or the network do; a recipient gets exactly one outcome.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import msgspec

from mailstead.model.address import Address, Domain
from mailstead.model.entries import HostTried
from mailstead.model.envelope import NO_WISH, Envelope, TlsWish, Wish
from mailstead.model.errors import TemporaryFailure
from mailstead.model.reply import Reply
from mailstead.model.world import Resolver
from mailstead.msgauth.tlsrpt import Result
from mailstead.protocol.smtp.client import (
    MessageFacts,
    Outcomes,
    RecipientOutcome,
    Stage,
    deliver,
)
from mailstead.protocol.smtp.replies import CONNECTION_LOST, GARBLED
from mailstead.services.outbound.asking import answer
from mailstead.services.outbound.classify import crowded, slows
from mailstead.services.outbound.connect import Connection, Dialer, Pieces, Target, Trouble
from mailstead.services.outbound.demand import ANYHOW, Demand, NextHop, Unusable, Wanted
from mailstead.services.outbound.hosts import Remembered, family_of
from mailstead.services.outbound.pool import Key, Pool, messages_limit
from mailstead.services.outbound.retry import Deferred, Failed, Outcome, Relayed
from mailstead.services.outbound.route import Hosts, Lookup, MxHost, Security, Way
from mailstead.services.outbound.sources import AS_USUAL, Departure
from mailstead.services.outbound.tls_policy import TlsPolicies

ADDRESSES_LIMIT = 5  # of one attempt
SESSIONS_LIMIT = 2  # past EHLO, of one attempt
TRANSACTIONS_LIMIT = 20  # of one session, for recipients that were too many at once
ATTEMPT_LIMIT = timedelta(hours=2)  # all together; a trickling peer must not hold a slot for ever


class Errand(msgspec.Struct, frozen=True):
    """What is to be passed on, and by which way."""

    key: Key  # of connections that may be shared
    domain: Domain
    reverse_path: Address | None
    recipients: tuple[Address, ...]
    facts: MessageFacts
    pieces: Pieces
    way: Way
    again: bool  # not the first attempt
    tls: TlsWish = TlsWish.USUAL  # what the sender says of TLS on the way (RFC 8689)
    wishes: dict[Address, Wish] = {}  # of the recipients (RFC 3461)
    envid: str = ""
    ret: str = ""
    departure: Departure = AS_USUAL


class Attempt(msgspec.Struct, frozen=True):
    """What came of it: one outcome per recipient, the hosts in the order they were tried."""

    outcomes: dict[Address, Outcome]
    hosts: tuple[HostTried, ...] = ()
    route: str = ""
    slow: bool = False  # leave the site alone for a while
    departure: Departure = AS_USUAL


class Curfew:
    """When attempts have to end, all at once; what they settled by then counts."""

    def __init__(self) -> None:
        self.over = False
        self._limits: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """TimeoutError after ATTEMPT_LIMIT, or when it is `call`ed."""
        async with asyncio.timeout(0 if self.over else ATTEMPT_LIMIT.total_seconds()) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)

    def call(self) -> None:
        """End them now."""
        self.over = True
        for limit in self._limits:
            limit.reschedule(asyncio.get_running_loop().time())

    @property
    def why(self) -> str:
        """What an attempt ended for, in our words."""
        return _STOPPED if self.over else _TOO_LONG


_STOPPED = "This server was stopped during the attempt"
_TOO_LONG = "The attempt took too long and was given up"


async def attempt(
    errand: Errand,
    hosts: Lookup[Hosts | Reply],
    resolver: Resolver,
    dialer: Dialer,
    pool: Pool,
    policies: TlsPolicies,
    curfew: Curfew | None = None,
) -> Attempt:
    """Try once; `hosts` is the question where to, asked only if no connection lies ready."""
    run, curfew = _Run(errand, dialer, pool, policies), curfew or Curfew()
    try:
        async with curfew.limit():
            await run.go(hosts, resolver)
    except TimeoutError:
        run.break_off(curfew.why, unknown=True)
    except TemporaryFailure as failure:
        run.break_off(failure.reason, unknown=False)
    finally:
        hosts.close()
    return run.result()


class _Run:
    def __init__(self, errand: Errand, dialer: Dialer, pool: Pool, policies: TlsPolicies) -> None:
        self.errand, self.dialer, self.pool, self.policies = errand, dialer, pool, policies
        self.require_tls = errand.tls is TlsWish.REQUIRED
        # Who wants more or less TLS than usual neither takes connections over nor leaves any.
        name, place = errand.key
        self.key = (name if errand.tls is TlsWish.USUAL else f"{name} {errand.tls.name}", place)
        self.settled: dict[Address, Outcome] = {}
        self.waiting: dict[Address, Deferred] = {}  # said no for now by a host asked before
        self.pending = list(errand.recipients)
        self.last = Deferred(Reply(451, "4.4.1", "No host could be tried"))
        self.passed_over: list[HostTried] = []
        self.tried: list[HostTried] = []
        self.spoken: set[str] = set()  # addresses that a session was with
        self.route = errand.way.name
        self.addresses = self.sessions = 0
        self.stopped = self.slow = False
        self.refusal: Reply | None = None  # of our own: hosts do not give what the message needs
        self.hopeful = False  # one of the hosts may do better next time

    # ------------------------------------------------------------------ the course of it

    async def go(self, hosts: Lookup[Hosts | Reply], resolver: Resolver) -> None:
        """A connection that lies ready first, then host after host."""
        while idle := self.pool.take(self.key):
            if await self._converse(idle, reused=True):
                break
        if self._enough():
            return
        found = await answer(hosts, resolver)
        if isinstance(found, Reply):
            self._settle_all(found)
            return
        self.route = found.route
        await self._try_all(found)

    async def _try_all(self, found: Hosts) -> None:
        dead: list[_Dead] = []
        without_tls: list[tuple[Target, Demand]] = []
        for host in found.hosts:
            demand = None if self._enough() else await self._demand(found, host)
            for target in self._targets(host, found.port) if demand else ():
                assert demand is not None
                if self._enough():
                    break
                if remembered := self.dialer.dead(target):
                    dead.append(_Dead(target, demand, remembered))
                elif await self._try_fresh(target, demand):
                    without_tls.append((target, demand))
        without_tls += await self._try_dead(dead)
        opportunistic = self.errand.way.security is Security.OPPORTUNISTIC
        if self.errand.again and opportunistic and not self.errand.way.login:
            for target, demand in without_tls:
                if not self._enough():
                    await self._try(target, demand, clear=True)

    async def _try_dead(self, dead: list["_Dead"]) -> list[tuple[Target, Demand]]:
        """Those that did not answer lately, because nobody else took it; which lacked but TLS."""
        without_tls = []
        for one in sorted(dead, key=lambda one: not one.remembered.family):
            if self._enough():
                if self.addresses < ADDRESSES_LIMIT:  # else it is not them but the limit
                    self.passed_over.append(_passed_over(one))
            elif await self._try_fresh(one.target, one.demand):
                without_tls.append((one.target, one.demand))
        return without_tls

    async def _try_fresh(self, target: Target, demand: Demand) -> bool:
        """Try it, unless a connection that lay ready was to it."""
        return target.address not in self.spoken and await self._try(target, demand)

    def _targets(self, host: MxHost, port: int) -> list[Target]:
        """Its addresses that can be reached from where we leave."""
        departure = self.errand.departure
        ways = [(address, departure.towards(address)) for address in host.addresses]
        return [
            Target(host.name, address, port, host.preference, source=own, helo=departure.helo)
            for address, own in ways
            if own is not None
        ]

    async def _demand(self, found: Hosts, host: MxHost) -> Demand | None:
        """What TLS the host has to give; None if it must not be used."""
        # Mail to nobody, as a bounce is, is not asked for it (RFC 8689 section 4.2.1).
        required = self.require_tls and self.errand.reverse_path is not None
        if self.errand.tls is TlsWish.OPTIONAL:  # whatever the domain asks for (section 4.2.2)
            return ANYHOW
        if not found.public:
            return Demand(Wanted.VERIFIED, require_tls=True) if required else ANYHOW
        hop = NextHop(self.errand.domain, found.port, found.secure, required)
        demanded = await self.policies.demand(hop, host)
        if isinstance(demanded, Demand):
            return demanded
        self._pass_over(host, demanded)
        return None

    def _pass_over(self, host: MxHost, unusable: Unusable) -> None:
        target = Target(host.name, host.addresses[0], 0, host.preference)
        self.tried.append(_host_tried(target, "starttls", unusable.reply.text, ""))
        self._take_trouble(unusable.reply, "")

    async def _try(self, target: Target, demand: Demand, clear: bool = False) -> bool:
        """Try one address; whether it was only TLS that failed, which is no must."""
        self.addresses += 1
        if demand.wanted is not Wanted.OPPORTUNISTIC:
            target = msgspec.structs.replace(target, wanted=demand.wanted.value)
        dialed = await self.dialer.dial(target, self.errand.way, demand, clear)
        if not clear:
            self._note(target, demand, dialed)
        if isinstance(dialed, Trouble) and dialed.result and demand.wanted is Wanted.TESTING:
            # The policy's owner is told; the mail goes on as if there were none (RFC 8461 5).
            self._remember_trouble(target, dialed)
            dialed = await self.dialer.dial(target, self.errand.way, ANYHOW, clear)
        if isinstance(dialed, Trouble):
            self._remember_trouble(target, dialed)
            theirs = dialed.said == str(dialed.reply)
            reply = _encryption_needed(dialed) if self.require_tls else dialed.reply
            self._take_trouble(reply, target.host if theirs else "")
            return dialed.tls_failed and not demand.mandatory
        await self._converse(dialed, reused=False)
        return False

    def _note(self, target: Target, demand: Demand, dialed: Connection | Trouble) -> None:
        """Count it for reports, if it was a session and its TLS is anybody's business but ours."""
        if self.route not in ("mx", "implicit mx"):
            return
        result: Result | None = Result.SUCCESS
        if isinstance(dialed, Trouble):
            result = dialed.result
        elif not dialed.stream.tls:
            result = Result.STARTTLS_NOT_SUPPORTED
        if result is not None:
            result = demand.failed or result
            self.policies.note(self.errand.domain, demand.policy, target.host, result)

    async def _converse(self, connection: Connection, reused: bool) -> bool:
        """As many transactions as the recipients need; then the connection is free for others.

        False if it was used before and had died meanwhile.
        """
        try:
            for number in range(TRANSACTIONS_LIMIT):
                outcomes = await self._transact(connection)
                if number == 0 and reused and _died_before(outcomes):
                    await connection.close()
                    return False
                self._take(connection, outcomes)
                if not self._crowded_out(outcomes, connection):
                    break
        except BaseException:
            connection.stream.abort()
            raise
        self.sessions += 1
        self.addresses += reused
        self.spoken.add(connection.target.address)
        await self.pool.give(self.key, connection)
        return True

    async def _transact(self, connection: Connection) -> Outcomes:
        connection.messages += 1
        errand = self.errand
        envelope = Envelope(
            errand.reverse_path,
            tuple(self.pending),
            wishes=tuple(errand.wishes.get(one, NO_WISH) for one in self.pending),
            envid=errand.envid,
            ret=errand.ret,
            require_tls=self.require_tls,
        )
        dialogue = deliver(envelope, self.errand.facts, connection.capabilities)
        return await connection.perform(dialogue, self.errand.pieces)

    def _enough(self) -> bool:
        return (
            self.stopped
            or not self.pending
            or self.addresses >= ADDRESSES_LIMIT
            or self.sessions >= SESSIONS_LIMIT
        )

    # ------------------------------------------------------------------ what was said

    def _take(self, connection: Connection, outcomes: Outcomes) -> None:
        for recipient, outcome in outcomes.items():
            settled = _outcome(outcome, connection)
            if isinstance(settled, Deferred) and not settled.unknown:
                self.waiting[recipient] = self.last = settled
                self._slow_down(outcome.reply, settled.host)
            else:
                self.settled[recipient] = settled
        self.pending = [one for one in self.pending if one not in self.settled]
        self._remember(connection, max(outcomes.values(), key=_depth))

    def _remember(self, connection: Connection, furthest: RecipientOutcome) -> None:
        said = str(furthest.reply)
        if furthest.reply == CONNECTION_LOST and connection.trouble:
            said = connection.trouble
        reached = "ehlo" if furthest.stage is Stage.LOCAL else furthest.stage.value
        target = connection.target
        self.tried.append(_host_tried(target, reached, said, connection.tls))

    def _remember_trouble(self, target: Target, trouble: Trouble) -> None:
        self.tried.append(_host_tried(target, trouble.reached, trouble.said, trouble.tls))

    def _take_trouble(self, reply: Reply, host: str) -> None:
        """No session: for now, or because this host will never do for this message."""
        if self.require_tls and reply.enhanced in _NEVER:
            self.refusal = reply
            return
        self.hopeful = True
        self.last = Deferred(reply, host)
        self._slow_down(reply, host)

    def _slow_down(self, reply: Reply, host: str) -> None:
        if host and slows(reply, host):  # not for our own words
            self.slow = self.stopped = True

    def _crowded_out(self, outcomes: Outcomes, connection: Connection) -> bool:
        """Whether some were only too many, and others not: they go in the next transaction."""
        crowded = [one for one in self.pending if _too_many(outcomes[one])]
        return bool(crowded) and len(crowded) < len(outcomes) and self._may_go_on(connection)

    def _may_go_on(self, connection: Connection) -> bool:
        return (
            connection.open
            and not self.stopped
            and connection.messages < messages_limit(connection)
        )

    def _settle_all(self, reply: Reply) -> None:
        outcome: Outcome = Failed(reply) if reply.permanent else Deferred(reply)
        self.settled |= dict.fromkeys(self.pending, outcome)
        self.pending = []

    def break_off(self, why: str, unknown: bool) -> None:
        """The attempt ended before its time; who has no outcome yet waits."""
        reply = Reply(451, "4.3.0", why)
        self.settled |= dict.fromkeys(self.pending, Deferred(reply, unknown=unknown))
        self.pending = []

    def result(self) -> Attempt:
        """Everything together."""
        last: Outcome = self.last
        if self.refusal and not self.hopeful:
            last = Failed(self.refusal)
        left = {one: self.waiting.get(one, last) for one in self.pending}
        hosts = (*self.passed_over, *self.tried)
        return Attempt(self.settled | left, hosts, self.route, self.slow, self.errand.departure)


class _Dead(msgspec.Struct, frozen=True):
    target: Target
    demand: Demand
    remembered: Remembered


def _passed_over(dead: _Dead) -> HostTried:
    remembered = dead.remembered
    whom = f"{family_of(dead.target.address)} did" if remembered.family else "did"
    at = f"{remembered.since:%H:%M} UTC"
    said = f"passed over: {whom} not answer at {at} ({remembered.said})"
    return _host_tried(dead.target, "connect", said, "")


_NEVER = ("5.7.10", "5.7.30")  # our own words for RFC 8689 section 4.2.1


def _encryption_needed(trouble: Trouble) -> Reply:
    """TLS that cannot be had is final, all else is not (RFC 8689 section 4.2.1)."""
    if trouble.result is None:
        return trouble.reply
    return Reply(550, "5.7.10", f"Encryption needed: {trouble.said}")


def _host_tried(target: Target, reached: str, said: str, tls: str) -> HostTried:
    return HostTried(
        host=target.host,
        address=target.address,
        reached=reached,
        said=said,
        tls=tls,
        preference=target.preference,
        wanted=target.wanted,
    )


def _outcome(outcome: RecipientOutcome, connection: Connection) -> Outcome:
    """What a reply, or a reply that never came, means for a recipient."""
    reply, host = outcome.reply, connection.target.host
    if outcome.delivered:
        return Relayed(reply, host, connection.capabilities.offers("DSN"))
    if reply in (CONNECTION_LOST, GARBLED):
        # After the final dot a garbled answer leaves as much open as none.
        return Deferred(_broken(reply, connection), unknown=outcome.stage is Stage.END)
    if outcome.stage is Stage.LOCAL:
        host = ""
    if reply.permanent and not _too_many(outcome):
        return Failed(reply, host)
    return Deferred(reply, host)


def _broken(reply: Reply, connection: Connection) -> Reply:
    """What happened, in our own words."""
    said = f": {connection.trouble}" if connection.trouble else ""
    return Reply(451, reply.enhanced, f"{reply.text} from {connection.target.host}{said}")


def _too_many(outcome: RecipientOutcome) -> bool:
    """RFC 5321 section 4.5.3.1.10: the rest is sent in another transaction."""
    early = outcome.stage in (Stage.LOCAL, Stage.RCPT)
    return early and crowded(outcome.reply)


_DEPTHS = {stage: depth for depth, stage in enumerate(Stage)}


def _depth(outcome: RecipientOutcome) -> int:
    return _DEPTHS[outcome.stage]


def _died_before(outcomes: Outcomes) -> bool:
    """A connection that lay idle is gone: closed, or said goodbye with 421 instead of an answer."""
    return all(one.stage is Stage.MAIL and one.reply.code == 421 for one in outcomes.values())
