"""A client of somebody else's (Python's poplib) on real sockets, with two workers and TLS."""

import poplib
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

ALICE = "alice@example.test"
START_TIMEOUT = 30.0  # seconds
pytestmark = pytest.mark.loopback


class Server:
    """`mailstead localserve --workers 2`, some ports above the usual ones."""

    def __init__(self, folder: Path, offset: int) -> None:
        self.folder, self.pop3, self.pop3s, self.smtp = (
            folder,
            *(port + offset for port in (2110, 2995, 2525)),
        )
        words = ["localserve", "--data", str(folder), "--port-offset", str(offset)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mailstead", *words, "--workers", "2", "--quiet"],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.pop3), 1):
                return
            time.sleep(0.05)
        pytest.fail("the server did not start")

    def context(self) -> ssl.SSLContext:
        """Trust in the CA that the server has made."""
        return ssl.create_default_context(cafile=self.folder / "tls/ca.pem")

    def log_in(self) -> poplib.POP3:
        """A session of Alice's."""
        client = poplib.POP3("127.0.0.1", self.pop3, timeout=10)
        client.user(ALICE)
        client.pass_("secret")
        return client


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        offset = sock.getsockname()[1] % 20_000 + 20_000
    running = Server(tmp_path_factory.mktemp("pop3"), offset)
    yield running
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(20) == 0


def deliver(server: Server, *subjects: str) -> None:
    """Mail from outside."""

    with smtplib.SMTP("127.0.0.1", server.smtp) as client:
        for subject in subjects:
            text = f"From: x@example.com\r\nSubject: {subject}\r\n\r\n.dots\r\n"
            client.sendmail("x@example.com", [ALICE], text)


def test_poplib(server: Server) -> None:
    deliver(server, "one", "two")
    client = poplib.POP3_SSL("localhost", server.pop3s, context=server.context(), timeout=10)
    assert "SASL" in client.capa()
    client.user(ALICE)
    client.pass_("secret")
    count, size = client.stat()
    assert count == 2
    assert sum(int(line.split()[1]) for line in client.list()[1]) == size
    _, lines, _ = client.retr(1)
    assert (lines[-1], b"Subject: one" in lines) == (b".dots", True)
    assert client.top(2, 0)[1][-1] == b""
    before = client.uidl()[1]
    assert client.uidl(1).split()[1:] == before[0].split()
    client.dele(1)
    client.quit()
    again = server.log_in()
    assert [line.split()[1] for line in again.uidl()[1]] == [before[1].split()[1]]
    again.quit()


def test_stls(server: Server) -> None:
    client = poplib.POP3("localhost", server.pop3, timeout=10)
    assert "STLS" in client.capa()
    assert client.stls(server.context()).startswith(b"+OK")
    assert "STLS" not in client.capa()
    client.user(ALICE)
    assert client.pass_("secret").startswith(b"+OK")
    client.quit()


def test_one_session_at_a_time_on_all_workers(server: Server) -> None:
    """Of many that come at once, to any worker, one gets the maildrop."""

    def attempt(_: int) -> str:
        client = poplib.POP3("127.0.0.1", server.pop3, timeout=10)
        client.user(ALICE)
        try:
            client.pass_("secret")
        except poplib.error_proto as error:
            client.close()
            return str(error)
        time.sleep(2)  # it is busy while the others knock
        client.quit()
        return "in"

    with ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(attempt, range(12)))
    assert outcomes.count("in") == 1
    assert all(one == "in" or "[IN-USE]" in one for one in outcomes)


def test_a_maildrop_of_a_dropped_connection_is_free_at_once(server: Server) -> None:
    client = server.log_in()
    client.close()
    deadline = time.monotonic() + 5
    while True:
        try:
            server.log_in().quit()
            return
        except poplib.error_proto:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_client_that_reads_nothing_costs_little_memory(server: Server) -> None:
    """It asks for more than ever fits into buffers; the server waits, and others are served."""
    deliver(server, "big")
    big = b"x" * 70 + b"\r\n"

    with smtplib.SMTP("127.0.0.1", server.smtp) as smtp:
        smtp.sendmail("x@example.com", [ALICE], b"Subject: big\r\n\r\n" + big * 200_000)
    stuck = server.log_in()
    before = memory(server)
    stuck.sock.sendall(f"RETR {len(stuck.list()[1])}\r\n".encode() * 2000)
    time.sleep(2)  # for whatever it would gather
    assert memory(server) - before < 16 * 1024
    other = poplib.POP3("127.0.0.1", server.pop3, timeout=10)
    other.user("bob@example.test")
    assert other.pass_("secret").startswith(b"+OK")
    other.quit()
    stuck.close()


def memory(server: Server) -> int:
    """KiB that all its processes have in memory."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    total = 0
    for pid in children.split():
        status = Path(f"/proc/{pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        total += int(found[1]) if found else 0
    return total
