"""What is known of a message and of who brings it: SPF, DKIM, DMARC, ARC, the lists, the manners.

The DNS is asked as soon as the header is there, while the body comes and is hashed; at its end all
is put together, GATHER_LIMIT later at the latest. Holds: nothing a stranger or the DNS does is an
error here; what was not learned in time says so (temperror), and counts neither for nor against.
"""

import asyncio
import functools
import ipaddress
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

import msgspec

from mailstead.message import header as fields
from mailstead.message.addresses import author_addresses
from mailstead.model.address import Domain, parse_domain
from mailstead.model.dns import Answer, Status
from mailstead.model.world import Resolver
from mailstead.msgauth import authres
from mailstead.msgauth.arc import validate as chains
from mailstead.msgauth.arc.chain import Chain, Found, parse_chain
from mailstead.msgauth.arc.validate import Validation
from mailstead.msgauth.dkim.signature import Signature, signatures
from mailstead.msgauth.dkim.verify import Result as DkimResult
from mailstead.msgauth.dkim.verify import body_hashes, verify
from mailstead.msgauth.dmarc.check import Identifier, Method, check_authors
from mailstead.msgauth.dmarc.check import Verdict as DmarcVerdict
from mailstead.msgauth.dnsbl import Kind, Subject, hash_of
from mailstead.msgauth.iprev import Iprev
from mailstead.msgauth.iprev import Verdict as IprevVerdict
from mailstead.msgauth.spf.check import Verdict as SpfVerdict
from mailstead.msgauth.spf.check import check_mail_from
from mailstead.services.inbound.answers import Answers, Errand
from mailstead.services.inbound.caller import Caller, Known
from mailstead.services.inbound.facts import Fact
from mailstead.services.inbound.lists import Hit, Lists
from mailstead.services.inbound.manners import Manners, facts_of, facts_of_name
from mailstead.services.outbound.asking import answer
from mailstead.spam.score import Score

GATHER_LIMIT = timedelta(seconds=20)
AUTHORS_LIMIT = 10  # addresses of From that are asked about
DOMAINS_LIMIT = 12  # domains of a message that lists are asked about
HASHES_LIMIT = 5  # addresses of it

# Fields that lists and forwarders add; anybody can write them, so they only keep from refusing.
_ON_THE_WAY = (
    "List-Id",
    "List-Post",
    "ARC-Seal",
    "Resent-From",
    "X-Forwarded-To",
    "X-Forwarded-For",
    "Delivered-To",
)


class Client(msgspec.Struct, frozen=True):
    """Who talks to us, and for whom it says it does."""

    address: str
    helo: str
    reverse_path: str


class Sealed(msgspec.Struct, frozen=True):
    """One host of a chain that holds: who it is, and what it said that DMARC had come to."""

    domain: str
    dmarc: str


class Evidence(msgspec.Struct, frozen=True):
    """What was found; without DMARC there is no From to ask about."""

    client: Client
    spf: SpfVerdict
    dkim: tuple[DkimResult, ...] = ()
    dmarc: DmarcVerdict | None = None
    arc: Validation = Validation(chains.Status.NONE)
    chain: tuple[Sealed, ...] = ()  # if it passes, from the first host on
    iprev: IprevVerdict | None = None
    hits: tuple[Hit, ...] = ()
    hosted: bool = False  # From names a domain that is hosted here
    passed_on: bool = False  # it says that it came through a list or a forwarder
    facts: tuple[Fact, ...] = ()  # of the connection and the lists: all that adds up
    score: Score | None = None  # for one recipient; only the operators' own code is told

    @property
    def listed(self) -> str:
        """The block list that has the client's address, unless an allow list speaks for it."""
        if any(hit.allows for hit in self.hits if hit.of_client):
            return ""
        return next((hit.zone for hit in self.hits if hit.of_client), "")

    def believed(self, sealers: Iterable[str]) -> str:
        """Who among the sealers saw DMARC pass, with nobody unknown after it (RFC 8617 7.2.1)."""
        known = tuple(sealers)
        last = None
        for one in reversed(self.chain):
            if not any(one.domain == name or one.domain.endswith(f".{name}") for name in known):
                break
            last = one
        return last.domain if last is not None and last.dmarc == "pass" else ""


