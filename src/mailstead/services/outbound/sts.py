"""MTA-STS policies of other domains: fetched over HTTPS, kept, refreshed (RFC 8461).

A policy holds for its max_age however silent DNS and web server are meanwhile; a new id makes it
be fetched anew at the next mail, and all are refreshed daily. A fetch that fails is not tried again
for FAILURE_PAUSE; without an older policy the domain then has none (section 3.3).
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from mailstead.model.errors import TemporaryFailure
from mailstead.model.world import World
from mailstead.msgauth import mtasts
from mailstead.msgauth.mtasts import Invalid, Policy
from mailstead.msgauth.tlsrpt import Result
from mailstead.net import https
from mailstead.net.tls import TlsError
from mailstead.services.outbound.asking import answer
from mailstead.services.outbound.route import find_addresses
from mailstead.services.outbound.targets import Targets
from mailstead.storage import tls_policies
from mailstead.storage.store import Store
from mailstead.storage.tls_policies import StoredPolicy

FETCH_TIMEOUT = timedelta(minutes=1)  # RFC 8461 section 3.3, as are the next two
FAILURE_PAUSE = timedelta(minutes=5)
REFRESH_AGE = timedelta(days=1)
ROUND = timedelta(hours=1)  # between looks for policies to refresh
PAGE = 100  # of them looked at in one read
ADDRESSES_LIMIT = 2  # of a policy host
MEMORY_LIMIT = 20_000  # domains
MEMORY_TIME = timedelta(minutes=5)  # then the table is asked again: other nodes fetch too

Report = Callable[[str, Result], None]  # of a domain whose policy cannot be had

log = logging.getLogger("mailstead.outbound")


class Failure(msgspec.Struct, frozen=True):
    """Why a policy could not be fetched: as reports call it, and in words."""

    result: Result
    reason: str


class _Known(msgspec.Struct, frozen=True):
    stored: StoredPolicy | None
    until: datetime


class StsPolicies:
    """All policies; `run` refreshes them."""

    def __init__(
        self, store: Store, world: World, targets: Targets, context: ssl.SSLContext, report: Report
    ) -> None:
        self._store, self._world, self._targets = store, world, targets
        self._context, self._report = context, report
        self._known: dict[str, _Known] = {}
        self._failed: dict[tuple[str, str], datetime] = {}  # domain and id: not before then
        self._under_way: dict[str, asyncio.Future[Policy | None]] = {}

    async def find(self, domain: str) -> Policy | None:
        """The policy that holds for the domain now."""
        policy_id = await answer(mtasts.find_id(domain), self._world.resolver)
        stored = await self._find_stored(domain)
        have = stored.policy if stored else None
        if policy_id is None or (stored and stored.policy_id == policy_id):
            return have
        if self._failed.get((domain, policy_id), self._now()) > self._now():
            return have
        return await self._fetch_for_all(domain, policy_id, have)

    async def _find_stored(self, domain: str) -> StoredPolicy | None:
        now = self._now()
        known = self._known.get(domain)
        if known is None or known.until <= now:
            stored = await self._store.read(lambda tx: tls_policies.find(tx, domain))
            known = self._remember(domain, stored)
        live = known.stored is not None and known.stored.expires > now
        return known.stored if live else None

    def _remember(self, domain: str, stored: StoredPolicy | None) -> _Known:
        if len(self._known) >= MEMORY_LIMIT:
            del self._known[next(iter(self._known))]
        known = _Known(stored, self._now() + MEMORY_TIME)
        self._known[domain] = known
        return known

    # ------------------------------------------------------------------ fetching

    async def _fetch_for_all(
        self, domain: str, policy_id: str, have: Policy | None
    ) -> Policy | None:
        """Fetch once, however many messages ask at the same time."""
        if running := self._under_way.get(domain):
            return await asyncio.shield(running)
        future = asyncio.get_running_loop().create_future()
        self._under_way[domain] = future
        policy = have
        try:
            policy = await self._renew(domain, policy_id) or have
        finally:
            del self._under_way[domain]
            future.set_result(policy)
        return policy

    async def _renew(self, domain: str, policy_id: str) -> Policy | None:
        """Fetch and keep; None if that failed."""
        fetched = await self._fetch(domain)
        if isinstance(fetched, Failure):
            self._give_up(domain, policy_id, fetched)
            return None
        stored = StoredPolicy(domain, policy_id, fetched, self._now())
        self._remember(domain, stored)
        try:
            await self._store.write(lambda tx: tls_policies.keep(tx, stored))
        except TemporaryFailure as failure:
            log.warning("the MTA-STS policy of %s is not kept: %s", domain, failure.reason)
        return fetched

    def _give_up(self, domain: str, policy_id: str, failure: Failure) -> None:
        log.warning("no MTA-STS policy of %s: %s", domain, failure.reason)
        self._report(domain, failure.result)
        if len(self._failed) >= MEMORY_LIMIT:
            del self._failed[next(iter(self._failed))]
        self._failed[domain, policy_id] = self._now() + FAILURE_PAUSE

    async def _fetch(self, domain: str) -> Policy | Failure:
        """The policy in the file that the domain's policy host serves."""
        host = mtasts.policy_host(domain)
        found = await answer(find_addresses(host), self._world.resolver)
        usable = [one for one in found.addresses if self._targets.is_usable(one)][:ADDRESSES_LIMIT]
        outcome: Policy | Failure = Failure(
            Result.STS_FETCH_ERROR, f"{host} has no address that can be used"
        )
        for address in usable:
            outcome = await self._fetch_at(host, address)
            if isinstance(outcome, Policy):
                break
        return outcome

    async def _fetch_at(self, host: str, address: str) -> Policy | Failure:
        """One dead address must not use up the time of the next, as without a way to IPv6."""
        try:
            async with asyncio.timeout(FETCH_TIMEOUT.total_seconds() / ADDRESSES_LIMIT):
                return await self._get_at(host, address)
        except TimeoutError:
            return Failure(Result.STS_FETCH_ERROR, f"{host} takes too long")

    async def _get_at(self, host: str, address: str) -> Policy | Failure:
        request = https.Request(host, mtasts.PATH, mtasts.SIZE_LIMIT)
        try:
            page = await https.get(self._world.network, address, request, self._context)
        except TlsError as error:
            untrusted = isinstance(error.__cause__, ssl.SSLCertVerificationError)
            result = Result.STS_WEBPKI_INVALID if untrusted else Result.STS_FETCH_ERROR
            return Failure(result, f"{host}: {error}")
        except (https.HttpError, OSError, ValueError) as error:  # ValueError: no name for TLS
            return Failure(Result.STS_FETCH_ERROR, f"{host}: {error}")
        return _read(host, page)

    # ------------------------------------------------------------------ refreshing

    async def run(self) -> None:
        """Refresh what is a day old, until cancelled."""
        while True:
            await self._world.clock.sleep(ROUND)
            try:
                await self.refresh()
            except TemporaryFailure as failure:
                log.warning("MTA-STS policies are not refreshed now: %s", failure.reason)
            except Exception:
                log.exception("refreshing MTA-STS policies failed, by our own fault")

    async def refresh(self) -> None:
        """One round (RFC 8461 section 3.3)."""
        before, after = self._now() - REFRESH_AGE, ""
        while page := await self._aged(before, after):
            for stored in page:
                await self._refresh_one(stored.domain)
            after = page[-1].domain

    async def _aged(self, before: datetime, after: str) -> list[StoredPolicy]:
        return await self._store.read(
            lambda tx: tls_policies.fetched_before(tx, before, after, PAGE)
        )

    async def _refresh_one(self, domain: str) -> None:
        """A domain whose record is gone keeps its policy for the rest of its time, no longer."""
        policy_id = await answer(mtasts.find_id(domain), self._world.resolver)
        if policy_id is not None:
            await self._renew(domain, policy_id)

    def _now(self) -> datetime:
        return self._world.clock.now()


def _read(host: str, page: https.Page) -> Policy | Failure:
    """The policy on the page, if the page is one that may count (RFC 8461 section 3.3)."""
    if page.status != 200:
        return Failure(Result.STS_FETCH_ERROR, f"{host} answers {page.status}")
    media_type = page.content_type.partition(";")[0].strip().lower()
    if media_type != "text/plain":
        return Failure(Result.STS_FETCH_ERROR, f"{host} sends {media_type or 'no media type'}")
    parsed = mtasts.parse_policy(page.body)
    if isinstance(parsed, Invalid):
        return Failure(Result.STS_INVALID, f"the policy is none: {parsed.reason}")
    return parsed
