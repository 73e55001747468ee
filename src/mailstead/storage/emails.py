"""What an account has, wherever it lies: an email is a content in one account."""

from mailstead.model.numbers import AccountId, ModSeq
from mailstead.storage.store import Tx


def find_modseq(tx: Tx, account: AccountId) -> ModSeq | None:
    """The account's highest modseq: while it stays nothing came or went; None if it is gone."""
    modseq: ModSeq | None = tx.value("SELECT modseq FROM account WHERE id = :id", id=account)
    return modseq


def contents(tx: Tx, account: AccountId) -> set[int]:
    """The contents of all messages of the account."""
    rows = tx.rows("SELECT content FROM email WHERE account = :account", account=account)
    return {row[0] for row in rows}
