"""LMTP with real programs: we deliver to Dovecot, Postfix delivers to us."""

import imaplib
import os
import shutil
import smtplib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .dovecot import Dovecot, need_dovecot
from .waiting import answers, free_port, wait_for

MESSAGE = (
    b"From: carol@example.com\r\nTo: all@example.net\r\nSubject: By LMTP\r\n"
    b"Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n\r\n"
    b".\r\n..dots\r\nGr\xc3\xbc\xc3\x9fe\r\n" + b"x" * 900 + b"\r\nend\r\n"
)

Run = Callable[..., str]


class Server:
    """A `mailstead serve` for example.org on loopback, with the account alice."""

    def __init__(self, folder: Path, run: Run) -> None:
        self.smtp, self.imap, self.lmtp = free_port(), free_port(), free_port()
        self.run_program = run
        folder.mkdir()
        self.config = folder / "mailstead.toml"
        self.config.write_text(
            f"""hostname = "mx.example.org"
database = "sqlite://{folder}/mailstead.db"
loopback_clear_text = true
[listen]
smtp = ["127.0.0.1:{self.smtp}"]
submission = []
submissions = []
lmtp = ["127.0.0.1:{self.lmtp}"]
imap = ["127.0.0.1:{self.imap}"]
imaps = []
pop3 = []
pop3s = []
operator = []
"""
        )
        self.mailstead("domain", "add", "example.org")
        secret = "long-secret\n"
        self.mailstead("account", "add", "alice@example.org", "--password-stdin", input=secret)
        program = [sys.executable, "-m", "mailstead", "--config", str(self.config), "serve"]
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(program, stderr=log)
        wait_for(lambda: answers("127.0.0.1", self.smtp), "the start of the server")

    def mailstead(self, *words: str, input: str | None = None) -> str:
        program = [sys.executable, "-m", "mailstead", "--config", str(self.config)]
        return self.run_program(*program, *words, input=input)

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(20) == 0, self.log.read_text()


@pytest.fixture
def server(run: Run, tmp_path: Path) -> Iterator[Server]:
    """Our server."""
    one = Server(tmp_path / "server", run)
    yield one
    one.stop()


QUOTA = """lmtp_save_to_detail_mailbox = no
recipient_delimiter = +
mail_plugins = quota
protocol lmtp {
  mail_plugins = quota
}
plugin {
  quota = maildir:User
}
quota_full_tempfail = yes
"""
USERS = "bob:::::::\ndave:::::::\nfull:::::::userdb_quota_rule=*:bytes=1\n"


@pytest.fixture
def dovecot(need: Callable[..., None], missing: Callable[[str], None]) -> Iterator[Dovecot]:
    """Its LMTP server, with the users bob and dave, and full, who has no room left."""
    need_dovecot("lmtp", need, missing)
    # Others than root have to get to the folder.
    one = Dovecot(Path("/tmp/mailstead-dovecot-test"), "lmtp", USERS, QUOTA)
    yield one
    one.stop()


def send(port: int, *recipients: str) -> dict[str, tuple[int, bytes]]:
    """By SMTP, from a stranger; who was refused."""
    with smtplib.SMTP("127.0.0.1", port) as client:
        return client.sendmail("carol@example.com", list(recipients), MESSAGE, ["BODY=8BITMIME"])


def test_dovecot_takes_for_each_recipient_by_itself(server: Server, dovecot: Dovecot) -> None:
    server.mailstead(
        "relay", "add", "example.net", "--transport", "lmtp", "--host", f"127.0.0.1:{dovecot.port}"
    )
    server.mailstead("relay", "recipients", "example.net", "add", "bob", "full", "gone")
    to = [f"{name}@example.net" for name in ("bob", "full", "gone", "nobody")]
    assert set(send(server.smtp, *to)) == {"nobody@example.net"}
    (mail,) = wait_for(lambda: dovecot.mail_of("bob"), "the message's arrival")
    kept = mail.replace(b"\r\n", b"\n")
    assert kept[kept.index(b"From: ") :] == MESSAGE.replace(b"\r\n", b"\n")
    outcomes = wait_for(lambda: outcomes_of(server, 3), "three outcomes")
    assert sorted(outcomes) == [
        ("bob@example.net", "relayed"),
        ("full@example.net", "deferred"),
        ("gone@example.net", "failed"),
    ]
    assert "full@example.net" in server.mailstead("queue", "list")
    assert "4.2.2" in server.mailstead("queue", "list")


