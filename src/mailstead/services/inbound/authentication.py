"""One message's authentication: what is asked, what is judged, and the field that tells it.

For mail that strangers bring to port 25; our own people have logged in, and what a program on this
machine or in `relay_from` sends is the operator's.
"""

from collections.abc import Iterator
from datetime import datetime

import msgspec

from mailstead.message.addresses import author_addresses
from mailstead.model.address import Domain
from mailstead.model.entries import Authenticated
from mailstead.model.world import Resolver
from mailstead.msgauth import authres
from mailstead.msgauth.authres import AuthenticationResults, Property, Result
from mailstead.msgauth.dkim.verify import Result as DkimResult
from mailstead.msgauth.dmarc.check import Dmarc
from mailstead.msgauth.spf.record import Spf
from mailstead.services.inbound.evidence import Client, Evidence, Gathering
from mailstead.services.inbound.policy import Verdict, judge
from mailstead.storage import accounts
from mailstead.storage.store import Store, Tx

AUTHORS_LIMIT = 10  # addresses of From that are looked at
REASON_LIMIT = 300  # characters about a signature in the journal


class Judged(msgspec.Struct, frozen=True):
    """What came of it."""

    evidence: Evidence
    verdict: Verdict
    field: bytes  # Authentication-Results, with its line end
    entry: Authenticated

    @property
    def genuine(self) -> bool:
        """Whether its sender is who it says, so that they may be told of failures."""
        dmarc = self.evidence.dmarc
        passed = dmarc is not None and dmarc.result is Dmarc.PASS
        return passed or self.evidence.spf.result is Spf.PASS


class Authentication:
    """From the header on, until it is judged."""

    def __init__(self, header: bytes, client: Client) -> None:
        self._header, self._client = header, client
        self._gathering = Gathering(header)

    def add(self, data: bytes) -> None:
        """The next piece of the body."""
        self._gathering.add(data)

    async def finish(
        self, store: Store, resolver: Resolver, hostname: str, now: datetime
    ) -> Judged:
        """The verdict, with all that it is made of."""
        evidence = await self._gathering.finish(resolver, self._client, now)
        authors = author_addresses(self._header)
        hosted = bool(authors) and await store.look_up(
            lambda tx: _hosts_any(tx, [one.domain for one in authors])
        )
        verdict = judge(evidence, self._header, hosted)
        results = AuthenticationResults(hostname, tuple(_results(evidence, self._client)))
        return Judged(evidence, verdict, authres.format(results), _entry(evidence, verdict, now))


def _hosts_any(tx: Tx, domains: list[Domain]) -> bool:
    return any(accounts.find_domain(tx, domain) is not None for domain in domains[:AUTHORS_LIMIT])


def _results(evidence: Evidence, client: Client) -> Iterator[Result]:
    """RFC 8601 section 2.7, RFC 9989 section 9."""
    who = ("mailfrom", client.reverse_path) if client.reverse_path else ("helo", client.helo)
    spf = evidence.spf
    yield Result("spf", spf.result.value, (Property("smtp", *who),), spf.problem)
    for one in evidence.dkim:
        found = [("d", one.domain), ("s", one.selector), ("a", one.algorithm)]
        properties = tuple(Property("header", name, value) for name, value in found if value)
        yield Result("dkim", one.verdict.value, properties, one.reason)
    if not evidence.dkim:
        yield Result("dkim", "none")
    if evidence.dmarc is not None:
        domain = Property("header", "from", evidence.dmarc.author_domain)
        yield Result("dmarc", evidence.dmarc.result.value, (domain,))


def _entry(evidence: Evidence, verdict: Verdict, now: datetime) -> Authenticated:
    spf, dmarc = evidence.spf, evidence.dmarc
    return Authenticated(
        at=now,
        spf=spf.result.value,
        spf_domain=spf.identity,
        dkim=tuple(map(_in_words, evidence.dkim)),
        dmarc=dmarc.result.value if dmarc else "",
        domain=dmarc.author_domain if dmarc else "",
        policy=dmarc.policy.value if dmarc and dmarc.record else "",
        action=verdict.action.value,
        reason=verdict.reason,
    )


def _in_words(one: DkimResult) -> str:
    reason = f": {one.reason}" if one.reason else ""
    return f"{one.domain} {one.verdict.value}{reason}"[:REASON_LIMIT]
