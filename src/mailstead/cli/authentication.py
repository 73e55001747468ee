"""`mailstead check spf` and `check dmarc`: the two decisions by hand, with all that led there."""

import asyncio
from collections.abc import Sequence

import click
import msgspec

from mailstead.cli.house import operate
from mailstead.cli.main import TRY_LATER
from mailstead.cli.parameters import DOMAIN, IP_ADDRESS
from mailstead.cli.printing import for_operators, show
from mailstead.model.address import Domain, parse_domain
from mailstead.model.dns import Answer, Question
from mailstead.model.errors import TemporaryFailure
from mailstead.model.world import Resolver
from mailstead.msgauth.dmarc import check as dmarc_check
from mailstead.msgauth.dmarc.check import Alignment, Dmarc, Identifier, Method
from mailstead.msgauth.dmarc.record import Mode, Policy
from mailstead.msgauth.spf import check as spf_check
from mailstead.msgauth.spf.record import Spf
from mailstead.server.wiring import House
from mailstead.services.outbound.asking import answer

CHECK_TIMEOUT = 60.0  # seconds; RFC 7208 section 4.6.4 asks for 20 at least
RESULTS = ("none", "neutral", "pass", "fail", "softfail", "policy", "temperror", "permerror")


class Asked(msgspec.Struct, frozen=True):
    """One question, and what the DNS said."""

    type: str
    name: str
    status: str
    records: tuple[str, ...]

    @classmethod
    def of(cls, question: Question, answer: Answer) -> "Asked":
        """The same as values that programs can read."""
        return cls(question.type, question.name, answer.status.value, answer.records)


class CheckedSpf(msgspec.Struct, frozen=True):
    """The verdict, why in words, and what was asked."""

    verdict: spf_check.Verdict
    why: str
    asked: list[Asked]


class CheckedDmarc(msgspec.Struct, frozen=True):
    """The verdict, why in words, and what was asked."""

    verdict: dmarc_check.Verdict
    aligned: tuple[Identifier, ...]
    why: str
    asked: list[Asked]


