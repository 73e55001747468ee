"""Real programs against a real server: each test starts its own on ports that are free."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

START_TIMEOUT = 30.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is a test against peers."""
    for item in items:
        if "peers" in item.path.parts:
            item.add_marker(pytest.mark.peers)


def free_offset() -> int:
    """An offset at which none of localserve's ports is taken."""
    for offset in range(10_000, 30_000, 500):
        taken = False
        for port in (2525, 2587, 2465, 2143, 2993, 2110, 2995):
            with closing(socket.socket()) as probe:
                taken |= probe.connect_ex(("127.0.0.1", port + offset)) == 0
        if not taken:
            return offset
    raise RuntimeError("no free ports")


class LocalServer:
    """A `mailstead localserve` of this test's own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.offset = folder, free_offset()
        self.log = folder.with_name(folder.name + ".log")
        program = [
            sys.executable,
            "-m",
            "mailstead",
            "localserve",
            "--data",
            str(folder),
            "--workers",
            "2",
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*program, "--port-offset", str(self.offset), *options], stdout=log, stderr=log
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while self.process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.imap), 1):
                return
            time.sleep(0.05)
        pytest.fail(f"the server did not start:\n{self.log.read_text()}")

    @property
    def smtp(self) -> int:
        return 2525 + self.offset

    @property
    def submission(self) -> int:
        return 2587 + self.offset

    @property
    def submissions(self) -> int:
        return 2465 + self.offset

    @property
    def imap(self) -> int:
        return 2143 + self.offset

    @property
    def imaps(self) -> int:
        return 2993 + self.offset

    @property
    def pop3(self) -> int:
        return 2110 + self.offset

    @property
    def pop3s(self) -> int:
        return 2995 + self.offset

    @property
    def ca(self) -> Path:
        return self.folder / "tls/ca.pem"

    def mailstead(self, *words: str) -> str:
        """Run a command on this server's store; its output."""
        program = [
            sys.executable,
            "-m",
            "mailstead",
            "--config",
            str(self.folder / "mailstead.toml"),
        ]
        return run(*program, *words)

    def stop(self) -> None:
        """SIGTERM, and the exit code has to be 0."""
        self.process.terminate()
        assert self.process.wait(20) == 0, self.log.read_text()


def run(*words: str | Path, input: str | bytes | None = None, timeout: float = 60) -> str:
    """The program's output; the test fails, with all of it, if the program does."""
    data = input.encode() if isinstance(input, str) else input
    done = subprocess.run(
        [str(word) for word in words], input=data, capture_output=True, timeout=timeout, check=False
    )
    output = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert done.returncode == 0, f"{words} exited with {done.returncode}:\n{output}"
    return output


@pytest.fixture
def need(missing: Callable[[str], None]) -> Callable[..., None]:
    """Says which programs a test needs: without them it is skipped (with CI=true it fails)."""

    def check(*programs: str) -> None:
        for program in programs:
            if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None:
                missing(program)

    return check


@pytest.fixture(name="run")
def run_fixture() -> Callable[..., str]:
    """Runs a program and gives its output; a program that fails fails the test."""
    return run


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., LocalServer]]:
    """Starts servers; all are stopped at the end."""
    servers: list[LocalServer] = []

    def start_one(*options: str) -> LocalServer:
        server = LocalServer(tmp_path / f"server{len(servers)}", *options)
        servers.append(server)
        return server

    yield start_one
    for server in servers:
        server.stop()


@pytest.fixture
def server(start: Callable[..., LocalServer]) -> LocalServer:
    """One server."""
    return start()
