"""pebble issues a certificate and renews it; the server goes on meanwhile."""

import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailstead.msgauth.mtasts import Mode, Policy, parse_policy
from mailstead.server.certificates import ca_file, own_pair

from .waiting import answers, free_port, wait_for

DNS = ("127.0.0.54", 5354)
NAME = "mx.acme.test"


@pytest.fixture
def dns(need: Callable[..., None], tmp_path: Path) -> Iterator[None]:
    """knot knows the name."""
    need("knotd")
    folder = tmp_path / "knot"
    folder.mkdir()
    (folder / "zone").write_text(
        "$ORIGIN acme.test.\n$TTL 60\n@ SOA mx h 1 60 60 60 60\n@ NS mx\nmx A 127.0.0.1\n"
        "mta-sts CNAME mx\n"
    )
    (folder / "knot.conf").write_text(
        f"server:\n  rundir: {folder}\n  listen: {DNS[0]}@{DNS[1]}\n"
        f"database:\n  storage: {folder}\n"
        f"zone:\n  - domain: acme.test\n    file: {folder}/zone\n"
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


class Pebble:
    """The ACME server; `directory` is its address, `ca` what to trust it by."""

    def __init__(self, folder: Path, http_port: int) -> None:
        folder.mkdir()
        port = free_port()
        pair = own_pair(folder / "tls", ["127.0.0.1"], datetime.now(UTC))  # noqa: TID251
        self.ca = ca_file(folder / "tls")
        self.directory = f"https://127.0.0.1:{port}/dir"
        config = {
            "listenAddress": f"127.0.0.1:{port}",
            "managementListenAddress": f"127.0.0.1:{free_port()}",
            "certificate": str(pair.certificate),
            "privateKey": str(pair.key),
            "httpPort": http_port,
            "tlsPort": free_port(),
            "ocspResponderURL": "",
        }
        path = folder / "pebble.json"
        path.write_text(json.dumps({"pebble": config}))
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                ["pebble", "-config", str(path), "-dnsserver", f"{DNS[0]}:{DNS[1]}"],
                stdout=log,
                stderr=log,
                env={**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
            )
        wait_for(lambda: answers("127.0.0.1", port), "pebble's start")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def shown(port: int, name: str = NAME) -> ssl.SSLObject | bytes:
    """The certificate that the server shows."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        closing(socket.create_connection(("127.0.0.1", port), 5)) as raw,
        context.wrap_socket(raw, server_hostname=name) as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""


def issuer(port: int, name: str = NAME) -> str:
    from cryptography import x509

    found = shown(port, name)
    assert isinstance(found, bytes)
    return x509.load_der_x509_certificate(found).issuer.rfc4514_string()


POLICY_HOST = "mta-sts.acme.test"


def fetch(port: int, name: str) -> bytes:
    """The policy, as others fetch it; who they talk to is looked at elsewhere."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        closing(socket.create_connection(("127.0.0.1", port), 5)) as raw,
        context.wrap_socket(raw, server_hostname=name) as secured,
        secured.makefile("rb") as answer,
    ):
        secured.send(f"GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
        return answer.read()


def publish_policy(config: Path) -> None:
    """Host the domain, with a policy."""
    for words in ("domain add acme.test", "domain mta-sts acme.test enforce --mx mx2.acme.test"):
        program = [sys.executable, "-m", "mailstead", "--config", str(config), *words.split()]
        subprocess.run(program, check=True, capture_output=True)


@pytest.mark.timeout(240)
@pytest.mark.rfc("8461 section 3.3")
@pytest.mark.rfc("8555 section 8.3")
def test_pebble_issues_and_renews(dns: None, need: Callable[..., None], tmp_path: Path) -> None:
    need("pebble")
    http, imaps, https = free_port(), free_port(), free_port()
    pebble = Pebble(tmp_path / "pebble", http)
    config = tmp_path / "mailstead.toml"
    config.write_text(
        f"""hostname = "{NAME}"
database = "sqlite://{tmp_path}/mailstead.db"
workers = 2
[listen]
smtp = []
submission = []
submissions = []
imap = []
imaps = ["127.0.0.1:{imaps}"]
pop3 = []
pop3s = []
operator = []
http = ["127.0.0.1:{http}"]
https = ["127.0.0.1:{https}"]
[tls.acme]
email = "postmaster@acme.test"
directory = "{pebble.directory}"
[tls]
ca_file = "{pebble.ca}"
"""
    )
    publish_policy(config)
    log, stack = tmp_path / "log", ExitStack()
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "mailstead", "--config", str(config), "serve"], stderr=output
        )
    try:
        wait_for(lambda: answers("127.0.0.1", imaps), "the server's start")
        wait_for(lambda: "Pebble" in issuer(imaps), "the first certificate", log)
        first, certificate = shown(imaps), tmp_path / "acme/certificate.pem"
        key = (tmp_path / "acme/key.pem").read_bytes()
        client = socket.create_connection(("127.0.0.1", imaps), 5)  # lives through the renewal
        secured = ssl._create_unverified_context().wrap_socket(client)
        stack.enter_context(secured)
        lines = stack.enter_context(secured.makefile("rb"))
        assert lines.readline().startswith(b"* OK")
        other = own_pair(tmp_path / "old", ["other.test"], datetime.now(UTC))  # noqa: TID251
        certificate.write_bytes(other.certificate.read_bytes())  # of no use: it has to be renewed
        wait_for(
            lambda: "Pebble" in issuer(imaps) and shown(imaps) != first,
            "the renewal",
            log,
        )
        assert (tmp_path / "acme/key.pem").read_bytes() == key
        secured.send(b"a NOOP\r\n")
        assert lines.readline().startswith(b"a OK")
        wait_for(
            lambda: "Pebble" in issuer(https, POLICY_HOST) and shown(https, POLICY_HOST) != first,
            "a certificate for the policy host",
            log,
        )
        policy = fetch(https, POLICY_HOST)
        assert policy.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n")
        body = policy.partition(b"\r\n\r\n")[2]
        assert parse_policy(body) == Policy(
            Mode.ENFORCE, (NAME, "mx2.acme.test"), timedelta(days=30)
        )
        assert fetch(https, "mta-sts.other.test").startswith(b"HTTP/1.1 404")
        assert list((tmp_path / "acme/challenges").iterdir()) == []
    finally:
        stack.close()
        pebble.stop()
        server.terminate()
        assert server.wait(90) == 0, log.read_text()
