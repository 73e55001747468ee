"""`mailstead source`: the addresses that mail leaves from, and how new ones warm up."""

import ipaddress
import re
from datetime import datetime

import click
import msgspec

from mailstead.cli.house import operate, read, teaching, write
from mailstead.cli.main import TRY_LATER
from mailstead.cli.outgoing import advise_ptr, ptr_sentence
from mailstead.cli.parameters import DOMAIN
from mailstead.cli.printing import for_operators, show, table
from mailstead.model.address import Domain
from mailstead.model.errors import Refusal
from mailstead.net.stream import bind
from mailstead.server.wiring import House
from mailstead.services.outbound.asking import answer
from mailstead.services.outbound.providers import OTHER, shipped_providers
from mailstead.services.outbound.ptr import Ptr, PtrVerdict, check_ptr
from mailstead.storage import sources as rows
from mailstead.storage.sources import Source
from mailstead.storage.store import Tx

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Checked(msgspec.Struct, frozen=True):
    """What the DNS says of a source's addresses, and what to do about it."""

    name: str
    ptr: tuple[Ptr, ...]
    advice: tuple[str, ...]

    @property
    def unknown(self) -> bool:
        """Whether the DNS does not answer now."""
        return any(one.verdict is PtrVerdict.UNKNOWN for one in self.ptr)


class Today(msgspec.Struct, frozen=True):
    """What a source sent to a provider today, and may send."""

    provider: str
    sent: int
    allowance: int


class Shown(msgspec.Struct, frozen=True):
    """A source, with its plan while it is warming."""

    source: Source
    pools: tuple[str, ...]
    day: int | None = None  # of warming up, from 1; None: it is warm
    today: tuple[Today, ...] = ()
    plan: tuple[int, ...] = ()


@click.group()
def source() -> None:
    """Addresses of ours that mail leaves from."""


@source.command()
@click.argument("name")
@click.argument("addresses", nargs=-1, required=True)
@click.option("--helo", type=DOMAIN, required=True, help="What it calls itself: its PTR record.")
@click.option("--warm", is_flag=True, help="It has sent mail before: no slow beginning.")
@for_operators
def add(name: str, addresses: tuple[str, ...], helo: Domain, warm: bool, as_json: bool) -> None:
    """Make a source of one address of this machine, or of one of each family.

    It sends nothing before it is in a pool that somebody uses: `mailstead pool`. A new address
    begins with few messages a day to each provider; say --warm for one that others know already.
    """
    if not NAME.fullmatch(name):
        raise Refusal("a name has up to 64 letters, digits, dots, hyphens: lower case")
    own = _addresses(addresses)

    def work(tx: Tx) -> Source:
        made = Source(name, own, helo, tx.now, None if warm else tx.now)
        rows.add(tx, made)
        return made

    with teaching(ALREADYEXISTS="mailstead source list"):
        made = write(work)
    checked = operate(lambda house: _check(house, made))
    lines = [f"{name} is a source now. Next: mailstead pool add POOL {name}", *_lines(checked)]
    show(checked, "\n".join(lines), as_json)


@source.command("list")
@for_operators
def list_(as_json: bool) -> None:
    """List the sources."""
    found = read(_all)
    cells = [
        (
            one.source.name,
            " ".join(one.source.addresses),
            one.source.helo,
            f"day {one.day} of {len(one.plan)}" if one.day else "warm",
            " ".join(one.pools) or "-",
        )
        for one in found
    ]
    titles = ("SOURCE", "ADDRESSES", "HELO", "WARM-UP", "POOLS")
    nothing = "No sources: mail leaves as the kernel chooses. Next: mailstead source add"
    show(found, table(titles, cells) if cells else nothing, as_json)


@source.command("show")
@click.argument("name")
@for_operators
def show_(name: str, as_json: bool) -> None:
    """Show a source: its warm-up plan, what it sent today, and what it still may, by provider."""
    found = _get(name)
    show(found, "\n".join(_story(found)), as_json)


@source.command()
@click.argument("name")
@for_operators
def check(name: str, as_json: bool) -> None:
    """Check that the PTR records of a source lead to its name and back.

    Exit code 1 if there is something to do about it, 75 if the DNS does not answer.
    """
    made = _get(name).source
    checked = operate(lambda house: _check(house, made))
    show(checked, "\n".join(_lines(checked)), as_json)
    if checked.advice:
        raise click.exceptions.Exit(1)
    if checked.unknown:
        raise click.exceptions.Exit(TRY_LATER)


