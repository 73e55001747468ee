"""What all tests share: where outside data lies, and what its absence means."""

import asyncio
import importlib.util
import inspect
import itertools
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

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


@pytest.fixture(scope="session")
def dkimpy() -> ModuleType:
    """The verifier of others that says whether our signatures are good: Debian's python3-dkim.

    It has no wheel, so it is no part of the environment that requirements.lock describes.
    """
    folder = Path("/usr/lib/python3/dist-packages/dkim")
    if not folder.is_dir():
        _missing("python3-dkim")
    spec = importlib.util.spec_from_file_location(
        "dkim", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["dkim"] = module
    with warnings.catch_warnings(action="ignore"):
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """The URL of a PostgreSQL for tests, or a skip."""
    script = ROOT / "script" / "postgres"
    url = subprocess.run([script, "url"], check=True, capture_output=True, text=True).stdout.strip()
    if not url:
        _missing("PostgreSQL")
    return url


@pytest.fixture
def schemas(postgres_server: str) -> Iterator[Callable[[str], str]]:
    """The URL of the PostgreSQL schema of a name, new when first asked for; gone after the test."""
    psycopg = pytest.importorskip("psycopg")
    made: dict[str, str] = {}
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute("SET client_min_messages = warning")

        def url(name: str) -> str:
            if name not in made:
                made[name] = f"test_{os.getpid()}_{next(_SCHEMAS)}"
                connection.execute(f"CREATE SCHEMA {made[name]}")
            return f"{postgres_server}&options=-csearch_path%3D{made[name]}"

        yield url
        for schema in made.values():
            connection.execute(f"DROP SCHEMA {schema} CASCADE")


_SCHEMAS = itertools.count()


class OwnPostgres:
    """A PostgreSQL that may be broken."""

    def __init__(self, port: int) -> None:
        folder = f"/tmp/mailstead-postgres.{port}"
        self._environment = os.environ | {"folder": folder, "port": str(port)}
        self.url = self._do("url")

    def crash(self) -> None:
        """As if its machine had lost its power."""
        self._do("crash")

    def start(self) -> None:
        """Start it again."""
        self._do("url")

    def delete(self) -> None:
        """Leave nothing of it."""
        self._do("stop")

    def _do(self, what: str) -> str:
        run = [ROOT / "script" / "postgres", what]
        done = subprocess.run(
            run, check=True, capture_output=True, text=True, env=self._environment
        )
        return done.stdout.strip()


@pytest.fixture
def own_postgres() -> Iterator[OwnPostgres]:
    """A PostgreSQL of this test's own, or a skip."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = OwnPostgres(port)
    if not server.url:
        _missing("PostgreSQL")
    yield server
    server.delete()


@pytest.fixture
def postgres(schemas: Callable[[str], str]) -> str:
    """The URL of an empty schema in PostgreSQL."""
    return schemas("")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def world(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """The simulated world; it comes to life when the test, a coroutine function, is run."""
    if request.param == "postgres":
        return request.getfixturevalue("schemas")  # type: ignore[no-any-return]
    return lambda domain: ""


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
    folder, database = pyfuncitem._request.getfixturevalue("tmp_path"), arguments["world"]

    async def story() -> None:
        seed = int(os.environ.get("MAILSTEAD_SEED", "1"))  # other ones: script/soak stories
        async with SimulatedWorld(folder, seed, database) as simulated:
            await pyfuncitem.obj(**{**arguments, "world": simulated})

    simulate(story)
    return True
