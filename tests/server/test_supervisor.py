"""The processes of a real server: workers that die, a supervisor that dies, signals, readiness."""

import http.client
import imaplib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from mailstead.server.config import Config
from mailstead.server.supervisor import worker_count

pytestmark = pytest.mark.loopback

LIMIT = 20.0  # seconds until something has to have happened


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        with suppress(OSError):
            if condition():
                return
        time.sleep(0.02)
    pytest.fail(f"{what} did not happen")


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """`mailstead serve` with two workers."""

    def __init__(self, folder: Path) -> None:
        self.smtp, self.imap, self.operator = free_port(), free_port(), free_port()
        self.config = folder / "mailstead.toml"
        self.write_config("mx.example.test")
        self.mailstead("domain", "add", "example.test")
        self.mailstead(
            "account", "add", "alice@example.test", "--password-stdin", input="long-secret"
        )
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(folder / "notify.sock"))
        self.notify.settimeout(LIMIT)
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*self.program, "serve"],
                stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify.sock")},
            )
        assert self.notify.recv(100) == b"READY=1"

    @property
    def program(self) -> list[str]:
        return [sys.executable, "-m", "mailstead", "--config", str(self.config)]

    def write_config(self, hostname: str) -> None:
        self.config.write_text(
            f"""hostname = "{hostname}"
database = "sqlite://{self.config.parent}/mailstead.db"
workers = 2
loopback_clear_text = true
[listen]
smtp = ["127.0.0.1:{self.smtp}"]
submission = []
submissions = []
imap = ["127.0.0.1:{self.imap}"]
imaps = []
pop3 = []
pop3s = []
operator = ["127.0.0.1:{self.operator}"]
"""
        )

    def mailstead(self, *words: str, input: str | None = None) -> str:
        run = subprocess.run(
            [*self.program, *words], input=input, capture_output=True, text=True, check=True
        )
        return run.stdout

    def page(self, target: str) -> tuple[int, str]:
        """Status and text of a page of the operator's address."""
        client = http.client.HTTPConnection("127.0.0.1", self.operator, timeout=5)
        with closing(client):
            client.request("GET", target)
            answer = client.getresponse()
            return answer.status, answer.read().decode()

    def logins(self) -> int:
        """How many log-ins by IMAP the metrics count."""
        start = 'mailstead_logins_total{protocol="imap",result="ok"} '
        lines = self.page("/metrics")[1].splitlines()
        return next(int(line.removeprefix(start)) for line in lines if line.startswith(start))

    def workers(self) -> set[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return set(map(int, children.split()))

    def greeting(self) -> bytes:
        with closing(socket.create_connection(("127.0.0.1", self.smtp), 5)) as client:
            return client.recv(200)

    def idle_client(self) -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self.imap)
        client.login("alice@example.test", "long-secret")
        client.select()
        return client

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(60) == 0, self.log.read_text()
        self.notify.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    if server.process.poll() is None:
        server.stop()
    server.notify.close()


def clients_by_worker(server: Server) -> dict[int, imaplib.IMAP4]:
    """A logged-in client of each worker."""
    found: dict[int, imaplib.IMAP4] = {}
    spare = []
    while len(found) < 2:
        client = server.idle_client()
        worker = owner(server, client)
        if worker in found:
            spare.append(client)
        else:
            found[worker] = client
    for client in spare:
        client.logout()
    return found


def owner(server: Server, client: imaplib.IMAP4) -> int:
    """The worker at the other end of the client's connection."""
    port = client.sock.getsockname()[1]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[1].endswith(f":{server.imap:04X}") and words[2].endswith(f":{port:04X}"):
            inode = words[9]
    for pid in server.workers():
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if os.readlink(descriptor) == f"socket:[{inode}]":
                    return pid
    raise AssertionError("nobody has the connection")


def test_a_worker_that_is_killed_disturbs_nobody_else(server: Server) -> None:
    clients = clients_by_worker(server)
    (victim, lost), (other, kept) = clients.items()
    os.kill(victim, signal.SIGKILL)
    assert kept.noop()[0] == "OK"
    wait_for(lambda: len(server.workers() - {victim}) == 2, "a new worker")
    assert other in server.workers()
    assert kept.noop()[0] == "OK"
    with pytest.raises(imaplib.IMAP4.abort):
        lost.noop()
    lost.shutdown()
    for _ in range(10):
        assert server.greeting() == b"220 mx.example.test ESMTP\r\n"
    kept.logout()


def test_workers_end_with_their_supervisor(server: Server) -> None:
    workers = server.workers()
    assert len(workers) == 2
    server.process.kill()
    server.process.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the workers' end")


def test_sigterm_says_goodbye(server: Server) -> None:
    client = server.idle_client()
    server.stop()
    assert client.sock.recv(200) == b"* BYE The server is shutting down\r\n"
    client.shutdown()


