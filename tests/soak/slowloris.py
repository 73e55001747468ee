"""Many connections that do nothing, or next to nothing, while a client wants to be served.

    script/soak slowloris [--idle 1000] [--dribble 200] [--hold 10000] [--port-offset N]

On each port of SMTP, submission and IMAP: --idle connections that say nothing and --dribble that
send one octet a second; a message sent, submitted and read must each take less than a second, in
every round. Then --hold IMAP connections in IDLE, all of which have to hear of one new message.
Loopback only, on a localserve of its own. Prints one line of JSON; exit 0 if all was well.
"""

import argparse
import imaplib
import json
import resource
import selectors
import shutil
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

PORTS = {"smtp": 2525, "submission": 2587, "imap": 2143}
SERVED_LIMIT = 1.0  # seconds for one client's whole dialogue
START_LIMIT = 30.0  # seconds for the server to start
BATCH = 250  # connections that are opened at the same time
HOLDER, READER = "alice@example.test", "bob@example.test"
PASSWORD = "secret"
MESSAGE = "From: bob@example.test\r\nSubject: Served\r\n\r\nHi!\r\n"


def main() -> None:
    """Run both parts and print the figures."""
    options = parse_arguments()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    figures: dict[str, object] = {"idle": options.idle, "dribble": options.dribble}
    with server(options) as process:
        before = memory(process)
        crowd = Crowd(options)
        served = [serve_all(options) for _ in range(options.rounds) if crowd.dribble()]
        worst = {name: max(one[name] for one in served) for name in PORTS}
        figures |= {f"{name}_worst_ms": round(took * 1000) for name, took in worst.items()}
        many = len(crowd.idle) + len(crowd.slow)
        figures |= {"connections": many, "alive": crowd.alive()}
        figures["octets_a_connection"] = (memory(process) - before) // max(1, many)
        crowd.close()
        well = max(worst.values()) < SERVED_LIMIT and figures["alive"] == many
        if options.hold:
            held = hold(options, process)
            figures |= held
            well = well and held["heard"] == options.hold
    print(json.dumps(figures))
    sys.exit(0 if well else 1)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--idle", type=int, default=1000, help="silent connections on each port")
    parser.add_argument("--dribble", type=int, default=200, help="slow ones on each port")
    parser.add_argument("--hold", type=int, default=10_000, help="IMAP connections in IDLE")
    parser.add_argument("--rounds", type=int, default=10, help="how often a client is served")
    parser.add_argument("--workers", type=int, default=2, help="processes of the server")
    parser.add_argument("--port-offset", type=int, default=3000, help="added to every port")
    return parser.parse_args()


@contextmanager
def server(options: argparse.Namespace) -> Iterator[subprocess.Popen[bytes]]:
    """A localserve, for as long as the block lasts."""
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    command = [sys.executable, "-m", "mailstead", "localserve", "--quiet", "--data", str(folder)]
    command += ["--port-offset", str(options.port_offset), "--workers", str(options.workers)]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        stack.callback(process.wait, 60)
        stack.callback(process.terminate)
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(OSError), socket.create_connection(address(options, "imap")) as probe:
                probe.settimeout(START_LIMIT)
                if probe.recv(100):
                    break
            time.sleep(0.1)
        yield process


def address(options: argparse.Namespace, name: str) -> tuple[str, int]:
    """Where the protocol is served."""
    return "127.0.0.1", PORTS[name] + options.port_offset


