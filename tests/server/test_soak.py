"""A few rounds of each soak; many by hand: script/soak."""

import json
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[1] / "soak"


def free_ports() -> int:
    """The first of two ports side by side that nobody has."""
    for port in range(20_000, 30_000, 2):
        with closing(socket.socket()) as one, closing(socket.socket()) as two:
            if one.connect_ex(("127.0.0.1", port)) and two.connect_ex(("127.0.0.1", port + 1)):
                return port
    raise RuntimeError("no free ports")


@pytest.mark.loopback
@pytest.mark.timeout(300)
def test_five_kills_under_load_lose_nothing() -> None:
    run = subprocess.run(
        [sys.executable, SOAK / "kills.py", "--rounds", "5", "--port", str(free_ports())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert '"rounds": 5' in run.stdout


@pytest.mark.loopback
@pytest.mark.timeout(120)
def test_a_backlog_is_claimed_and_served() -> None:
    run = subprocess.run(
        [sys.executable, SOAK / "backlog.py", "--recipients", "5000", "--claims", "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "200 recipients each" in run.stdout
    assert "5,000 wait: ready in" in run.stdout


@pytest.mark.loopback
@pytest.mark.timeout(120)
def test_clients_are_served_beside_slow_ones() -> None:
    options = ["--idle", "100", "--dribble", "20", "--hold", "200", "--rounds", "3"]
    run = subprocess.run(
        [sys.executable, SOAK / "slowloris.py", *options, "--port-offset", "27000"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    figures = json.loads(run.stdout)
    assert (figures["connections"], figures["alive"], figures["heard"]) == (360, 360, 200)


@pytest.mark.loopback
@pytest.mark.timeout(120)
def test_nothing_is_lost_or_told_twice_in_twenty_worlds() -> None:
    run = subprocess.run(
        [sys.executable, SOAK / "stories.py", "--seeds", "20", "--replays", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.startswith("20 seeds, 0 replays, 0 failed")
