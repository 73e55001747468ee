"""`mailstead relay`: domains whose mail we take for another server."""

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import msgspec

from mailstead.cli.house import operate, read, teaching, write
from mailstead.cli.importing import BadRow
from mailstead.cli.parameters import DOMAIN
from mailstead.cli.printing import clean, for_operators, note, show, table
from mailstead.cli.suppression import find_organisation
from mailstead.model.address import Address, Domain, parse_address
from mailstead.model.errors import Refusal
from mailstead.server.config import parse_endpoint
from mailstead.server.wiring import House
from mailstead.services.outbound.route import parse_route
from mailstead.storage import accounts, call_ahead, queue
from mailstead.storage import relays as rows
from mailstead.storage.queue import Filter
from mailstead.storage.relays import CHECKS, DAYS, DAYS_LIMIT, TRANSPORTS, RelayDomain
from mailstead.storage.store import WRITE_LIMIT, Tx

PORTS = {"smtp": 25, "lmtp": 24}
WAITING_SHOWN = 1000  # recipients in the queue are counted up to so many


class ShownRelay(msgspec.Struct, frozen=True):
    """A relay domain as it is listed."""

    name: str
    host: str  # empty: what the DNS says
    transport: str
    recipients: str
    days: int
    listed: int  # addresses on its list
    hosted: bool  # here as well: the domain is split
    takes_anybody: bool | None = None  # the server, when it was asked; None: not known


class Imported(msgspec.Struct, frozen=True):
    """What came of a file."""

    added: int
    removed: int
    refused: list[BadRow]


@click.group()
def relay() -> None:
    """Domains whose mail we take for another server: as its backup, gateway or other half."""


_host = click.option("--host", default="", help="Its server, as host[:port]; else its MX records.")
_transport = click.option("--transport", type=click.Choice(TRANSPORTS), help="By what protocol.")
_recipients = click.option(
    "--recipients", type=click.Choice(CHECKS), help="How its addresses are known."
)
_days = click.option(
    "--days", type=click.IntRange(1, DAYS_LIMIT), help=f"How long mail waits; {DAYS} if not given."
)


@relay.command()
@click.argument("name", type=DOMAIN)
@_host
@_transport
@_recipients
@_days
@click.option("--organisation", default="", help="Whose; the first one if not given.")
@for_operators
def add(
    name: Domain,
    host: str,
    transport: str | None,
    recipients: str | None,
    days: int | None,
    organisation: str,
    as_json: bool,
) -> None:
    """Take the mail of the domain NAME for its own server.

    If the domain is hosted here too, addresses that do not exist here go to that server.
    """
    transport, recipients = transport or TRANSPORTS[0], recipients or CHECKS[0]

    def work(tx: Tx) -> None:
        owner = find_organisation(tx, organisation)
        at = _checked_host(host, transport)
        rows.add(tx, RelayDomain(name, owner, at, transport, recipients, days or DAYS, tx.now))

    with teaching(ALREADYEXISTS=f"mailstead relay set {name}"):
        write(work)
    shown = read(lambda tx: _shown(tx, rows.get(tx, name)))
    show(shown, f"Mail for {name} is taken for its own server now.\n{_advice(shown)}", as_json)


@relay.command("set")
@click.argument("name", type=DOMAIN)
@_host
@click.option("--by-mx", is_flag=True, help="Its server is the one that its MX records name.")
@_transport
@_recipients
@_days
@for_operators
def set_(
    name: Domain,
    host: str,
    by_mx: bool,
    transport: str | None,
    recipients: str | None,
    days: int | None,
    as_json: bool,
) -> None:
    """Change what is given; a new host counts for mail that waits, too."""
    if host and by_mx:
        raise click.UsageError("--host or --by-mx, not both")

    def work(tx: Tx) -> None:
        old = rows.get(tx, name)
        protocol = transport or old.transport
        changed = msgspec.structs.replace(
            old,
            host=_checked_host("" if by_mx else host or old.host, protocol),
            transport=protocol,
            recipients=recipients or old.recipients,
            days=days or old.days,
        )
        rows.change(tx, changed)

    write(work)
    shown = read(lambda tx: _shown(tx, rows.get(tx, name)))
    show(shown, _text(shown, 0), as_json)


