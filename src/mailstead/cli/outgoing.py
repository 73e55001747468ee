"""`mailstead check outgoing`, and what `mailstead setup` says of it: can mail leave this machine?

The findings are those of services.outbound.probe; here they become sentences, and advice.
"""

from collections.abc import Iterator

import click
import msgspec

from mailstead.cli.house import operate, run_in_house
from mailstead.cli.main import TRY_LATER
from mailstead.cli.parameters import DOMAIN
from mailstead.cli.printing import for_operators, show
from mailstead.cli.records import own_addresses
from mailstead.model.address import Domain
from mailstead.net.tls import verifying_context
from mailstead.server.config import Config
from mailstead.server.wiring import House, sending
from mailstead.services.outbound.probe import DOMAINS, Outgoing, Port, Subject, Verdict, probe
from mailstead.services.outbound.ptr import Ptr, PtrVerdict
from mailstead.services.outbound.targets import Targets, parse_networks


class Report(msgspec.Struct, frozen=True):
    """What was found, and what to do about it."""

    found: Outgoing
    advice: tuple[str, ...]


@click.command("outgoing")
@click.argument("domains", nargs=-1, type=DOMAIN)
@for_operators
def outgoing(domains: tuple[Domain, ...], as_json: bool) -> None:
    """Whether mail can leave this machine: port 25 or the smarthost, and PTR records.

    Greets the mail hosts of DOMAINS, or of a few big ones; sends no mail. Exit code 1 if there is
    something to do about it, 75 if the DNS does not answer.
    """
    report = operate(lambda house: _look(house, domains or DOMAINS))
    show(report, text_of(report), as_json)
    if report.advice:
        raise click.exceptions.Exit(1)
    if report.found.unknown:
        raise click.exceptions.Exit(TRY_LATER)


def probe_outgoing(config: Config) -> Report:
    """The same for a configuration that is not written yet."""
    return run_in_house(config, lambda house: _look(house, DOMAINS))


async def _look(house: House, domains: tuple[Domain, ...]) -> Report:
    config, settings = house.config, sending(house.config)
    smarthost = config.smarthost
    found = await probe(
        house.world,
        Subject(
            hostname=config.hostname,
            addresses=own_addresses(),
            smarthost=settings.smarthost,
            targets=Targets(parse_networks(settings.allowed_targets), settings.own_addresses),
            verifying=verifying_context(config.tls.ca_file or None) if smarthost else None,
            domains=domains,
        ),
    )
    return Report(found, tuple(advise(found, config.hostname)))


def text_of(report: Report) -> str:
    """All of it, for people."""
    return "\n".join([*sentences(report), *_bulleted(report)])


def sentences(report: Report) -> list[str]:
    """One line for each finding."""
    found = report.found
    lines = [f"Port 25, {port.family}  {_of_port(port)}" for port in found.ports]
    if relay := found.smarthost:
        verdict = "takes our mail" if relay.works else f"does not take our mail: {relay.said}"
        lines.append(f"Smarthost      {relay.host} {verdict}")
    lines += [f"PTR            {ptr_sentence(one)}" for one in found.ptr]
    return lines or ["PTR            no public address is known"]


def _of_port(port: Port) -> str:
    if port.verdict is Verdict.UNKNOWN:
        return f"unknown: {port.reason}"
    shown = next(one for one in port.tried if one.verdict is port.verdict)
    count = len(port.tried)
    example = f"{shown.host} [{shown.address}]: {shown.said}"
    match port.verdict:
        case Verdict.OPEN:
            return f"open ({shown.host} [{shown.address}] greets us)"
        case Verdict.REFUSED:
            return f"open, but none of {count} hosts wants to talk to this address ({example})"
        case Verdict.BLOCKED:
            return f"blocked: none of {count} hosts can be reached ({example})"
        case Verdict.ABSENT:
            return f"this machine has no {port.family} ({shown.said})"


def ptr_sentence(one: Ptr) -> str:
    """What was found for an address, for people."""
    match one.verdict:
        case PtrVerdict.RIGHT:
            return f"{one.address} is {one.name}, as it should be"
        case PtrVerdict.UNCONFIRMED:
            return f"{one.address} is {one.name}, but that name does not lead to the address"
        case PtrVerdict.OTHER:
            back = "" if one.confirmed else ", which does not lead back to it"
            return f"{one.address} is {one.name}{back}"
        case PtrVerdict.MISSING:
            return f"{one.address} has none"
        case PtrVerdict.UNKNOWN:
            return f"{one.address} is unknown: the DNS does not answer now"


def advise(found: Outgoing, hostname: str) -> Iterator[str]:
    """What to do, in order of weight; nothing if all is well."""
    if found.needs_smarthost:
        yield (
            "Mail cannot leave this machine. Ask your provider to open outgoing port 25, or send"
            " through a smarthost: the table [smarthost] of the configuration"
            " (`mailstead setup --smarthost HOST[:PORT]` writes it)."
        )
    elif any(one.family == "IPv6" and one.verdict is Verdict.BLOCKED for one in found.ports):
        yield (
            "Ask your provider to open outgoing port 25 for IPv6 too. Until then mail to hosts"
            " with IPv6 leaves by IPv4, half a minute later."
        )
    if found.smarthost and not found.smarthost.works:
        yield "Correct [smarthost] in the configuration, then: mailstead check outgoing"
    if not found.smarthost:
        for one in found.ptr:
            yield from advise_ptr(one, hostname)


def advise_ptr(one: Ptr, hostname: str) -> Iterator[str]:
    """What to do about an address that greets others with this name."""
    match one.verdict:
        case PtrVerdict.MISSING | PtrVerdict.OTHER:
            yield (
                f"Others will refuse mail from {one.address}. Ask whoever gave you the address:"
                f' "Please set the PTR record of {one.address} to {hostname}."'
            )
        case PtrVerdict.UNCONFIRMED:
            kind = "AAAA" if ":" in one.address else "A"
            yield f"Publish in the DNS: {hostname}.  {kind}  {one.address}"
        case PtrVerdict.RIGHT | PtrVerdict.UNKNOWN:
            return


def _bulleted(report: Report) -> list[str]:
    return ["", *(f"* {text}" for text in report.advice)] if report.advice else []
