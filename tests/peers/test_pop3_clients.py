"""Programs that fetch mail by POP3: curl, getmail, fetchmail, mpop; what they take and delete."""

import imaplib
import mailbox
import smtplib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ALICE = "alice@example.test"
BIG = b"x" * 70 + b"\r\n"


def deliver(server: Any, *subjects: str, size: int = 0) -> None:
    """Mail from outside, with dots where they hurt."""
    with smtplib.SMTP("127.0.0.1", server.smtp) as client:
        for subject in subjects:
            head = f"From: x@example.com\r\nTo: {ALICE}\r\nSubject: {subject}\r\n\r\n".encode()
            body = b".one\r\n..two\r\n.\r\nthree\r\n" + BIG * (size // len(BIG))
            client.sendmail("x@example.com", [ALICE], head + body)


def count(server: Any, name: str) -> int:
    """Messages in a mailbox, as IMAP sees it."""
    with imaplib.IMAP4("127.0.0.1", server.imap) as client:
        client.login(ALICE, "secret")
        return int(client.select(name, readonly=True)[1][0] or 0)


def make_agent(folder: Path) -> Path:
    """A delivery agent that writes each message into a file of the folder."""
    folder.mkdir()
    agent = folder.with_name("agent")
    agent.write_text(
        f"#!{sys.executable}\nimport sys, uuid\n"
        f"open('{folder}/' + uuid.uuid4().hex, 'wb').write(sys.stdin.buffer.read())\n"
    )
    agent.chmod(0o700)
    return agent


def subjects(folder: Path) -> list[str]:
    """What a program has delivered, as it should be, each once."""
    found = []
    for path in folder.iterdir():
        head, _, text = path.read_bytes().replace(b"\r\n", b"\n").partition(b"\n\n")
        found += [line[9:].decode() for line in head.split(b"\n") if line.startswith(b"Subject: ")]
        assert text.startswith(b".one\n..two\n.\nthree\n"), text[:100]
    return sorted(found)


def test_curl(server: Any, need: Callable[..., None], run: Callable[..., str]) -> None:
    need("curl")
    deliver(server, "one", "two")
    port = server.pop3s
    at = [
        "--resolve",
        f"localhost:{port}:127.0.0.1",
        "--cacert",
        server.ca,
        "-u",
        f"{ALICE}:secret",
    ]
    url = f"pop3s://localhost:{port}"
    assert run("curl", "-sS", *at, f"{url}/") == "1 {0}\r\n2 {0}\r\n".format(
        run("curl", "-sS", *at, f"{url}/").split()[1]
    )
    text = run("curl", "-sS", *at, f"{url}/2")
    assert "Subject: two\r\n" in text
    assert text.endswith("\r\n.one\r\n..two\r\n.\r\nthree\r\n")
    assert run("curl", "-sS", *at, "--login-options", "AUTH=PLAIN", f"{url}/1") != ""
    clear = ["--ssl-reqd", *at[2:], "--resolve", f"localhost:{server.pop3}:127.0.0.1"]
    listed = run("curl", "-sS", *clear, "-X", "UIDL", f"pop3://localhost:{server.pop3}/")
    assert len(listed.split("\r\n")) == 3
    run("curl", "-sS", *at, "-X", "DELE 1", "--head", f"{url}/")
    assert (count(server, "INBOX"), count(server, "Trash")) == (1, 1)


def test_getmail(
    server: Any, need: Callable[..., None], run: Callable[..., str], tmp_path: Path
) -> None:
    """It leaves mail on the server, and takes each message once."""
    need("getmail")
    deliver(server, "one", "two", size=600_000)
    folder = tmp_path / "got"
    agent = make_agent(folder)
    rc = tmp_path / "getmailrc"
    rc.write_text(
        f"""[retriever]
type = SimplePOP3SSLRetriever
server = localhost
port = {server.pop3s}
username = {ALICE}
password = secret
ca_certs = {server.ca}
[destination]
type = MDA_external
path = {agent}
allow_root_commands = true
[options]
delete = false
read_all = false
"""
    )
    getmail = ("getmail", "--getmaildir", tmp_path, "--rcfile", rc)
    run(*getmail)
    assert subjects(folder) == ["one", "two"]
    deliver(server, "three")
    run(*getmail)
    assert subjects(folder) == ["one", "three", "two"]
    assert count(server, "INBOX") == 3
    run(*getmail, "--delete")
    assert (count(server, "INBOX"), count(server, "Trash")) == (0, 3)


def test_fetchmail(
    server: Any, need: Callable[..., None], run: Callable[..., str], tmp_path: Path
) -> None:
    """By STLS, with UIDL; it takes what it has fetched off the server."""
    need("fetchmail")
    deliver(server, *map(str, range(30)))
    folder = tmp_path / "got"
    agent = make_agent(folder)
    rc = tmp_path / "fetchmailrc"
    rc.write_text(
        f"""set idfile "{tmp_path}/ids"
poll localhost protocol pop3 port {server.pop3} uidl
  username "{ALICE}" password "secret" mda "{agent}"
  sslproto 'auto' sslcertck sslcertfile "{server.ca}" no rewrite
"""
    )
    rc.chmod(0o600)
    run(
        "env",
        f"HOME={tmp_path}",
        "fetchmail",
        "-f",
        rc,
        "--pidfile",
        tmp_path / "pid",
        "--nobounce",
    )
    assert subjects(folder) == sorted(map(str, range(30)))
    assert (count(server, "INBOX"), count(server, "Trash")) == (0, 30)


def test_mpop(
    server: Any, need: Callable[..., None], run: Callable[..., str], tmp_path: Path
) -> None:
    """With PIPELINING, by SCRAM-SHA-256 and by a password for it alone."""
    need("mpop")
    deliver(server, *map(str, range(100)))
    made = server.mailstead("account", "app-password", "add", ALICE, "mpop", "--for", "pop3")
    word = made.strip().rpartition(" ")[2]
    for number, (method, password) in enumerate(
        [("scram-sha-256", "secret"), ("scram-sha-256", word), ("plain", word), ("user", "secret")]
    ):
        folder = tmp_path / f"Maildir{number}"
        mailbox.Maildir(folder, create=True)
        rc = tmp_path / "mpoprc"
        rc.write_text(
            f"""account default
host localhost
port {server.pop3s}
user {ALICE}
password {password}
auth {method}
tls on
tls_starttls off
tls_trust_file {server.ca}
delivery maildir {folder}
uidls_file {tmp_path}/uidls{number}
pipelining on
keep {"off" if method == "user" else "on"}
"""
        )
        rc.chmod(0o600)
        run("mpop", "-C", rc)
        assert subjects(folder / "new") == sorted(map(str, range(100)))
    assert (count(server, "INBOX"), count(server, "Trash")) == (0, 100)
