"""Mailboxes of an account: the names, the counters, the subscriptions.

Holds: INBOX always exists (RFC 9051 section 5.1); a mailbox made anew under an old name has another
UIDVALIDITY, because it has another id; what is deleted leaves a tombstone with a modseq.
"""

from typing import Any

from mailstead.model.errors import Refusal
from mailstead.model.mailbox import (
    DELIMITER,
    DEPTH_LIMIT,
    INBOX,
    NAME_LIMIT,
    Mailbox,
    SpecialUse,
)
from mailstead.model.numbers import AccountId, MailboxId, ModSeq, Uid, UidValidity
from mailstead.storage.store import Tx

MAILBOXES_LIMIT = 10_000  # in one account
SUBSCRIPTIONS_LIMIT = 20_000


def find_special(tx: Tx, account: AccountId, use: SpecialUse) -> MailboxId | None:
    """The account's mailbox of that use; None if it has none (any more)."""
    number: MailboxId | None = tx.value(
        "SELECT min(id) FROM mailbox WHERE account = :account AND special_use = :use",
        account=account,
        use=use.value,
    )
    return number


def list_all(tx: Tx, account: AccountId) -> list[Mailbox]:
    """Every mailbox of the account, by name."""
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM mailbox WHERE account = :account ORDER BY name", account=account
    )
    return [from_row(row) for row in rows]


def find(tx: Tx, account: AccountId, name: str) -> Mailbox | None:
    """The mailbox of that name."""
    row = tx.row(
        f"SELECT {_COLUMNS} FROM mailbox WHERE account = :account AND name = :name",
        account=account,
        name=name,
    )
    return None if row is None else from_row(row)


def get(tx: Tx, account: AccountId, name: str) -> Mailbox:
    """The mailbox of that name; Refusal if there is none."""
    mailbox = find(tx, account, name)
    if mailbox is None:
        raise Refusal("there is no such mailbox", "NONEXISTENT")
    return mailbox


def find_by_id(tx: Tx, mailbox: MailboxId) -> Mailbox | None:
    """The mailbox, if it still is there."""
    row = tx.row(f"SELECT {_COLUMNS} FROM mailbox WHERE id = :id", id=mailbox)
    return None if row is None else from_row(row)


def hold(tx: Tx, mailbox: MailboxId) -> None:
    """Nobody deletes the mailbox before this transaction ends; Refusal if it is gone."""
    if not tx.lock("SELECT id FROM mailbox WHERE id = :id", {mailbox}):
        raise Refusal("the mailbox is gone", "NONEXISTENT")


def create(
    tx: Tx, account: AccountId, name: str, special_use: SpecialUse | None = None
) -> MailboxId:
    """A new, empty mailbox; levels above it that are missing come with it (RFC 9051 6.3.4)."""
    _check_name(name)
    if find(tx, account, name):
        raise Refusal("there is a mailbox of that name already", "ALREADYEXISTS")
    if _count(tx, account) >= MAILBOXES_LIMIT:
        raise Refusal(f"an account has at most {MAILBOXES_LIMIT} mailboxes", "LIMIT")
    parent = name.rpartition(DELIMITER)[0]
    if parent and not find(tx, account, parent):
        create(tx, account, parent)
    id_ = tx.allocate("mailbox")
    modseq = next_modseq(tx, account)
    tx.run(
        "INSERT INTO mailbox (id, account, name, special_use, uidvalidity, uidnext, modseq,"
        " messages, unseen, deleted, size, first_recent, created_modseq) VALUES (:id, :account,"
        " :name, :use, :id, 1, :modseq, 0, 0, 0, 0, 1, :modseq)",
        id=id_,
        account=account,
        name=name,
        use=None if special_use is None else special_use.value,
        modseq=modseq,
    )
    if parent:  # RFC 4314 section 4: CREATE
        tx.run(_INHERIT, id=id_, account=account, parent=parent)
    return MailboxId(id_)


def rename(tx: Tx, account: AccountId, old: str, new: str) -> None:
    """Rename the mailbox and all below it.

    Renaming INBOX leaves an empty INBOX (RFC 9051 section 6.3.6): the caller moves its mail.
    """
    _check_name(new)
    mailbox = get(tx, account, old)
    if find(tx, account, new):
        raise Refusal("there is a mailbox of that name already", "ALREADYEXISTS")
    if (new + DELIMITER).startswith(old + DELIMITER):
        raise Refusal("a mailbox cannot be put below itself", "CANNOT")
    below = [one for one in list_all(tx, account) if one.name.startswith(old + DELIMITER)]
    for one in below:
        _check_name(new + one.name[len(old) :])
    parent = new.rpartition(DELIMITER)[0]
    if parent and not find(tx, account, parent):
        create(tx, account, parent)
    tx.many(
        "UPDATE mailbox SET name = :name WHERE id = :id",
        [{"id": one.id, "name": new + one.name[len(old) :]} for one in [mailbox, *below]],
    )


