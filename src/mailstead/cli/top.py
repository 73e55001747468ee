"""`mailstead top`: what the server does right now, from its metrics page and its store."""

import re
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import click
import msgspec

from mailstead.cli.health import fetch_page
from mailstead.cli.house import load_config, read
from mailstead.cli.printing import clean, for_operators, show, table
from mailstead.model.entries import Refused
from mailstead.model.errors import Refusal
from mailstead.server.config import Config
from mailstead.services.explain import format_time
from mailstead.storage import figures, journal
from mailstead.storage.figures import LaneFigures, QueueFigures
from mailstead.storage.store import Tx

REFRESH = 2.0  # seconds
LANES_SHOWN = REFUSALS_SHOWN = 8

_LINE = re.compile(r"mailstead_(\w+)(?:\{([^\n]*)\})? ([0-9.e+-]+)$", re.MULTILINE)
_LABEL = re.compile(r'\w+="((?:[^"\\]|\\.)*)"')

Numbers = dict[tuple[str, ...], float]  # (name, values of the labels...) -> number


class WorkerUse(msgspec.Struct, frozen=True):
    """One worker: seconds of CPU since it began, octets of memory; 0 where nobody can tell."""

    pid: int
    cpu_seconds: float
    memory: int


class RecentRefusal(msgspec.Struct, frozen=True):
    """One command or message that was refused or put off."""

    at: datetime
    trace: str
    stage: str
    reply: str


class Snapshot(msgspec.Struct, frozen=True):
    """Everything at one moment; the counters count from the server's start."""

    accepted: float
    delivered: float
    relayed: float
    deferred: float
    connections: dict[str, float]
    commits: float
    commit_seconds: float  # of all commits together
    workers: list[WorkerUse]
    queue: QueueFigures
    lanes: list[LaneFigures]
    refusals: list[RecentRefusal]


@click.command()
@click.option("--once", is_flag=True, help="Print one snapshot and end.")
@for_operators
def top(once: bool, as_json: bool) -> None:
    """Show what the server does: rates, queue, connections, workers, refusals. q ends it.

    Where no terminal is, and with --once or --json, one snapshot is printed.
    """
    config = load_config()
    now = _snapshot(config)
    if once or as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        show(now, _page(now, now, 0.0), as_json)
        return
    before, began = now, time.monotonic()
    with _single_keys():
        while True:
            seconds = time.monotonic() - began
            page = clean(_page(before, now, seconds)).replace("\n", "\x1b[K\n")
            click.echo(f"\x1b[H{page}\x1b[J", nl=False)
            before, began = now, time.monotonic()
            if _asked_to_end():
                return
            now = _snapshot(config)


@contextmanager
def _single_keys() -> Iterator[None]:
    """Keys come one by one, on a page of their own."""
    kept = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    click.echo("\x1b[?1049h\x1b[?25l", nl=False)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        click.echo("\x1b[?25h\x1b[?1049l", nl=False)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, kept)


def _asked_to_end() -> bool:
    readable, _, _ = select.select([sys.stdin], [], [], REFRESH)
    return bool(readable) and sys.stdin.read(1) in ("q", "Q", "")


# ---------------------------------------------------------------------- what is known


def _snapshot(config: Config) -> Snapshot:
    numbers = parse_metrics(_metrics(config))
    queue, lanes, refusals = read(_of_store)
    return Snapshot(
        accepted=numbers.get(("accepted_total",), 0),
        delivered=numbers.get(("delivered_total",), 0),
        relayed=numbers.get(("attempts_total", "relayed"), 0),
        deferred=numbers.get(("attempts_total", "deferred"), 0),
        connections={key[1]: n for key, n in numbers.items() if key[0] == "connections"},
        commits=numbers.get(("commit_seconds_count",), 0),
        commit_seconds=numbers.get(("commit_seconds_sum",), 0),
        workers=[_use(int(k[1])) for k in numbers if k[0] == "worker_heartbeat_seconds"],
        queue=queue,
        lanes=lanes,
        refusals=refusals,
    )


def _metrics(config: Config) -> str:
    page = fetch_page(config, "/metrics")
    if page.status != 200:
        raise Refusal(f"the server does not say: {page.text.strip()}; mailstead check health")
    return page.text


def parse_metrics(text: str) -> Numbers:
    """The numbers of a metrics page."""
    return {
        (name, *_LABEL.findall(labels or "")): float(number)
        for name, labels, number in _LINE.findall(text)
    }


def _of_store(tx: Tx) -> tuple[QueueFigures, list[LaneFigures], list[RecentRefusal]]:
    refusals = [
        RecentRefusal(entry.at, story.trace, entry.stage, entry.reply)
        for story in journal.arrivals(tx, 200)
        for entry in story.entries
        if isinstance(entry, Refused)
    ]
    lanes = figures.fullest_lanes(tx, LANES_SHOWN)
    return figures.queue_figures(tx), lanes, refusals[:REFUSALS_SHOWN]


def _use(pid: int) -> WorkerUse:
    """From /proc; zeros for a process of another container or another user's secret."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return WorkerUse(pid, 0.0, 0)
    return WorkerUse(pid, (int(words[11]) + int(words[12])) / 100, int(words[21]) * 4096)


# ---------------------------------------------------------------------- what is shown


def _page(before: Snapshot, now: Snapshot, seconds: float) -> str:
    def rate(name: str) -> str:
        total: float = getattr(now, name)
        if not seconds:
            return f"{name} {total:.0f}"
        return f"{name} {(total - getattr(before, name)) / seconds:.1f}/s"

    commits = now.commits - (before.commits if seconds else 0)
    spent = now.commit_seconds - (before.commit_seconds if seconds else 0)
    latency = f"{1000 * spent / commits:.1f} ms" if commits else "-"
    cpu = {one.pid: one.cpu_seconds for one in before.workers}
    parts = [
        "  ".join(map(rate, ("accepted", "delivered", "relayed", "deferred"))),
        f"a commit takes {latency}  queue {now.queue.waiting} waiting, {now.queue.held} held",
        "connections  " + "  ".join(f"{k} {v:.0f}" for k, v in now.connections.items()),
        table(("WORKER", "CPU", "MEMORY"), [_worker(one, cpu, seconds) for one in now.workers]),
        table(("LANE", "WAIT", "HELD", "WHY"), [_lane(one) for one in now.lanes]),
        table(
            ("REFUSED (UTC)", "ID", "REPLY"),
            [(format_time(one.at), one.trace, one.reply[:60]) for one in now.refusals],
        ),
    ]
    return "\n\n".join(parts)


def _worker(one: WorkerUse, before: dict[int, float], seconds: float) -> tuple[str, str, str]:
    cpu = f"{one.cpu_seconds:.1f} s"
    if seconds:
        cpu = f"{100 * (one.cpu_seconds - before.get(one.pid, 0.0)) / seconds:.0f} %"
    return str(one.pid), cpu, f"{one.memory >> 20} MiB"


def _lane(one: LaneFigures) -> tuple[str, str, str, str]:
    why = one.last_reply or "its turn"
    if one.held == one.recipients:
        why = "held: mailstead queue release"
    elif one.claimed:
        why = f"{one.claimed} being sent"
    return one.lane, str(one.recipients), str(one.held), why[:60]
