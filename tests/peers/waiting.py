"""Waiting for real programs, for a time that is long enough on any machine."""

import imaplib
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

WAIT = 60.0  # seconds


def wait_for(condition: Callable[[], Any], what: str, log: Path | None = None) -> Any:
    """What the condition gives as soon as it is something; too late is a failure of the test."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        with suppress(OSError, imaplib.IMAP4.error, subprocess.CalledProcessError):
            if found := condition():
                return found
        time.sleep(0.05)
    said = log.read_text() if log else ""
    return pytest.fail(f"{what} did not happen within {WAIT} s\n{said}")


def free_port() -> int:
    """A port of loopback that nobody has."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(address: str, port: int) -> bool:
    """Whether somebody listens there; OSError if not."""
    with closing(socket.create_connection((address, port), 1)):
        return True
