"""Postfix at dane-only delivers to us while our certificate is renewed three times by ACME.

The TLSA record names our key, which stays through renewals: no message may wait. knot signs the
zone, unbound validates it, pebble issues; Postfix sees unbound through a mount namespace of its
own. Nothing but 127.0.0.0/8 is ever used.
"""

import hashlib
import os
import shutil
import smtplib
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from mailstead.server.certificates import ca_file, own_pair

from .waiting import WAIT, answers, free_port, wait_for

KNOT, UNBOUND, US = ("127.0.0.59", 5359), ("127.0.0.58", 53), "127.0.27.1"
NAME, ALICE = "mx.us.test", "alice@us.test"
CONNECTIONS = 8  # so many reach each of two workers
RENEWALS = 3
PAUSE = 0.5  # seconds between messages

Run = Callable[..., str]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is to be ended when the test ends."""
    if os.geteuid() != 0:
        pytest.skip("ports 25 and 53 need root")
    with ExitStack() as stack:
        yield stack


def run_server(stack: ExitStack, log: Path, *words: str, **environment: str) -> None:
    with log.open("wb") as file:
        process = subprocess.Popen(
            words, stdout=file, stderr=file, env={**os.environ, **environment}
        )
    stack.callback(process.wait, 60)
    stack.callback(process.terminate)


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    """Ours, for good."""
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def dns(
    need: Callable[..., None], stack: ExitStack, tmp_path: Path, key: ec.EllipticCurvePrivateKey
) -> None:
    """us.test, signed and validated, with the TLSA record of our key."""
    need("knotd", "keymgr", "unbound")
    folder = tmp_path / "dns"
    folder.mkdir()
    spki = public_key_of(key)
    (folder / "us.test").write_text(
        f"$ORIGIN us.test.\n$TTL 60\n@ SOA ns h 1 60 60 60 60\n@ NS ns\n@ MX 10 mx\n"
        f"ns A {KNOT[0]}\nmx A {US}\n"
        f"_25._tcp.mx TLSA 3 1 1 {hashlib.sha256(spki).hexdigest()}\n"
    )
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
  - domain: us.test
    file: {folder}/us.test
    zonefile-sync: -1
    dnssec-signing: on
    dnssec-policy: quick
"""
    )
    run_server(stack, folder / "knot.log", "/usr/sbin/knotd", "-c", str(config))
    wait_for(lambda: answers(*KNOT), "knot's start")
    keymgr = ["/usr/sbin/keymgr", "-c", str(config), "us.test", "ds"]
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
  local-zone: "." always_refuse
  local-zone: "us.test." transparent
  trust-anchor: "{next(line for line in printed.splitlines() if " 13 2 " in line)}"
stub-zone:
  name: us.test
  stub-addr: {KNOT[0]}@{KNOT[1]}
"""
    )
    unbound = ["/usr/sbin/unbound", "-c", str(folder / "unbound.conf")]
    run_server(stack, folder / "unbound.log", *unbound)
    wait_for(lambda: answers(*UNBOUND), "unbound's start")


class Us:
    """A `mailstead serve` for us.test whose certificate comes by ACME."""

    def __init__(self, folder: Path, directory: str, ca: Path, http: int) -> None:
        self.folder, self.log = folder, folder / "log"
        self.config = folder / "mailstead.toml"
        self.config.write_text(
            f"""hostname = "{NAME}"
database = "sqlite://{folder}/mailstead.db"
[listen]
smtp = ["{US}:25"]
submission = []
submissions = []
imap = []
imaps = []
pop3 = []
pop3s = []
operator = []
http = ["{US}:{http}"]
[limits]
connections_per_minute = 100000
[dns]
servers = ["{UNBOUND[0]}:{UNBOUND[1]}"]
[tls.acme]
email = "postmaster@us.test"
directory = "{directory}"
[tls]
ca_file = "{ca}"
"""
        )

    def shown(self) -> bytes:
        """The certificate that a mail server sees."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with smtplib.SMTP(US) as client:
            client.starttls(context=context)
            assert isinstance(client.sock, ssl.SSLSocket)
            return client.sock.getpeercert(binary_form=True) or b""

    def shown_by_all(self) -> set[bytes]:
        """The certificates that its workers show: one, or two while a new one comes into use."""
        return {self.shown() for _ in range(CONNECTIONS)}

    def force_renewal(self) -> None:
        """As if it had come to its end."""
        (self.folder / "acme/certificate.pem").unlink()


