"""`mailstead spam threshold`: how many points make mail junk, or have it kept back or refused."""

import click
import msgspec

from mailstead.cli.house import read, write
from mailstead.cli.printing import for_operators, show, table
from mailstead.cli.suppression import find_organisation
from mailstead.model.address import parse_domain
from mailstead.model.errors import Refusal
from mailstead.storage import accounts, thresholds
from mailstead.storage.store import Tx
from mailstead.storage.thresholds import NAMES, NEVER, Thresholds, Whose


class ShownThreshold(msgspec.Struct, frozen=True):
    """One threshold, and for whom; nothing named: for everybody."""

    name: str
    points: float | None  # None: never
    organisation: str = ""
    domain: str = ""
    account: str = ""


@click.group()
def threshold() -> None:
    """From how many points on mail is junk, quarantined, put off, refused."""


@threshold.command("list")
@for_operators
def list_(as_json: bool) -> None:
    """List the thresholds; the most exact one counts: account, domain, organisation, everybody."""
    found = read(_list)
    cells = [(one.name, _points(one.points), _for(one)) for one in found]
    show(found, table(("WHAT", "POINTS", "FOR"), cells), as_json)


@threshold.command("set")
@click.argument("name", type=click.Choice(NAMES))
@click.argument("points")
@click.option("--organisation", default="", help="For this organisation.")
@click.option("--domain", default="", help="For mail to this domain of ours.")
@click.option("--account", default="", help="For this account.")
@for_operators
def set_(
    name: str, points: str, organisation: str, domain: str, account: str, as_json: bool
) -> None:
    """From POINTS on do NAME; "never" for no points at all, "usual" as for all the others.

    `mailstead spam replay` says before which messages that would move.
    """
    value = _parse(points)
    write(lambda tx: thresholds.put(tx, _whose(tx, organisation, domain, account), name, value))
    shown = ShownThreshold(name, _shown(value), organisation, domain, account)
    said = "as usual" if value is None else _points(_shown(value))
    show(shown, f"{name}: {said}, for {_for(shown)}.", as_json)


def _parse(text: str) -> float | None:
    if text == "usual":
        return None
    if text == "never":
        return NEVER
    try:
        return float(text)
    except ValueError as error:
        raise Refusal(f"{text!r} is no number of points, nor never, nor usual") from error


def _whose(tx: Tx, organisation: str, domain: str, account: str) -> Whose:
    if account:
        found = accounts.get_account(tx, account)
        return Whose(found.organisation, "", found.id)
    if domain:
        try:
            hosted = accounts.get_domain(tx, parse_domain(domain))
        except ValueError as error:
            raise Refusal(str(error)) from error
        return Whose(hosted.organisation, hosted.name)
    return Whose(find_organisation(tx, organisation)) if organisation else Whose()


def _list(tx: Tx) -> list[ShownThreshold]:
    usual = msgspec.structs.asdict(Thresholds())
    found = {(one.name, one.whose): one.value for one in thresholds.list_all(tx)}
    rows = {(name, Whose()): usual[name] for name in NAMES} | found
    names = dict(tx.rows("SELECT id, name FROM organisation"))
    logins = dict(tx.rows("SELECT id, login FROM account"))
    return [
        ShownThreshold(
            name,
            _shown(value),
            names.get(whose.organisation, ""),
            whose.domain,
            logins.get(whose.account, ""),
        )
        for (name, whose), value in rows.items()
    ]


def _shown(value: float | None) -> float | None:
    return None if value is None or value >= NEVER else value


def _points(value: float | None) -> str:
    return "never" if value is None else f"{value:g}"


def _for(one: ShownThreshold) -> str:
    return one.account or one.domain or one.organisation or "everybody"