class Setting(msgspec.Struct, frozen=True):
    """What gathering needs of the house."""

    hostname: str
    resolver: Resolver
    lists: Lists
    caller: Caller


class Gathering:
    """What is known of one message so far; `close` it if it comes to no end."""

    def __init__(self, header: bytes, client: Client, setting: Setting) -> None:
        self._header, self._client, self._setting = header, client, setting
        self._answers = Answers(setting.resolver)
        self._found = list(signatures(header))
        self._chain = parse_chain(header)
        chained = self._chain.messages if isinstance(self._chain, Chain) else []
        self._hashes = body_hashes([*self._found, *chained])
        self.authors = author_addresses(header)[:AUTHORS_LIMIT]
        self._spf: SpfVerdict | None = None
        self._asked = self._subjects()
        setting.caller.learn()
        self._errand = Errand(self._ask())

    def add(self, data: bytes) -> None:
        """The next piece of the body."""
        self._hashes.add(data)

    def close(self) -> None:
        """Nobody wants to know any more."""
        self._errand.end()

    async def name_of_client(self) -> str:
        """What the DNS calls the client, if that leads back; else nothing."""
        end = asyncio.get_running_loop().time() + GATHER_LIMIT.total_seconds()
        found = (await self._setting.caller.known(end)).iprev
        return found.name if found is not None and found.result is Iprev.PASS else ""

    async def finish(
        self, now: datetime, manners: Manners, more: Iterable[Subject] = (), hosted: bool = False
    ) -> Evidence:
        """All of it, once the body is complete; lists are asked about `more` that it named."""
        deadline = asyncio.get_running_loop().time() + GATHER_LIMIT.total_seconds()
        wanted = [one for one in dict.fromkeys(more) if one not in self._asked]
        listed = Errand(self._setting.lists.ask(wanted, self._answers))
        try:
            hits = await self._errand.join(deadline) or ()
            known = await self._setting.caller.known(deadline)
            linked = await listed.join(deadline) or []
        finally:
            listed.end()
        self._answers.end_by(deadline)  # the rest is known by now, or will not be
        digests = self._hashes.finish()
        spf = await self._ask_spf()
        keys = [await self._ask_key(one) for one in self._found]
        dkim = tuple(
            verify(one, digests, key, now) for one, key in zip(self._found, keys, strict=True)
        )
        dmarc = await self._ask_dmarc(_identifiers(spf, dkim))
        validation = await answer(chains.validate(self._chain, digests, now), self._answers)
        hits = tuple(dict.fromkeys((*known.hits, *hits, *linked)))
        return Evidence(
            client=self._client,
            spf=spf,
            dkim=dkim,
            dmarc=dmarc,
            arc=validation,
            chain=_sealed(self._chain, validation),
            iprev=known.iprev,
            hits=hits,
            hosted=hosted,
            passed_on=fields.has_any(self._header, _ON_THE_WAY),
            facts=tuple(self._facts(manners, known, hits)),
        )

    def _facts(self, manners: Manners, known: Known, hits: tuple[Hit, ...]) -> Iterator[Fact]:
        yield from facts_of(manners, self._client.address, self._setting.hostname)
        if known.iprev is not None:
            yield from facts_of_name(known.iprev)
        heaviest: dict[tuple[str, bool], Hit] = {}  # twenty links to one site are one listing
        for hit in hits:
            before = heaviest.get((hit.zone, hit.of_client))
            if before is None or abs(hit.weight) > abs(before.weight):
                heaviest[hit.zone, hit.of_client] = hit
        yield from (hit.fact for hit in heaviest.values())

    # ------------------------------------------------------------------ questions

    async def _ask(self) -> tuple[Hit, ...]:
        """Everything that the header tells to ask; all but the hits is looked up again later."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ask_spf())
            for one in self._found:
                group.create_task(self._ask_key(one))
            for question in chains.questions(self._chain):
                group.create_task(self._answers.ask(question))
            group.create_task(self._ask_dmarc(self._presumed()))
            listed = group.create_task(self._setting.lists.ask(self._asked, self._answers))
        return tuple(listed.result())

    async def _ask_spf(self) -> SpfVerdict:
        if self._spf is None:
            client = self._client
            check = check_mail_from(client.address, client.reverse_path, client.helo)
            self._spf = await answer(check, self._answers)
        return self._spf

    async def _ask_key(self, one: object) -> Answer:
        if not isinstance(one, Signature):
            return _NO_ANSWER  # nobody looks at it
        return await self._answers.ask(one.question)

    async def _ask_dmarc(self, identifiers: list[Identifier]) -> DmarcVerdict | None:
        domains = [author.domain for author in self.authors]
        if not domains:
            return None
        return await answer(check_authors(domains, identifiers), self._answers)

    def _presumed(self) -> list[Identifier]:
        """As if all were good: the questions are the same, or more."""
        path = self._client.reverse_path.rpartition("@")[2] or self._client.helo
        signed = [one.domain for one in self._found if isinstance(one, Signature)]
        return [
            Identifier(Method.SPF, path, "pass"),
            *(Identifier(Method.DKIM, domain, "pass") for domain in signed),
        ]

    def _subjects(self) -> list[Subject]:
        """What the lists are asked about: domains and addresses that stand behind the message."""
        path = self._client.reverse_path
        domains = [one.domain for one in self.authors] + [path.rpartition("@")[2]]
        return [*subjects_of_domains(domains), *_hashes(self._header, path)]


_NO_ANSWER = Answer(Status.TIMEOUT)


def subjects_of_domains(domains: Iterable[str]) -> list[Subject]:
    """What to ask lists about these domains: the two and the three last labels of each."""
    found: dict[Domain, None] = {}
    for domain in domains:
        for subject in _subjects_of(domain):
            found[subject] = None
        if len(found) >= 2 * DOMAINS_LIMIT:
            break
    return list(found)


@functools.lru_cache(maxsize=4096)
def _subjects_of(domain: str) -> tuple[Domain, ...]:
    labels = _labels(domain)
    if len(labels) < 2 or _is_address(domain):
        return ()
    return tuple(Domain(".".join(labels[-count:])) for count in (2, 3))


def _labels(domain: str) -> list[str]:
    """In A-labels; none of what can be no name."""
    try:
        return parse_domain(domain.strip(".")).split(".")
    except ValueError:
        return []


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def _hashes(header: bytes, reverse_path: str) -> list[Subject]:
    """The addresses that an answer would go to."""
    value = fields.get(header, "Reply-To")
    addresses = [str(one) for one in author_addresses(header)] + [reverse_path]
    if value is not None:
        addresses += [str(one) for one in author_addresses(b"From: " + value + b"\r\n\r\n")]
    texts = list(dict.fromkeys(one for one in addresses if "@" in one))[:HASHES_LIMIT]
    return [hash_of(kind, one) for one in texts for kind in (Kind.SHA1, Kind.SHA256)]


def _identifiers(spf: SpfVerdict, dkim: tuple[DkimResult, ...]) -> list[Identifier]:
    found = [Identifier(Method.SPF, spf.identity, spf.result.value)]
    return found + [Identifier(Method.DKIM, one.domain, _worth(one)) for one in dkim]


def _worth(one: DkimResult) -> str:
    """What a signature says to DMARC; one that leaves text open (l=) is good for any text."""
    return "policy" if one.uncovered else one.verdict.value


def _sealed(found: Found, validation: Validation) -> tuple[Sealed, ...]:
    """What the hosts of a good chain said."""
    if not isinstance(found, Chain) or validation.status is not chains.Status.PASS:
        return ()
    return tuple(Sealed(one.seal.domain, _dmarc_in(one.fields[0])) for one in found.sets)


def _dmarc_in(raw: bytes) -> str:
    said = authres.parse_arc(raw.partition(b":")[2])
    if said is None:
        return ""
    return next((one.result for one in said.results.results if one.method == "dmarc"), "")
