"""Start both servers, measure them in turn with the harness, stop them. See bench/run."""

import argparse
import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import filters
import msgspec

from mailstead.model.address import Domain, parse_address
from mailstead.server.config import NOWHERE, Config, Dns, Limits, format_toml
from mailstead.server.wiring import open_house
from mailstead.services.passwords import store_password
from mailstead.services.signing import ensure_key
from mailstead.storage import accounts, senders
from mailstead.storage.store import Tx

ROOT = Path(__file__).parent.parent
OFFSET = 1000  # our ports, beside the peer's
DNS_PORT = 2553
STRANGERS = Limits(
    connections_per_address=1000, connections_per_minute=1_000_000, loopback_exempt=False
)
USERS = 100
STEPS = (
    "ingest_20x10,ingest_20x1,ingest_1x100,ingest_4rcpt,ingest_starttls_20x10,relay_10x10,append_1,"
    "append_20,preload,read,clients_1,clients_20,login_10,login_tls_10,pop3_1,pop3_10,idle_100"
)
START_TIMEOUT = 30.0  # seconds


def main() -> None:
    """Measure and print the table."""
    options = parse_arguments()
    harness = Path(os.environ.get("BENCH_DIR", ROOT.parent / "shared/bench"))
    if not (harness / "pair.py").is_file():
        sys.exit(f"no benchmark harness in {harness}; set BENCH_DIR")
    with ExitStack() as stack:
        if options.filters:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-key-")))
            key = folder / "bench.pem"
            stack.enter_context(filters.zone_server(harness, key, DNS_PORT))
        ours = stack.enter_context(our_server(options))
        peer = stack.enter_context(peer_server(harness, options.peer))
        common = ["--runs", str(options.runs), "--only", options.only, "--big", str(options.big)]
        common += ["--out", options.out] if options.out else []
        pids = " ".join(f"--server-pid {pid}" for pid in ours)
        b = f"--port-offset {OFFSET} {pids}"
        if options.filters:
            a_ = [f"--server-pid={pid}" for pid in peer] if peer else None
            return filters.compare(harness, options.runs, key, b.split(), a_)
        if peer:
            a = " ".join(f"--server-pid {pid}" for pid in peer)
            command = ["pair.py", "--a", a, "--b", b, "--a-name", "peer", "--b-name", "mailstead"]
        else:
            print("Postfix and Dovecot are not here (or this is not root): our figures alone.")
            out = options.out or tempfile.mkstemp(".jsonl")[1]
            command = ["suite.py", "--name", "mailstead", "--out", out, *b.split()]
            common = common[:6]
        run = subprocess.run([sys.executable, *command, *common], cwd=harness, check=False)
    sys.exit(run.returncode)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Mailstead beside Postfix + Dovecot")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default=STEPS, help="steps of the harness, comma separated")
    parser.add_argument("--peer", default="default", choices=["default", "tuned", "fast", "none"])
    parser.add_argument("--store", default="sqlite", choices=["sqlite", "postgres"])
    parser.add_argument("--unsigned", action="store_true", help="our mail leaves without DKIM")
    parser.add_argument("--filters", action="store_true", help="what they cost (bench/filters.py)")
    parser.add_argument("--workers", type=int, default=0, help="of ours; 0: as it comes")
    parser.add_argument("--big", type=int, default=10_000, help="messages of the big mailbox")
    parser.add_argument("--out", help="JSON lines are appended here")
    parser.add_argument("--data", type=Path, help="where our data lies while measuring")
    return parser.parse_args()


@contextmanager
def our_server(options: argparse.Namespace) -> Iterator[list[int]]:
    """Mailstead with the accounts of the harness; its process id, and its database server's."""
    with ExitStack() as stack:
        data, url = options.data, ""
        pids: list[int] = []
        if options.store == "postgres":
            url, pids = stack.enter_context(database_server(data))
        process = our_process(data, url, options.filters, options.unsigned, options.workers)
        yield [stack.enter_context(process), *pids]


