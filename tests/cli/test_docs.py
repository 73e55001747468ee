"""docs/cli.md is what the commands say of themselves."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_page_is_fresh() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "clihelp.py"))
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    assert page == tool["page"](), "docs/cli.md is stale: run script/docs"
