"""Maildrops of POP3: who has which, what was retrieved when, how long an account keeps that.

A maildrop belongs to one session at a time (RFC 1939 section 3), on any node: its lock is a row
with an end, which the session puts off while it lives.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from mailstead.model.mailbox import INBOX
from mailstead.model.numbers import AccountId, MailboxId
from mailstead.storage import accounts
from mailstead.storage.store import Tx, to_micros

LEASE = timedelta(minutes=2)
DAYS_MOST = 3650


def lock(tx: Tx, account: AccountId, holder: str) -> bool:
    """Take the maildrop, or keep it; False if another session has it."""
    now = tx.now
    taken = tx.run(
        "INSERT INTO maildrop_lock (account, holder, until) VALUES (:account, :holder, :until)"
        " ON CONFLICT (account) DO UPDATE SET holder = excluded.holder, until = excluded.until"
        " WHERE maildrop_lock.holder = excluded.holder OR maildrop_lock.until <= :now",
        account=account,
        holder=holder,
        until=to_micros(now + LEASE),
        now=to_micros(now),
    )
    return taken > 0


def holds(tx: Tx, account: AccountId, holder: str) -> bool:
    """Whether the session still has it."""
    found = tx.value("SELECT holder FROM maildrop_lock WHERE account = :account", account=account)
    return bool(found == holder)


def unlock(tx: Tx, account: AccountId, holder: str) -> None:
    """Give it back."""
    tx.run(
        "DELETE FROM maildrop_lock WHERE account = :account AND holder = :holder",
        account=account,
        holder=holder,
    )


# ---------------------------------------------------------------------- deletion after some days


def set_days(tx: Tx, login: str, days: int | None) -> None:
    """How many days after it was retrieved mail stays in the INBOX; None for ever."""
    account = accounts.get_account(tx, login)
    tx.run("UPDATE account SET pop3_days = :days WHERE id = :id", days=days, id=account.id)


def find_days(tx: Tx, account: AccountId) -> int | None:
    """The same of an account."""
    days: int | None = tx.value("SELECT pop3_days FROM account WHERE id = :id", id=account)
    return days


def note_retrieved(tx: Tx, mailbox: MailboxId, uids: Sequence[int]) -> None:
    """These were retrieved now; what was before keeps its time."""
    now = to_micros(tx.now)
    tx.many(
        "INSERT INTO retrieved (mailbox, uid, at) VALUES (:mailbox, :uid, :at)"
        " ON CONFLICT DO NOTHING",
        [{"mailbox": mailbox, "uid": uid, "at": now} for uid in uids],
    )


def accounts_with_days(
    tx: Tx, after: AccountId, limit: int
) -> list[tuple[AccountId, MailboxId, int]]:
    """A page of the INBOXes from which mail goes: account, mailbox, days."""
    rows = tx.rows(
        "SELECT account.id, mailbox.id, pop3_days FROM account"
        " JOIN mailbox ON mailbox.account = account.id AND mailbox.name = :inbox"
        " WHERE account.id > :after AND pop3_days IS NOT NULL ORDER BY account.id LIMIT :limit",
        after=after,
        inbox=INBOX,
        limit=limit,
    )
    return [(AccountId(account), MailboxId(mailbox), days) for account, mailbox, days in rows]


def retrieved_before(tx: Tx, mailbox: MailboxId, before: datetime, limit: int) -> list[int]:
    """UIDs of what was retrieved before that time, `limit` at most."""
    rows = tx.rows(
        "SELECT uid FROM retrieved WHERE mailbox = :mailbox AND at < :before"
        " ORDER BY uid LIMIT :limit",
        mailbox=mailbox,
        before=to_micros(before),
        limit=limit,
    )
    return [row[0] for row in rows]


def forget_retrieved(tx: Tx, mailbox: MailboxId, uids: Sequence[int]) -> None:
    """These are gone."""
    keys = [{"mailbox": mailbox, "uid": uid} for uid in uids]
    tx.many("DELETE FROM retrieved WHERE mailbox = :mailbox AND uid = :uid", keys)


def expire_notes(tx: Tx, limit: int) -> int:
    """Forget what was retrieved by those whose mail stays for ever, or is gone; how many rows."""
    return tx.run(
        "DELETE FROM retrieved WHERE (mailbox, uid) IN (SELECT retrieved.mailbox, retrieved.uid"
        " FROM retrieved LEFT JOIN mailbox ON mailbox.id = retrieved.mailbox"
        " LEFT JOIN account ON account.id = mailbox.account"
        " WHERE account.pop3_days IS NULL LIMIT :limit)",
        limit=limit,
    )
