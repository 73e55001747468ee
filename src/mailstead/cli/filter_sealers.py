"""`mailstead filter sealer`: whose ARC seals are believed."""

from typing import Any

import click
import msgspec

from mailstead.cli.house import read, write
from mailstead.cli.parameters import DOMAIN
from mailstead.cli.printing import for_operators, show, table
from mailstead.cli.suppression import find_organisation
from mailstead.model.address import Domain
from mailstead.model.errors import Refusal
from mailstead.model.numbers import OrganisationId
from mailstead.storage import accounts, arc_sealers
from mailstead.storage.arc_sealers import EVERYBODY
from mailstead.storage.store import Tx


class ShownSealer(msgspec.Struct, frozen=True):
    """A believed domain, and by whom; an empty organisation is everybody."""

    domain: str
    organisation: str


def _of_organisation(function: Any) -> Any:
    return click.option(
        "--organisation", default="", help="Only that organisation; all if not given."
    )(function)


@click.group()
def sealer() -> None:
    """Hosts whose ARC seals are believed: lists and forwarders that say what they found."""


@sealer.command("list")
@for_operators
def list_(as_json: bool) -> None:
    """List whose seals are believed, and by whom."""
    found = read(_shown)
    rows = [(one.domain, one.organisation or "everybody") for one in found]
    empty = "Nobody. Next: mailstead filter sealer add lists.example.org"
    show(found, table(("SEALER", "BELIEVED BY"), rows) if rows else empty, as_json)


@sealer.command()
@click.argument("domain", type=DOMAIN)
@_of_organisation
@for_operators
def add(domain: Domain, organisation: str, as_json: bool) -> None:
    """Believe the seals of DOMAIN and of what is below it.

    Mail that fails DMARC because a list changed it goes to the inbox, if the list says that it
    passed when it came there.
    """
    write(lambda tx: arc_sealers.add(tx, _whose(tx, organisation), domain))
    show({"added": domain}, f"Seals of {domain} are believed.", as_json)


@sealer.command()
@click.argument("domain", type=DOMAIN)
@_of_organisation
@for_operators
def remove(domain: Domain, organisation: str, as_json: bool) -> None:
    """Believe DOMAIN no more."""
    if not write(lambda tx: arc_sealers.remove(tx, _whose(tx, organisation), domain)):
        raise Refusal(f"nobody believes {domain}: mailstead filter sealer list", "NONEXISTENT")
    show({"removed": domain}, f"Seals of {domain} are not believed any more.", as_json)


def _whose(tx: Tx, name: str) -> OrganisationId:
    return find_organisation(tx, name) if name else EVERYBODY


def _shown(tx: Tx) -> list[ShownSealer]:
    return [
        ShownSealer(one.domain, organisation_name(tx, one.organisation))
        for one in arc_sealers.list_all(tx)
    ]


def organisation_name(tx: Tx, organisation: OrganisationId) -> str:
    """The name of the organisation; "" for everybody."""
    return accounts.organisation_name(tx, organisation) if organisation else ""
