"""The rooms stay apart, and a newcomer finds each of them in the README."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = sorted(
    path.name for path in (ROOT / "src/mailstead").iterdir() if (path / "__init__.py").is_file()
)


def test_the_import_contracts_hold() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run(
        [program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, f"a room imports what it may not; see pyproject.toml\n{run.stdout}"


def test_every_room_is_on_the_map() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    missing = [room for room in ROOMS if f"`{room}/`" not in readme]
    assert missing == [], f"the README's map of the rooms lacks {missing}: add a line for each"
