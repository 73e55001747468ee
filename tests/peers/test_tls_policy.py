"""TLS policies in the real world: a signed zone in knot, unbound to validate, Postfix to receive.

Each server has a loopback address of its own, so that ports 25 and 443 are free; that needs root.
Nothing but 127.0.0.0/8 is ever used.
"""

import hashlib
import os
import shutil
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from mailstead.msgauth import dane
from mailstead.msgauth.tlsrpt import Result
from mailstead.testing.certificates import Authority, Issued

from .waiting import answers, wait_for

KNOT, UNBOUND, LAME = ("127.0.0.55", 5355), ("127.0.0.56", 5356), "127.0.0.57"
RIGHT, WRONG, PLAIN, WEB, US = (f"127.0.26.{number}" for number in (1, 2, 3, 80, 9))

CA, OTHER = Authority("Test CA"), Authority("Other CA")
POLICIES = {
    "good": ("enforce", "mx.good.sts.test"),
    "bad": ("enforce", "mx.bad.sts.test"),
    "other": ("enforce", "*.elsewhere.test"),
    "testing": ("testing", "mx.testing.sts.test"),
    "off": ("none", "mx.off.sts.test"),
}
ARRIVE = {
    "right.dane.test",  # DANE-EE, by a certificate of that key
    "anchor.dane.test",  # DANE-TA, by one of that authority
    "mixed.dane.test",  # one record is stale, the other is right
    "alias.dane.test",  # the records are those of the name behind a CNAME
    "none.dane.test",  # no records: any certificate will do
    "good.sts.test",
    "testing.sts.test",  # the certificate is wrong, which only counts
    "off.sts.test",
}
STAY = {
    "wrong.dane.test",  # another key
    "plain.dane.test",  # records, but no STARTTLS
    "lame.dane.test",  # the records cannot be had
    "bad.sts.test",  # the certificate is of another authority
    "other.sts.test",  # the policy does not name the host
}
SERVERS = {"bad": WRONG, "testing": WRONG, "off": WRONG, "none": WRONG, "wrong": WRONG}
SERVERS["plain"] = PLAIN
GOOD = CA.issue(*(f"mx.{domain}" for domain in sorted(ARRIVE | STAY)))
BAD = OTHER.issue(*(f"mx.{domain}" for domain in sorted(ARRIVE | STAY)))


def end_entity(issued: Issued) -> str:
    return f"3 1 1 {hashlib.sha256(issued.spki).hexdigest()}"


def anchor(authority: Authority) -> str:
    return f"2 0 1 {hashlib.sha256(authority.issued.chain[0]).hexdigest()}"


def zone(origin: str, names: set[str], records: list[str]) -> str:
    lines = [f"$ORIGIN {origin}.", "$TTL 60", "@ SOA ns h 1 60 60 60 60", "@ NS ns"]
    lines.append(f"ns A {KNOT[0]}")
    for name in sorted(one.partition(".")[0] for one in names if one.endswith(origin)):
        lines += [f"{name} MX 10 mx.{name}"]
        if name != "alias":
            lines += [f"mx.{name} A {SERVERS.get(name, RIGHT)}"]
    return "\n".join([*lines, *records, ""])


def write_zones(folder: Path) -> None:
    dane_records = [
        f"_25._tcp.mx.{name} TLSA {record}"
        for name, records in {
            "right": [end_entity(GOOD)],
            "anchor": [anchor(CA)],
            "mixed": [end_entity(BAD), end_entity(GOOD)],
            "wrong": [end_entity(GOOD)],
            "plain": [end_entity(GOOD)],
        }.items()
        for record in records
    ]
    dane_records += [f"_tcp.mx.lame NS ns.lame\nns.lame A {LAME}", "mx.alias CNAME mx.right"]
    (folder / "dane.test").write_text(zone("dane.test", ARRIVE | STAY, dane_records))
    sts_records = [
        f'_mta-sts.{name} TXT "v=STSv1; id=1;"\nmta-sts.{name} A {WEB}' for name in POLICIES
    ]
    (folder / "sts.test").write_text(zone("sts.test", ARRIVE | STAY, sts_records))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is to be ended when the test ends."""
    if os.geteuid() != 0:
        pytest.skip("port 25 needs root")
    with ExitStack() as stack:
        yield stack


def run_server(stack: ExitStack, log: Path, *words: str, **environment: str) -> None:
    with log.open("wb") as file:
        process = subprocess.Popen(
            words, stdout=file, stderr=file, env={**os.environ, **environment}
        )
    stack.callback(process.wait, 20)
    stack.callback(process.terminate)


@pytest.fixture
def dns(need: Callable[..., None], stack: ExitStack, tmp_path: Path) -> None:
    """knot signs dane.test and serves sts.test as it is; unbound validates both."""
    need("knotd", "keymgr", "unbound")
    folder = tmp_path / "dns"
    folder.mkdir()
    write_zones(folder)
    config = folder / "knot.conf"
    config.write_text(
        f"""server:
  rundir: {folder}
  listen: {KNOT[0]}@{KNOT[1]}
