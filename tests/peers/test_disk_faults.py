"""A real server on a full or failing disk: some calls of each kind. All: script/soak faults."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[1] / "soak/faults.py"
ACTIONS = Path("/proc/sys/kernel/seccomp/actions_avail")


def free_ports() -> int:
    """The first of two ports side by side that nobody has."""
    for port in range(31_000, 32_000, 2):
        with closing(socket.socket()) as one, closing(socket.socket()) as two:
            if one.connect_ex(("127.0.0.1", port)) and two.connect_ex(("127.0.0.1", port + 1)):
                return port
    raise RuntimeError("no free ports")


@pytest.mark.rfc("5321 section 6.1")
def test_a_call_that_fails_loses_nothing_and_stops_nobody(missing: Callable[[str], None]) -> None:
    if not ACTIONS.exists() or "user_notif" not in ACTIONS.read_text():
        missing("a kernel that lends a process's calls (Linux 5.5, seccomp)")
    run = subprocess.run(
        [sys.executable, SOAK, "--points", "1", "--port", str(free_ports())],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    figures = json.loads(run.stdout)
    assert figures["failures"] == []
    assert figures["calls_failed"] >= 20  # each fault of the twenty has struck
    assert figures["answers"]["SMTP 451"] > 0  # a lasting one is told
    assert figures["answers"]["SMTP 250"] > 50
