"""Programs and libraries that speak IMAP: offlineimap, imapfilter, imapclient, aioimaplib."""

import asyncio
import smtplib
import ssl
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import aioimaplib
from imapclient import IMAPClient

ALICE = "alice@example.test"
WAIT = 30.0


def deliver(server: Any, *subjects: str) -> None:
    """Mail from outside."""
    with smtplib.SMTP("127.0.0.1", server.smtp) as client:
        for subject in subjects:
            text = f"From: bob@example.com\r\nTo: {ALICE}\r\nSubject: {subject}\r\n\r\nHi!\r\n"
            client.sendmail("bob@example.com", [ALICE], text.encode())


def connect(server: Any) -> IMAPClient:
    """In TLS, with our CA."""
    context = ssl.create_default_context(cafile=str(server.ca))
    client = IMAPClient("localhost", port=server.imaps, ssl_context=context, timeout=WAIT)
    client.login(ALICE, "secret")
    return client


# ---------------------------------------------------------------------- offlineimap


def test_offlineimap_keeps_maildirs_in_step(
    server: Any, need: Callable[..., None], run: Callable[..., str], tmp_path: Path
) -> None:
    need("offlineimap")
    deliver(server, "one", "two", "three")
    with connect(server) as client:
        client.create_folder("Archive/Entwürfe")
        client.append("Archive/Entwürfe", b"Subject: here\r\n\r\nmoved\r\n", [b"\\Seen"])
    rc, maildir = tmp_path / "offlineimaprc", tmp_path / "mail"
    rc.write_text(
        f"""[general]
metadata = {tmp_path}/metadata
accounts = ours
ui = quiet

[Account ours]
localrepository = local
remoterepository = remote

[Repository local]
type = Maildir
localfolders = {maildir}

[Repository remote]
type = IMAP
remotehost = localhost
remoteport = {server.imaps}
ssl = yes
sslcacertfile = {server.ca}
remoteuser = {ALICE}
remotepass = secret
"""
    )
    sync = ("env", f"HOME={tmp_path}", "offlineimap", "-o", "-c", str(rc))
    run(*sync)
    inbox = sorted((maildir / "INBOX").glob("*/*"))
    assert len(inbox) == 3
    assert len(list((maildir / "Archive.Entw&APw-rfe/cur").iterdir())) == 1
    # One is read here, one thrown away there, one comes new on each side.
    read = inbox[0]
    read.rename(maildir / "INBOX/cur" / f"{read.name.partition(':')[0]}:2,S")
    (maildir / "INBOX/new/made-here").write_bytes(b"Subject: made here\r\n\r\nNew\r\n")
    with connect(server) as client:
        client.select_folder("INBOX")
        client.delete_messages(client.search(["SUBJECT", "three"]))
        client.expunge()
    deliver(server, "four")
    run(*sync)
    run(*sync)
    with connect(server) as client:
        client.select_folder("INBOX")
        found = client.fetch(client.search(), ["ENVELOPE", "FLAGS"])
        subjects = {one[b"ENVELOPE"].subject: one[b"FLAGS"] for one in found.values()}
    assert set(subjects) == {b"one", b"two", b"four", b"made here"}
    assert sum(b"\\Seen" in flags for flags in subjects.values()) == 1
    assert len(list((maildir / "INBOX").glob("*/*"))) == 4


# ---------------------------------------------------------------------- imapfilter


def test_imapfilter_sorts_mail(
    server: Any, need: Callable[..., None], run: Callable[..., str], tmp_path: Path
) -> None:
    need("imapfilter")
    deliver(server, "invoice 1", "invoice 2", "hello")
    rules = tmp_path / "rules.lua"
    rules.write_text(
        f"""
options.timeout = 30
account = IMAP {{ server = "localhost", port = {server.imap}, username = "{ALICE}",
  password = "secret" }}
account:create_mailbox("Invoices")
found = account.INBOX:contain_subject("invoice") * account.INBOX:is_unseen()
found:mark_flagged()
found:move_messages(account["Invoices"])
account.INBOX:contain_body("Hi!"):mark_seen()
"""
    )
    run("env", f"HOME={tmp_path}", "imapfilter", "-t", server.ca, "-c", rules)
    with connect(server) as client:
        counts = client.folder_status("INBOX", ["MESSAGES", "UNSEEN"])
        assert counts == {b"MESSAGES": 1, b"UNSEEN": 0}
        client.select_folder("Invoices")
        assert len(client.search(["FLAGGED"])) == 2


# ---------------------------------------------------------------------- imapclient


def test_imapclient_goes_through_a_mailbox(server: Any) -> None:
    deliver(server, "b", "a", "Re: a")
    with connect(server) as client:
        assert client.select_folder("INBOX")[b"EXISTS"] == 3
        first, second, third = client.search()
        assert client.search(["SUBJECT", "a", "SINCE", date(2020, 1, 1)]) == [second, third]
        assert client.sort(["SUBJECT", "ARRIVAL"]) == [second, third, first]
        assert client.thread("ORDEREDSUBJECT") == ((first,), (second, third))
        client.add_flags([first], [b"\\Flagged", b"work"])
        assert set(client.get_flags([first])[first]) >= {b"\\Flagged", b"work"}
        data = client.fetch([first], ["BODYSTRUCTURE", "BODY.PEEK[TEXT]", "RFC822.SIZE", "MODSEQ"])
        assert data[first][b"BODY[TEXT]"] == b"Hi!\r\n"
        assert data[first][b"BODYSTRUCTURE"][:2] == (b"text", b"plain")
        client.create_folder("Reisen/Köln")
        assert client.list_folders("Reisen", "%")[0][2] == "Reisen"
        client.move([second, third], "Reisen/Köln")
        assert client.search() == [first]
        assert client.folder_status("Reisen/Köln", ["MESSAGES"]) == {b"MESSAGES": 2}
        client.rename_folder("Reisen/Köln", "Reisen/Bonn")
        client.subscribe_folder("Reisen/Bonn")
        assert "Reisen/Bonn" in [name for _, _, name in client.list_sub_folders()]
        assert client.get_quota_root("INBOX")[0].quota_roots
        assert client.find_special_folder(b"\\Trash") == "Trash"
        client.delete_folder("Reisen/Bonn")


def test_imapclient_is_told_of_new_mail(server: Any) -> None:
    with connect(server) as client:
        client.select_folder("INBOX")
        client.idle()
        deliver(server, "now")
        told = client.idle_check(timeout=WAIT)
        assert (1, b"EXISTS") in told
        client.idle_done()
        assert client.search() == [1]


# ---------------------------------------------------------------------- aioimaplib


async def test_aioimaplib_waits_for_mail_and_files_it(server: Any) -> None:
    client = aioimaplib.IMAP4("127.0.0.1", server.imap, timeout=WAIT)
    await client.wait_hello_from_server()
    assert (await client.login(ALICE, "secret")).result == "OK"
    assert (await client.select("INBOX")).result == "OK"
    idle = await client.idle_start(timeout=WAIT)
    await asyncio.to_thread(deliver, server, "pushed")
    told = await client.wait_server_push()
    assert b"1 EXISTS" in told
    client.idle_done()
    async with asyncio.timeout(WAIT):
        await idle
    fetched = await client.fetch("1", "(UID FLAGS BODY.PEEK[])")
    assert fetched.result == "OK"
    assert b"Subject: pushed" in b"".join(map(bytes, fetched.lines))
    assert (await client.create("Filed")).result == "OK"
    assert (await client.uid("move", "1", "Filed")).result == "OK"
    assert (await client.search("ALL")).lines[0] == b""
    assert (await client.logout()).result == "OK"
