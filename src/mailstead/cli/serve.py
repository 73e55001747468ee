"""`mailstead serve`: the server itself, in the foreground, until SIGTERM."""

from pathlib import Path

import click

from mailstead.model.errors import Refusal
from mailstead.server import logs
from mailstead.server.config import Config, ConfigError, load
from mailstead.server.lifecycle import run
from mailstead.server.wiring import House


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), help="The configuration file.")
@click.pass_context
def serve(context: click.Context, path: Path | None) -> None:
    """Run the server in the foreground; SIGTERM ends it. Logs go to stderr."""
    config = _load(path or context.obj)
    log = logs.configure()
    try:
        run(config, log.tell, _ready)
    except (OSError, Refusal) as error:
        raise click.ClickException(f"cannot start: {error}") from error


def _load(path: Path) -> Config:
    try:
        return load(path)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error


def _ready(house: House) -> None:
    click.echo(f"Mailstead serves as {house.config.hostname}.", err=True)
