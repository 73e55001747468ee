"""`mailstead`: where every command starts. A noun's file is imported when the noun is used.

Exit codes: 0 done, 1 refused, 2 wrong usage, 75 try again later (EX_TEMPFAIL of sysexits.h).
The configuration is the first of: --config, --data, $MAILSTEAD_CONFIG, ./mailstead.toml,
/etc/mailstead/mailstead.toml, and the one that `mailstead localserve` wrote for this user.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from mailstead import __version__
from mailstead.model.errors import Refusal, TemporaryFailure

CONFIG_NAME = "mailstead.toml"
SYSTEM_CONFIG = Path("/etc/mailstead") / CONFIG_NAME
TRY_LATER = 75  # EX_TEMPFAIL

# Name -> what `mailstead --help` says of it; the command of that name lies in the module of that
# name. Written out, so that the help needs no import.
COMMANDS = {
    "setup": "Write a configuration, make the first account, print the DNS records.",
    "serve": "Run the server in the foreground.",
    "localserve": "Run a whole mail server on loopback ports, to try it out.",
    "domain": "Domains whose mail is ours.",
    "account": "People and programs with mailboxes.",
    "alias": "Addresses that lead to others.",
    "mailbox": "Mailboxes, and who else in the organisation may use them.",
    "issuer": "Who issues tokens that log in instead of a password.",
    "sender": "What an account may send: as whom, to how many a day, in which stream.",
    "stream": "Kinds of mail that an organisation sends apart from its people's.",
    "filter": "What looks at mail at the door: lists, sealers, greylisting, other programs.",
    "relay": "Domains whose mail we take for another server.",
    "queue": "Mail that waits to leave.",
    "source": "Addresses of ours that mail leaves from.",
    "pool": "Sources that share the mail, and who sends from them.",
    "incident": "Sites that block us, or do not believe who we are.",
    "suppression": "Addresses that mail does not go to any more.",
    "spam": "What the filter makes of mail, and how it is taught.",
    "top": "What the server does right now.",
    "message": "What happened to a message, and why.",
    "check": "Look for problems, change nothing.",
    "fsck": "Check the whole store, and every body in it.",
    "store": "The database and the bodies as a whole: copy them to another.",
}


class TryLater(click.ClickException):
    """The world is in the way: exit code 75, which mail programs and timers know."""

    exit_code = TRY_LATER


class LazyGroup(click.Group):
    """The commands of COMMANDS, each imported when it is called."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **options: Any) -> Any:
        """Run the command line; under another name, what programs expect of that name."""
        if args is None and (name := Path(sys.argv[0]).name) in ("sendmail", "mailq", "newaliases"):
            sys.exit(import_module("mailstead.cli.sendmail").run(name, sys.argv[1:]))
        return super().main(args, *more, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"mailstead.cli.{cmd_name}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name; a usage error for any other word."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"there is no command {args[0]!r}; there are: {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without an import."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what the house refuses becomes a message and an exit code."""
        try:
            return super().invoke(ctx)
        except Refusal as refusal:
            raise click.ClickException(refusal.reason) from refusal
        except TemporaryFailure as failure:
            raise TryLater(f"{failure.reason}; try again later") from failure


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", type=click.Path(path_type=Path), help="The configuration file.")
@click.option(
    "--data", type=click.Path(path_type=Path), help="A folder of `mailstead localserve` instead."
)
@click.version_option(__version__, prog_name="mailstead")
@click.pass_context
def main(context: click.Context, config: Path | None, data: Path | None) -> None:
    """A complete mail server: sends, receives, stores, gives access, explains every decision.

    The first steps: `mailstead setup you@example.org` on a server, or `mailstead localserve` to
    try it out on this machine.
    """
    if config and data:
        raise click.UsageError("--config and --data say the same thing: give one of them")
    context.obj = config or (data / CONFIG_NAME if data else find_config())


def find_config() -> Path:
    """Where the configuration is, if no option says so; the system's if there is none at all."""
    if named := os.environ.get("MAILSTEAD_CONFIG"):
        return Path(named)
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
    for path in (Path(CONFIG_NAME), SYSTEM_CONFIG, Path(home) / "mailstead" / CONFIG_NAME):
        if path.is_file():
            return path
    return SYSTEM_CONFIG