def test_sighup_brings_the_new_configuration(server: Server) -> None:
    client = server.idle_client()
    old = server.workers()
    server.write_config("new.example.test")
    server.process.send_signal(signal.SIGHUP)
    assert server.notify.recv(100) == b"RELOADING=1"
    wait_for(lambda: not old & server.workers(), "the old workers' end")
    assert server.greeting() == b"220 new.example.test ESMTP\r\n"
    assert client.sock.recv(200).startswith(b"* BYE")
    client.shutdown()


def test_a_bad_configuration_is_not_taken(server: Server) -> None:
    old = server.workers()
    server.config.write_text("hostname = 7\n")
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "the old configuration stays" in server.log.read_text(), "the refusal")
    assert server.workers() == old
    assert server.greeting() == b"220 mx.example.test ESMTP\r\n"


def test_mail_to_one_worker_wakes_a_client_of_the_other(server: Server) -> None:
    clients = clients_by_worker(server)
    for client in clients.values():
        client.send(b"x1 IDLE\r\n")
        assert client.readline() == b"+ idling\r\n"
    message = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
    with closing(socket.create_connection(("127.0.0.1", server.smtp), 5)) as sender:
        sender.sendall(b"EHLO x\r\n" + message)
        reader = sender.makefile("rb")
        while not reader.readline().startswith(b"354"):
            pass
        sender.sendall(b"Subject: Wake up\r\n\r\n.\r\n")
        assert reader.readline().startswith(b"250")
        reader.close()
    for client in clients.values():
        client.sock.settimeout(5)
        assert client.readline() == b"* 1 EXISTS\r\n"
        client.shutdown()


@pytest.mark.parametrize(
    ("workers", "cores", "expected"),
    [(0, 1, 1), (0, 2, 2), (0, 3, 2), (0, 8, 7), (1, 8, 1), (5, 2, 5)],
)
def test_so_many_workers(workers: int, cores: int, expected: int) -> None:
    config = Config(hostname="mx.example.org", database="sqlite:////x.db", workers=workers)
    assert worker_count(config, cores) == expected


def test_a_port_that_is_taken_is_said_at_once(server: Server) -> None:
    run = subprocess.run(
        [*server.program, "serve"], capture_output=True, text=True, check=False, timeout=30
    )
    assert run.returncode == 1
    assert f"127.0.0.1:{server.smtp}" in run.stderr


def test_workers_count_together(server: Server) -> None:
    """A limit is one for the machine: whichever worker has the connections, and after a kill."""
    old = server.workers()
    with server.config.open("a") as config:
        config.write("[limits]\nconnections_per_address = 12\nloopback_exempt = false\n")
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: not old & server.workers(), "the old workers' end")
    clients = [socket.create_connection(("127.0.0.1", server.smtp), 5) for _ in range(12)]
    assert [client.recv(200)[:3] for client in clients] == [b"220"] * 12
    assert server.greeting().startswith(b"421 4.7.0 Too many connections")
    for pid in server.workers():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: server.greeting().startswith(b"220"), "room again")
    for client in clients:
        client.close()


class NarrowServer(Server):
    """One whose processes may have few descriptors."""

    @property
    def program(self) -> list[str]:
        return ["prlimit", "--nofile=540", *super().program]


def test_a_full_worker_turns_away_and_lives(tmp_path: Path) -> None:
    """540 descriptors, of which 500 are kept for other things, in each of two workers."""
    server = NarrowServer(tmp_path)
    clients = [socket.create_connection(("127.0.0.1", server.smtp), 5) for _ in range(200)]
    greeted = 0
    for client in clients:
        with suppress(ConnectionResetError):
            greeted += client.recv(200).startswith(b"220")
    assert greeted == 80
    wait_for(lambda: "connections: 127.0.0.1" in server.log.read_text(), "a line in the log")
    for client in clients:
        client.close()
    wait_for(lambda: server.greeting().startswith(b"220"), "room again")
    server.stop()


def test_metrics_are_of_all_workers_and_outlive_one(server: Server) -> None:
    clients = clients_by_worker(server)
    known = server.logins()
    assert known >= 2
    assert "\nmailstead_workers 2\n" in server.page("/metrics")[1]
    for client in clients.values():
        client.shutdown()
    victim = next(iter(clients))
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: len(server.workers() - {victim}) == 2, "a new worker")
    wait_for(lambda: "\nmailstead_workers 2\n" in server.page("/metrics")[1], "its first sign")
    assert server.logins() == known
    found = json.loads(server.mailstead("top", "--once", "--json"))
    assert (len(found["workers"]), found["queue"]["waiting"]) == (2, 0)
    assert "WORKER" in server.mailstead("top")


def test_health_fails_when_the_store_is_gone(server: Server) -> None:
    wait_for(lambda: server.page("/health") == (200, "ok\n"), "health")
    database = server.config.parent / "mailstead.db"
    database.rename(database.with_suffix(".away"))
    status, reason = server.page("/health?json")
    assert (status, json.loads(reason)["ok"]) == (503, False)
    database.with_suffix(".away").rename(database)
    wait_for(lambda: server.page("/health")[0] == 200, "recovery")
