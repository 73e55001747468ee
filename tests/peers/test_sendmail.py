"""Programs that call `sendmail`, which is `mailstead` under that name."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .test_swaks import login

MAILSTEAD = Path(sys.executable).with_name("mailstead")


@pytest.fixture
def sendmail(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program, for this server."""
    program = tmp_path / "sendmail"
    program.symlink_to(MAILSTEAD)
    monkeypatch.setenv("MAILSTEAD_HOST", f"127.0.0.1:{server.smtp}")
    monkeypatch.setenv("MAILSTEAD_DOMAIN", "example.test")
    return program


def call(program: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([program, *arguments], input=stdin, capture_output=True, timeout=60)


def fetch(server: Any) -> bytes:
    client = login(server)
    found: list[Any] = client.fetch("1", "BODY[]")[1]
    client.logout()
    octets: bytes = found[0][1]
    return octets


def test_recipients_of_the_header(server: Any, sendmail: Path) -> None:
    message = b"To: Alice <alice>\nBcc: bob@example.test\nSubject: From cron\n\nDone.\n.\nno\n"
    ran = call(sendmail, "-t", "-F", "Cron Daemon", stdin=message)
    assert (ran.returncode, ran.stderr) == (0, b"")
    octets = fetch(server)
    assert b"Subject: From cron\r\n" in octets
    assert b"From: Cron Daemon <" in octets
    assert octets.endswith(b"\r\n\r\nDone.\r\n")


def test_what_is_refused_has_a_code(sendmail: Path) -> None:
    ran = call(sendmail, "nobody", stdin=b"Subject: x\n\nHi\n")
    assert (ran.returncode, b"nobody@example.test" in ran.stderr) == (67, True)
    assert call(sendmail, stdin=b"Subject: x\n\nHi\n").returncode == 64


def test_nobody_listens(sendmail: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILSTEAD_HOST", "127.0.0.1:9")
    ran = call(sendmail, "alice", stdin=b"Subject: x\n\nHi\n")
    assert (ran.returncode, b"no mail server at 127.0.0.1:9" in ran.stderr) == (75, True)


def test_smtp_on_the_standard_input(server: Any, sendmail: Path) -> None:
    dialogue = b"EHLO x\nMAIL FROM:<>\nRCPT TO:<alice@example.test>\nDATA\nSubject: bs\n\n.\nQUIT\n"
    ran = call(sendmail, "-bs", stdin=dialogue)
    assert b"250 2.0.0 OK, kept as" in ran.stdout
    assert b"Subject: bs" in fetch(server)


def test_mutt_sends_with_it(
    server: Any, sendmail: Path, need: Callable[..., None], tmp_path: Path
) -> None:
    need("mutt")
    settings = f"set sendmail='{sendmail} -oem -oi'; set use_envelope_from; set copy=no"
    environment = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run(
        ["mutt", "-F", "/dev/null", "-e", settings, "-s", "From mutt", "alice@example.test"],
        input=b"Hello\n",
        env={**environment, "EMAIL": "bob@example.test"},
        check=True,
        timeout=60,
    )
    assert b"Subject: From mutt\r\n" in fetch(server)
