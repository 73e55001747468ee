"""`mailstead store`: the database and the bodies as a whole."""

from pathlib import Path

import click

from mailstead.cli.house import run_in_house
from mailstead.cli.printing import note, show
from mailstead.model.errors import Refusal
from mailstead.server.config import Config, ConfigError, load
from mailstead.server.wiring import House, open_house
from mailstead.services.copying import Copied, Copying, Side

CONFIGURATION = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.group()
def store() -> None:
    """The database and the bodies as a whole."""


@store.command()
@click.argument("source", metavar="FROM", type=CONFIGURATION)
@click.argument("target", metavar="TO", type=CONFIGURATION)
@click.option("--json", "as_json", is_flag=True, help="For programs: JSON.")
def copy(source: Path, target: Path, as_json: bool) -> None:
    """Copy everything from one store into another, and compare both.

    FROM and TO are configuration files: of the server as it is, and as it shall be. Stop the server
    first. If the copy is broken off, give the same command again: it goes on where it was.
    """
    old, new = _load(source), _load(target)
    if old.database == new.database:
        raise Refusal(f"{source} and {target} name the same database")
    new.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    copied = run_in_house(old, lambda house: _copy(house, new))
    show(copied, _text(copied, target), as_json)


def _load(path: Path) -> Config:
    try:
        return load(path)
    except ConfigError as error:
        raise Refusal(str(error)) from error


async def _copy(source: House, target: Config) -> Copied:
    async with open_house(target, lambda trace, entries: None, unfinished=True) as house:
        old, new = Side(source.store, source.packs), Side(house.store, house.packs)
        return await Copying(old, new, house.world.offload, note).copy()


def _text(copied: Copied, target: Path) -> str:
    return (
        f"Both stores hold the same: {copied.messages} messages in mailboxes, {copied.rows} rows,"
        f" {copied.packs} packs (digest {copied.digest[:16]}).\n"
        f"Start the server with the new one: mailstead --config {target} serve"
    )
