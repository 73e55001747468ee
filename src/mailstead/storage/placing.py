"""Placing messages in another mailbox: COPY (RFC 3501 section 6.4.7) and MOVE (RFC 6851).

Holds: an email lies in a mailbox once, and only in mailboxes of its account. What is copied beyond
that becomes another email with the same content, which counts to the quota of its account.
"""

from typing import Any

from mailstead.model.errors import Refusal
from mailstead.model.flags import FLAGGED
from mailstead.model.numbers import AccountId, EmailId, MailboxId, ModSeq, Uid, UidValidity
from mailstead.storage import mailboxes, messages
from mailstead.storage.messages import Copied, Ranges
from mailstead.storage.store import Tx, to_micros

Row = tuple[Any, ...]  # messages.PLACEMENT
Owners = tuple[AccountId, AccountId]  # of source and target


def copy(
    tx: Tx, mailbox: MailboxId, ranges: Ranges, target: MailboxId, among: int = messages.ANY_FLAG
) -> Copied:
    """Place the messages in another mailbox (or again in the same); dates and some flags stay."""
    owners = _owners(tx, mailbox, target)
    rows = _with_flags(messages.placements(tx, mailbox, ranges), owners, among)
    return _place(tx, rows, target, _to_double(tx, rows, target, owners))


def move(
    tx: Tx, mailbox: MailboxId, ranges: Ranges, target: MailboxId, among: int = messages.ANY_FLAG
) -> Copied:
    """Place the messages in another mailbox and take them out of this one (RFC 6851)."""
    owners = _owners(tx, mailbox, target)
    rows = _with_flags(messages.placements(tx, mailbox, ranges), owners, among)
    taken = set() if target == mailbox else _to_double(tx, rows, target, owners)
    messages.take_out(tx, mailbox, rows)
    copied = _place(tx, rows, target, taken)
    messages.drop_homeless(tx, owners[0], [row for row in rows if row[1] in taken])
    return copied


def _owners(tx: Tx, mailbox: MailboxId, target: MailboxId) -> Owners:
    """The accounts of both; if those are two, they are locked in the order in which all are."""
    rows = tx.each("SELECT id, account FROM mailbox WHERE id = :id", {mailbox, target})
    if len(rows) < len({mailbox, target}):
        raise Refusal("the mailbox is gone", "NONEXISTENT")
    owner = {MailboxId(id_): AccountId(account) for id_, account in rows}
    if owner[mailbox] != owner[target]:
        tx.lock("SELECT id FROM account WHERE id = :id", {owner[mailbox], owner[target]})
    return owner[mailbox], owner[target]


def _with_flags(rows: list[Row], owners: Owners, among: int) -> list[Row]:
    """The same with these flags only; what is no flag but the owner's own stays with the owner."""
    if among == messages.ANY_FLAG and owners[0] == owners[1]:
        return rows
    words = bool(among & FLAGGED)
    return [(*row[:3], row[3] & among, row[4] if words else "", *row[5:]) for row in rows]


def _to_double(
    tx: Tx,
    rows: list[Row],
    target: MailboxId,
    owners: Owners,
) -> set[int]:
    """Emails that get another one: those in the target already, or all if it is somebody else's.

    Then they count to the quota of the other account.
    """
    if owners[0] == owners[1]:
        return _in_mailbox(tx, rows, target)
    used, quota = tx.rows("SELECT used, quota FROM account WHERE id = :id", id=owners[1])[0]
    if quota and used + sum(row[6] for row in rows) > quota:
        raise Refusal("the quota of the mailbox's owner is used up", "OVERQUOTA")
    return {row[1] for row in rows}


def _place(tx: Tx, rows: list[Row], target: MailboxId, taken: set[int]) -> Copied:
    """New placements; an email that lies in the target already gets a second email there."""
    account, uidvalidity, uidnext = tx.rows(
        "SELECT account, uidvalidity, uidnext FROM mailbox WHERE id = :id", id=target
    )[0]
    modseq, saved = mailboxes.next_modseq(tx, account), to_micros(tx.now)
    placements = []
    for number, (_, email, content, flags, keywords, internal_date, size) in enumerate(rows):
        if email in taken:
            email = _second_email(tx, account, email, modseq, size)
        placements.append(
            {
                "mailbox": target,
                "uid": uidnext + number,
                "email": email,
                "content": content,
                "modseq": modseq,
                "flags": flags,
                "keywords": keywords,
                "internal_date": internal_date,
                "saved": saved,
                "size": size,
            }
        )
    tx.many(_PLACE, placements)
    messages.add_keywords(tx, target, {word for row in rows for word in row[4].split()})
    tx.run(
        "UPDATE mailbox SET uidnext = uidnext + :count WHERE id = :id", id=target, count=len(rows)
    )
    messages.count_rows(tx, target, modseq, rows, 1)
    copies = tuple(Uid(uidnext + number) for number in range(len(rows)))
    return Copied(UidValidity(uidvalidity), tuple(Uid(row[0]) for row in rows), copies)


def _second_email(tx: Tx, account: AccountId, email: EmailId, modseq: ModSeq, size: int) -> int:
    """The same content, maybe in another account; threads are each account's own."""
    id_ = tx.allocate("email")
    tx.run(
        "INSERT INTO email (id, account, content, thread, trace, modseq) SELECT :id, :account,"
        " content, CASE account WHEN :account THEN thread ELSE :id END, trace, :modseq"
        " FROM email WHERE id = :email",
        id=id_,
        account=account,
        email=email,
        modseq=modseq,
    )
    tx.run(
        "UPDATE account SET used = used + :size, emails = emails + 1 WHERE id = :id",
        id=account,
        size=size,
    )
    return id_


def _in_mailbox(tx: Tx, rows: list[Row], mailbox: MailboxId) -> set[int]:
    """Which of these emails have a placement in the mailbox."""
    return {
        row[1]
        for row in rows
        if tx.value(
            "SELECT 1 FROM placement WHERE email = :email AND mailbox = :mailbox",
            email=row[1],
            mailbox=mailbox,
        )
    }


_PLACE = (
    "INSERT INTO placement (mailbox, uid, email, content, modseq, flags, keywords, internal_date,"
    " saved, size) VALUES (:mailbox, :uid, :email, :content, :modseq, :flags, :keywords,"
    " :internal_date, :saved, :size)"
)