@source.command()
@click.argument("name")
@for_operators
def warm(name: str, as_json: bool) -> None:
    """End the warm-up of a source: from now on it sends as much as there is."""
    with teaching(NONEXISTENT="mailstead source list"):
        write(lambda tx: rows.set_warming(tx, name, None))
    show({"warm": name}, f"{name} is warm: it sends as much as there is.", as_json)


@source.command()
@click.argument("name")
@for_operators
def remove(name: str, as_json: bool) -> None:
    """Forget a source. What is queued for it leaves from another of its pool."""
    with teaching(NONEXISTENT="mailstead source list", INUSE="mailstead pool unuse"):
        write(lambda tx: rows.remove(tx, name))
    show({"removed": name}, f"{name} is no source any more.", as_json)


def _addresses(texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        found = [ipaddress.ip_address(text) for text in texts]
    except ValueError as error:
        raise Refusal(str(error)) from error
    if len({one.version for one in found}) < len(found):
        raise Refusal("a source has one address of each family; make another of the second one")
    return tuple(str(one) for one in sorted(found, key=lambda one: one.version))


def _get(name: str) -> Shown:
    with teaching(NONEXISTENT="mailstead source list"):
        found = read(lambda tx: [one for one in _all(tx) if one.source.name == name])
        if not found:
            raise Refusal(f"there is no source {name}", "NONEXISTENT")
    return found[0]


def _all(tx: Tx) -> list[Shown]:
    known = rows.load(tx)
    return [_shown(tx, one, known.pools) for one in known.sources.values()]


def _shown(tx: Tx, one: Source, pools: dict[str, tuple[str, ...]]) -> Shown:
    mine = tuple(pool for pool, names in pools.items() if one.name in names)
    providers, day = shipped_providers(), _day(one, tx.now)
    if day is None or day >= len(providers.days):
        return Shown(one, mine)
    sent = rows.sent(tx, one.name, rows.day_of(tx.now))
    names = [*(profile.name for profile in providers.profiles), OTHER]
    today = [(name, sent.get(name, 0), providers.allowance(name, day)) for name in names]
    return Shown(
        one,
        mine,
        day + 1,
        tuple(Today(name, number, most) for name, number, most in today if most is not None),
        providers.days,
    )


def _day(one: Source, now: datetime) -> int | None:
    return None if one.warming is None else rows.day_of(now) - rows.day_of(one.warming)


def _story(found: Shown) -> list[str]:
    one = found.source
    lines = [
        f"addresses  {' '.join(one.addresses)}",
        f"helo       {one.helo}",
        f"pools      {' '.join(found.pools) or 'none: it sends nothing'}",
    ]
    if found.day is None:
        return [*lines, "warm-up    over: it sends as much as there is"]
    tomorrow = found.plan[found.day] if found.day < len(found.plan) else "as much as there is"
    touched = [today for today in found.today if today.sent] or [
        today for today in found.today if today.provider == OTHER
    ]
    cells = [
        (today.provider, today.sent, today.allowance, max(today.allowance - today.sent, 0))
        for today in touched
    ]
    return [
        *lines,
        f"warm-up    day {found.day} of {len(found.plan)}: {found.plan[found.day - 1]} messages to"
        f" each provider, tomorrow {tomorrow} (some get a part: mailstead check provider)",
        "plan       " + " ".join(map(str, found.plan)),
        "",
        table(("TODAY", "SENT", "MAY SEND", "LEFT"), cells),
        "",
        "What is more leaves from another source of the pool, or waits till midnight (UTC).",
    ]


async def _check(house: House, made: Source) -> Checked:
    ptr = [await answer(check_ptr(one, made.helo), house.world.resolver) for one in made.addresses]
    advice = [line for one in ptr for line in advise_ptr(one, made.helo)]
    advice += [
        f"This machine does not have {address}: it cannot send from there."
        for address in made.addresses
        if not _is_here(address)
    ]
    return Checked(made.name, tuple(ptr), tuple(advice))


def _is_here(address: str) -> bool:
    try:
        bind(address, 0).close()
    except OSError:
        return False
    return True


def _lines(checked: Checked) -> list[str]:
    found = [f"PTR  {ptr_sentence(one)}" for one in checked.ptr]
    if not all(one.confirmed or one.verdict is PtrVerdict.UNKNOWN for one in checked.ptr):
        found.append("It is not used for what the DNS leads to until that is right.")
    return [*found, *(f"* {text}" for text in checked.advice)]
