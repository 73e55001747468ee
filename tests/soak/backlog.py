"""A backlog in a SQLite store: what so many waiting recipients cost those who work with the queue.

    script/soak backlog [--recipients 1000000] [--claims 50]

60 % wait for ten big sites, the rest for 100,000 domains, of twenty organisations; ten recipients
a message. Timed are claims, all lanes open and the ten big ones shut, pages of `queue list`, and
the start of a server, with the memory of its processes before and after mail came into it.
"""

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mailstead.net.clock import SystemClock
from mailstead.server.config import NOWHERE, Config, format_toml
from mailstead.services.outbound.turns import Turns
from mailstead.storage import queue
from mailstead.storage.claims import claim
from mailstead.storage.queue import Filter
from mailstead.storage.sqlite import SqliteStore
from mailstead.storage.store import Store, Tx, to_micros

BIG = [f"big{number}.example" for number in range(10)]
SHARE = 0.6  # of the recipients, for big sites
DOMAINS = 100_000
ORGANISATIONS = 20
PER_MESSAGE = 10
SLICE = 50_000  # recipients that are filled in at once
PRIORITY = 20
HEADER = b"From: news@example.org\r\nSubject: News\r\n\r\n"
START_LIMIT, SETTLED = 60.0, 5.0  # seconds


def print_(line: str) -> None:
    """To whoever watches."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


# ---------------------------------------------------------------------- fill


def fill(tx: Tx, count: int, chance: random.Random, far: bool) -> None:
    """So many recipients; due in the last day, or tomorrow."""
    first, message = tx.allocate("queue", count), tx.allocate("outgoing", count // PER_MESSAGE)
    now = to_micros(tx.now)
    numbers = range(count // PER_MESSAGE)
    outgoing = [{"id": message + n, "organisation": _owner(message + n)} for n in numbers]
    tx.many(OUTGOING, [one | {"header": HEADER, "created": now} for one in outgoing])
    rows = []
    for number in range(count):
        age = chance.uniform(60, 86_400) - (2 * 86_400 if far else 0)
        rows.append(_row(first + number, message + number // PER_MESSAGE, chance, age, now))
    tx.many(queue.INSERT, rows)


OUTGOING = (
    "INSERT INTO outgoing (id, trace, organisation, account, reverse_path, header, blob, body_size,"
    " body_type, smtputf8, notify, created) VALUES (:id, 'backlog', :organisation, NULL,"
    " 'news@example.org', :header, 0, 0, '7BIT', 0, 0, :created)"
)


def _owner(message: int) -> int:
    return 1 + message % ORGANISATIONS


def _row(id_: int, message: int, chance: random.Random, age: float, now: int) -> dict[str, Any]:
    big = chance.random() < SHARE
    domain = chance.choice(BIG) if big else f"d{chance.randrange(DOMAINS)}.example"
    return {
        "id": id_,
        "outgoing": message,
        "organisation": _owner(message),
        "recipient": f"u{id_}@{domain}",
        "transport": "smtp",
        "lane": domain,
        "priority": PRIORITY,
        "due": now - round(age * 1e6),
        "hold": 0,
        "route": "",
        "notify": "",
        "orcpt": "",
        "source": "",
        "expires": None,
        "created": now,
    }


async def filled(path: Path, recipients: int, far: bool = False) -> Store:
    """A store with the backlog."""
    store, chance = SqliteStore(path, SystemClock()), random.Random(1)
    began = time.perf_counter()
    for start in range(0, recipients, SLICE):
        count = min(SLICE, recipients - start)
        await store.write(lambda tx, count=count: fill(tx, count, chance, far))  # type: ignore[misc]
    took = time.perf_counter() - began
    print_(f"filled with {recipients:,} recipients in {took:.0f} s, {_size(path)} MiB")
    return store


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")) >> 20


# ---------------------------------------------------------------------- measure


async def measure_claims(store: Store, claims: int) -> None:
    """All lanes open, then with the big ones shut, then open again."""
    clock = SystemClock()
    turns = Turns(clock.now())
    for what, shut in (("all open", ()), ("ten big shut", BIG), ("open again", ())):
        times, got = [], 0
        for _ in range(claims):
            asked = turns.ask(dict.fromkeys(shut, PRIORITY), None, clock.now())
            began = time.perf_counter()
            claimed = await store.write(lambda tx, asked=asked: claim(tx, asked))  # type: ignore[misc]
            times.append(time.perf_counter() - began)
            turns.learn(claimed, clock.now())
            got += sum(len(job.recipients) for job in claimed.jobs)
        print_(f"claim, {what}: {_spread(times)}, {got / claims:.0f} recipients each")


async def measure_pages(store: Store, recipients: int) -> None:
    """What `queue list` reads."""
    pages: dict[str, Callable[[Tx], object]] = {
        "first page": lambda tx: queue.find(tx, Filter(), 100),
        "page in the middle": lambda tx: queue.find(tx, Filter(), 100, recipients // 2),
        "page of a big lane": lambda tx: queue.find(tx, Filter(lane=BIG[0]), 100),
        "page of a small lane": lambda tx: queue.find(tx, Filter(lane="d7.example"), 100),
        "page of an organisation": lambda tx: queue.find(tx, Filter(organisation=7), 100),  # type: ignore[arg-type]
        "count": queue.count,
    }
    for what, work in pages.items():
        times = []
        for _ in range(5):
            began = time.perf_counter()
            await store.read(work)
            times.append(time.perf_counter() - began)
        print_(f"{what}: {_spread(times)}")


def _spread(times: list[float]) -> str:
    return f"{statistics.median(times) * 1e3:.1f} ms (at most {max(times) * 1e3:.1f})"


def measure_server(folder: Path, what: str) -> None:
    """Start a server on the store; its memory when it has settled."""
    config = Config(
        hostname="mx.soak.test",
        database=f"sqlite://{folder}/mailstead.db",
        data=str(folder),
        listen=NOWHERE,
    )
    path = folder / "mailstead.toml"
    path.write_text(format_toml(config))
    command = [sys.executable, "-m", "mailstead", "--config", str(path), "serve"]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        took = _ready(server, began)
        time.sleep(SETTLED)
        print_(f"server, {what}: ready in {took:.2f} s, RSS {_rss(server.pid)} MiB")
        server.terminate()


def _ready(server: "subprocess.Popen[bytes]", began: float) -> float:
    assert server.stdout is not None
    for line in server.stdout:
        if b"serves as" in line or time.perf_counter() - began > START_LIMIT:
            break
    return time.perf_counter() - began


def _rss(pid: int) -> int:
    """Of the process and its children, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    own = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own // 1024 + sum(_rss(int(child)) for child in children)


async def prepare(folder: Path, recipients: int, claims: int) -> None:
    """A backlog that is due, measured; and one that is due tomorrow, for the server."""
    store = await filled(folder / "due.db", recipients)
    await measure_pages(store, recipients)
    await measure_claims(store, claims)
    await store.close()
    store = await filled(folder / "full" / "mailstead.db", recipients, far=True)
    await store.close()


def main() -> None:
    """Everything, in a folder that is gone afterwards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipients", type=int, default=1_000_000)
    parser.add_argument("--claims", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="backlog-") as name:
        folder = Path(name)
        for part in ("empty", "full"):
            (folder / part).mkdir()
        asyncio.run(prepare(folder, options.recipients, options.claims))
        measure_server(folder / "empty", "nothing waits")
        measure_server(folder / "full", f"{options.recipients:,} wait")


if __name__ == "__main__":
    main()
