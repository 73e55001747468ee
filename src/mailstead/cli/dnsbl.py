"""`mailstead check dnsbl`: which lists in the DNS have an address or a domain."""

import asyncio
import ipaddress

import click
import msgspec

from mailstead.cli.house import operate, read
from mailstead.cli.main import TRY_LATER
from mailstead.cli.printing import for_operators, show
from mailstead.model.address import parse_domain
from mailstead.model.errors import TemporaryFailure
from mailstead.msgauth.dnsbl import (
    Alarm,
    Health,
    Listed,
    NotListed,
    Result,
    Subject,
    Unanswered,
    Zone,
    check_health,
    kind_of,
    look_up,
)
from mailstead.server.wiring import House
from mailstead.services.inbound.lists import zones_in_use
from mailstead.services.inbound.zones import shipped_zones, with_key
from mailstead.services.outbound.asking import answer
from mailstead.storage import dnsbl_uses

CHECK_TIMEOUT = 60.0  # seconds


class Checked(msgspec.Struct, frozen=True):
    """What one zone said; nothing, if it does not pass its test."""

    zone: str
    health: Health
    result: Result | None = None


@click.command()
@click.argument("subject", metavar="ADDRESS|DOMAIN")
@click.option("--zone", "only", multiple=True, metavar="NAME", help="Ask this list, even if off.")
@for_operators
def dnsbl(subject: str, only: tuple[str, ...], as_json: bool) -> None:
    """Say which block lists and allow lists have an IP address or a domain.

    Each list is tested first (RFC 5782 section 5). Exit code 1 if a block list has it, 75 if a
    list could not be asked.
    """
    wanted = _subject(subject)
    zones = _zones(wanted, only)
    found = operate(lambda house: _check(house, zones, wanted))
    show(found, "\n".join(map(_sentence, found)), as_json)
    if any(isinstance(one.result, Listed) and not one.result.allows for one in found):
        raise click.exceptions.Exit(1)
    if any(one.health.temporary or isinstance(one.result, Unanswered) for one in found):
        raise click.exceptions.Exit(TRY_LATER)


def _subject(text: str) -> Subject:
    try:
        return ipaddress.ip_address(text.strip("[]").removeprefix("IPv6:"))
    except ValueError:
        pass
    try:
        return parse_domain(text)
    except ValueError as error:
        raise click.UsageError(f"{text!r} is neither an IP address nor a domain") from error


def _zones(subject: Subject, only: tuple[str, ...]) -> list[Zone]:
    """The zones that list such a thing, and are used or asked for by name."""
    if isinstance(subject, ipaddress.IPv6Address):
        subject = subject.ipv4_mapped or subject
    known = shipped_zones()
    names = {one.zone.name for one in known}
    if unknown := set(only) - names:
        raise click.UsageError(f"no list {min(unknown)!r}; there are {', '.join(sorted(names))}")
    uses = read(dnsbl_uses.list_all)
    used = zones_in_use(uses)
    if only:
        keys = {use.zone: use.key for use in uses}
        named = [one for one in known if one.zone.name in only]
        used = tuple(with_key(one, keys.get(one.zone.name, "")) for one in named)
    wanted = [one.zone for one in used]
    zones = [zone for zone in wanted if kind_of(subject) in zone.kinds]
    if not zones:
        raise click.UsageError("none of these lists has entries of that kind")
    return zones


async def _check(house: House, zones: list[Zone], subject: Subject) -> list[Checked]:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT), asyncio.TaskGroup() as group:
            tasks = [group.create_task(_ask(house, zone, subject)) for zone in zones]
    except TimeoutError:
        raise TemporaryFailure(f"the DNS took more than {CHECK_TIMEOUT:.0f} seconds") from None
    return [task.result() for task in tasks]


async def _ask(house: House, zone: Zone, subject: Subject) -> Checked:
    resolver = house.world.resolver
    health = await answer(check_health(zone), resolver)
    if not health.good:
        return Checked(zone.name, health)
    return Checked(zone.name, health, await answer(look_up(zone, subject), resolver))


def _sentence(one: Checked) -> str:
    match one.result:
        case None:
            return f"{one.zone}: not usable: {'; '.join(dict.fromkeys(one.health.problems))}"
        case Listed(_, labels, records, allows, reason):
            word = "vouches for it" if allows else "LISTED"
            said = f" They say: {reason}" if reason else ""
            return f"{one.zone}: {word}: {'; '.join(labels)} ({', '.join(records)}).{said}"
        case NotListed():
            return f"{one.zone}: not listed"
        case Alarm(_, _, problem):
            return f"{one.zone}: no evidence: {problem}"
        case Unanswered():
            return f"{one.zone}: the DNS does not answer now"
