"""Messages in mailboxes: reading pages of columns, changing flags, copying, moving, expunging.

Changes take UIDs as ranges (first, last) that cover at most WRITE_LIMIT messages; longer commands
are a series of writes. Holds: each change draws one modseq from the account's counter; counters of
mailbox and account equal the rows; an email without a placement is gone, with a tombstone.
"""

from array import array
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import msgspec

from mailstead.model.flags import DELETED, FLAGGED, RETRIEVED, SEEN, join_keywords
from mailstead.model.numbers import (
    AccountId,
    BlobId,
    MailboxId,
    ModSeq,
    TraceId,
    Uid,
    UidValidity,
)
from mailstead.storage import blobs, mailboxes
from mailstead.storage.plan import StoredBody
from mailstead.storage.store import Tx

Ranges = Sequence[tuple[int, int]]  # UIDs, first and last
Mode = Literal["replace", "add", "remove"]

NO_CONDITION = 2**63 - 1  # modseq that no message is beyond
ANY_FLAG = RETRIEVED - 1  # all bits that are flags; keywords go with FLAGGED (RFC 4314 section 4)


class Snapshot(msgspec.Struct, frozen=True):
    """All messages of a mailbox, as columns in UID order."""

    modseq: ModSeq
    uids: "array[int]"
    flags: list[int]
    keywords: list[str]
    modseqs: "array[int]"


class FlagsRow(msgspec.Struct, frozen=True, gc=False):
    """The flags of one message, after a change."""

    uid: Uid
    flags: int
    keywords: str
    modseq: ModSeq


class Copied(msgspec.Struct, frozen=True):
    """What COPY and MOVE tell: which UID became which (RFC 4315 section 3)."""

    uidvalidity: UidValidity
    sources: tuple[Uid, ...]
    copies: tuple[Uid, ...]


class Retrieval(msgspec.Struct, frozen=True):
    """A message that its owner fetched for the first time."""

    uid: Uid
    trace: TraceId


# ---------------------------------------------------------------------- reading


def snapshot(tx: Tx, mailbox: MailboxId) -> Snapshot | None:
    """The whole mailbox as it stands, or None if it is gone."""
    modseq = tx.value("SELECT modseq FROM mailbox WHERE id = :id", id=mailbox)
    if modseq is None:
        return None
    rows = tx.rows(
        "SELECT uid, flags, keywords, modseq FROM placement WHERE mailbox = :id ORDER BY uid",
        id=mailbox,
    )
    return Snapshot(
        modseq=ModSeq(modseq),
        uids=array("I", [row[0] for row in rows]),
        flags=[row[1] for row in rows],
        keywords=[row[2] for row in rows],
        modseqs=array("q", [row[3] for row in rows]),
    )


# What a page of a mailbox can be asked for: name -> column.
COLUMNS = {
    "uid": "uid",
    "internal_date": "internal_date",
    "size": "placement.size",
    "email": "email",
    "modseq": "modseq",
    "flags": "flags",
    "envelope": "envelope",
    "bodystructure": "bodystructure",
    "structure": "structure",
    "header": "header",
    "blob": "blob",
    "body_size": "body_size",
    "sent": "sent",
    "saved": "saved",
    "content": "placement.content",
    "message_id": "message_id",
    "ancestors": "ancestors",
    "base_subject": "base_subject",
    "from_key": "from_key",
    "to_key": "to_key",
    "cc_key": "cc_key",
    "part": "blob.data",  # the first part of the body; the whole of it up to PART_SIZE
}
_OF_PLACEMENT = {"uid", "internal_date", "size", "email", "modseq", "flags", "saved", "content"}


def page(
    tx: Tx, mailbox: MailboxId, first: int, last: int, limit: int, columns: Sequence[str]
) -> list[tuple[Any, ...]]:
    """The columns of the messages with UIDs from first to last, in order, `limit` at most.

    With `part`, `uid` has to be among them; DamagedBody if a part cannot be read.
    """
    rows = tx.rows(_of_page(columns), mailbox=mailbox, first=first, last=last, limit=limit)
    if "part" not in columns:
        return rows
    uid, part = columns.index("uid"), columns.index("part")
    missing = [row[uid] for row in rows if row[part] is None]
    if not missing:
        return rows
    packed = _packed_parts(tx, mailbox, missing)
    return [
        row if row[part] is not None else (*row[:part], packed.get(row[uid]), *row[part + 1 :])
        for row in rows
    ]