@contextmanager
def database_server(data: Path | None) -> Iterator[tuple[str, list[int]]]:
    """A PostgreSQL as Debian sets it up, on the same disk; its URL and its process id."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=data or ROOT.parent))
    folder.chmod(0o755)
    own = {"folder": str(folder / "postgres"), "port": "54716", "durable": "yes"}

    def script(word: str) -> str:
        program = [str(ROOT / "script/postgres"), word]
        run = subprocess.run(program, env=os.environ | own, check=True, stdout=subprocess.PIPE)
        return run.stdout.decode().strip()

    try:
        url = script("url")
        if not url:
            sys.exit("PostgreSQL is not installed: script/ci-setup installs it")
        yield url, [int(script("pid"))]
    finally:
        script("stop")
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def our_process(
    data: Path | None, database: str, strangers: bool, unsigned: bool = False, workers: int = 0
) -> Iterator[int]:
    """Mailstead, on a database of its own unless one is given; its process id."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=data or ROOT.parent))
    try:
        config = our_config(folder, database, strangers)
        config = msgspec.structs.replace(config, workers=workers)
        (folder / "mailstead.toml").write_text(format_toml(config))
        asyncio.run(populate(config, not unsigned))
        program = [sys.executable, "-m", "mailstead", "--config", str(folder / "mailstead.toml")]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([*program, "serve"], stderr=log)
        try:
            wait_until_ready(process, folder / "log")
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_until_ready(process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Come back when the IMAP port answers; leave if the server ended instead."""
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", 2143 + OFFSET), 1):
            return
        time.sleep(0.05)
    sys.exit(f"our server did not start: {log.read_text('utf-8', 'replace')[-2000:]}")


def our_config(folder: Path, database: str, strangers: bool) -> Config:
    """The ports of the harness plus OFFSET, and the route to its sink.

    With `strangers` mail from loopback is looked at as everybody's, at any rate.
    """

    def at(port: int) -> tuple[str, ...]:
        return (f"127.0.0.1:{port + OFFSET}",)

    return Config(
        hostname="mx.bench.test",
        database=database or f"sqlite://{folder / 'mailstead.db'}",
        data=str(folder),
        listen=msgspec.structs.replace(
            NOWHERE,
            smtp=at(2525),
            submission=at(2587),
            submissions=at(2465),
            imap=at(2143),
            imaps=at(2993),
            pop3=at(2110),
        ),
        routes={"sink.test": f"127.0.0.1:{2599 + OFFSET}"},
        loopback_clear_text=True,
        limits=STRANGERS if strangers else Limits(),
        dns=Dns(servers=(f"127.0.0.1:{DNS_PORT}",)) if strangers else Dns(),
    )


async def populate(config: Config, signed: bool) -> None:
    """The domain and the accounts that the harness uses."""
    stored = store_password("secret", b"salt of everyone")

    def work(tx: Tx) -> None:
        organisation = accounts.create_organisation(tx, "bench")
        accounts.create_domain(tx, organisation, Domain("bench.test"))
        for number in range(USERS):
            account = accounts.create_account(
                tx,
                parse_address(f"user{number}@bench.test"),
                stored.password,
                scram=stored.scram,
            )
            senders.set_limits(tx, account, -1, -1)

    async with open_house(config, lambda trace, entries: None) as house:
        await house.store.write(work)
        if signed:
            await ensure_key(house.store, house.world.offload, Domain("bench.test"))  # RSA-2048


@contextmanager
def peer_server(harness: Path, variant: str) -> Iterator[list[int]]:
    """Postfix + Dovecot with the harness' own set-up; their process ids, or none."""
    there = shutil.which("postfix") and shutil.which("dovecot") and os.geteuid() == 0
    if not there or variant == "none":
        yield []
        return
    script = harness / "peers/postfix-dovecot.sh"

    def peer(*words: str) -> str:
        run = subprocess.run([script, *words], check=True, stdout=subprocess.PIPE, text=True)
        return run.stdout

    peer("setup", "maildir", variant, "plain")
    peer("start")
    try:
        yield [int(word) for word in peer("pids").split()]
    finally:
        peer("wipe")


if __name__ == "__main__":
    main()