def delete(tx: Tx, account: AccountId, name: str) -> MailboxId:
    """Take the name away and leave a tombstone; the mail in it is deleted by messages.clear."""
    if name == INBOX:
        raise Refusal("INBOX cannot be deleted", "CANNOT")
    mailbox = get(tx, account, name)
    if any(one.name.startswith(name + DELIMITER) for one in list_all(tx, account)):
        raise Refusal("there are mailboxes below it: delete those first", "HASCHILDREN")
    modseq = next_modseq(tx, account)  # first the account, then its mailboxes, as new mail does
    tx.run("DELETE FROM mailbox WHERE id = :id", id=mailbox.id)
    tx.run("DELETE FROM keyword WHERE mailbox = :id", id=mailbox.id)
    tx.run("DELETE FROM expunged WHERE mailbox = :id", id=mailbox.id)
    tx.run("DELETE FROM mailbox_right WHERE mailbox = :id", id=mailbox.id)
    tx.run("DELETE FROM annotation WHERE mailbox = :id", id=mailbox.id)
    tx.run(
        "INSERT INTO mailbox_gone (account, modseq, mailbox) VALUES (:account, :modseq, :id)",
        account=account,
        modseq=modseq,
        id=mailbox.id,
    )
    return mailbox.id


def subscribe(tx: Tx, account: AccountId, name: str) -> None:
    """Remember the name for LSUB; it need not exist (RFC 3501 section 6.3.6)."""
    _check_name(name)
    count = tx.value("SELECT count(*) FROM subscription WHERE account = :id", id=account)
    if count >= SUBSCRIPTIONS_LIMIT:
        raise Refusal(f"an account has at most {SUBSCRIPTIONS_LIMIT} subscriptions", "LIMIT")
    tx.run(
        "INSERT INTO subscription (account, name) VALUES (:account, :name) ON CONFLICT DO NOTHING",
        account=account,
        name=name,
    )


def unsubscribe(tx: Tx, account: AccountId, name: str) -> None:
    """Forget the name."""
    tx.run(
        "DELETE FROM subscription WHERE account = :account AND name = :name",
        account=account,
        name=name,
    )


def subscriptions(tx: Tx, account: AccountId) -> list[str]:
    """All names subscribed to, sorted."""
    rows = tx.rows(
        "SELECT name FROM subscription WHERE account = :account ORDER BY name", account=account
    )
    return [row[0] for row in rows]


def expiring(tx: Tx, after: MailboxId, limit: int) -> list[tuple[MailboxId, int]]:
    """A page of the mailboxes that empty themselves (Junk, Trash), and after how many days."""
    rows = tx.rows(
        "SELECT mailbox.id, trash_days FROM mailbox"
        " JOIN account ON account.id = mailbox.account"
        " JOIN organisation ON organisation.id = account.organisation"
        " WHERE mailbox.id > :after AND special_use IN (:junk, :trash) AND trash_days > 0"
        " AND messages > 0 ORDER BY mailbox.id LIMIT :limit",
        after=after,
        junk=SpecialUse.JUNK.value,
        trash=SpecialUse.TRASH.value,
        limit=limit,
    )
    return [(MailboxId(id_), days) for id_, days in rows]


def keywords(tx: Tx, mailbox: MailboxId) -> list[str]:
    """Every keyword that a message of the mailbox has or had, for the FLAGS response."""
    rows = tx.rows("SELECT name FROM keyword WHERE mailbox = :id ORDER BY name", id=mailbox)
    return [row[0] for row in rows]


def next_modseq(tx: Tx, account: AccountId) -> ModSeq:
    """The account's next modseq, taken."""
    modseq: ModSeq | None = tx.value(
        "UPDATE account SET modseq = modseq + 1 WHERE id = :id RETURNING modseq", id=account
    )
    return ModSeq(1) if modseq is None else modseq


def _check_name(name: str) -> None:
    levels = name.split(DELIMITER)
    if not all(levels) or len(levels) > DEPTH_LIMIT or len(name) > NAME_LIMIT:
        raise Refusal("that is no name for a mailbox: an empty level, or too long", "CANNOT")
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise Refusal("a mailbox name has no control characters", "CANNOT")


def _count(tx: Tx, account: AccountId) -> int:
    number: int = tx.value("SELECT count(*) FROM mailbox WHERE account = :id", id=account)
    return number


_INHERIT = (
    "INSERT INTO mailbox_right (mailbox, account, rights) SELECT :id, mailbox_right.account, rights"
    " FROM mailbox_right JOIN mailbox ON mailbox.id = mailbox_right.mailbox"
    " WHERE mailbox.account = :account AND mailbox.name = :parent"
)
COLUMNS = (
    "id",
    "account",
    "name",
    "special_use",
    "uidvalidity",
    "uidnext",
    "modseq",
    "messages",
    "unseen",
    "deleted",
    "size",
    "first_recent",
)
_COLUMNS = ", ".join(COLUMNS)


def from_row(row: tuple[Any, ...]) -> Mailbox:
    """The mailbox of a row of COLUMNS."""
    id_, account, name, use, uidvalidity, uidnext, modseq, *counters, first_recent = row
    messages, unseen, deleted, size = counters
    return Mailbox(
        id=MailboxId(id_),
        account=AccountId(account),
        name=name,
        special_use=None if use is None else SpecialUse(use),
        uidvalidity=UidValidity(uidvalidity),
        uidnext=Uid(uidnext),
        modseq=ModSeq(modseq),
        messages=messages,
        unseen=unseen,
        deleted=deleted,
        size=size,
        first_recent=Uid(first_recent),
    )