@relay.command("list")
@for_operators
def list_(as_json: bool) -> None:
    """List the relay domains."""
    found = read(lambda tx: [_shown(tx, one) for one in rows.list_all(tx)])
    cells = [
        (one.name, one.host or "its MX", one.transport, _known(one), one.days, _split(one))
        for one in found
    ]
    titles = ("DOMAIN", "SERVER", "BY", "RECIPIENTS", "DAYS", "HERE")
    empty = "No relay domains. Next: mailstead relay add example.net"
    show(found, table(titles, cells) if cells else empty, as_json)


@relay.command("show")
@click.argument("name", type=DOMAIN)
@for_operators
def show_(name: Domain, as_json: bool) -> None:
    """Show a relay domain, and how much of its mail waits."""
    shown, waiting = read(
        lambda tx: (
            _shown(tx, rows.get(tx, name)),
            len(queue.find(tx, Filter(lane=name), WAITING_SHOWN)),
        )
    )
    show({"domain": shown, "waiting": waiting}, _text(shown, waiting), as_json)


@relay.command()
@click.argument("name", type=DOMAIN)
@for_operators
def remove(name: Domain, as_json: bool) -> None:
    """Take the domain's mail no longer; what waits already goes on by MX."""
    read(lambda tx: rows.get(tx, name))
    operate(lambda house: _clear(house, name))
    write(lambda tx: rows.remove(tx, name))
    show({"removed": name}, f"{name} is no relay domain any more.", as_json)


async def _clear(house: House, name: Domain) -> None:
    while page := await house.store.read(lambda tx: rows.page(tx, name, "", WRITE_LIMIT)):
        await house.store.write(lambda tx, page=page: rows.remove_recipients(tx, name, page))  # type: ignore[misc]


def _checked_host(host: str, transport: str) -> str:
    """The host with its port; Refusal if it is none, or has to be there."""
    if not host:
        if transport == "lmtp":
            raise Refusal("LMTP goes to a host that you name: --host HOST:PORT")
        return ""
    try:
        endpoint = parse_route(str(parse_endpoint(host, PORTS[transport])))
    except ValueError as error:
        raise Refusal(f"{error}; write it as mx.example.net:25") from error
    if transport == "lmtp" and endpoint.port == PORTS["smtp"]:
        raise Refusal("LMTP must not go to port 25 (RFC 2033 section 5); 24 is usual")
    return str(endpoint)


def _shown(tx: Tx, one: RelayDomain) -> ShownRelay:
    anybody = call_ahead.find(tx, [call_ahead.anybody(one.name)]).get(call_ahead.anybody(one.name))
    return ShownRelay(
        name=one.name,
        host=one.host,
        transport=one.transport,
        recipients=one.recipients,
        days=one.days,
        listed=rows.count_recipients(tx, one.name),
        hosted=accounts.find_domain(tx, one.name) is not None,
        takes_anybody=anybody.taken if anybody and one.recipients == "call" else None,
    )


def _text(one: ShownRelay, waiting: int) -> str:
    more = "or more " if waiting == WAITING_SHOWN else ""
    lines = [
        f"Domain      {one.name}{' (split: hosted here, too)' if one.hosted else ''}",
        f"Server      {one.host or 'as its MX records say'}, by {one.transport.upper()}",
        f"Recipients  {_known(one)}",
        f"Waits       {one.days} days at most; {waiting} {more}in the queue now",
        _advice(one),
    ]
    return "\n".join(filter(None, lines))


def _known(one: ShownRelay) -> str:
    if one.recipients == "list":
        return f"{one.listed} on the list"
    also = f", {one.listed} on the list" if one.listed else ""
    return f"its server is asked{also}"


def _split(one: ShownRelay) -> str:
    return "split" if one.hosted else "-"


def _advice(one: ShownRelay) -> str:
    if one.takes_anybody:
        return (
            "Its server takes any address, so asking it keeps nothing out. Better a list:"
            f" mailstead relay set {one.name} --recipients list"
        )
    if one.recipients == "list" and not one.listed:
        return (
            "Nobody is on its list, so all recipients but postmaster and abuse are refused."
            f" Next: mailstead relay recipients {one.name} import FILE"
        )
    return ""


# ---------------------------------------------------------------------- the list of recipients


@relay.group()
@click.argument("name", type=DOMAIN)
def recipients(name: Domain) -> None:
    """The addresses of the relay domain NAME that exist on its server."""


