"""What all tests share: where outside data lies, and what its absence means."""

import asyncio
import inspect
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mailstead.testing.clock import simulate
from mailstead.testing.house import SimulatedWorld

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("MAILSTEAD_SHARED", ROOT.parent / "shared"))


def _missing(what: str) -> None:
    """Skip for want of outside data or programs; with CI=true that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing; run script/ci-setup")
    pytest.skip(f"{what} is missing; run script/ci-setup")


@pytest.fixture
def missing() -> Callable[[str], None]:
    """Call it with what is not there."""
    return _missing


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of outside data (corpora, vectors, benchmark), or a skip."""
    if not SHARED.is_dir():
        _missing(f"the folder of outside data, {SHARED}")
    return SHARED


@pytest.fixture
def world() -> None:
    """The simulated world; it comes to life when the test, a coroutine function, is run."""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run coroutine tests: those that take `world` in simulated time, others in real time."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    if "world" not in arguments:
        asyncio.run(pyfuncitem.obj(**arguments))
        return True
    folder = pyfuncitem._request.getfixturevalue("tmp_path")

    async def story() -> None:
        async with SimulatedWorld(folder) as simulated:
            await pyfuncitem.obj(**{**arguments, "world": simulated})

    simulate(story)
    return True
