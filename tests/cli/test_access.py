"""App passwords, certificates, old hashes and issuers of tokens."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from mailstead.server.config import Bucket, parse_bucket
from mailstead.testing.certificates import Authority

from .conftest import Shell

ALICE = "alice@example.org"
DIGEST = hashlib.pbkdf2_hmac("sha1", b"secret", b"salt", 1000).hex()


def test_app_passwords(mailstead: Shell) -> None:
    assert "app-password add" in mailstead("account", "app-password", "list", ALICE).out
    made = mailstead("account", "app-password", "add", ALICE, "phone", "--json").json()
    assert len(made["password"]) == 29
    some = ("--for", "pop3", "--for", "imap", "--expires-in", "90d")
    assert mailstead("account", "app-password", "add", ALICE, "old pc", *some).code == 0
    assert mailstead("account", "app-password", "add", ALICE, "phone").code == 1
    assert (
        mailstead("account", "app-password", "add", ALICE, "x", "--expires-in", "2030-01-01").code
        == 2
    )
    listed = mailstead("account", "app-password", "list", ALICE, "--json").json()
    assert [(one["name"], one["protocols"], one["last_used"]) for one in listed] == [
        ("old pc", ["imap", "pop3"], None),
        ("phone", [], None),
    ]
    assert datetime.fromisoformat(listed[0]["expires"]) > datetime(2026, 1, 1, tzinfo=UTC)
    assert made["password"] not in mailstead("account", "app-password", "list", ALICE).out
    assert mailstead("account", "app-password", "remove", ALICE, "phone").code == 0
    refused = mailstead("account", "app-password", "remove", ALICE, "phone")
    assert (refused.code, "app-password list" in refused.err) == (1, True)
    assert mailstead("account", "app-password", "add", "bob@example.org", "x").code == 1


def test_certificates(mailstead: Shell, write_file: Callable[[str, str], str]) -> None:
    issued = Authority().issue("alice")
    path = write_file("alice.pem", issued.certificate.public_bytes(Encoding.PEM).decode())
    print_ = hashlib.sha256(issued.chain[0]).hexdigest()
    assert mailstead("account", "certificate", "add", ALICE, path).code == 0
    assert mailstead("account", "certificate", "add", ALICE, path).code == 1
    assert mailstead("account", "certificate", "add", ALICE, "AB:CD").code == 1
    assert mailstead("account", "certificate", "list", ALICE, "--json").json() == [print_]
    with_colons = ":".join(print_[n : n + 2].upper() for n in range(0, 64, 2))
    assert mailstead("account", "certificate", "remove", ALICE, with_colons).code == 0
    assert mailstead("account", "certificate", "remove", ALICE, path).code == 1
    assert "certificate add" in mailstead("account", "certificate", "list", ALICE).out


def test_hashes_of_another_server(mailstead: Shell, write_file: Callable[[str, str], str]) -> None:
    hashed = "{PBKDF2}$1$salt$1000$" + DIGEST
    assert mailstead("account", "import-hash", ALICE, stdin=hashed + "\n").code == 0
    path = write_file("hash", hashed)
    assert mailstead("account", "import-hash", ALICE, "--hash-file", path).code == 0
    refused = mailstead("account", "import-hash", ALICE, stdin="$2b$12$" + "x" * 53)
    assert (refused.code, "bcrypt is not" in refused.err) == (1, True)
    table = write_file("people.csv", f"address,hash\nbob@example.org,{hashed}\ncy@example.org,x\n")
    imported = mailstead("account", "add", "--from-csv", table, "--json")
    assert imported.code == 1
    assert [(one["line"], one["address"]) for one in imported.json()["refused"]] == [
        (3, "cy@example.org")
    ]
    assert imported.json()["added"] == 1


def test_issuers(mailstead: Shell, write_file: Callable[[str, str], str]) -> None:
    name, keys = "https://login.example", "https://login.example/keys"
    assert "issuer add" in mailstead("issuer", "list").out
    assert mailstead("issuer", "add", name).code == 2
    assert mailstead("issuer", "add", name, "--jwks", "http://login.example/keys").code == 2
    assert mailstead("issuer", "add", name, "--jwks", keys, "--audience", "mail").code == 0
    assert mailstead("issuer", "add", name, "--jwks", keys).code == 1
    secret = write_file("secret", "ours\n")
    more = ("--client-id", "us", "--client-secret-file", secret, "--claim", "username")
    about = ("--introspection", "https://other.example/about")
    assert mailstead("issuer", "add", "https://other.example", *about, *more).code == 0
    assert mailstead("issuer", "list", "--json").json() == [
        {"issuer": name, "checked": keys, "audience": "mail", "claim": "email"},
        {
            "issuer": "https://other.example",
            "checked": "https://other.example/about",
            "audience": "",
            "claim": "username",
        },
    ]
    assert "ours" not in mailstead("issuer", "list").out
    assert mailstead("issuer", "remove", name).code == 0
    assert mailstead("issuer", "remove", name).code == 1
    assert mailstead("issuer", "add", name, "--jwks", keys, "--organisation", "x").code == 1


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('[s3]\nregion = "eu"\n', 's3.region is now part of blobs: "s3://bucket/prefix?region='),
        ('[s3]\nendpoint = "x"\n', "s3.endpoint is now part of blobs"),
        (
            '[smarthost]\nhost = "x.example"\nca_file = "/x"\n',
            "smarthost.ca_file is now tls.ca_file",
        ),
        (
            '[tls.acme]\nemail = "a@x.example"\nca_file = "/x"\n',
            "tls.acme.ca_file is now tls.ca_file",
        ),
        ('[tls]\nacme = { emal = "x" }\n', "did you mean tls.acme.email?"),
        ('blobs = "s3://mail?regio=x"\n', "'regio' is no option of it"),
        ('blobs = "s3://mail?endpoint=minio"\n', "is no http or https URL"),
        ('blobs = "mail"\n', "is neither s3://bucket/prefix nor the full path of a folder"),
    ],
)
def test_settings_that_have_moved(mailstead: Shell, lines: str, says: str) -> None:
    mailstead.config.write_text(f'hostname = "mx.example.org"\n{lines}')
    ran = mailstead("check", "config")
    assert ran.code == 1
    assert says in ran.out


def test_the_object_store_in_one_url() -> None:

    assert parse_bucket("s3://mail/prod") == Bucket("s3://mail/prod")
    more = "s3://mail?region=eu-central-1&endpoint=https://s3.example.org:9000"
    assert parse_bucket(more) == Bucket("s3://mail", "eu-central-1", "https://s3.example.org:9000")


def test_days_after_which_fetched_mail_goes(mailstead: Shell) -> None:
    assert mailstead("account", "pop3-days", ALICE, "14", "--json").json()["days"] == 14
    assert "goes to Trash after 14 days" in mailstead("account", "pop3-days", ALICE, "14").out
    assert mailstead("account", "pop3-days", ALICE, "never", "--json").json()["days"] is None
    for days in ("0", "-1", "4000", "x"):
        assert mailstead("account", "pop3-days", ALICE, days).code == 2
    assert mailstead("account", "pop3-days", "bob@example.org", "1").code == 1
