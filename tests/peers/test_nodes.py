"""Two nodes on one PostgreSQL and one bucket of SeaweedFS; many rounds: script/soak nodes."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[1] / "soak" / "nodes.py"
WEED = Path(sys.executable).with_name("weed")


def free_ports() -> int:
    """The first of 30 ports that nobody has, nor those 10,000 above, which SeaweedFS takes, too."""
    for port in range(14_000, 22_000, 30):
        if not any(
            is_taken(one) for one in (*range(port, port + 30), *range(port + 10_000, port + 10_004))
        ):
            return port
    raise RuntimeError("no free ports")


def is_taken(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.postgres
@pytest.mark.timeout(180)
def test_two_nodes_lose_nothing_whatever_is_taken_away(
    postgres_server: str, missing: Callable[[str], None]
) -> None:
    """Notices in time, a shared queue; then each node, the object store, and PostgreSQL."""
    if not WEED.exists():
        missing("SeaweedFS (weed)")
    options = [
        "--rounds",
        "1",
        "--away",
        "5",
        "--queued",
        "200",
        "--clients",
        "6",
        "--port",
        str(free_ports()),
    ]
    run = subprocess.run(
        [sys.executable, SOAK, *options], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    figures = json.loads(run.stdout)
    assert (figures["rounds"], figures["relayed"]) == (1, 200)
    assert figures["mail_noticed_max_s"] < 0.2
    assert figures["flag_noticed_max_s"] < 0.2
    assert figures["sent_meanwhile"] > 0
    assert figures["packs"] > 0


@pytest.mark.postgres
def test_a_store_goes_to_postgres_and_a_bucket_and_back(
    postgres_server: str, missing: Callable[[str], None]
) -> None:
    """Killed on the way; fifty thousand messages by hand: script/soak copies."""
    if not WEED.exists():
        missing("SeaweedFS (weed)")
    options = ["--messages", "2000", "--port", str(free_ports())]
    run = subprocess.run(
        [sys.executable, SOAK.with_name("copies.py"), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    figures = json.loads(run.stdout)
    assert figures["there"]["digest"] == figures["back"]["digest"]
    assert (figures["kills"], figures["there"]["packs"]) == (2, 1)
