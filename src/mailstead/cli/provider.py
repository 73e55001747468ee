"""`mailstead check provider`: which profile of services.outbound.providers a domain gets."""

import click
import msgspec

from mailstead.cli.house import operate
from mailstead.cli.main import TRY_LATER
from mailstead.cli.parameters import DOMAIN
from mailstead.cli.printing import for_operators, note, show
from mailstead.model.address import Domain
from mailstead.model.dns import Question
from mailstead.server.wiring import House
from mailstead.services.outbound.providers import OTHER, Limits, Profile, shipped_providers

HOSTS_SHOWN = 5


class Provider(msgspec.Struct, frozen=True):
    """The profile that applies, the hosts it was found by, and how a new source begins."""

    name: str
    hosts: tuple[str, ...]
    limits: Limits
    pause_minutes: int
    block_pause_minutes: int
    warmup_days: tuple[int, ...]
    source: str


@click.command()
@click.argument("name", type=DOMAIN)
@for_operators
def provider(name: Domain, as_json: bool) -> None:
    """How fast mail goes to a domain, or to an MX host: the profile of its provider.

    NAME is a domain, whose MX records are asked for, or the name of a host.
    """
    found = operate(lambda house: _find(house, name))
    if found is None:
        note(f"The DNS does not answer now: MX {name}")
        raise click.exceptions.Exit(TRY_LATER)
    show(found, "\n".join(_lines(found)), as_json)


async def _find(house: House, name: Domain) -> Provider | None:
    profile = shipped_providers().find((name,))
    if profile.name != OTHER:
        return _provider(profile, (name,))
    answer = await house.world.resolver.ask(Question("MX", name))
    if answer.failed:
        return None
    hosts = tuple(mx.exchange for mx in answer.mx()) or (name,)
    return _provider(shipped_providers().find(hosts), hosts)


def _provider(profile: Profile, hosts: tuple[str, ...]) -> Provider:
    providers = shipped_providers()
    days = [providers.allowance(profile.name, day) for day in range(len(providers.days))]
    return Provider(
        name=profile.name,
        hosts=hosts,
        limits=profile.limits,
        pause_minutes=int(profile.pause.total_seconds() // 60),
        block_pause_minutes=int(profile.block_pause.total_seconds() // 60),
        warmup_days=tuple(day for day in days if day is not None),
        source=profile.source,
    )


def _lines(found: Provider) -> list[str]:
    limits, days = found.limits, found.warmup_days
    hosts = ", ".join(found.hosts[:HOSTS_SHOWN]) + (", ..." if found.hosts[HOSTS_SHOWN:] else "")
    rate = limits.messages_a_minute
    guess = "nothing is known of it: the usual" if found.name == OTHER else "a careful guess"
    return [
        f"provider   {found.name}",
        f"hosts      {hosts}",
        f"at once    {limits.connections} connections of {limits.messages_a_connection} messages,"
        f" {f'{rate} messages a minute' if rate else 'as fast as they go'}",
        f"too fast   pause of {found.pause_minutes} minutes, then half of it all",
        f"blocked    pause of {found.block_pause_minutes} minutes",
        f"new source {', '.join(map(str, days[:7]))}, ... messages a day, for {len(days)} days",
        f"says who   {found.source or guess}",
    ]