database:
  storage: {folder}
policy:
  - id: quick
    algorithm: ecdsap256sha256
zone:
  - domain: dane.test
    file: {folder}/dane.test
    zonefile-sync: -1
    dnssec-signing: on
    dnssec-policy: quick
  - domain: sts.test
    file: {folder}/sts.test
"""
    )
    run_server(stack, folder / "knot.log", "/usr/sbin/knotd", "-c", str(config))
    wait_for(lambda: answers(*KNOT), "knot's start")
    keymgr = ["/usr/sbin/keymgr", "-c", str(config), "dane.test", "ds"]
    printed = wait_for(lambda: subprocess.check_output(keymgr, text=True), "the signing")
    (folder / "unbound.conf").write_text(
        f"""server:
  interface: {UNBOUND[0]}@{UNBOUND[1]}
  directory: "{folder}"
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  do-ip6: no
  do-not-query-localhost: no
  local-zone: "test." nodefault
  trust-anchor: "{next(line for line in printed.splitlines() if " 13 2 " in line)}"
"""
        + "".join(
            f"stub-zone:\n  name: {name}\n  stub-addr: {KNOT[0]}@{KNOT[1]}\n"
            for name in ("dane.test", "sts.test")
        )
    )
    unbound = ["/usr/sbin/unbound", "-c", str(folder / "unbound.conf")]
    run_server(stack, folder / "unbound.log", *unbound)
    wait_for(lambda: answers(*UNBOUND), "unbound's start")


class PolicyFile(BaseHTTPRequestHandler):
    """The policies of sts.test."""

    def do_GET(self) -> None:
        """The policy of the host that is asked."""
        name = self.headers["Host"].split(".")[1]
        mode, mx = POLICIES[name]
        body = f"version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: 86400\r\n".encode()
        self.send_response(200 if self.path == "/.well-known/mta-sts.txt" else 404)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def web(stack: ExitStack, tmp_path: Path) -> None:
    """The policy host of all domains in sts.test."""
    pair = tmp_path / "web.pem"
    pair.write_bytes(CA.issue(*(f"mta-sts.{name}.sts.test" for name in POLICIES)).pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    server = HTTPServer((WEB, 443), PolicyFile)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    stack.callback(thread.join)
    stack.callback(server.server_close)
    stack.callback(server.shutdown)


@pytest.fixture
def postfix(need: Callable[..., None], stack: ExitStack) -> Path:
    """Postfix on three addresses: with a good certificate, a bad one, and none; its Maildir."""
    need("postfix")
    folder = Path("/tmp/mailstead-postfix-tls-test")
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("spool", "data", "mail"):
        (folder / name).mkdir(parents=True)
    shutil.chown(folder / "data", "postfix")
    shutil.chown(folder / "mail", "nobody")
    for name, issued in (("good", GOOD), ("bad", BAD)):
        (folder / f"{name}.pem").write_bytes(issued.pem())
    (folder / "main.cf").write_text(
        f"""compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
