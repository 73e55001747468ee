"""What exists is documented: settings, entries of the journal, generated pages."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from mailstead.model import entries
from mailstead.server import config
from mailstead.services.metering import METRICS

ROOT = Path(__file__).parents[2]


def settings() -> list[str]:
    """Every setting of the configuration file, tables with their keys."""
    found = []
    for field in msgspec.structs.fields(config.Config):
        inner = config.TABLES.get(field.name)
        if inner is None:
            found.append(field.name)
        else:
            found += [f"{field.name}.{one.name}" for one in msgspec.structs.fields(inner)]
    return found


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs/configuration.md").read_text("utf-8")
    assert [name for name in settings() if f"`{name}`" not in page] == []
    assert len(settings()) < 40  # Postfix has 958


def test_every_entry_is_documented() -> None:
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    kinds = [kind.__struct_config__.tag for kind in entries.AnyEntry.__args__]
    assert [kind for kind in kinds if f"`{kind}`" not in page] == []


def test_every_metric_is_documented() -> None:
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    assert [name for name in METRICS if f"`mailstead_{name}`" not in page] == []


@pytest.mark.parametrize("tool", ["clihelp.py", "conformance.py"])
def test_generated_pages_are_fresh(tool: str) -> None:
    run = subprocess.run(
        [sys.executable, ROOT / "tools" / tool, "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, f"run script/docs\n{run.stdout}{run.stderr}"


def test_the_project_speaks_of_itself_alone() -> None:
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    assert "://" not in lock, "the lock file names a registry; compile it without --emit-index-url"
