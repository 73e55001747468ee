"""`mailstead queue rules`: what is kept back when its turn comes, until somebody releases it."""

import click

from mailstead.cli.house import read, write
from mailstead.cli.printing import for_operators, show, table
from mailstead.cli.suppression import find_organisation
from mailstead.model.address import parse_address, parse_domain
from mailstead.model.errors import Refusal
from mailstead.model.numbers import OrganisationId
from mailstead.services.explain import format_time
from mailstead.storage import hold_rules
from mailstead.storage.hold_rules import HoldRule
from mailstead.storage.store import Tx

EVERYBODY = OrganisationId(0)


@click.group()
def rules() -> None:
    """Rules that keep mail back when its turn comes.

    What a rule held stays in the queue: remove the rule, then `mailstead queue release`.
    """


@rules.command("list")
@for_operators
def list_(as_json: bool) -> None:
    """List the rules."""
    found = read(hold_rules.list_all)
    titles = ("ID", "ORGANISATION", "STREAM", "FROM", "TO", "SINCE (UTC)", "REASON")
    show(found, table(titles, [_cells(one) for one in found]) if found else "No rules.", as_json)


def _cells(one: HoldRule) -> tuple[object, ...]:
    patterns = (one.organisation, one.stream, one.reverse_path, one.recipient)
    return one.id, *(pattern or "all" for pattern in patterns), format_time(one.created), one.reason


@rules.command()
@click.option("--organisation", default="", help="Of this organisation; all if not given.")
@click.option("--stream", default="", help="Of this stream.")
@click.option("--from", "reverse_path", default="", help='Of this reverse-path, or "@domain".')
@click.option("--to", "recipient", default="", help='To this recipient, or "@domain".')
@click.option("--reason", default="", help="Why: for `message explain`.")
@for_operators
def add(
    organisation: str, stream: str, reverse_path: str, recipient: str, reason: str, as_json: bool
) -> None:
    """Keep mail back from now on, also what waits already."""
    if not (organisation or stream or reverse_path or recipient):
        raise click.UsageError("say which mail: --organisation, --stream, --from, --to")
    patterns = _pattern(reverse_path), _pattern(recipient)

    def work(tx: Tx) -> int:
        whose = find_organisation(tx, organisation) if organisation else EVERYBODY
        return hold_rules.add(tx, whose, stream, *patterns, reason)

    id_ = write(work)
    show({"id": id_}, f"Rule {id_}: such mail is held from now on.", as_json)


def _pattern(text: str) -> str:
    """An address or "@domain", as the queue has them."""
    try:
        if text.startswith("@"):
            return f"@{parse_domain(text[1:])}"
        return str(parse_address(text)) if text else ""
    except ValueError as error:
        raise click.UsageError(str(error)) from error


@rules.command()
@click.argument("id_", metavar="ID", type=int)
@for_operators
def remove(id_: int, as_json: bool) -> None:
    """Remove a rule; what it held stays held until `mailstead queue release`."""
    if not write(lambda tx: hold_rules.remove(tx, id_)):
        raise Refusal(f"there is no rule {id_}: mailstead queue rules list", "NONEXISTENT")
    show({"removed": id_}, f"Rule {id_} is gone. Let mail go on: mailstead queue release", as_json)