myhostname = mx.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
virtual_mailbox_domains = {" ".join(sorted(ARRIVE | STAY))}
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:alice/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
smtpd_peername_lookup = no
smtpd_tls_key_file = $smtpd_tls_cert_file
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
    with_tls = "-o smtpd_tls_security_level=may -o smtpd_tls_cert_file="
    services = [
        f"{RIGHT}:25 inet n - n - - smtpd {with_tls}{folder}/good.pem",
        f"{WRONG}:25 inet n - n - - smtpd {with_tls}{folder}/bad.pem",
        f"{PLAIN}:25 inet n - n - - smtpd",
    ]
    (folder / "master.cf").write_text("\n".join([*services, *unchrooted, ""]))
    done = subprocess.run(["postfix", "-c", str(folder), "start"], check=False, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    stop = ["postfix", "-c", str(folder), "stop"]
    stack.callback(subprocess.run, stop, check=False, capture_output=True)
    wait_for(lambda: all(answers(one, 25) for one in (RIGHT, WRONG, PLAIN)), "Postfix's start")
    return folder / "mail/alice/new"


@pytest.fixture
def us(stack: ExitStack, tmp_path: Path, run: Callable[..., str]) -> Path:
    """A `mailstead serve` that trusts CA and asks unbound; its log."""
    folder = tmp_path / "us"
    folder.mkdir()
    (folder / "ca.pem").write_bytes(CA.pem)
    config = folder / "mailstead.toml"
    config.write_text(
        f"""hostname = "mx.us.test"
database = "sqlite://{folder}/mailstead.db"
allowed_targets = ["127.0.0.0/8"]
[listen]
smtp = []
submission = ["{US}:587"]
submissions = []
imap = []
imaps = []
pop3 = []
pop3s = []
operator = []
[dns]
servers = ["{UNBOUND[0]}:{UNBOUND[1]}"]
"""
    )
    program = [sys.executable, "-m", "mailstead", "--config", str(config)]
    run(*program, "domain", "add", "us.test")
    run(*program, "account", "add", "alice@us.test", "--password-stdin", input="long-secret\n")
    run_server(stack, folder / "log", *program, "serve", SSL_CERT_FILE=str(folder / "ca.pem"))
    wait_for(lambda: answers(US, 587), "our start")
    return folder / "log"


def arrived(maildir: Path) -> set[str]:
    """The domains whose mail is there."""
    texts = [file.read_text() for file in maildir.iterdir()] if maildir.is_dir() else []
    return {
        line.partition("@")[2]
        for text in texts
        for line in text.splitlines()
        if line.startswith("Delivered-To:")
    }


def deferred(log: Path) -> dict[str, str]:
    """Domain -> line of the log."""
    lines = [line for line in log.read_text().splitlines() if " outcome=deferred " in line]
    return {line.partition("@")[2].partition(" ")[0]: line for line in lines}


@pytest.mark.rfc("7672 section 3.2")
@pytest.mark.rfc("8461 section 5")
def test_mail_goes_where_policies_let_it(dns: None, web: None, postfix: Path, us: Path) -> None:
    recipients = [f"alice@{domain}" for domain in sorted(ARRIVE | STAY)]
    with smtplib.SMTP(US, 587) as client:
        client.starttls()
        client.login("alice@us.test", "long-secret")
        message = "From: alice@us.test\r\nSubject: Policies\r\n\r\nHi!\r\n"
        client.sendmail("alice@us.test", recipients, message)
    wait_for(lambda: arrived(postfix) >= ARRIVE, f"arrival, {us.read_text()}")
    wait_for(lambda: set(deferred(us)) >= STAY, "refusal")
    assert (arrived(postfix), set(deferred(us))) == (ARRIVE, STAY)
    replies = {domain: line.partition(" reply=")[2][:10] for domain, line in deferred(us).items()}
    assert replies == {
        "wrong.dane.test": '"454 4.7.5',
        "plain.dane.test": '"454 4.7.4',
        "lame.dane.test": '"451 4.4.3',
        "bad.sts.test": '"454 4.7.5',
        "other.sts.test": '"451 4.7.5',
    }


# ---------------------------------------------------------------------- OpenSSL as oracle

ROOT = Authority("Root")
MIDDLE = Authority("Middle", ROOT)
HOST = "mx.example.test"
CHAINS = {
    "right": MIDDLE.issue(HOST),
    "wildcard": MIDDLE.issue("*.example.test"),
    "other name": MIDDLE.issue("mx.other.test"),
    "foreign": OTHER.issue(HOST),
}


def record(usage: int, selector: int, matching: int, issued: Issued) -> str:
    data = issued.spki if selector else issued.chain[0]
    if matching:
        data = hashlib.new({1: "sha256", 2: "sha512"}[matching], data).digest()
    return f"{usage} {selector} {matching} {data.hex()}"


@pytest.mark.rfc("7672 section 3.1.2")
@pytest.mark.parametrize("shown", list(CHAINS))
def test_openssl_judges_the_same(
    need: Callable[..., None], tmp_path: Path, stack: ExitStack, shown: str
) -> None:
    need("openssl")
    issued = CHAINS[shown]
    leaf, key, above = (tmp_path / name for name in ("leaf.pem", "key.pem", "above.pem"))
    leaf.write_bytes(issued.certificate.public_bytes(Encoding.PEM))
    key.write_bytes(issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    above.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in issued.above))
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    served = ["-accept", f"127.0.0.1:{port}", "-cert", str(leaf), "-key", str(key)]
    chain = ["-cert_chain", str(above), "-quiet"]
    run_server(stack, tmp_path / "log", "openssl", "s_server", *served, *chain)
    wait_for(lambda: answers("127.0.0.1", port), "openssl's start")
    named = (CHAINS["right"], MIDDLE.issued, ROOT.issued)
    for usage, one in ((3, named[0]), (2, named[0]), (2, named[1]), (2, named[2]), (3, named[2])):
        for selector, matching in ((0, 1), (1, 1), (1, 2), (0, 0)):
            text = record(usage, selector, matching, one)
            client = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-brief"]
            dane_options = ["-dane_tlsa_domain", HOST, "-dane_tlsa_rrdata", text]
            done = subprocess.run(
                [*client, *dane_options, "-verify_return_error", "-dane_ee_no_namechecks"],
                input=b"Q",
                capture_output=True,
                timeout=20,
                check=False,
            )
            parsed = dane.parse_record(text)
            assert parsed is not None
            now = datetime.now(UTC)  # noqa: TID251
            ours = dane.check_chain([parsed], issued.chain, [HOST], now)
            verdict = b"Verification: OK" in done.stderr
            assert (ours is Result.SUCCESS) == verdict, (shown, usage, selector, matching, ours)
