"""A server's configuration and database in a folder, and the command line on it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from mailstead.cli.main import main

PASSWORD = "correct horse"


class Ran(msgspec.Struct, frozen=True):
    """What a command did."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Its one JSON document."""
        return json.loads(self.out)


class Shell:
    """`mailstead --config FILE ...`, in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "mailstead.toml"

    def __call__(self, *arguments: str, stdin: str = "") -> Ran:
        return self.bare("--config", str(self.config), *arguments, stdin=stdin)

    def bare(self, *arguments: str, stdin: str = "") -> Ran:
        """Without --config."""
        result = CliRunner().invoke(main, arguments, input=stdin, prog_name="mailstead")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    def setup(self, address: str = "alice@example.org", *more: str) -> Ran:
        """`mailstead setup`, with a password from stdin; the world outside is not looked at."""
        return self.setup_probing(address, "--no-probe", *more)

    def setup_probing(self, address: str, *more: str) -> Ran:
        """The same, but it looks whether mail can leave."""
        database = str(self.folder / "data" / "mail.db")
        options = ("--database", database, "--password-stdin", *more)
        return self("setup", address, *options, stdin=PASSWORD)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The command line, with nothing set up."""
    monkeypatch.delenv("MAILSTEAD_CONFIG", raising=False)
    return Shell(tmp_path)


@pytest.fixture
def mailstead(fresh: Shell) -> Shell:
    """The command line of a server with the account alice@example.org."""
    assert fresh.setup().code == 0
    return fresh


@pytest.fixture
def write_file(tmp_path: Path) -> Callable[[str, str], str]:
    """Write a file in the test's folder; its path."""

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return str(path)

    return write