def stream(
    tx: Tx,
    mailbox: MailboxId,
    span: tuple[int, int],
    limit: int,
    columns: Sequence[str],
    at_once: int,
) -> AbstractContextManager[Iterator[tuple[Any, ...]]]:
    """The same without parts, so many at once; what is not taken is not read."""
    first, last = span
    sql = _of_page(columns)
    return tx.stream(sql, at_once, mailbox=mailbox, first=first, last=last, limit=limit)


def _of_page(columns: Sequence[str]) -> str:
    joins = ""
    if not _OF_PLACEMENT.issuperset(columns):
        joins = " JOIN content ON content.id = placement.content"
    if "part" in columns:
        joins += " LEFT JOIN blob ON blob.id = content.blob"
    names = ", ".join(COLUMNS[column] for column in columns)
    return (
        f"SELECT {names} FROM placement{joins} WHERE mailbox = :mailbox"
        " AND uid BETWEEN :first AND :last ORDER BY uid LIMIT :limit"
    )


def _packed_parts(tx: Tx, mailbox: MailboxId, uids: Sequence[int]) -> dict[int, bytes]:
    """The first parts of those of the messages that have a packed one."""
    rows = tx.rows(
        "SELECT uid, packed.id, pack, start, length FROM placement"
        " JOIN content ON content.id = placement.content JOIN packed ON packed.id = content.blob"
        " WHERE mailbox = :mailbox AND uid BETWEEN :first AND :last ORDER BY uid",
        mailbox=mailbox,
        first=uids[0],
        last=uids[-1],
    )
    parts = tx.packed([(part, *place) for _, part, *place in rows])
    return dict(zip([row[0] for row in rows], parts, strict=True))


# ---------------------------------------------------------------------- flags


def set_flags(
    tx: Tx,
    mailbox: MailboxId,
    ranges: Ranges,
    mode: Mode,
    flags: int,
    keywords: str,
    unchanged_since: int = NO_CONDITION,
    among: int = ANY_FLAG,
) -> list[FlagsRow]:
    """Change flags, but only some; the rows that are different now. Others keep their modseq.

    Messages that changed after `unchanged_since` are left alone (RFC 7162 section 3.1.3).
    """
    flags, keywords = flags & among, keywords if among & FLAGGED else ""
    changed = [
        (uid, old, (new, words))
        for uid, old, old_words, last in _flags_in(tx, mailbox, ranges)
        if last <= unchanged_since
        and (new := _combine(old, flags, mode, among)) is not None
        and (words := _combine_keywords(old_words, keywords, mode, among)) is not None
        and (new, words) != (old, old_words)
    ]
    if not changed:
        return []
    account = account_of(tx, mailbox)
    modseq = mailboxes.next_modseq(tx, account)
    tx.many(
        "UPDATE placement SET flags = :flags, keywords = :keywords, modseq = :modseq"
        " WHERE mailbox = :mailbox AND uid = :uid",
        [
            {"mailbox": mailbox, "uid": uid, "flags": new, "keywords": words, "modseq": modseq}
            for uid, _, (new, words) in changed
        ],
    )
    add_keywords(tx, mailbox, {word for _, _, (_, words) in changed for word in words.split()})
    _count(
        tx,
        mailbox,
        modseq,
        unseen=sum(_unseen(new) - _unseen(old) for _, old, (new, _) in changed),
        deleted=sum(_deleted(new) - _deleted(old) for _, old, (new, _) in changed),
    )
    return [FlagsRow(Uid(uid), new, words, modseq) for uid, _, (new, words) in changed]


def mark_retrieved(tx: Tx, mailbox: MailboxId, uids: Sequence[int]) -> list[Retrieval]:
    """Note a first retrieval; those of the messages for which it was the first. No modseq."""
    found = []
    for uid in uids:
        email = tx.value(
            "UPDATE placement SET flags = flags + :bit WHERE mailbox = :mailbox AND uid = :uid"
            " AND flags < :bit RETURNING email",
            bit=RETRIEVED,
            mailbox=mailbox,
            uid=uid,
        )
        if email is not None:
            trace = tx.value("SELECT trace FROM email WHERE id = :id", id=email)
            found.append(Retrieval(Uid(uid), trace))
    return found


def take_recent(tx: Tx, mailbox: MailboxId) -> Uid:
    """The first UID that no session has seen; from now on, none of today's (RFC 3501 2.3.2)."""
    first = tx.value("SELECT first_recent FROM mailbox WHERE id = :id", id=mailbox)
    tx.run("UPDATE mailbox SET first_recent = uidnext WHERE id = :id", id=mailbox)
    return Uid(first or 1)


def _combine(old: int, flags: int, mode: Mode, among: int) -> int:
    if mode == "add":
        return old | flags
    if mode == "remove":
        return old & ~flags
    return old & ~among | flags


