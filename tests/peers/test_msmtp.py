"""msmtp submits by every mechanism; what it sends is signed, goes by MX, and is read elsewhere.

Two `mailstead serve` on addresses of their own, port 25 and 465, unbound between them. Nothing but
127.0.0.0/8 is ever used.
"""

import imaplib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc import jwk, jwt

from mailstead.testing.certificates import Authority

from .waiting import answers, wait_for

HERE, THERE, DNS, WEB = "127.0.41.1", "127.0.41.2", "127.0.41.53", "127.0.41.80"
ALICE, BOB = "alice@here.test", "bob@there.test"
ISSUER = "https://login.test"
CA = Authority()
CLIENT = CA.issue("alice")
KEY = jwk.ECKey.generate_key("P-256", {"kid": "one"}, private=True)


class Server:
    """A server for one domain, with one account; the password is "correct horse"."""

    def __init__(self, folder: Path, domain: str, address: str, login: str) -> None:
        folder.mkdir()
        self.folder, self.address, self.log = folder, address, folder / "log"
        (folder / "ca.pem").write_bytes(CA.pem)
        self.config = folder / "mailstead.toml"
        self.config.write_text(
            f"""hostname = "mx.{domain}"
database = "sqlite://{folder}/mailstead.db"
workers = 2
allowed_targets = ["127.0.0.0/8"]
loopback_clear_text = true
[listen]
smtp = ["{address}:25"]
submission = []
submissions = ["{address}:465"]
imap = ["{address}:143"]
imaps = []
pop3 = []
pop3s = []
operator = []
[limits]
loopback_exempt = false
[dns]
servers = ["{DNS}:53"]
[tls]
ca_file = "{folder}/ca.pem"
"""
        )
        self("domain", "add", domain)
        self("account", "add", login, "--password-stdin", stdin="correct horse")

    def __call__(self, *words: str, stdin: str = "") -> str:
        """Run a command on its store."""
        program = [sys.executable, "-m", "mailstead", "--config", str(self.config), *words]
        ran = subprocess.run(program, input=stdin, text=True, capture_output=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def start(self, stack: ExitStack) -> None:
        """Serve until the stack ends."""
        with self.log.open("wb") as log:
            program = [sys.executable, "-m", "mailstead", "--config", str(self.config), "serve"]
            process = subprocess.Popen(program, stdout=log, stderr=log)
        stack.callback(process.wait, 30)
        stack.callback(process.terminate)
        wait_for(lambda: answers(self.address, 143), "the server's start", self.log)

    def read(self, login: str) -> imaplib.IMAP4:
        """Somebody who reads there."""
        client = imaplib.IMAP4(self.address)
        client.login(login, "correct horse")
        client.select("INBOX")
        return client


class Keys(BaseHTTPRequestHandler):
    """The web server of an issuer of tokens."""

    def do_GET(self) -> None:
        """Its keys."""
        body = json.dumps({"keys": [KEY.as_dict(private=False)]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is to be ended when the test ends."""
    if os.geteuid() != 0:
        pytest.skip("ports 25, 53 and 443 need root")
    with ExitStack() as stack:
        yield stack


def publish(stack: ExitStack, folder: Path, *records: str) -> None:
    """unbound with these records, and nothing else."""
    local = "\n".join(f"  local-data: '{record}'" for record in records)
    (folder / "unbound.conf").write_text(
        f"""server:
  interface: {DNS}@53
  directory: "{folder}"
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  do-ip6: no
  local-zone: "test." static
  local-zone: "127.in-addr.arpa." static
  local-data-ptr: "{HERE} mx.here.test"
  local-data-ptr: "127.0.0.1 mx.here.test"
{local}
"""
    )
    with (folder / "unbound.log").open("wb") as log:
        process = subprocess.Popen(
            ["/usr/sbin/unbound", "-c", str(folder / "unbound.conf")], stdout=log, stderr=log
        )
    stack.callback(process.wait, 30)
    stack.callback(process.terminate)
    wait_for(lambda: answers(DNS, 53), "unbound's start")


def strings(value: str) -> str:
    """A TXT record's text in strings that are short enough."""
    text = value.replace('" "', "").strip('"')
    return " ".join(f'"{text[n : n + 250]}"' for n in range(0, len(text), 250))


@pytest.fixture
def here(need: Callable[..., None], stack: ExitStack, tmp_path: Path) -> Server:
    """The server that msmtp submits to; another one for there.test; DNS for both."""
    need("unbound", "msmtp")
    first = Server(tmp_path / "here", "here.test", HERE, ALICE)
    second = Server(tmp_path / "there", "there.test", THERE, BOB)
    first("account", "certificate", "add", ALICE, str(write_client(tmp_path)))
    first("issuer", "add", ISSUER, "--jwks", f"{ISSUER}/keys", "--audience", "mail")
    shown = json.loads(first("domain", "dkim", "here.test", "--json"))
    (dkim,) = shown["records"]
    publish(
        stack,
        tmp_path,
        "here.test. MX 10 mx.here.test.",
        f"mx.here.test. A {HERE}",
        "mx.here.test. A 127.0.0.1",
        'here.test. TXT "v=spf1 ip4:127.0.0.0/8 -all"',
        'mx.here.test. TXT "v=spf1 ip4:127.0.0.0/8 -all"',
        '_dmarc.here.test. TXT "v=DMARC1; p=reject"',
        f"{dkim['name']} TXT {strings(dkim['value'])}",
        "there.test. MX 10 mx.there.test.",
        f"mx.there.test. A {THERE}",
        f"login.test. A {WEB}",
    )
    for server in (first, second):
        server.start(stack)
    return first


def write_client(folder: Path) -> Path:
    """Alice's certificate."""
    path = folder / "alice.pem"
    path.write_bytes(CLIENT.certificate.public_bytes(Encoding.PEM))
    return path


def serve_keys(stack: ExitStack) -> None:
    """login.test."""
    web = HTTPServer((WEB, 443), Keys)
    web.socket = CA.issue("login.test").context().wrap_socket(web.socket, server_side=True)
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    stack.callback(web.server_close)
    stack.callback(thread.join)
    stack.callback(web.shutdown)


def submit(run: Callable[..., str], here: Server, method: str, secret: str, subject: str) -> None:
    """msmtp over TLS, port 465."""
    pem = here.folder / "client.pem"
    pem.write_bytes(CLIENT.pem())
    rc = here.folder / "msmtprc"
    rc.write_text(
        f"""account default
host {HERE}
port 465
from {ALICE}
user {ALICE}
auth {method}
password {secret}
tls on
tls_starttls off
tls_trust_file {here.folder}/tls/ca.pem
tls_host_override mx.here.test
"""
        + (f"tls_cert_file {pem}\ntls_key_file {pem}\n" if method == "external" else "")
    )
    rc.chmod(0o600)
    message = f"From: {ALICE}\nTo: {BOB}\nSubject: {subject}\n\nHi!\n"
    run("msmtp", "-C", rc, BOB, input=message)


def test_from_scram_to_a_flag_on_another_server(
    here: Server, run: Callable[..., str], tmp_path: Path
) -> None:
    """Submitted with SCRAM, signed, passed on by MX, read by two clients; a flag shows at once."""
    submit(run, here, "scram-sha-256", "correct horse", "Lunch?")
    there = THERE

    def arrived() -> imaplib.IMAP4 | None:
        client = imaplib.IMAP4(there)
        client.login(BOB, "correct horse")
        if client.select("INBOX")[1] == [b"1"]:
            return client
        client.logout()
        return None

    phone = wait_for(arrived, "the message", here.log)
    _, found = phone.fetch("1", "(BODY.PEEK[])")
    text = found[0][1].decode()
    assert "Subject: Lunch?\r\n" in text
    assert "dkim=pass" in text
    assert "dmarc=pass" in text
    assert "DKIM-Signature: " in text
    desktop = arrived()
    assert desktop is not None
    desktop.send(b"x IDLE\r\n")
    assert desktop.readline().startswith(b"+ ")
    began = time.monotonic()
    phone.store("1", "+FLAGS", r"(\Flagged)")
    while b"\\Flagged" not in desktop.readline():
        pass
    assert time.monotonic() - began < 1.0
    for client in (phone, desktop):
        client.shutdown()


def test_every_mechanism(here: Server, stack: ExitStack, run: Callable[..., str]) -> None:
    serve_keys(stack)
    claims = {"iss": ISSUER, "email": ALICE, "aud": "mail", "exp": int(time.time()) + 600}
    token = jwt.encode({"alg": "ES256", "kid": "one"}, claims, KEY)
    made = here("account", "app-password", "add", ALICE, "msmtp", "--for", "submission")
    word = made.strip().rpartition(" ")[2]
    attempts = {
        "plain": "correct horse",
        "login": "correct horse",
        "scram-sha-256": word,
        "oauthbearer": token,
        "xoauth2": token,
        "external": "none",
    }
    for method, secret in attempts.items():
        submit(run, here, method, secret, method)
    with pytest.raises(AssertionError, match="authentication failed"):
        submit(run, here, "scram-sha-256", "wrong", "never")
    with pytest.raises(AssertionError, match="authentication failed"):
        submit(run, here, "oauthbearer", token[:-6] + "AAAAAA", "never")