def outcomes_of(server: Server, count: int) -> list[tuple[str, str]]:
    """What the log says came of recipients, once there are so many."""
    found = []
    for line in server.log.read_text().splitlines():
        words = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if words.get("what") == "attempted":
            found.append((words.get("to", words.get("recipient", "")), words["outcome"]))
    return found if len(found) >= count else []


def test_dovecot_is_asked_about_recipients(server: Server, dovecot: Dovecot) -> None:
    server.mailstead(
        "relay",
        "add",
        "example.net",
        "--transport=lmtp",
        f"--host=127.0.0.1:{dovecot.port}",
        "--recipients=call",
    )
    to = [f"{name}@example.net" for name in ("bob", "dave+tag", "nobody")]
    refused = send(server.smtp, *to)
    assert {one: code for one, (code, _) in refused.items()} == {"nobody@example.net": 550}
    wait_for(lambda: dovecot.mail_of("bob") and dovecot.mail_of("dave"), "their arrival")


class Postfix:
    """Takes mail for example.org at a port, and gives it to an LMTP server."""

    def __init__(self, folder: Path, lmtp: int) -> None:
        self.folder, self.port = folder, free_port()
        for name in ("spool", "data"):
            (folder / name).mkdir(parents=True)
        shutil.chown(folder / "data", "postfix")
        (folder / "main.cf").write_text(
            f"""compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
myhostname = front.example.org
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
virtual_mailbox_domains = example.org
virtual_mailbox_maps = static:all
virtual_transport = lmtp:inet:127.0.0.1:{lmtp}
lmtp_destination_recipient_limit = 50
alias_maps =
alias_database =
"""
        )
        master = Path("/etc/postfix/master.cf").read_text().splitlines()
        lines = [line for line in master if not line.startswith(("smtp      inet", "#"))]
        unchrooted = [
            " ".join([*line.split()[:4], "n", *line.split()[5:]]) if line[:1].isalpha() else line
            for line in lines
        ]
        (folder / "master.cf").write_text(
            "\n".join([f"127.0.0.1:{self.port} inet n - n - - smtpd", *unchrooted, ""])
        )
        self.do("start")
        wait_for(lambda: answers("127.0.0.1", self.port), "Postfix's start")

    def do(self, what: str) -> None:
        done = subprocess.run(
            ["postfix", "-c", str(self.folder), what], check=False, capture_output=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def status(self, count: int) -> dict[str, str]:
        """What its log says came of recipients by LMTP, once there are so many."""
        found = {}
        for line in (self.folder / "log").read_text().splitlines():
            if "/lmtp[" in line and "status=" in line:
                to = line.partition("to=<")[2].partition(">")[0]
                found[to] = line.partition("status=")[2].partition(" ")[0]
        return found if len(found) >= count else {}


@pytest.fixture
def postfix(need: Callable[..., None], server: Server) -> Iterator[Postfix]:
    """Postfix in front of our server."""
    need("postfix")
    if os.geteuid() != 0:
        pytest.skip("Postfix needs root")
    folder = Path("/tmp/mailstead-postfix-lmtp-test")
    shutil.rmtree(folder, ignore_errors=True)
    one = Postfix(folder, server.lmtp)
    yield one
    one.do("stop")
    shutil.rmtree(folder, ignore_errors=True)


def test_postfix_hears_of_each_recipient(server: Server, postfix: Postfix) -> None:
    secret = "long-secret\n"
    for name in ("bob", "full"):
        server.mailstead("account", "add", f"{name}@example.org", "--password-stdin", input=secret)
    server.mailstead("account", "quota", "full@example.org", "1")
    send(server.smtp, "full@example.org")  # the last that it has room for
    names = ("alice", "bob", "full", "nobody")
    assert send(postfix.port, *(f"{name}@example.org" for name in names)) == {}
    assert wait_for(lambda: postfix.status(4), "the outcomes") == {
        "alice@example.org": "sent",
        "bob@example.org": "sent",
        "full@example.org": "deferred",
        "nobody@example.org": "bounced",
    }
    for name in ("alice", "bob"):
        mail = newest(server, name)
        assert b"with LMTP id" in mail
        assert mail[mail.index(b"From: ") :] == MESSAGE


def newest(server: Server, name: str) -> bytes:
    with imaplib.IMAP4("127.0.0.1", server.imap) as client:
        client.login(f"{name}@example.org", "long-secret")
        assert client.select("INBOX")[1] == [b"1"]
        _, found = client.fetch("*", "(BODY.PEEK[])")
        octets: bytes = found[0][1]
        return octets
