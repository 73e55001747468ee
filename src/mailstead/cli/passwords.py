"""Where a command gets a password from: a prompt, a file, stdin, or chance. Never an argument.

Arguments stand in the list of processes and in the history of the shell.
"""

import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from mailstead.model.errors import Refusal

F = TypeVar("F", bound=Callable[..., object])

FILE_LIMIT = 4096  # octets that are read of a file with a password
GENERATED_OCTETS = 15  # 20 characters


class Password(msgspec.Struct, frozen=True):
    """A password; `generated` if nobody but us knows it yet."""

    word: str
    generated: bool = False


class PasswordSource(msgspec.Struct, frozen=True):
    """Where the password comes from, as the options say; none of them: a prompt."""

    file: Path | None
    stdin: bool
    generate: bool


def password_options(function: F) -> F:
    """--password-file, --password-stdin and --generate-password."""
    for option in (
        click.option(
            "--generate-password", "generate", is_flag=True, help="Make one up, print it."
        ),
        click.option("--password-stdin", is_flag=True, help="The first line of stdin."),
        click.option(
            "--password-file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="The first line of this file.",
        ),
    ):
        function = option(function)
    return function


def get_password(source: PasswordSource, prompt: str) -> Password:
    """The password; a usage error if there is no way to get one."""
    if bool(source.file) + source.stdin + source.generate > 1:
        raise click.UsageError("the password comes from one place: give one of the options")
    if source.generate:
        return generate_password()
    if source.file:
        return Password(_first_line(source.file))
    if source.stdin:
        return Password(sys.stdin.readline(FILE_LIMIT).rstrip("\r\n"))
    if not sys.stdin.isatty():
        raise click.UsageError(
            "nobody can be asked for the password here: give --password-stdin,"
            " --password-file FILE or --generate-password"
        )
    return Password(click.prompt(prompt, hide_input=True, confirmation_prompt=True))


def generate_password() -> Password:
    """A password that nobody can guess."""
    return Password(secrets.token_urlsafe(GENERATED_OCTETS), generated=True)


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline(FILE_LIMIT).rstrip("\r\n")
    except OSError as error:
        raise Refusal(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Refusal(f"{path} is not text in UTF-8") from error
