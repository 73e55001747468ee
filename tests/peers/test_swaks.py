"""swaks and Postfix's smtp-source send in; curl and imaplib read."""

import imaplib
import ssl
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

Need = Callable[..., None]


def login(server: Any, name: str = "alice") -> imaplib.IMAP4:
    client = imaplib.IMAP4("127.0.0.1", server.imap)
    client.login(f"{name}@example.test", "secret")
    client.select("INBOX")
    return client


def test_swaks_delivers_over_starttls_and_imaplib_reads(
    server: Any, need: Need, run: Callable[..., str]
) -> None:
    need("swaks")
    at = f"127.0.0.1:{server.smtp}"
    output = run("swaks", "--server", at, "-tls", "--from", "me@example.com",
                 "--to", "alice@example.test", "--header", "Subject: From swaks")  # fmt: skip
    assert "250 2.0.0 OK, kept as" in output
    client = login(server)
    _, found = client.search(None, "SUBJECT", '"From swaks"')
    assert found == [b"1"]
    client.logout()


def test_swaks_submits_with_both_mechanisms(
    server: Any, need: Need, run: Callable[..., str]
) -> None:
    need("swaks")
    for mechanism in ("PLAIN", "LOGIN"):
        for options in (
            ["--port", server.submission, "-tls"],
            ["--port", server.submissions, "-tlsc"],
        ):
            run("swaks", "--server", "127.0.0.1", *map(str, options), "-a", mechanism,
                "-au", "alice@example.test", "-ap", "secret", "--from", "alice@example.test",
                "--to", "bob@example.test")  # fmt: skip
    client = login(server, "bob")
    assert client.search(None, "ALL")[1] == [b"1 2 3 4"]
    client.logout()


@pytest.mark.parametrize(
    ("recipient", "reply"),
    [
        ("nobody@example.test", "550 5.1.1"),
        ("bob%example.com@example.test", "550 5.1.1"),
    ],
)
def test_swaks_is_refused(server: Any, need: Need, recipient: str, reply: str) -> None:
    need("swaks")
    done = subprocess.run(
        [
            "swaks",
            "--server",
            f"127.0.0.1:{server.smtp}",
            "--from",
            "a@b.example",
            "--to",
            recipient,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 24  # swaks: no recipient was taken
    assert reply in done.stdout


def test_smtp_source_sends_a_thousand(server: Any, need: Need, run: Callable[..., str]) -> None:
    need("smtp-source")
    run("smtp-source", "-s", "20", "-m", "1000", "-l", "4096", "-f", "a@b.example",
        "-t", "alice@example.test", f"inet:127.0.0.1:{server.smtp}")  # fmt: skip
    client = login(server)
    assert client.select("INBOX")[1] == [b"1000"]
    client.logout()


def test_curl_sends_and_reads(server: Any, need: Need, run: Callable[..., str]) -> None:
    need("curl")
    message = "From: me@example.com\r\nSubject: From curl\r\n\r\nHi!\r\n"
    run("curl", "-sS", f"smtp://127.0.0.1:{server.smtp}", "--mail-from", "me@example.com",
        "--mail-rcpt", "alice@example.test", "-T-", input=message)  # fmt: skip
    output = run("curl", "-sS", f"imap://127.0.0.1:{server.imap}/INBOX;MAILINDEX=1",
                 "-u", "alice@example.test:secret")  # fmt: skip
    assert output.endswith("Subject: From curl\r\n\r\nHi!\r\n")


def test_a_tls_client_refuses_our_ca_unless_told(
    server: Any, need: Need, run: Callable[..., str]
) -> None:
    need("curl")
    url = f"imaps://localhost:{server.imaps}/INBOX"
    words = ["curl", "-sS", "--resolve", f"localhost:{server.imaps}:127.0.0.1", url]
    words += ["-u", "alice@example.test:secret", "-X", "NOOP"]
    refused = subprocess.run(words, capture_output=True, text=True, check=False)
    assert refused.returncode == 60  # curl: the peer's certificate cannot be authenticated
    run(*words, "--cacert", server.ca)


def test_imaplib_verifies_with_our_ca(server: Any) -> None:
    context = ssl.create_default_context(cafile=server.ca)
    client = imaplib.IMAP4_SSL("localhost", server.imaps, ssl_context=context)
    client.login("alice@example.test", "secret")
    client.logout()
    with pytest.raises(ssl.SSLCertVerificationError):
        imaplib.IMAP4_SSL("localhost", server.imaps, ssl_context=ssl.create_default_context())