@pytest.fixture
def us(
    dns: None,
    need: Callable[..., None],
    stack: ExitStack,
    tmp_path: Path,
    run: Run,
    key: ec.EllipticCurvePrivateKey,
) -> Us:
    """Our server, with its first certificate from pebble."""
    need("pebble")
    port, http = free_port(), free_port()
    tls = own_pair(tmp_path / "pebble-tls", ["127.0.0.1"], datetime.now(UTC))  # noqa: TID251
    settings = tmp_path / "pebble.json"
    settings.write_text(
        f'{{"pebble": {{"listenAddress": "127.0.0.1:{port}", "certificate": "{tls.certificate}",'
        f' "privateKey": "{tls.key}", "httpPort": {http}, "tlsPort": {free_port()},'
        f' "managementListenAddress": "127.0.0.1:{free_port()}", "ocspResponderURL": ""}}}}'
    )
    words = ("pebble", "-config", str(settings), "-dnsserver", f"{UNBOUND[0]}:{UNBOUND[1]}")
    environment = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
    run_server(stack, tmp_path / "pebble.log", *words, **environment)
    wait_for(lambda: answers("127.0.0.1", port), "pebble's start")
    folder = tmp_path / "us"
    (folder / "acme").mkdir(parents=True)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "acme/key.pem").write_bytes(pem)
    ours = Us(folder, f"https://127.0.0.1:{port}/dir", ca_file(tmp_path / "pebble-tls"), http)
    program = [sys.executable, "-m", "mailstead", "--config", str(ours.config)]
    run(*program, "domain", "add", "us.test")
    run(*program, "account", "add", ALICE, "--password-stdin", input="long-secret\n")
    run_server(stack, ours.log, *program, "serve")
    # A new file is in use within seconds; until then a certificate of our own making is shown.
    wait_for(
        lambda: set(map(public_key, ours.shown_by_all())) == {public_key_of(key)},
        "the first certificate",
    )
    return ours


def public_key(certificate: bytes) -> bytes:
    """The public key of a certificate."""
    return public_key_of(x509.load_der_x509_certificate(certificate))


def public_key_of(owner: x509.Certificate | ec.EllipticCurvePrivateKey) -> bytes:
    return owner.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class Postfix:
    """Postfix, which sends to whom DANE vouches for and to nobody else."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        for name in ("spool", "data"):
            (folder / name).mkdir(parents=True)
        shutil.chown(folder / "data", "postfix")
        resolver = folder / "resolv.conf"
        resolver.write_text(f"nameserver {UNBOUND[0]}\noptions trust-ad edns0\n")
        (folder / "main.cf").write_text(
            f"""compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
myhostname = mx.sender.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
smtpd_peername_lookup = no
smtp_dns_support_level = dnssec
smtp_tls_security_level = dane-only
smtp_tls_loglevel = 1
smtp_connection_cache_on_demand = no
dnssec_probe =
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
        service = f"127.0.0.1:{self.port} inet n - n - - smtpd"
        (folder / "master.cf").write_text("\n".join([service, *unchrooted, ""]))
        mount = f"mount --bind {resolver} /etc/resolv.conf && postfix -c {folder} start"
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", mount], check=False, capture_output=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        wait_for(lambda: answers("127.0.0.1", self.port), "Postfix's start")

    def send(self, number: int) -> None:
        """Hand it a message for Alice."""
        with smtplib.SMTP("127.0.0.1", self.port) as client:
            message = f"From: bob@sender.test\r\nSubject: {number}\r\n\r\nHi!\r\n"
            client.sendmail("bob@sender.test", [ALICE], message)

    def log(self, words: str) -> list[str]:
        """The lines with these words."""
        lines = (self.folder / "log").read_text().splitlines()
        return [line for line in lines if words in line]

    def stop(self) -> None:
        subprocess.run(
            ["postfix", "-c", str(self.folder), "stop"], check=False, capture_output=True
        )
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def postfix(need: Callable[..., None], missing: Callable[[str], None], stack: ExitStack) -> Postfix:
    """The sender."""
    need("postfix", "unshare")
    if subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        missing("the right to make a mount namespace")
    folder = Path("/tmp/mailstead-postfix-dane-test")
    shutil.rmtree(folder, ignore_errors=True)
    one = Postfix(folder)
    stack.callback(one.stop)
    return one


@pytest.mark.timeout(360)
@pytest.mark.rfc("7672 section 3.1.1")
def test_no_message_waits_through_three_renewals(us: Us, postfix: Postfix) -> None:
    sent = 0

    def send_until(condition: Callable[[], bool], what: str) -> None:
        nonlocal sent
        deadline = time.monotonic() + WAIT
        while not condition():
            assert time.monotonic() < deadline, f"{what}\n{us.log.read_text()}"
            postfix.send(sent)
            sent += 1
            time.sleep(PAUSE)

    seen = us.shown_by_all()
    for _ in range(RENEWALS):
        us.force_renewal()
        send_until(lambda: len(us.shown_by_all() - seen) == 1, "no renewal")
        seen.update(us.shown_by_all())
    after = sent + 5
    send_until(lambda: sent == after, "no end")
    assert len(seen) == RENEWALS + 1
    wait_for(lambda: len(postfix.log("status=")) == sent, "an outcome for each message")
    assert postfix.log("status=deferred") == []
    assert len(postfix.log("status=sent")) == sent
    assert len(postfix.log(f"Verified TLS connection established to {NAME}")) >= sent
    assert us.log.read_text().count("a new certificate for") == RENEWALS + 1
