"""`mailstead incident`: sites that block us, or do not believe who we are."""

import click

from mailstead.cli.house import read, write
from mailstead.cli.printing import for_operators, show, table
from mailstead.model.errors import Refusal
from mailstead.services.explain import format_time
from mailstead.services.outbound.classify import advice
from mailstead.storage import incidents
from mailstead.storage.incidents import Incident


@click.group()
def incident() -> None:
    """Sites that block us, or do not believe who we are."""


@incident.command("list")
@click.option("--closed", is_flag=True, help="Those that are over.")
@for_operators
def list_(closed: bool, as_json: bool) -> None:
    """List what is going on, with what to do about it."""
    found = read(incidents.list_closed if closed else incidents.list_open)
    rows = [
        (one.id, one.key.site, one.key.source or "-", one.key.kind, format_time(one.opened),
         one.times, one.said)
        for one in found
    ]  # fmt: skip
    titles = ("ID", "SITE", "SOURCE", "ABOUT", "SINCE (UTC)", "TIMES", "WORDS")
    text = table(titles, rows) if rows else "No site refuses mail because of us."
    show(found, text + _advice(found), as_json)


def _advice(found: list[Incident]) -> str:
    kinds = dict.fromkeys(one.key.kind for one in found if one.closed is None)
    lines = [f"{kind}: {advice(kind, '')}" for kind in kinds]
    if found:
        lines.append(f"The first message: mailstead message explain {found[-1].trace}")
    return "\n\n" + "\n".join(lines) if lines else ""


@incident.command()
@click.argument("id_", metavar="ID", type=int)
@for_operators
def close(id_: int, as_json: bool) -> None:
    """Call an incident over; it is by itself when the site takes mail again for an hour."""
    if not write(lambda tx: incidents.close(tx, id_)):
        raise Refusal(f"no incident {id_} is open: mailstead incident list", "NONEXISTENT")
    show({"closed": id_}, f"The incident {id_} is over.", as_json)
