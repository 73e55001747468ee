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


def moved(tx: Tx, source: MailboxId, target: MailboxId, emails: Sequence[int]) -> None:
    """Emails were put into another mailbox: into Junk or out of it says what they are.

    What is thrown away from Junk is no more welcome than before.
    """
    if not emails:
        return
    uses = dict(tx.each("SELECT id, special_use FROM mailbox WHERE id = :id", {source, target}))
    before, after = uses.get(source), uses.get(target)
    if before == after or SpecialUse.JUNK not in (before, after):
        return
    if after == SpecialUse.TRASH:
        return
    account = tx.value("SELECT account FROM mailbox WHERE id = :id", id=target)
    add(tx, account, emails, spam=after == SpecialUse.JUNK)


def flagged(
    tx: Tx, account: AccountId, mailbox: MailboxId, changed: Sequence[tuple[int, str, str]]
) -> None:
    """Keywords of messages (UID) were changed from this to that: $Junk and $NotJunk say it."""
    wanted = {uid: _said(before, after) for uid, before, after in changed}
    for spam in (True, False):
        emails = [
            tx.value(
                "SELECT email FROM placement WHERE mailbox = :mailbox AND uid = :uid",
                mailbox=mailbox,
                uid=uid,
            )
            for uid, said in wanted.items()
            if said is spam
        ]
        add(tx, account, [email for email in emails if email is not None], spam)


def _said(before: str, after: str) -> bool | None:
    """What a change of keywords says: taking $Junk away says as much as adding $NotJunk."""
    junk = has_keyword(after, JUNK), has_keyword(before, JUNK)
    not_junk = has_keyword(after, NOT_JUNK), has_keyword(before, NOT_JUNK)
    if junk[0] and not junk[1]:
        return True
    if (not_junk[0] and not not_junk[1]) or (junk[1] and not junk[0]):
        return False
    return None


def take(tx: Tx, limit: int) -> list[Lesson]:
    """The oldest lessons that wait."""
    rows = tx.rows(
        "SELECT id, account, email, spam FROM spam_lesson ORDER BY id LIMIT :limit", limit=limit
    )
    return [Lesson(id_, AccountId(a), EmailId(e), bool(spam)) for id_, a, e, spam in rows]


def done(tx: Tx, lesson: Lesson) -> bool:
    """The lesson is over; False if somebody else was quicker."""
    return tx.run("DELETE FROM spam_lesson WHERE id = :id", id=lesson.id) > 0
