"""`mailstead account certificate`: certificates that log in by themselves (EXTERNAL)."""

import hashlib
from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mailstead.cli.house import read, teaching, write
from mailstead.cli.printing import for_operators, show
from mailstead.model.errors import Refusal
from mailstead.storage import accounts, login_certificates
from mailstead.storage.store import Tx


@click.group()
def certificate() -> None:
    """Client certificates that log in without a password (EXTERNAL, RFC 4422).

    They have to be signed by a CA of the setting tls.ca_file, or stand there themselves.
    """


@certificate.command()
@click.argument("login")
@click.argument("certificate", metavar="FILE|FINGERPRINT")
@for_operators
def add(login: str, certificate: str, as_json: bool) -> None:
    """Let who shows this certificate in: a PEM file, or its SHA-256 fingerprint."""
    fingerprint = _fingerprint(certificate)
    with teaching(NONEXISTENT="mailstead account list"):
        write(lambda tx: login_certificates.add(tx, login, fingerprint))
    show({"login": login, "fingerprint": fingerprint}, f"{fingerprint} is {login}.", as_json)


@certificate.command("list")
@click.argument("login")
@for_operators
def list_(login: str, as_json: bool) -> None:
    """List the fingerprints of an account's certificates."""
    with teaching(NONEXISTENT="mailstead account list"):
        found = read(lambda tx: _list(tx, login))
    empty = f"None. Next: mailstead account certificate add {login} FILE"
    show(found, "\n".join(found) or empty, as_json)


def _list(tx: Tx, login: str) -> list[str]:
    return login_certificates.list_all(tx, accounts.get_account(tx, login).id)


@certificate.command()
@click.argument("login")
@click.argument("certificate", metavar="FILE|FINGERPRINT")
@for_operators
def remove(login: str, certificate: str, as_json: bool) -> None:
    """Let it in no longer."""
    fingerprint = _fingerprint(certificate)
    with teaching(NONEXISTENT=f"mailstead account certificate list {login}"):
        write(lambda tx: login_certificates.remove(tx, login, fingerprint))
    show({"login": login, "removed": fingerprint}, f"{fingerprint} is nobody now.", as_json)


def _fingerprint(text: str) -> str:
    path = Path(text)
    try:
        if not path.is_file():
            return login_certificates.parse_fingerprint(text)
        found = x509.load_pem_x509_certificates(path.read_bytes())[0]
    except OSError as error:
        raise Refusal(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise Refusal(f"{text}: neither a PEM file nor a fingerprint: {error}") from error
    return hashlib.sha256(found.public_bytes(Encoding.DER)).hexdigest()
