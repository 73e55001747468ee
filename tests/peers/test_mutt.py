"""mutt, at a terminal of its own, reads mail and files it."""

import imaplib
import smtplib
from collections.abc import Callable
from pathlib import Path
from typing import Any

KEYS = "<tag-pattern>~s mutt<enter><tag-prefix><save-message>=Archive<enter><sync-mailbox><quit>"


def test_mutt_moves_messages_to_another_mailbox(
    server: Any, need: Callable[..., None], run: Callable[..., str], tmp_path: Path
) -> None:
    need("mutt", "script")
    with smtplib.SMTP("127.0.0.1", server.smtp) as client:
        for number in range(3):
            message = f"From: a@b.example\r\nSubject: mutt {number}\r\n\r\nHi!\r\n"
            client.sendmail("a@b.example", ["alice@example.test"], message)
    rc = tmp_path / "muttrc"
    rc.write_text(
        f"""set folder="imap://127.0.0.1:{server.imap}/"
set imap_user="alice@example.test"
set imap_pass="secret"
set ssl_starttls=no
set ssl_force_tls=no
set delete=yes
set quit=yes
set confirmappend=no
set header_cache=""
push "{KEYS}"
"""
    )
    mutt = f"env TERM=xterm mutt -n -F {rc} -f imap://127.0.0.1:{server.imap}/INBOX"
    run("script", "-qec", mutt, "/dev/null", timeout=60)
    with imaplib.IMAP4("127.0.0.1", server.imap) as reader:
        reader.login("alice@example.test", "secret")
        assert reader.select("INBOX")[1] == [b"0"]
        assert reader.select("Archive")[1] == [b"3"]
