"""`mailstead alias`: addresses that lead to others."""

from shlex import quote

import click
import msgspec

from mailstead.cli.house import read, teaching, write
from mailstead.cli.parameters import ADDRESS, DOMAIN
from mailstead.cli.printing import for_operators, note, show, table
from mailstead.model.address import Address, Domain
from mailstead.storage import accounts
from mailstead.storage.store import Tx


class ShownAlias(msgspec.Struct, frozen=True):
    """An alias as it is listed."""

    address: str
    targets: list[str]


@click.group()
def alias() -> None:
    """Addresses that lead to others."""


@alias.command()
@click.argument("address", type=ADDRESS)
@click.argument("targets", type=ADDRESS, nargs=-1, required=True)
@for_operators
def add(address: Address, targets: tuple[Address, ...], as_json: bool) -> None:
    """Let ADDRESS lead to the TARGETS, here or elsewhere."""
    with teaching(ALREADYEXISTS=f"mailstead alias list --domain {address.domain}"):
        lost = write(lambda tx: _create(tx, address, targets))
    for target in lost:
        note(
            f"Warning: nobody here has the address {target} yet, and mail for it is refused:"
            f" mailstead account add {quote(str(target))}"
        )
    names = list(map(str, targets))
    show(ShownAlias(str(address), names), f"{address} leads to {', '.join(names)} now.", as_json)


@alias.command("list")
@click.option("--domain", type=DOMAIN, default=None, help="Of this domain only.")
@for_operators
def list_(domain: Domain | None, as_json: bool) -> None:
    """List the aliases with their targets."""
    found = [
        ShownAlias(str(one.address), list(one.targets))
        for one in read(lambda tx: accounts.list_aliases(tx, domain or ""))
    ]
    rows = [(one.address, ", ".join(one.targets)) for one in found]
    empty = "No aliases. Next: mailstead alias add sales@example.org alice@example.org"
    show(found, table(("ALIAS", "LEADS TO"), rows) if rows else empty, as_json)


@alias.command()
@click.argument("address", type=ADDRESS)
@for_operators
def delete(address: Address, as_json: bool) -> None:
    """Take an alias away; mail for it is refused from then on."""
    with teaching(NONEXISTENT=f"mailstead alias list --domain {address.domain}"):
        write(lambda tx: accounts.delete_alias(tx, address))
    show({"deleted": str(address)}, f"{address} is no alias any more.", as_json)


def _create(tx: Tx, address: Address, targets: tuple[Address, ...]) -> list[Address]:
    """Make it; those targets that are in our domains and lead nowhere."""
    accounts.create_alias(tx, address, list(targets))
    return [
        target
        for target in targets
        if isinstance(accounts.find_destination(tx, target), accounts.ToNobody)
    ]
