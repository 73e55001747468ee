"""What people teach: emails that they moved into Junk or out of it, and that wait to be learnt.

A lesson is a row in the transaction of the move itself; a duty learns it later. What the filter
put into Junk is no lesson, so it never learns from itself.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from mailstead.model.flags import has_keyword
from mailstead.model.mailbox import SpecialUse
from mailstead.model.numbers import AccountId, EmailId, MailboxId
from mailstead.storage.store import Tx, to_micros

JUNK, NOT_JUNK = "$Junk", "$NotJunk"  # RFC 9051 section 2.3.2

_INSERT = (
    "INSERT INTO spam_lesson (id, account, email, spam, created)"
    " VALUES (:id, :account, :email, :spam, :created)"
)


class Lesson(msgspec.Struct, frozen=True):
    """One email, and what its owner thinks of it."""

    id: int
    account: AccountId
    email: EmailId
    spam: bool


def add(tx: Tx, account: AccountId, emails: Sequence[int], spam: bool) -> None:
    """The owner says so of these."""
    if not emails:
        return
    first, created = tx.allocate("spam_lesson", len(emails)), to_micros(tx.now)
    rows: list[dict[str, Any]] = [
        {
            "id": first + number,
            "account": account,
            "email": email,
            "spam": int(spam),
            "created": created,
        }
        for number, email in enumerate(emails)
    ]
    tx.many(_INSERT, rows)


def moved(tx: Tx, source: MailboxId, target: MailboxId, uids: Sequence[int]) -> None:
    """Messages were put from one mailbox into the other, where they have these UIDs now.

    Into Junk or out of it says what they are; what is thrown away from Junk is no more welcome
    than before.
    """
    if not uids:
        return
    uses = dict(tx.each("SELECT id, special_use FROM mailbox WHERE id = :id", {source, target}))
    before, after = uses.get(source), uses.get(target)
    if before == after or SpecialUse.JUNK not in (before, after) or after == SpecialUse.TRASH:
        return
    _add_placed(tx, target, uids, spam=after == SpecialUse.JUNK)


def flagged(tx: Tx, mailbox: MailboxId, uids: Sequence[int], keywords: str, removed: bool) -> None:
    """Keywords of messages were set or removed: what $Junk and $NotJunk say of them."""
    junk, not_junk = has_keyword(keywords, JUNK), has_keyword(keywords, NOT_JUNK)
    if not uids or not (junk or (not_junk and not removed)):
        return
    _add_placed(tx, mailbox, uids, spam=junk and not not_junk and not removed)


def _add_placed(tx: Tx, mailbox: MailboxId, uids: Sequence[int], spam: bool) -> None:
    rows = tx.rows(
        "SELECT uid, email, account FROM placement JOIN mailbox ON mailbox.id = placement.mailbox"
        " WHERE mailbox = :mailbox AND uid BETWEEN :first AND :last",
        mailbox=mailbox,
        first=min(uids),
        last=max(uids),
    )
    wanted = set(uids)
    emails = [email for uid, email, _ in rows if uid in wanted]
    if emails:
        add(tx, AccountId(rows[0][2]), emails, spam)


def take(tx: Tx, limit: int) -> list[Lesson]:
    """The oldest lessons that wait."""
    rows = tx.rows(
        "SELECT id, account, email, spam FROM spam_lesson ORDER BY id LIMIT :limit", limit=limit
    )
    return [Lesson(id_, AccountId(a), EmailId(e), bool(spam)) for id_, a, e, spam in rows]


def done(tx: Tx, lesson: Lesson) -> bool:
    """The lesson is over; False if somebody else was quicker."""
    return tx.run("DELETE FROM spam_lesson WHERE id = :id", id=lesson.id) > 0
