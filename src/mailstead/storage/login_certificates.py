"""Certificates that log in by themselves (EXTERNAL, RFC 4422), known by SHA-256 of the whole."""

import re

from mailstead.model.errors import Refusal
from mailstead.model.numbers import AccountId
from mailstead.storage import accounts
from mailstead.storage.store import Tx, to_micros

CERTIFICATES_LIMIT = 50  # of an account

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


def parse_fingerprint(text: str) -> str:
    """The fingerprint as it is kept, with colons or without; ValueError if it is none."""
    plain = text.replace(":", "").strip().lower()
    if not _FINGERPRINT.fullmatch(plain):
        raise ValueError(f"{text!r} is no SHA-256 fingerprint (64 hexadecimal digits)")
    return plain


def add(tx: Tx, login: str, fingerprint: str) -> None:
    """Let who shows it in as the account; Refusal if it is somebody's already."""
    account = accounts.get_account(tx, login)
    if owner := find_owner(tx, fingerprint):
        raise Refusal(f"that certificate logs in as {owner} already", "ALREADYEXISTS")
    if len(list_all(tx, account.id)) >= CERTIFICATES_LIMIT:
        raise Refusal(f"an account has at most {CERTIFICATES_LIMIT} certificates", "LIMIT")
    tx.run(
        "INSERT INTO login_certificate (fingerprint, account, created)"
        " VALUES (:fingerprint, :account, :now)",
        fingerprint=fingerprint,
        account=account.id,
        now=to_micros(tx.now),
    )


def list_all(tx: Tx, account: AccountId) -> list[str]:
    """The fingerprints of an account's, oldest first."""
    rows = tx.rows(
        "SELECT fingerprint FROM login_certificate WHERE account = :account"
        " ORDER BY created, fingerprint",
        account=account,
    )
    return [row[0] for row in rows]


def remove(tx: Tx, login: str, fingerprint: str) -> None:
    """Take it away; Refusal if the account has none such."""
    account = accounts.get_account(tx, login)
    gone = tx.run(
        "DELETE FROM login_certificate WHERE fingerprint = :fingerprint AND account = :account",
        fingerprint=fingerprint,
        account=account.id,
    )
    if not gone:
        raise Refusal(f"{login} has no such certificate", "NONEXISTENT")


def find_owner(tx: Tx, fingerprint: str) -> str | None:
    """The login of the account that the certificate is for."""
    login: str | None = tx.value(
        "SELECT login FROM login_certificate JOIN account ON account.id = account"
        " WHERE fingerprint = :fingerprint",
        fingerprint=fingerprint,
    )
    return login


def any_at_all(tx: Tx) -> bool:
    """Whether anybody logs in by certificate."""
    return tx.value("SELECT 1 FROM login_certificate LIMIT 1") is not None
