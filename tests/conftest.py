"""What all tests share: where outside data lies, and what its absence means."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("MAILSTEAD_SHARED", ROOT.parent / "shared"))


def missing(what: str) -> None:
    """Skip for want of outside data or programs; with CI=true that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing; run script/ci-setup")
    pytest.skip(f"{what} is missing; run script/ci-setup")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of outside data (corpora, vectors, benchmark), or a skip."""
    if not SHARED.is_dir():
        missing(f"the folder of outside data, {SHARED}")
    return SHARED
