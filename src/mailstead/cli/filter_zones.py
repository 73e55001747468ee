"""`mailstead filter zone`: which lists in the DNS are used."""

import asyncio

import click
import msgspec

from mailstead.cli.house import operate, read, write
from mailstead.cli.main import TRY_LATER
from mailstead.cli.printing import for_operators, show, table
from mailstead.model.errors import Refusal
from mailstead.msgauth.dnsbl import Health, check_health
from mailstead.server.wiring import House
from mailstead.services.inbound.zones import KnownZone, shipped_zones, with_key
from mailstead.services.outbound.asking import answer
from mailstead.storage import dnsbl_uses

TEST_TIMEOUT = 60.0  # seconds


class ShownZone(msgspec.Struct, frozen=True):
    """A list, whether it is used, and what its test says."""

    name: str
    active: bool
    suffix: str
    kinds: tuple[str, ...]
    weight: float
    key: bool
    terms: str
    problems: tuple[str, ...] | None = None  # None: not tested


@click.group()
def zone() -> None:
    """Block lists and allow lists in the DNS."""


@zone.command("list")
@for_operators
def list_(as_json: bool) -> None:
    """List all lists that are known, and which of them are used."""
    _show(_shown(), as_json)


@zone.command()
@click.argument("name", required=False)
@for_operators
def test(name: str | None, as_json: bool) -> None:
    """Test the lists that are used, or the list NAME (RFC 5782 section 5).

    A list that does not pass is not used by the server either, until it does. Exit code 1 if one
    does not, 75 if the DNS does not answer.
    """
    wanted = [one for one in _shown() if (one.name == name if name else one.active)]
    if name and not wanted:
        raise _unknown(name)
    keys = {use.zone: use.key for use in read(dnsbl_uses.list_all)}
    known = [with_key(one, keys.get(one.zone.name, "")) for one in shipped_zones()]
    chosen = [one for one in known if one.zone.name in {shown.name for shown in wanted}]
    healths = {one.zone: one for one in operate(lambda house: _test(house, chosen))}
    tested = [
        msgspec.structs.replace(one, problems=tuple(dict.fromkeys(healths[one.name].problems)))
        for one in wanted
    ]
    _show(tested, as_json)
    if any(one.temporary for one in healths.values()):
        raise click.exceptions.Exit(TRY_LATER)
    if not all(one.good for one in healths.values()):
        raise click.exceptions.Exit(1)


@zone.command()
@click.argument("name")
@click.option("--key", default="", help="The key of your registration, where the list wants one.")
@for_operators
def on(name: str, key: str, as_json: bool) -> None:
    """Use the list NAME; the server sees it within a minute."""
    known = _find(name)
    if key and not known.keyed:
        raise Refusal(f"{name} takes no key: leave --key out")
    if not all(letter.isalnum() or letter in "-_" for letter in key):
        raise Refusal("a key is one label of a name: letters, digits and hyphens")
    write(lambda tx: dnsbl_uses.put(tx, name, True, key))
    next_ = f"Next: mailstead filter zone test {name}"
    show({"zone": name, "active": True}, f"{name} is used. {next_}", as_json)


@zone.command()
@click.argument("name")
@for_operators
def off(name: str, as_json: bool) -> None:
    """Use the list NAME no more; the server sees it within a minute."""
    _find(name)
    write(lambda tx: dnsbl_uses.put(tx, name, False, ""))
    show({"zone": name, "active": False}, f"{name} is not used any more.", as_json)


def _find(name: str) -> KnownZone:
    found = next((one for one in shipped_zones() if one.zone.name == name), None)
    if found is None:
        raise _unknown(name)
    return found


def _unknown(name: str) -> Refusal:
    return Refusal(f"there is no list {name}: mailstead filter zone list", "NONEXISTENT")


def _shown() -> list[ShownZone]:
    said = {one.zone: one for one in read(dnsbl_uses.list_all)}
    found = []
    for one in shipped_zones():
        use = said.get(one.zone.name)
        found.append(
            ShownZone(
                name=one.zone.name,
                active=use.active if use else one.on,
                suffix=one.zone.suffix,
                kinds=one.zone.kinds,
                weight=one.weight,
                key=bool(use and use.key),
                terms=one.source,
            )
        )
    return found


async def _test(house: House, zones: list[KnownZone]) -> list[Health]:
    async with asyncio.timeout(TEST_TIMEOUT), asyncio.TaskGroup() as group:
        resolver = house.world.resolver
        tasks = [group.create_task(answer(check_health(one.zone), resolver)) for one in zones]
    return [task.result() for task in tasks]


def _show(zones: list[ShownZone], as_json: bool) -> None:
    rows = [
        (
            one.name,
            "on" if one.active else "off",
            f"{one.weight:+g}",
            " ".join(one.kinds),
            "" if one.problems is None else "; ".join(one.problems) or "passes its test",
            one.suffix,
        )
        for one in zones
    ]
    show(zones, table(("LIST", "USED", "WEIGHT", "OF", "TEST", "SUFFIX"), rows), as_json)
