"""The smarthost that `mailstead setup` writes down: from its options, or asked for at a terminal.

Its password lies in a file of its own beside the database, readable by the server's user alone; it
comes from a file or a prompt, never from an argument.
"""

import ipaddress
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from mailstead.cli.passwords import PasswordSource, get_password
from mailstead.cli.printing import note
from mailstead.model.address import parse_domain
from mailstead.model.errors import Refusal
from mailstead.server import config
from mailstead.server.config import Smarthost
from mailstead.server.tls import write_private

F = TypeVar("F", bound=Callable[..., object])

PASSWORD_FILE = "smarthost-password"  # beside the database


class _SmarthostType(click.ParamType[str]):
    name = "host"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """HOST:PORT; a usage error if it is none."""
        try:
            return parse_smarthost(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def parse_smarthost(text: str) -> str:
    """The smarthost as the configuration has it; ValueError if there is no such host."""
    endpoint, implicit = config.parse_smarthost(text.strip())
    try:
        ipaddress.ip_address(endpoint.address)
    except ValueError:
        parse_domain(endpoint.address)
    odd = implicit is not (endpoint.port == config.SUBMISSIONS_PORT)
    scheme = ("submissions://" if implicit else "submission://") if odd else ""
    return f"{scheme}{endpoint}"


class Options(msgspec.Struct, frozen=True):
    """What the options say; without a host, there is no smarthost."""

    host: str | None
    user: str
    password_file: Path | None


class Chosen(msgspec.Struct, frozen=True):
    """The settings, and the password for the file that they name."""

    settings: Smarthost
    password: str = ""

    def __repr__(self) -> str:
        return f"Chosen({self.settings})"


def smarthost_options(function: F) -> F:
    """--smarthost, and what is needed to log in there."""
    for option in (
        click.option(
            "--smarthost-password-file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="The first line of this file is copied to one beside the database.",
        ),
        click.option(
            "--smarthost-user", default="", metavar="NAME", help="The name to log in with there."
        ),
        click.option(
            "--smarthost",
            type=_SmarthostType(),
            metavar="HOST[:PORT]",
            help="Send all mail through this server; port 587 if not given, TLS always.",
        ),
    ):
        function = option(function)
    return function


def choose(options: Options, folder: Path) -> Chosen | None:
    """What the options say; the password is asked for if no file was given."""
    if options.host is None:
        if options.user or options.password_file:
            raise click.UsageError("these options belong to a server: give --smarthost HOST[:PORT]")
        return None
    if options.password_file and not options.user:
        raise click.UsageError("a password without a name: give --smarthost-user NAME")
    settings = Smarthost(options.host)
    if not options.user:
        return Chosen(settings)
    return _with_login(settings, options.user, _password(options), folder)


def _with_login(settings: Smarthost, user: str, password: str, folder: Path) -> Chosen:
    if not password:
        raise Refusal("the smarthost's password is empty")
    path = str((folder / PASSWORD_FILE).absolute())
    return Chosen(msgspec.structs.replace(settings, login=user, password_file=path), password)


def _password(options: Options) -> str:
    if options.password_file:
        return get_password(PasswordSource(options.password_file, False, False), "").word
    if not sys.stdin.isatty():
        raise click.UsageError(
            "nobody can be asked for the smarthost's password here:"
            " give --smarthost-password-file FILE"
        )
    return _prompt_password(options.user)


def _prompt_password(user: str) -> str:
    word: str = click.prompt(f"Password of {user} there", hide_input=True, err=True)
    return word


def ask(folder: Path) -> Chosen | None:
    """What somebody at the terminal says; None if they want no smarthost, or break it off."""
    note("A smarthost can take the mail instead: your provider's server, or a sending service.")
    try:
        return _ask(folder)
    except click.Abort:
        note("\nNo smarthost, then.")
        return None


def _ask(folder: Path) -> Chosen | None:
    host = _prompt("Smarthost, HOST[:PORT] (empty: none)", _host_or_nothing)
    if not host:
        return None
    settings = Smarthost(host)
    user = _prompt("Name to log in with there (empty: no log-in)", str.strip)
    return _with_login(settings, user, _prompt_password(user), folder) if user else Chosen(settings)


def _prompt(text: str, read: Callable[[str], str]) -> str:
    answer: str = click.prompt(text, "", show_default=False, value_proc=read, err=True)
    return answer


def _host_or_nothing(text: str) -> str:
    try:
        return parse_smarthost(text) if text.strip() else ""
    except ValueError as error:
        raise click.UsageError(str(error)) from error  # click asks again


def is_interactive() -> bool:
    """Whether somebody is there to be asked."""
    return sys.stdin.isatty()


def write_password(chosen: Chosen) -> None:
    """The password, into the file that the settings name; others cannot read it."""
    if not chosen.settings.password_file:
        return
    try:
        write_private(Path(chosen.settings.password_file), f"{chosen.password}\n".encode())
    except OSError as error:
        raise Refusal(f"{chosen.settings.password_file}: {error.strerror}") from error