def _combine_keywords(old: str, keywords: str, mode: Mode, among: int) -> str:
    if (mode == "replace" and among & FLAGGED) or not (old or keywords):
        return keywords
    if not keywords:
        return old
    have = {word.lower(): word for word in old.split()}
    change = {word.lower(): word for word in keywords.split()}
    if mode == "add":
        return join_keywords(set({**change, **have}.values()))
    return join_keywords({word for key, word in have.items() if key not in change})


def deleted_size(tx: Tx, mailbox: MailboxId) -> int:
    """Octets of the messages that carry \\Deleted."""
    size = tx.value(
        "SELECT sum(size) FROM placement WHERE mailbox = :mailbox AND (flags & :bit) != 0",
        mailbox=mailbox,
        bit=DELETED,
    )
    return int(size or 0)


def changed_after(tx: Tx, mailbox: MailboxId, ranges: Ranges, modseq: int) -> list[Uid]:
    """The messages that changed after that modseq."""
    return [Uid(uid) for uid, _, _, last in _flags_in(tx, mailbox, ranges) if last > modseq]


def vanished(tx: Tx, mailbox: MailboxId, modseq: int) -> list[Uid]:
    """The UIDs that were expunged after that modseq, in order (RFC 7162 section 3.2.10.1)."""
    rows = tx.rows(
        "SELECT uid FROM expunged WHERE mailbox = :mailbox AND modseq > :modseq ORDER BY uid",
        mailbox=mailbox,
        modseq=modseq,
    )
    return [Uid(uid) for (uid,) in rows]


def _flags_in(tx: Tx, mailbox: MailboxId, ranges: Ranges) -> Iterator[tuple[int, int, str, int]]:
    for first, last in ranges:
        yield from tx.rows(
            "SELECT uid, flags, keywords, modseq FROM placement WHERE mailbox = :mailbox"
            " AND uid BETWEEN :first AND :last",
            mailbox=mailbox,
            first=first,
            last=last,
        )


# ---------------------------------------------------------------------- expunge


def expunge(tx: Tx, mailbox: MailboxId, ranges: Ranges) -> list[Uid]:
    """Delete those of the messages that carry \\Deleted; their UIDs."""
    rows = [row for row in placements(tx, mailbox, ranges) if row[3] & DELETED]
    return _remove(tx, account_of(tx, mailbox), mailbox, rows)


def remove(tx: Tx, mailbox: MailboxId, uid: Uid) -> bool:
    """Delete the message, whatever its flags; False if it is not there."""
    account = account_of(tx, mailbox)
    rows = placements(tx, mailbox, [(uid, uid)]) if account else []
    return bool(_remove(tx, account, mailbox, rows))


def clear(tx: Tx, account: AccountId, mailbox: MailboxId, limit: int) -> int:
    """Delete up to `limit` messages of a mailbox that may be gone itself; how many it were."""
    rows = tx.rows(
        f"SELECT {PLACEMENT} FROM placement WHERE mailbox = :id ORDER BY uid LIMIT :limit",
        id=mailbox,
        limit=limit,
    )
    return len(_remove(tx, account, mailbox, rows))


def any_before(tx: Tx, mailbox: MailboxId, before: int) -> bool:
    """Whether a message was put into the mailbox before that time."""
    found = tx.value(
        "SELECT 1 FROM placement WHERE mailbox = :id AND saved < :before LIMIT 1",
        id=mailbox,
        before=before,
    )
    return found is not None


def expire(tx: Tx, mailbox: MailboxId, before: int, limit: int) -> int:
    """Delete up to `limit` messages that were put into the mailbox before; how many it were."""
    rows = tx.rows(
        f"SELECT {PLACEMENT} FROM placement WHERE mailbox = :id AND saved < :before"
        " ORDER BY uid LIMIT :limit",
        id=mailbox,
        before=before,
        limit=limit,
    )
    return len(_remove(tx, account_of(tx, mailbox), mailbox, rows)) if rows else 0


def clear_left_behind(tx: Tx, limit: int) -> int:
    """Delete messages of mailboxes whose deletion was cut short; how many it were."""
    row = tx.row(
        "SELECT account, mailbox FROM mailbox_gone WHERE EXISTS"
        " (SELECT 1 FROM placement WHERE placement.mailbox = mailbox_gone.mailbox) LIMIT 1"
    )
    return 0 if row is None else clear(tx, AccountId(row[0]), MailboxId(row[1]), limit)


def _remove(
    tx: Tx, account: AccountId, mailbox: MailboxId, rows: list[tuple[Any, ...]]
) -> list[Uid]:
    if rows:
        take_out(tx, mailbox, rows)
        drop_homeless(tx, account, rows)
    return [Uid(row[0]) for row in rows]


