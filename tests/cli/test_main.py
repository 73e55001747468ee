"""The entry: which configuration, which exit code, how quickly the help is there."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest

from mailstead.cli import main as entry
from mailstead.cli.main import COMMANDS, LazyGroup, main
from mailstead.model.errors import Refusal, TemporaryFailure


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "mailstead", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_help_imports_no_server() -> None:
    code = (
        "import sys\n"
        "from mailstead.cli.main import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print([name for name in sys.modules if name.startswith('mailstead.')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = ran.stdout.splitlines()[-1]
    assert "mailstead.cli.main" in loaded
    for room in ("server", "services", "storage", "net", "protocol", "message"):
        assert f"mailstead.{room}" not in loaded


def test_the_help_is_quick() -> None:
    def took() -> float:
        start = time.perf_counter()
        assert run("--help").returncode == 0
        return time.perf_counter() - start

    # 50 ms by itself; the bound leaves room for a machine that is busy with other tests.
    assert min(took() for _ in range(5)) < 0.5


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_of_commands_is_true(name: str) -> None:
    found = main.get_command(click.Context(main), name)
    assert found is not None
    assert found.name == name


def test_there_is_no_such_command() -> None:
    ran = run("domains", "list")
    assert ran.returncode == 2
    assert "there is no command 'domains'" in ran.stderr
    assert "domain" in ran.stderr


def test_no_configuration(tmp_path: Path) -> None:
    ran = run("--config", str(tmp_path / "nothing.toml"), "domain", "list")
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert "`mailstead setup` writes one" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (Refusal("no: mailstead domain list"), 1, "Error: no: mailstead domain list"),
        (TemporaryFailure("the disk is full"), 75, "Error: the disk is full; try again later"),
        (click.UsageError("wrong"), 2, "Error: wrong"),
        (KeyboardInterrupt(), 1, "Aborted!"),
    ],
)
def test_exit_codes(
    error: BaseException, code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    group = LazyGroup("mailstead", invoke_without_command=True, callback=fail)
    with pytest.raises(SystemExit) as ended:
        group.main([], prog_name="mailstead")
    assert code == ended.value.code
    assert says in capsys.readouterr().err


# ---------------------------------------------------------------------- which configuration


def test_the_environment_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILSTEAD_CONFIG", "/srv/mail.toml")
    assert entry.find_config() == Path("/srv/mail.toml")


def test_the_order_of_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home, here, system = tmp_path / "home", tmp_path / "here", tmp_path / "etc.toml"
    here.mkdir()
    (home / "mailstead").mkdir(parents=True)
    monkeypatch.delenv("MAILSTEAD_CONFIG", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    monkeypatch.chdir(here)
    monkeypatch.setattr(entry, "SYSTEM_CONFIG", system)
    assert system == entry.find_config()
    own = home / "mailstead" / "mailstead.toml"
    own.touch()
    assert own == entry.find_config()
    system.touch()
    assert system == entry.find_config()
    (here / "mailstead.toml").touch()
    assert entry.find_config() == Path("mailstead.toml")


def test_the_folder_of_localserve(mailstead: Any) -> None:
    assert mailstead.bare("--data", str(mailstead.folder), "domain", "list").code == 0
    both = mailstead.bare("--data", "x", "--config", "y", "domain", "list")
    assert (both.code, "give one of them" in both.err) == (2, True)


def test_config_may_stand_behind_the_verb_too(mailstead: Any) -> None:
    ran = mailstead.bare("domain", "list", "--config", str(mailstead.config))
    assert (ran.code, "example.org" in ran.out) == (0, True)
