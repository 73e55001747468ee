"""`mailstead serve`: the server itself, in the foreground, until SIGTERM."""

from pathlib import Path

import click

from mailstead.model.errors import Refusal
from mailstead.server import logs
from mailstead.server.config import Config, ConfigError, load
from mailstead.server.lifecycle import run


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), help="The configuration file.")
@click.pass_context
def serve(context: click.Context, path: Path | None) -> None:
    """Run the server in the foreground; SIGTERM drains and ends it, SIGHUP reloads.

    Logs go to stderr.
    """
    log = logs.configure()
    try:
        served = run(lambda: load(path or context.obj), log.tell, _ready)
    except (ConfigError, OSError, Refusal) as error:
        raise click.ClickException(f"cannot start: {error}") from error
    if not served:
        raise click.ClickException("cannot start: a worker failed; the log above says why")


def _ready(config: Config) -> None:
    click.echo(f"Mailstead serves as {config.hostname}.", err=True)
