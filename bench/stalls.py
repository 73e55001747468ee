"""How long one client waits while another works on a big mailbox: stalls of the loop.

Run: .venv/bin/python bench/stalls.py [--messages 100000]     needs the harness, as bench/run does

One worker has them both. The one sends NOOP each millisecond and takes the time; the other gives
every kind of command on the whole mailbox, the first time and again. Exits 1 if the p99.9 of all
waits is beyond 20 ms.
"""

import argparse
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import run

BOUND = 20.0  # milliseconds at p99.9
PORT = 2143 + run.OFFSET
PASSWORD = "secret"
COMMANDS = (
    ("SELECT Big", 3),
    ("FETCH 1:* (UID FLAGS)", 5),
    ("FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)", 3),
    ("FETCH 1:* (BODYSTRUCTURE)", 3),
    ("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT FROM DATE)])", 3),
    ("SEARCH SUBJECT xylophone", 5),
    ("SEARCH FROM Keiko", 5),
    ("SEARCH ALL", 5),
    ("SEARCH UNSEEN SINCE 1-Jan-2020", 3),
    ("SEARCH RETURN (MIN MAX COUNT) UNSEEN", 5),
    ("SORT (DATE) UTF-8 ALL", 5),
    ("SORT (SUBJECT) UTF-8 ALL", 5),
    ("UID SORT RETURN (ALL) (REVERSE ARRIVAL) UTF-8 ALL", 3),
    ("THREAD REFERENCES UTF-8 ALL", 5),
    ("THREAD ORDEREDSUBJECT UTF-8 ALL", 2),
    (r"STORE 1:* +FLAGS (\Flagged)", 2),
    (r"STORE 1:* -FLAGS.SILENT (\Flagged)", 2),
    (r"STORE 1:300 +FLAGS.SILENT (\Deleted)", 1),
    ("EXPUNGE", 1),
)


class Client:
    """A connection that reads answers and forgets them."""

    def __init__(self, login: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", PORT))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.recv(4096)
        self.say(f"LOGIN {login} {PASSWORD}")

    def say(self, command: str) -> float:
        """How many milliseconds the answer took; SystemExit if it is not OK."""
        begin = time.monotonic()
        self._socket.sendall(f"a {command}\r\n".encode())
        end = b""
        while not (end.endswith(b"\r\n") and b"\r\na " in end):
            piece = self._socket.recv(1 << 20)
            if not piece:
                sys.exit(f"the connection ended at {command}")
            end = (b"\r\n" * (not end) + end + piece)[-4096:]
        if b"\r\na OK" not in end:
            sys.exit(f"{command} failed: {end[-200:]!r}")
        return (time.monotonic() - begin) * 1000


def ping(pipe: Connection) -> None:
    """Take the time until told to stop, then tell: when each wait began, and how long it was."""
    client, waits = Client("user1@bench.test"), []
    while not pipe.poll(0.001):
        begin = time.monotonic()
        waits.append((begin, client.say("NOOP")))
    pipe.send(waits)


def fill(harness: Path, messages: int) -> None:
    """The big mailbox."""
    where = ["--port-offset", str(run.OFFSET), "--users", "1", "--create", "--mailbox", "Big"]
    program = ["imap_append.py", *where, "--conns", "8", "--messages", str(messages)]
    subprocess.run([sys.executable, *program], cwd=harness, check=True, stdout=subprocess.DEVNULL)


def part(waits: list[float], share: float) -> float:
    """The wait that so many are no longer than."""
    return sorted(waits)[min(int(len(waits) * share), len(waits) - 1)] if waits else 0.0


def main() -> None:
    """Fill, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=100_000)
    messages = parser.parse_args().messages
    harness = Path(os.environ.get("BENCH_DIR", run.ROOT.parent / "shared/bench"))
    with run.our_process(None, "", strangers=False, workers=1):
        print(f"filling a mailbox with {messages} messages", flush=True)
        fill(harness, messages)
        here, there = multiprocessing.Pipe()
        pinger = multiprocessing.Process(target=ping, args=(there,))
        pinger.start()
        clients = Client("user0@bench.test"), Client("user0@bench.test")
        clients[1].say("SELECT Big")
        done = []
        for command, times in COMMANDS:
            begin = time.monotonic()
            took = [clients[0].say(command) for _ in range(times)]
            done.append((command, begin, time.monotonic(), took))
            clients[1].say("NOOP")  # and hear of it
        here.send("stop")
        waits = here.recv()
        pinger.join()
    print("| command | first (ms) | again | another waits, p50 | at most |\n|---|---|---|---|---|")
    for command, begin, end, took in done:
        some = [wait for start, wait in waits if begin <= start <= end]
        again = f"{min(took[1:]):.1f}" if took[1:] else "-"
        waited = f"{part(some, 0.5):.1f} | {max(some, default=0.0):.1f}"
        print(f"| {command} | {took[0]:.1f} | {again} | {waited} |")
    every = [wait for start, wait in waits if start >= done[0][1]]
    late = part(every, 0.999)
    shares = f"p50 {part(every, 0.5):.2f}, p99 {part(every, 0.99):.1f}, p99.9 {late:.1f}"
    print(f"{len(every)} waits: {shares}, at most {max(every):.1f} ms")
    sys.exit(late > BOUND)


if __name__ == "__main__":
    main()
