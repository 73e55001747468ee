"""What all filters cost on the way in: signed mail from a stranger, beside the peer without any.

Run: bench/run --filters [--runs N]. The harness' DNS server knows the signers; our block lists find
no zones there and are off, as on a machine whose resolver they refuse.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STRANGER = "127.0.0.2"  # who comes from here is not exempt from anything
FIGURES = ("accepted_per_s", "delivered_per_s", "eod_p50_ms", "server_cpu_ms_per_op")


@contextmanager
def zone_server(harness: Path, key: Path, port: int) -> Iterator[None]:
    """The harness' DNS server."""
    program = [sys.executable, "zone_server.py", "--sign-key", str(key), "--dns-port", str(port)]
    process = subprocess.Popen(program, cwd=harness, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # READY
        yield
    finally:
        process.terminate()
        process.communicate()


def compare(harness: Path, runs: int, key: Path, ours: list[str], peer: list[str] | None) -> None:
    """Signed mail to us and unsigned mail to the peer in turn; medians and their ratio."""
    signed = ["--only", "ingest_signed_20x10", "--sign-key", str(key), "--source-ip", STRANGER]
    found: dict[str, list[dict[str, float]]] = {"mailstead": [], "peer": []}
    for _ in range(runs):
        if peer is not None:
            found["peer"].append(_measure(harness, [*peer, "--only", "ingest_20x10"]))
        found["mailstead"].append(_measure(harness, [*ours, *signed]))
    print("| figure | peer, no filters | mailstead, all filters | ratio |")
    print("|---|---|---|---|")
    for figure in FIGURES:
        here = statistics.median(one[figure] for one in found["mailstead"])
        if not found["peer"]:
            print(f"| {figure} | - | {here:g} | - |")
            continue
        there = statistics.median(one[figure] for one in found["peer"])
        print(f"| {figure} | {there:g} | {here:g} | {here / there:.3g} |")


def _measure(harness: Path, options: list[str]) -> dict[str, float]:
    """One run of one step; SystemExit if a message was lost or an answer wrong."""
    with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as out:
        program = ["suite.py", "--name", "x", "--out", out.name, "--runs", "1", *options]
        subprocess.run([sys.executable, *program], cwd=harness, check=True)
        measured = json.loads(out.read().splitlines()[-1])
    return {name: _median(measured[name]) for name in FIGURES}


def _median(value: float | list[float]) -> float:
    return value[0] if isinstance(value, list) else value
