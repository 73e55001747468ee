"""Mail between real servers: two of ours through the MX records of a real DNS server, and Postfix.

Each server has a loopback address of its own, so that port 25 is free on all of them; that needs
root. Nothing but 127.0.0.0/8 is ever used.
"""

import imaplib
import os
import shutil
import smtplib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .waiting import answers, wait_for

DNS = ("127.0.0.53", 5353)
ONE, TWO, POSTFIX = "127.0.25.1", "127.0.25.2", "127.0.25.3"

Run = Callable[..., str]


@pytest.fixture
def dns(need: Callable[..., None], tmp_path: Path) -> Iterator[None]:
    """knot serves one.test, two.test and postfix.test."""
    need("knotd")
    folder = tmp_path / "knot"
    folder.mkdir()
    zones = ""
    for name, address in (("one", ONE), ("two", TWO), ("postfix", POSTFIX)):
        (folder / f"{name}.zone").write_text(
            f"$ORIGIN {name}.test.\n$TTL 60\n@ SOA mx hostmaster 1 60 60 60 60\n@ NS mx\n"
            f"@ MX 10 mx\nmx A {address}\n"
        )
        zones += f"  - domain: {name}.test\n    file: {folder}/{name}.zone\n"
    (folder / "knot.conf").write_text(
        f"server:\n  rundir: {folder}\n  listen: {DNS[0]}@{DNS[1]}\n"
        f"database:\n  storage: {folder}\nzone:\n{zones}"
    )
    process = subprocess.Popen(
        ["/usr/sbin/knotd", "-c", str(folder / "knot.conf")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: answers(*DNS), "the DNS server's start")
    yield
    process.terminate()
    process.wait(10)


class Instance:
    """A `mailstead serve` for one domain on an address of its own."""

    def __init__(self, folder: Path, domain: str, address: str, run: Run) -> None:
        self.address, self.domain, self.run_program = address, domain, run
        folder.mkdir()
        self.config = folder / "mailstead.toml"
        self.config.write_text(
            f"""hostname = "mx.{domain}"
database = "sqlite://{folder}/mailstead.db"
allowed_targets = ["127.0.0.0/8"]
loopback_clear_text = true
[listen]
smtp = ["{address}:25"]
submission = ["{address}:587"]
submissions = []
imap = ["{address}:143"]
imaps = []
pop3 = []
pop3s = []
operator = []
[dns]
servers = ["{DNS[0]}:{DNS[1]}"]
"""
        )
        self.mailstead("domain", "add", domain)
        self.mailstead(
            "account", "add", f"alice@{domain}", "--password-stdin", input="long-secret\n"
        )
        program = [sys.executable, "-m", "mailstead", "--config", str(self.config), "serve"]
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(program, stderr=log)
        wait_for(lambda: answers(address, 25), f"the start of {domain}")

    def mailstead(self, *words: str, input: str | None = None) -> str:
        program = [sys.executable, "-m", "mailstead", "--config", str(self.config)]
        return self.run_program(*program, *words, input=input)

    def submit(self, to: str, message: bytes, **options: Any) -> None:
        with smtplib.SMTP(self.address, 587) as client:
            client.starttls()
            client.login(f"alice@{self.domain}", "long-secret")
            client.sendmail(f"alice@{self.domain}", [to], message, **options)

    def newest(self) -> bytes | None:
        with imaplib.IMAP4(self.address) as client:
            client.login(f"alice@{self.domain}", "long-secret")
            if client.select("INBOX")[1] == [b"0"]:
                return None
            _, found = client.fetch("*", "(BODY.PEEK[])")
            return found[0][1]

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(20) == 0, self.log.read_text()


@pytest.fixture
def instance(run: Run, tmp_path: Path) -> Iterator[Callable[[str, str], Instance]]:
    """Starts instances; all are stopped at the end."""
    if os.geteuid() != 0:
        pytest.skip("port 25 needs root")
    instances: list[Instance] = []

    def start(domain: str, address: str) -> Instance:
        instances.append(Instance(tmp_path / domain, domain, address, run))
        return instances[-1]

    yield start
    for one in instances:
        one.stop()


def without_trace(message: bytes) -> bytes:
    """The message as its author sent it: everything below our trace fields."""
    return message[message.index(b"From: ") :]


MESSAGE = (
    b"From: alice@one.test\r\nTo: alice@two.test\r\nSubject: Through MX\r\n"
    b"Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@one.test>\r\n\r\n"
    b".\r\n..dots\r\nGr\xc3\xbc\xc3\x9fe\r\n" + b"x" * 900 + b"\r\nend\r\n"
)


def test_a_message_reaches_the_second_instance_byte_for_byte(
    dns: None, instance: Callable[[str, str], Instance]
) -> None:
    one, two = instance("one.test", ONE), instance("two.test", TWO)
    one.submit("alice@two.test", MESSAGE, mail_options=["BODY=8BITMIME"])
    arrived = wait_for(two.newest, "the message's arrival")
    assert without_trace(arrived) == MESSAGE
    assert b"with ESMTPS id" in arrived  # opportunistic TLS between the two
    stories = one.mailstead("message", "list")
    assert "alice@two.test" in stories
    assert "relayed" in one.log.read_text()


def test_a_bounce_comes_home(dns: None, instance: Callable[[str, str], Instance]) -> None:
    one, _two = instance("one.test", ONE), instance("two.test", TWO)
    one.submit("nobody@two.test", MESSAGE)
    bounce = wait_for(one.newest, "the bounce's arrival")
    assert b"multipart/report" in bounce
    assert b"Final-Recipient: rfc822; nobody@two.test" in bounce
    assert b"Status: 5.1.1" in bounce


@pytest.fixture
def postfix(need: Callable[..., None], tmp_path: Path) -> Iterator[Path]:
    """Postfix for postfix.test, relaying everything else to our first instance; its Maildir."""
    need("postfix")
    folder = Path("/tmp/mailstead-postfix-test")
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("spool", "data", "mail"):
        (folder / name).mkdir(parents=True)
    shutil.chown(folder / "data", "postfix")
    shutil.chown(folder / "mail", "nobody")
    (folder / "main.cf").write_text(
        f"""compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
myhostname = mx.postfix.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
virtual_mailbox_domains = postfix.test
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:alice/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
relayhost = [{ONE}]
smtp_bind_address = {POSTFIX}
smtp_tls_security_level = may
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
        "\n".join([f"{POSTFIX}:25 inet n - n - - smtpd", *unchrooted, ""])
    )
    done = subprocess.run(["postfix", "-c", str(folder), "start"], check=False, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    wait_for(lambda: answers(POSTFIX, 25), "Postfix's start")
    yield folder / "mail/alice/new"
    subprocess.run(["postfix", "-c", str(folder), "stop"], check=False, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


def test_postfix_receives_from_us_and_relays_to_us(
    dns: None, postfix: Path, instance: Callable[[str, str], Instance]
) -> None:
    one = instance("one.test", ONE)
    one.submit("alice@postfix.test", MESSAGE, mail_options=["BODY=8BITMIME"])
    wait_for(lambda: postfix.is_dir() and any(postfix.iterdir()), "Postfix's delivery")
    delivered = next(postfix.iterdir()).read_bytes().replace(b"\n", b"\r\n")
    assert without_trace(delivered) == MESSAGE

    with smtplib.SMTP(POSTFIX) as client:
        reply = MESSAGE.replace(b"one.test", b"postfix.test", 1)
        client.sendmail("alice@postfix.test", ["alice@one.test"], reply, ["BODY=8BITMIME"])
    arrived = wait_for(one.newest, "the relayed message's arrival")
    assert without_trace(arrived) == reply
    assert b"by mx.one.test with ESMTPS id" in arrived