def take_out(tx: Tx, mailbox: MailboxId, rows: list[tuple[Any, ...]]) -> None:
    """Delete the placements and leave tombstones."""
    if not rows:
        return
    account = tx.value("SELECT account FROM mailbox WHERE id = :id", id=mailbox)
    keys = [{"mailbox": mailbox, "uid": row[0]} for row in rows]
    modseq = account and mailboxes.next_modseq(tx, account)  # the account first: it is locked
    tx.many("DELETE FROM placement WHERE mailbox = :mailbox AND uid = :uid", keys)
    if modseq is None:
        return
    tx.many(
        "INSERT INTO expunged (mailbox, modseq, uid) VALUES (:mailbox, :modseq, :uid)",
        [{**key, "modseq": modseq} for key in keys],
    )
    count_rows(tx, mailbox, modseq, rows, -1)


def drop_homeless(tx: Tx, account: AccountId, rows: list[tuple[Any, ...]]) -> None:
    """Delete the emails that have no placement left, and contents and bodies nobody uses."""
    gone = [
        row
        for row in rows
        if tx.value("SELECT 1 FROM placement WHERE email = :email LIMIT 1", email=row[1]) is None
    ]
    if not gone:
        return
    modseq = mailboxes.next_modseq(tx, account)
    keys = [{"account": account, "email": row[1], "modseq": modseq} for row in gone]
    tx.many("DELETE FROM email WHERE id = :email AND account = :account", keys)
    tx.many(
        "INSERT INTO email_gone (account, modseq, email) VALUES (:account, :modseq, :email)", keys
    )
    tx.run(
        "UPDATE account SET used = used - :size, emails = emails - :count WHERE id = :id",
        id=account,
        size=sum(row[6] for row in gone),
        count=len(gone),
    )
    for content in sorted({row[2] for row in gone}):
        _drop_content(tx, content)


def _drop_content(tx: Tx, content: int) -> None:
    row = tx.row(
        "DELETE FROM content WHERE id = :id"
        " AND NOT EXISTS (SELECT 1 FROM email WHERE content = :id) RETURNING blob, body_size",
        id=content,
    )
    if row is not None:
        blobs.drop_unused(tx, StoredBody(BlobId(row[0]), row[1]))


# ---------------------------------------------------------------------- shared steps


def placements(tx: Tx, mailbox: MailboxId, ranges: Ranges) -> list[tuple[Any, ...]]:
    """The messages in the ranges, as rows of PLACEMENT."""
    return [
        row
        for first, last in ranges
        for row in tx.rows(
            f"SELECT {PLACEMENT} FROM placement WHERE mailbox = :mailbox"
            " AND uid BETWEEN :first AND :last ORDER BY uid",
            mailbox=mailbox,
            first=first,
            last=last,
        )
    ]


def account_of(tx: Tx, mailbox: MailboxId) -> AccountId:
    """Whose mailbox it is."""
    account: AccountId = tx.value("SELECT account FROM mailbox WHERE id = :id", id=mailbox)
    return account


def count_rows(
    tx: Tx, mailbox: MailboxId, modseq: ModSeq, rows: list[tuple[Any, ...]], sign: int
) -> None:
    """Add these messages to the counters of the mailbox, or with -1 take them away."""
    _count(
        tx,
        mailbox,
        modseq,
        messages=sign * len(rows),
        unseen=sign * sum(_unseen(row[3]) for row in rows),
        deleted=sign * sum(_deleted(row[3]) for row in rows),
        size=sign * sum(row[6] for row in rows),
    )


def _count(tx: Tx, mailbox: MailboxId, modseq: ModSeq, **changes: int) -> None:
    sums = "".join(f", {name} = {name} + :{name}" for name in changes)
    tx.run(
        f"UPDATE mailbox SET modseq = :modseq{sums} WHERE id = :id",
        id=mailbox,
        modseq=modseq,
        **changes,
    )


def add_keywords(tx: Tx, mailbox: MailboxId, names: set[str]) -> None:
    """The mailbox knows these keywords from now on."""
    tx.many(
        "INSERT INTO keyword (mailbox, name) VALUES (:mailbox, :name) ON CONFLICT DO NOTHING",
        [{"mailbox": mailbox, "name": name} for name in sorted(names)],
    )


def _unseen(flags: int) -> int:
    return int(not flags & SEEN)


def _deleted(flags: int) -> int:
    return int(bool(flags & DELETED))


PLACEMENT = "uid, email, content, flags, keywords, internal_date, size"
