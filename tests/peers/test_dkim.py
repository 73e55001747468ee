"""opendkim and dkimpy verify what we sign, with the record that `domain dkim` prints."""

import imaplib
import json
import smtplib
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ALICE, BOB = "alice@example.test", "bob@example.test"
BODIES = (
    b"Hi!\r\n",
    b"",
    b"\r\n\r\n",
    b" two  spaces\t \r\n\r\n.\r\n..dots\r\n \r\n\r\n\r\n",
    "Gr\N{LATIN SMALL LETTER U WITH DIAERESIS}\N{LATIN SMALL LETTER SHARP S}e\r\n".encode(),
    b"A long line, " * 70 + b"\r\n",
    b"Big.  \r\n" * 100_000,
)
HEADER = (
    b"From: Alice <alice@example.test>\r\nTo: bob@example.test,\r\n\t carol@example.test\r\n"
    b"SUBJECT:  %d\tof \r\n  many  \r\nX-Empty:\r\nBcc: dave@example.test\r\n\r\n"
)


@pytest.fixture
def record(server: Any) -> dict[str, str]:
    """The DNS record of example.test's key: its name, and its text with the strings joined."""
    shown = json.loads(server.mailstead("domain", "dkim", "example.test", "--json"))
    (found,) = shown["records"]
    return {"name": found["name"], "text": found["value"].replace('" "', "").strip('"')}


@pytest.fixture
def messages(server: Any, record: dict[str, str]) -> list[bytes]:
    """What bob got of what alice submitted."""
    with smtplib.SMTP("127.0.0.1", server.submission) as client:
        client.starttls()
        client.login(ALICE, "secret")
        for number, body in enumerate(BODIES):
            client.sendmail(ALICE, [BOB], HEADER % number + body, ["BODY=8BITMIME"])
    with imaplib.IMAP4("127.0.0.1", server.imap) as reader:
        reader.login(BOB, "secret")
        reader.select("INBOX")
        _, found = reader.fetch("1:*", "BODY[]")
    return [part[1] for part in found if isinstance(part, tuple)]


def test_dkimpy_verifies(messages: list[bytes], record: dict[str, str], dkimpy: ModuleType) -> None:
    records = {record["name"].encode(): record["text"].encode()}
    verdicts = [
        dkimpy.verify(message, dnsfunc=lambda name, timeout=5: records[name])
        for message in messages
    ]
    assert verdicts == [True] * len(BODIES)


def test_opendkim_verifies(
    messages: list[bytes], record: dict[str, str], need: Callable[..., None], tmp_path: Path
) -> None:
    need("opendkim")
    keys, settings = tmp_path / "keys", tmp_path / "opendkim.conf"
    keys.write_text(f"{record['name'].rstrip('.')} {record['text']}\n")
    settings.write_text(f"Mode v\nTestPublicKeys {keys}\n")

    def verdict(message: bytes) -> str:
        file = tmp_path / "message.eml"
        file.write_bytes(message)
        program = ["/usr/sbin/opendkim", "-vv", "-x", settings, "-t", file]
        done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout + done.stderr

    for message in messages:
        assert "2048-bit key) succeeded" in verdict(message)
    assert "dkim=fail" in verdict(messages[0].replace(b"Hi!", b"Ho!"))
    assert len(messages) == len(BODIES)
