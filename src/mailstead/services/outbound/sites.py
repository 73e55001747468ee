"""Sites: thousands of domains have the same MX hosts, and what these take is a limit of them all.

A site has the name of its provider's profile, else of its one host, else of the domain that its
hosts have in common. Only the MX hosts of the best preference count. Bounded, and for an hour.
Not here: which hosts are tried (route). What the DNS does not say now is not remembered.
"""

import asyncio
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from mailstead.model.dns import Mx, Question
from mailstead.model.world import Clock, Resolver
from mailstead.services.outbound.providers import OTHER, profile_of_host

V = TypeVar("V")

SITES_LIMIT = 10_000  # domains that are remembered
KEPT = timedelta(hours=1)
LOOKUPS_LIMIT = 20  # at a time
HOSTS_LIMIT = 20  # of one domain
SEPARATOR = "/"  # between a site and a source in the name of a lane


class _Known(msgspec.Struct, frozen=True):
    site: str
    until: datetime


class Sites:
    """What is known of domains."""

    def __init__(self, resolver: Resolver, clock: Clock) -> None:
        self._resolver, self._clock = resolver, clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._hosts: OrderedDict[str, str] = OrderedDict()  # of a site that the DNS named
        self._places = asyncio.Semaphore(LOOKUPS_LIMIT)

    def known(self, domain: str) -> str | None:
        """The site of the domain, if it need not be looked up."""
        if domain.startswith("["):
            return domain
        found = self._known.get(domain)
        return found.site if found and self._clock.now() < found.until else None

    async def find(self, domain: str) -> str:
        """The site of the domain; the domain itself if the DNS does not say."""
        async with self._places:
            if site := self.known(domain):
                return site
            answer = await self._resolver.ask(Question("MX", domain))
        if answer.failed:
            return domain
        hosts = best_hosts(answer.mx())
        site = name_of(hosts) if hosts else domain
        _keep(self._known, domain, _Known(site, self._clock.now() + KEPT))
        if hosts and site not in self._hosts:
            _keep(self._hosts, site, hosts[0])
        return site

    def described(self, lane: str) -> str:
        """The lane with a host of its site, for who knows how fast hosts may be sent to."""
        host = self._hosts.get(lane.partition(SEPARATOR)[0])
        return f"{lane},{host}" if host else lane

    def speaks_for(self, host: str, lane: str) -> bool:
        """Whether what the host says is about the site; a domain's further hosts may be others'."""
        site = lane.partition(SEPARATOR)[0]
        if site not in self._hosts:
            return True
        return site in (host, profile_of_host(host).name) or host.endswith(f".{site}")


def best_hosts(records: list[Mx]) -> list[str]:
    """The names of the hosts that are tried first, sorted."""
    usable = [mx for mx in records if mx.exchange not in ("", ".")][:HOSTS_LIMIT]
    best = min((mx.preference for mx in usable), default=0)
    return sorted(mx.exchange.lower().rstrip(".") for mx in usable if mx.preference == best)


def name_of(hosts: list[str]) -> str:
    """One name for these hosts."""
    profiles = {profile_of_host(host).name for host in hosts}
    if len(profiles) == 1 and OTHER not in profiles:
        return profiles.pop()
    return hosts[0] if len(hosts) == 1 else _common(hosts) or hosts[0]


def lane_of(site: str, source: str) -> str:
    """The lane of a site and the source that its mail leaves from."""
    return f"{site}{SEPARATOR}{source}" if source else site


def _common(hosts: list[str]) -> str:
    """The domain that all are in; nothing if that might be one where anybody has a name."""
    labels: list[str] = []
    for same in zip(*(reversed(host.split(".")) for host in hosts), strict=False):
        if len(set(same)) > 1:
            break
        labels.insert(0, same[0])
    public = len(labels) == 2 and len(labels[0]) <= 3 and len(labels[1]) == 2  # as co.uk
    return "" if len(labels) < 2 or public else ".".join(labels)


def _keep(memory: OrderedDict[str, V], key: str, value: V) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > SITES_LIMIT:
        memory.popitem(last=False)
