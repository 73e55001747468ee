"""The container, built and run step by step without a container engine."""

from collections.abc import Callable
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "script/ci-container"


def test_the_container_is_built_and_serves(
    need: Callable[..., None], run: Callable[..., str]
) -> None:
    need("setpriv", "useradd")
    said = run(SCRIPT, timeout=100)
    assert "container: built, set up, healthy, took a message, stopped\n" in said