class _Listening:
    """The resolver, with all that it is asked written down."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self.asked: list[Asked] = []

    async def ask(self, question: Question) -> Answer:
        """What the resolver says."""
        found = await self._resolver.ask(question)
        self.asked.append(Asked.of(question, found))
        return found


# ---------------------------------------------------------------------- SPF


@click.command()
@click.argument("ip", type=IP_ADDRESS)
@click.argument("sender")
@click.option("--helo", default="", help="What the client calls itself; else the sender's domain.")
@for_operators
def spf(ip: str, sender: str, helo: str, as_json: bool) -> None:
    """Say whether SPF lets a client send for a sender, and which record decides.

    IP is the client's address, SENDER the address in MAIL FROM ("<>" for the null one, which is
    judged by --helo), or just a domain.
    """
    path = sender.strip("<>")
    if not path and not helo:
        raise click.UsageError("the null reverse-path is judged by --helo: give it too")
    if path and "@" not in path:
        path = f"postmaster@{path}"
    found = operate(lambda house: _check_spf(house, ip, path, helo or path.rpartition("@")[2]))
    show(found, "\n".join([*_spf_lines(found.verdict, found.why), *_asked(found.asked)]), as_json)
    if found.verdict.result is Spf.TEMPERROR:
        raise click.exceptions.Exit(TRY_LATER)


async def _check_spf(house: House, ip: str, path: str, helo: str) -> CheckedSpf:
    world = house.world
    resolver = _Listening(world.resolver)
    lookup = spf_check.check_mail_from(ip, path, helo, house.config.hostname, world.clock.now())
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            verdict = await answer(lookup, resolver)
    except TimeoutError:
        raise TemporaryFailure(f"the DNS took more than {CHECK_TIMEOUT:.0f} seconds") from None
    return CheckedSpf(verdict, _why_spf(verdict, ip), resolver.asked)


def _spf_lines(verdict: spf_check.Verdict, why: str) -> list[str]:
    lines = [
        f"result     {verdict.result}",
        f"domain     {verdict.identity or '-'}",
        f"record of  {verdict.domain or '-'}",
        f"decided by {verdict.mechanism or '-'}",
        f"look-ups   {verdict.lookups} of {spf_check.LOOKUP_LIMIT}",
        f"why        {why}",
    ]
    if verdict.explanation:
        lines.append(f"they say   {verdict.explanation}")
    return lines


def _why_spf(verdict: spf_check.Verdict, ip: str) -> str:
    record = f"the record of {verdict.domain}"
    term = f'"{verdict.mechanism}" in {record}'
    match verdict.result:
        case Spf.PASS:
            return f"{term} lets {ip} send for {verdict.identity}"
        case Spf.FAIL:
            return f"{term} says that {ip} must not send for {verdict.identity}"
        case Spf.SOFTFAIL:
            return f"{term} says that {ip} should not send for {verdict.identity}"
        case Spf.NEUTRAL if verdict.mechanism == spf_check.DEFAULT:
            return f"nothing in {record} speaks of {ip}"
        case Spf.NEUTRAL:
            return f"{term} says nothing for or against {ip}"
    return verdict.problem


# ---------------------------------------------------------------------- DMARC


def _identifiers(
    context: click.Context, parameter: click.Parameter, values: Sequence[str]
) -> list[Identifier]:
    method = Method(parameter.name or "")
    found = []
    for value in values:
        domain, _, result = value.partition(":")
        if (result or "pass") not in RESULTS:
            raise click.BadParameter(f"{result!r} is none of {', '.join(RESULTS)}")
        try:
            found.append(Identifier(method, parse_domain(domain), result or "pass"))
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
    return found


@click.command()
@click.argument("domain", type=DOMAIN)
@click.option(
    "--spf",
    metavar="DOMAIN:RESULT",
    multiple=True,
    callback=_identifiers,
    help="What SPF came to, and for which domain in MAIL FROM; just a domain means that it passed.",
)
@click.option(
    "--dkim",
    metavar="DOMAIN:RESULT",
    multiple=True,
    callback=_identifiers,
    help="The same for a DKIM signature (d=). Can be given several times, for several signatures.",
)
@for_operators
def dmarc(domain: Domain, spf: list[Identifier], dkim: list[Identifier], as_json: bool) -> None:
    """Say whether a message passes DMARC, and which record decides.

    DOMAIN is that of the address in From. Without --spf and --dkim nothing stands behind the
    message, and the answer is what the domain asks for then.
    """
    found = operate(lambda house: _check_dmarc(house, domain, [*spf, *dkim]))
    show(found, "\n".join([*_dmarc_lines(found), *_asked(found.asked)]), as_json)
    if found.verdict.result is Dmarc.TEMPERROR:
        raise click.exceptions.Exit(TRY_LATER)


async def _check_dmarc(house: House, domain: Domain, identifiers: list[Identifier]) -> CheckedDmarc:
    resolver = _Listening(house.world.resolver)
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            verdict = await answer(dmarc_check.check_authors([domain], identifiers), resolver)
    except TimeoutError:
        raise TemporaryFailure(f"the DNS took more than {CHECK_TIMEOUT:.0f} seconds") from None
    return CheckedDmarc(verdict, verdict.aligned, _why_dmarc(verdict), resolver.asked)


def _dmarc_lines(found: CheckedDmarc) -> list[str]:
    verdict = found.verdict
    policy = f"{verdict.policy} ({verdict.tag}=)" if verdict.tag else "-"
    lines = [
        f"result     {verdict.result}",
        f"domain     {verdict.author_domain}",
        f"record of  {verdict.policy_domain or '-'}",
        f"policy     {policy}",
    ]
    if verdict.organizational_domain:
        lines.append(f"belongs to {verdict.organizational_domain}")
    lines += [f"{one.identifier.method:<10} {_alignment(one)}" for one in verdict.alignments]
    return [*lines, f"why        {found.why}"]


def _alignment(one: Alignment) -> str:
    """How an identifier stands to the domain, in words."""
    mode = "strict" if one.mode is Mode.STRICT else "relaxed"
    words = {True: "aligns", False: "does not align", None: "nobody knows whether it aligns"}
    belongs = one.organizational_domain
    above = f", belongs to {belongs}" if belongs and belongs != one.identifier.domain else ""
    return f"{one.identifier.domain} {one.identifier.result}: {words[one.aligned]} ({mode}){above}"


def _why_dmarc(verdict: dmarc_check.Verdict) -> str:
    if verdict.result is Dmarc.PASS:
        names = [f"{one.method.value.upper()} of {one.domain}" for one in verdict.aligned]
        return f"{' and '.join(names)} stands behind {verdict.author_domain}"
    if verdict.result is not Dmarc.FAIL:
        return verdict.problem
    wish = {
        Policy.NONE: "asks for nothing to be done about it",
        Policy.QUARANTINE: "asks for it to be taken as suspicious",
        Policy.REJECT: "asks for it to be refused",
    }[verdict.policy]
    testing = ", and is only testing (t=y)" if verdict.record and verdict.record.testing else ""
    return (
        f"nothing that passed stands behind {verdict.author_domain}; "
        f"{verdict.policy_domain} {wish}{testing}"
    )


# ---------------------------------------------------------------------- both


def _asked(asked: Sequence[Asked]) -> list[str]:
    """Each question on a line, and below it what was said."""
    lines = ["", "asked"] if asked else []
    for one in asked:
        lines.append(f"  {one.type} {one.name}")
        said = one.records or ("nothing" if one.status == "noerror" else one.status,)
        lines += [f"    {record}" for record in said]
    return lines
