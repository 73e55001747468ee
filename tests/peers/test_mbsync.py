"""mbsync keeps a thousand messages of varied MIME in step, both ways, then again with no change."""

import functools
import imaplib
import mailbox
import random
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

COUNT = 1000


@functools.cache
def message(number: int) -> bytes:
    """Text, HTML, attachments, nested messages, 8-bit, long lines; the same each time."""
    chance = random.Random(number)
    made = EmailMessage()
    made["From"] = f"Sender {number} <sender{number}@example.com>"
    made["To"] = "alice@example.test"
    made["Subject"] = f"Message {number} " + chance.choice(["plain", "Grüße", "日本語", "x" * 200])
    made["Message-ID"] = f"<{number}@mbsync.example>"
    made.set_content(
        "\n".join(chance.choice(["a", "Zeile ä", ".", "..", "From x"]) for _ in range(20))
    )
    if number % 3 == 0:
        made.add_alternative(f"<p>{number} &amp; <b>bold</b></p>", subtype="html")
    if number % 5 == 0:
        made.add_attachment(
            chance.randbytes(chance.randint(0, 20_000)), "application", "octet-stream"
        )
    if number % 7 == 0:
        inner = EmailMessage()
        inner["Subject"] = "inside"
        inner.set_content("inner text")
        made.add_attachment(inner)
    return made.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def config(server: Any, folder: Path) -> Path:
    """mbsync's configuration: every mailbox, both ways, creating on either side."""
    (folder / "maildir").mkdir()
    path = folder / "mbsyncrc"
    path.write_text(
        f"""IMAPAccount ours
Host 127.0.0.1
Port {server.imap}
User alice@example.test
Pass secret
SSLType None
AuthMechs LOGIN

IMAPStore remote
Account ours

MaildirStore local
Path {folder}/maildir/
Inbox {folder}/maildir/INBOX
SubFolders Verbatim

Channel all
Far :remote:
Near :local:
Patterns *
Create Both
Expunge Both
SyncState *
"""
    )
    return path


def fill(server: Any) -> None:
    client = imaplib.IMAP4("127.0.0.1", server.imap)
    client.login("alice@example.test", "secret")
    client.create("Archive/2026")
    for number in range(COUNT):
        place = "INBOX" if number % 4 else "Archive/2026"
        flags = "(\\Seen)" if number % 2 else None
        status, answer = client.append(place, flags, None, message(number))
        assert status == "OK", answer
    client.logout()


def remote_counts(server: Any) -> dict[str, int]:
    client = imaplib.IMAP4("127.0.0.1", server.imap)
    client.login("alice@example.test", "secret")
    counts = {name: int(client.select(name)[1][0]) for name in ("INBOX", "Archive/2026", "Drafts")}
    client.logout()
    return counts


def test_a_thousand_messages_both_ways(
    server: Any, need: Callable[..., None], run: Callable[..., str], tmp_path: Path
) -> None:
    need("mbsync")
    fill(server)
    rc = config(server, tmp_path)
    run("mbsync", "-c", rc, "-a", timeout=120)
    inbox = mailbox.Maildir(str(tmp_path / "maildir/INBOX"))
    archive = mailbox.Maildir(str(tmp_path / "maildir/Archive/2026"))
    assert len(inbox) + len(archive) == COUNT
    for kept in [*inbox, *archive]:
        number = int(kept["Message-ID"].strip("<>").partition("@")[0])
        original = message(number).replace(b"\r\n", b"\n")
        assert without_tuid(kept.as_bytes()) == original
        assert ("S" in kept.get_flags()) == bool(number % 2)

    # The other way: a new message here, one flagged, one deleted.
    drafts = mailbox.Maildir(str(tmp_path / "maildir/Drafts"))
    drafts.add(message(5000).replace(b"\r\n", b"\n"))
    first, second = inbox.keys()[:2]
    inbox.remove(first)
    flagged = inbox[second]
    flagged.add_flag("F")
    flagged.set_subdir("cur")
    inbox[second] = flagged
    run("mbsync", "-c", rc, "-a", timeout=120)
    assert remote_counts(server) == {"INBOX": 749, "Archive/2026": 250, "Drafts": 1}
    client = imaplib.IMAP4("127.0.0.1", server.imap)
    client.login("alice@example.test", "secret")
    client.select("INBOX")
    assert len(client.search(None, "FLAGGED")[1][0].split()) == 1
    client.logout()

    again = run("mbsync", "-V", "-c", rc, "-a", timeout=120)
    assert "Synchronizing" in again or "sync" in again.lower()
    assert remote_counts(server) == {"INBOX": 749, "Archive/2026": 250, "Drafts": 1}


def without_tuid(octets: bytes) -> bytes:
    """mbsync marks what it stores with a field of its own."""
    return b"".join(
        line for line in octets.splitlines(keepends=True) if not line.startswith(b"X-TUID:")
    )