def memory(process: subprocess.Popen[bytes]) -> int:
    """Octets of the server and its workers, what they share counted once."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    total = 0
    for pid in [str(process.pid), *children]:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


# ---------------------------------------------------------------------- the crowd


def connect(to: tuple[str, int], count: int) -> list[socket.socket]:
    """So many connections from addresses all over 127.0.0.0/8, each greeted."""
    found: list[socket.socket] = []
    while len(found) < count:
        batch = []
        for number in range(len(found), min(count, len(found) + BATCH)):
            source = f"127.{1 + number % 200}.{number // 200 % 250}.9"
            sock = socket.socket()
            sock.bind((source, 0))
            sock.settimeout(START_LIMIT)
            sock.connect(to)
            batch.append(sock)
        for sock in batch:
            assert sock.recv(1000), "no greeting"
        found += batch
    return found


class Crowd:
    """The connections that only take up room."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.idle: list[socket.socket] = []
        self.slow: list[socket.socket] = []
        for name in PORTS:
            self.idle += connect(address(options, name), options.idle)
            self.slow += connect(address(options, name), options.dribble)

    def dribble(self) -> bool:
        """One more octet on each slow connection, a second after the last."""
        time.sleep(1)
        for sock in self.slow:
            sock.send(b"x")
        return True

    def alive(self) -> int:
        """How many the server has not closed."""
        count = 0
        for sock in self.idle + self.slow:
            sock.setblocking(False)
            try:
                count += bool(sock.recv(1000))
            except BlockingIOError:
                count += 1
            except OSError:
                pass
        return count

    def close(self) -> None:
        """All go."""
        for sock in self.idle + self.slow:
            sock.close()


# ---------------------------------------------------------------------- a client


def serve_all(options: argparse.Namespace) -> dict[str, float]:
    """Seconds that each kind of client needed."""
    dialogues: dict[str, Callable[[tuple[str, int]], None]]
    dialogues = {"smtp": deliver, "submission": submit, "imap": read}
    took = {}
    for name, dialogue in dialogues.items():
        began = time.monotonic()
        dialogue(address(options, name))
        took[name] = time.monotonic() - began
    return took


def deliver(to: tuple[str, int], recipient: str = READER) -> None:
    """A message by SMTP."""
    with smtplib.SMTP(*to, timeout=START_LIMIT) as client:
        client.sendmail("x@example.com", [recipient], MESSAGE)


def submit(to: tuple[str, int]) -> None:
    """A message by submission."""
    with smtplib.SMTP(*to, timeout=START_LIMIT) as client:
        client.login(READER, PASSWORD)
        client.sendmail(READER, [READER], MESSAGE)


def read(to: tuple[str, int]) -> None:
    """The newest message, by IMAP."""
    with imaplib.IMAP4(*to, timeout=START_LIMIT) as client:
        client.login(READER, PASSWORD)
        client.select()
        assert client.fetch("*", "(BODY.PEEK[])")[0] == "OK"


# ---------------------------------------------------------------------- holding


def hold(options: argparse.Namespace, process: subprocess.Popen[bytes]) -> dict[str, int]:
    """Connections in IDLE: what they cost, and how many hear of a message."""
    before = memory(process)
    began = time.monotonic()
    held = connect(address(options, "imap"), options.hold)
    for words in (f"a LOGIN {HOLDER} {PASSWORD}", "a SELECT INBOX", "a IDLE"):
        converse(held, words.encode() + b"\r\n")
    opened = time.monotonic() - began
    cost = (memory(process) - before) // options.hold
    served = serve_all(options)
    began = time.monotonic()
    deliver(address(options, "smtp"), HOLDER)
    heard = sum(1 for answer in answers(held) if b"EXISTS" in answer)
    figures = {
        "held": len(held),
        "held_octets_a_connection": cost,
        "held_opened_ms": round(opened * 1000),
        "held_served_worst_ms": round(max(served.values()) * 1000),
        "heard": heard,
        "heard_ms": round((time.monotonic() - began) * 1000),
    }
    for sock in held:
        sock.close()
    return figures


def converse(socks: list[socket.socket], line: bytes) -> None:
    """The same command on each, and its answer."""
    for start in range(0, len(socks), BATCH):
        batch = socks[start : start + BATCH]
        for sock in batch:
            sock.sendall(line)
        for sock in batch:
            answer = b""
            while b"a OK" not in answer and b"+ idling" not in answer:
                piece = sock.recv(4096)
                assert piece, answer
                answer += piece
                assert b"a NO" not in answer, answer


def answers(socks: list[socket.socket]) -> Iterator[bytes]:
    """What each is told next, as long as something comes within SERVED_LIMIT * 10."""
    selector = selectors.DefaultSelector()
    for sock in socks:
        selector.register(sock, selectors.EVENT_READ)
    while selector.get_map() and (ready := selector.select(SERVED_LIMIT * 10)):
        for key, _ in ready:
            selector.unregister(key.fileobj)
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            yield sock.recv(4096)
    selector.close()


if __name__ == "__main__":
    main()
