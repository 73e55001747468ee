"""`mailstead filter greylist`, `strict` and `seal`: switches of organisations and domains."""

from typing import Any

import click
import msgspec

from mailstead.cli.filter_sealers import organisation_name
from mailstead.cli.house import read, write
from mailstead.cli.parameters import DOMAIN
from mailstead.cli.printing import for_operators, show, table
from mailstead.cli.suppression import find_organisation
from mailstead.model.address import Domain
from mailstead.model.errors import Refusal
from mailstead.storage import accounts, switches
from mailstead.storage.store import Tx
from mailstead.storage.switches import EVERYBODY, GREYLISTING, SEALING, STRICT, Switch


class ShownSwitch(msgspec.Struct, frozen=True):
    """What is said, and of whom; an empty organisation is everybody."""

    organisation: str
    domain: str
    on: bool


def _for_whom(function: Any) -> Any:
    function = click.option("--domain", type=DOMAIN, help="Only for mail to that domain.")(function)
    return click.option("--organisation", default="", help="Only for that organisation.")(function)


def _group(name: str, key: str, help: str, on_help: str) -> click.Group:
    @click.group(name, help=help)
    def group() -> None:
        pass

    @group.command("list", help="List for whom it is on or off.")
    @for_operators
    def list_(as_json: bool) -> None:
        _list(key, as_json)

    @group.command("on", help=on_help)
    @_for_whom
    @for_operators
    def on(organisation: str, domain: Domain | None, as_json: bool) -> None:
        _put(key, "on", organisation, domain, as_json)

    @group.command("off", help="Switch it off, for everybody or for these only.")
    @_for_whom
    @for_operators
    def off(organisation: str, domain: Domain | None, as_json: bool) -> None:
        _put(key, "off", organisation, domain, as_json)

    return group


def _put(key: str, value: str, organisation: str, domain: Domain | None, as_json: bool) -> None:
    write(lambda tx: switches.put(tx, key, _switch(tx, value, organisation, domain)))
    whom = domain or organisation or "everybody"
    show({key: value, "for": whom}, f"It is {value} for {whom}.", as_json)


def _switch(tx: Tx, value: str, organisation: str, domain: Domain | None) -> Switch:
    if domain is None:
        whose = find_organisation(tx, organisation) if organisation else EVERYBODY
        return Switch(whose, "", value)
    hosted = accounts.find_domain(tx, domain)
    if hosted is None:
        raise Refusal(f"{domain} is not hosted here: mailstead domain list", "NONEXISTENT")
    return Switch(hosted.organisation, domain, value)


_STATE = {True: "on", False: "off"}


def _list(key: str, as_json: bool) -> None:
    def shown(tx: Tx) -> list[ShownSwitch]:
        return [
            ShownSwitch(organisation_name(tx, one.organisation), one.domain, one.value == "on")
            for one in switches.list_all(tx, key)
        ]

    found = read(shown)
    rows = [
        (one.organisation or "everybody", one.domain, "on" if one.on else "off") for one in found
    ]
    show(found, table(("FOR", "DOMAIN", "STATE"), rows) if rows else "Off for everybody.", as_json)


greylist = _group(
    "greylist",
    GREYLISTING,
    "Ask strangers that prove nothing to come again later.",
    """Switch greylisting on, for everybody or for these only.

    Mail that passes DMARC, and senders that have come before, are never asked to wait.
    """,
)
strict = _group(
    "strict",
    STRICT,
    "Refuse whatever fails DMARC and whose domain asks for it.",
    """Refuse what fails DMARC with p=reject, for everybody or for these only.

    Without it such mail goes to Junk where a list or a forwarder may have broken it. Mail that came
    through lists will be lost, but for those whose seals are believed: mailstead filter sealer.
    """,
)
seal = _group(
    "seal",
    SEALING,
    "ARC seals on what aliases forward.",
    """Seal what is forwarded, for everybody or for these only.

    The domain of the alias seals with its DKIM key: mailstead domain dkim list.
    """,
)