@recipients.command("list")
@for_operators
def list_recipients(as_json: bool) -> None:
    """Print the list, one address a line."""
    name = _named()
    found = [f"{local_part}@{name}" for local_part in _all(name)]
    show(found, "\n".join(found) or f"Nobody is on the list of {name}.", as_json)


@recipients.command("add")
@click.argument("addresses", nargs=-1, required=True)
@for_operators
def add_recipients(addresses: tuple[str, ...], as_json: bool) -> None:
    """Put ADDRESSES on the list."""
    name = _named()
    wanted = [_recipient(text, name).local_part for text in addresses]
    write(lambda tx: rows.add_recipients(tx, name, wanted))
    show({"added": list(addresses)}, f"{len(wanted)} on the list of {name} now.", as_json)


@recipients.command("remove")
@click.argument("addresses", nargs=-1, required=True)
@for_operators
def remove_recipients(addresses: tuple[str, ...], as_json: bool) -> None:
    """Take ADDRESSES off the list."""
    name = _named()
    gone = [_recipient(text, name).local_part for text in addresses]
    write(lambda tx: rows.remove_recipients(tx, name, gone))
    show({"removed": list(addresses)}, f"{len(gone)} off the list of {name} now.", as_json)


@recipients.command("import")
@click.argument("path", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--replace", is_flag=True, help="Take those off the list that the file lacks.")
@for_operators
def import_(path: Path, replace: bool, as_json: bool) -> None:
    """Put the addresses of a file on the list: one a line, with or without @domain.

    Lines that are no address of the domain are told and left out; exit code 1 if there are any,
    and then --replace takes nobody off the list.
    """
    name = _named()
    good: dict[str, None] = {}
    bad: list[BadRow] = []
    for line, text in _lines(path):
        try:
            good[accounts.fold(_recipient(text, name).local_part)] = None
        except Refusal as refusal:
            bad.append(BadRow(line, refusal.reason, clean(text)))
    _in_slices(list(good), "added", lambda tx, some: rows.add_recipients(tx, name, some))
    gone = [one for one in _all(name) if one not in good] if replace and not bad else []
    _in_slices(gone, "removed", lambda tx, some: rows.remove_recipients(tx, name, some))
    told = [f"line {one.line}: {one.address}: {one.reason}" for one in bad]
    summary = f"{len(good)} addresses on the list, {len(gone)} off it, {len(bad)} lines refused."
    show(Imported(len(good), len(gone), bad), "\n".join([*told, summary]), as_json)
    if bad:
        raise click.exceptions.Exit(1)


def _in_slices(local_parts: list[str], done: str, do: Callable[[Tx, list[str]], None]) -> None:
    """Each slice is a transaction; long ones tell how far they are."""

    async def work(house: House) -> None:
        for start in range(0, len(local_parts), WRITE_LIMIT):
            some = local_parts[start : start + WRITE_LIMIT]
            await house.store.write(lambda tx, some=some: do(tx, some))  # type: ignore[misc]
            if len(local_parts) > WRITE_LIMIT:
                note(f"{start + len(some)} of {len(local_parts)} {done} ...")

    operate(work)


def _named() -> Domain:
    """The domain of the group; Refusal if it is no relay domain."""
    parent = click.get_current_context().parent
    assert parent is not None
    name: Domain = parent.params["name"]
    read(lambda tx: rows.get(tx, name))
    return name


def _recipient(text: str, name: Domain) -> Address:
    """The address that the text stands for, with or without its domain."""
    try:
        address = parse_address(text if "@" in text else f"{text}@{name}")
    except ValueError as error:
        raise Refusal(str(error)) from error
    if address.domain != name:
        raise Refusal(f"it is no address of {name}")
    return address


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are neither empty nor comments, with their numbers."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            text = line.partition("#")[0].strip()
            if text:
                yield number, text


def _all(name: Domain) -> list[str]:
    """All local-parts of the list, in order."""

    async def work(house: House) -> list[str]:
        found: list[str] = []
        after = ""
        while page := await house.store.read(
            lambda tx, after=after: rows.page(tx, name, after, WRITE_LIMIT)  # type: ignore[misc]
        ):
            found += page
            after = page[-1]
        return found

    return operate(work)
