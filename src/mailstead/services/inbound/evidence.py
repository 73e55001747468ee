"""Who sent a message, as far as can be known: SPF, DKIM and DMARC.

The body is hashed while it comes in; the DNS is asked for all together at the end, within
GATHER_LIMIT. Holds: nothing a stranger or the DNS does is an error here; what was not learned in
time says so (temperror), and counts neither for nor against a message.
"""

import asyncio
from collections.abc import Awaitable
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from mailstead.message.addresses import author_addresses
from mailstead.model.dns import Answer, Status
from mailstead.model.world import Resolver
from mailstead.msgauth.dkim.signature import Signature, signatures
from mailstead.msgauth.dkim.verify import Result as DkimResult
from mailstead.msgauth.dkim.verify import body_hashes, verify
from mailstead.msgauth.dmarc.check import Dmarc, Identifier, Method, check_authors
from mailstead.msgauth.dmarc.check import Verdict as DmarcVerdict
from mailstead.msgauth.spf.check import Verdict as SpfVerdict
from mailstead.msgauth.spf.check import check_mail_from
from mailstead.msgauth.spf.record import Spf
from mailstead.services.outbound.asking import answer

GATHER_LIMIT = timedelta(seconds=20)
AUTHORS_LIMIT = 10  # addresses of From that are asked about

T = TypeVar("T")


class Client(msgspec.Struct, frozen=True):
    """Who talks to us, and for whom it says it does."""

    address: str
    helo: str
    reverse_path: str


class Fact(msgspec.Struct, frozen=True):
    """Something that speaks for or against a message; a score is a sum of weights.

    `name` is of a known family: "dnsbl.spamhaus-zen", "helo.bare-ip", "iprev.none", "arc.believed".
    """

    name: str
    weight: float  # above 0: against it
    words: str = ""


class Evidence(msgspec.Struct, frozen=True):
    """What was found; without DMARC there is no From to ask about."""

    client: Client
    spf: SpfVerdict
    dkim: tuple[DkimResult, ...] = ()
    dmarc: DmarcVerdict | None = None
    facts: tuple[Fact, ...] = ()  # of the connection, the lists, the engines: all that adds up


class Gathering:
    """What is known of one message so far."""

    def __init__(self, header: bytes) -> None:
        self._header = header
        self._found = list(signatures(header))
        self._hashes = body_hashes(self._found)

    def add(self, data: bytes) -> None:
        """The next piece of the body."""
        self._hashes.add(data)

    async def finish(self, resolver: Resolver, client: Client, now: datetime) -> Evidence:
        """All of it, once the body is complete."""
        digests = self._hashes.finish()
        async with asyncio.TaskGroup() as group:
            asked = _unlearned_spf(client)
            spf = group.create_task(_within(_ask_spf(resolver, client), asked))
            keys = [
                group.create_task(_within(_ask_key(resolver, one), _NO_ANSWER))
                for one in self._found
            ]
        dkim = tuple(
            verify(one, digests, key.result(), now)
            for one, key in zip(self._found, keys, strict=True)
        )
        dmarc = await self._ask_dmarc(resolver, spf.result(), dkim)
        return Evidence(client, spf.result(), dkim, dmarc)

    async def _ask_dmarc(
        self, resolver: Resolver, spf: SpfVerdict, dkim: tuple[DkimResult, ...]
    ) -> DmarcVerdict | None:
        domains = [author.domain for author in author_addresses(self._header)[:AUTHORS_LIMIT]]
        if not domains:
            return None
        identifiers = [Identifier(Method.SPF, spf.identity, spf.result.value)]
        identifiers += [Identifier(Method.DKIM, one.domain, _worth(one)) for one in dkim]
        asked = answer(check_authors(domains, identifiers), resolver)
        return await _within(asked, DmarcVerdict(Dmarc.TEMPERROR, domains[0]))


def _worth(one: DkimResult) -> str:
    """What a signature says to DMARC; one that leaves text open (l=) is good for any text."""
    return "policy" if one.uncovered else one.verdict.value


_NO_ANSWER = Answer(Status.TIMEOUT)


async def _within(work: Awaitable[T], otherwise: T) -> T:
    try:
        async with asyncio.timeout(GATHER_LIMIT.total_seconds()):
            return await work
    except TimeoutError:
        return otherwise


async def _ask_spf(resolver: Resolver, client: Client) -> SpfVerdict:
    return await answer(check_mail_from(client.address, client.reverse_path, client.helo), resolver)


def _unlearned_spf(client: Client) -> SpfVerdict:
    domain = client.reverse_path.rpartition("@")[2] or client.helo
    return SpfVerdict(Spf.TEMPERROR, domain, domain, problem="the DNS took too long")


async def _ask_key(resolver: Resolver, one: object) -> Answer:
    if not isinstance(one, Signature):
        return _NO_ANSWER  # nobody looks at it
    return await resolver.ask(one.question)
