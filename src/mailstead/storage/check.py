"""What always holds in the store, whatever happened before, and what does not: `mailstead fsck`.

Rules are SQL that must find nothing; of the packs each record is read. Repairs only count again:
nothing here deletes what might be somebody's mail.
"""

from typing import Any

import msgspec

from mailstead.model.flags import DELETED, SEEN
from mailstead.storage.blobs import PART_SIZE
from mailstead.storage.packfile import DamagedBody, Place
from mailstead.storage.store import WRITE_LIMIT, Tx

SHOWN = 10  # rows that are named of those that break a rule
PARTS_AT_ONCE = 64  # packed parts that one read looks at


class Rule(msgspec.Struct, frozen=True):
    """What must find nothing; each row is an id and something to know it by.

    `repair` are the statements that make it true for an id.
    """

    meaning: str
    sql: str
    repair: tuple[str, ...] = ()


class Damage(msgspec.Struct, frozen=True):
    """A packed part that cannot be read, and the messages that lose by it."""

    what: str
    messages: tuple[str, ...]


class Read(msgspec.Struct, frozen=True):
    """Some packed parts that were read: how many, what is damaged, and the last place."""

    count: int
    damage: list[Damage]
    last: Place | None


_OF_MAILBOX = "FROM placement WHERE placement.mailbox = mailbox.id"
_COUNT_MAILBOX = (
    f"UPDATE mailbox SET messages = (SELECT count(*) {_OF_MAILBOX}),"
    f" size = (SELECT coalesce(sum(placement.size), 0) {_OF_MAILBOX}),"
    f" unseen = (SELECT count(*) {_OF_MAILBOX} AND flags & :seen = 0),"
    f" deleted = (SELECT count(*) {_OF_MAILBOX} AND flags & :deleted != 0) WHERE id = :id",
    f"UPDATE mailbox SET uidnext = (SELECT max(uid) + 1 {_OF_MAILBOX}) WHERE id = :id"
    f" AND uidnext <= (SELECT max(uid) {_OF_MAILBOX})",
    f"UPDATE mailbox SET modseq = (SELECT max(placement.modseq) {_OF_MAILBOX}) WHERE id = :id"
    f" AND modseq < (SELECT max(placement.modseq) {_OF_MAILBOX})",
    "UPDATE account SET modseq = (SELECT max(mailbox.modseq) FROM mailbox"
    " WHERE mailbox.account = account.id) WHERE id ="
    " (SELECT account FROM mailbox WHERE id = :id) AND modseq <"
    " (SELECT max(mailbox.modseq) FROM mailbox WHERE mailbox.account = account.id)",
)
_COUNT_ACCOUNT = (
    "UPDATE account SET emails = (SELECT count(*) FROM email WHERE email.account = account.id),"
    " used = (SELECT coalesce(sum(length(header) + body_size), 0) FROM email JOIN content"
    " ON content.id = email.content WHERE email.account = account.id) WHERE id = :id",
)
_COUNT_PACK = (
    "UPDATE pack SET live = (SELECT coalesce(sum(length), 0) FROM packed"
    " WHERE packed.pack = pack.id) WHERE id = :id",
)

RULES = (
    Rule(
        "a mailbox's counters differ from its messages",
        "SELECT mailbox.id, name FROM mailbox LEFT JOIN (SELECT mailbox, count(*) AS n,"
        " sum(size) AS octets, count(*) FILTER (WHERE flags & :seen = 0) AS fresh,"
        " count(*) FILTER (WHERE flags & :deleted != 0) AS gone,"
        " max(uid) AS top, max(modseq) AS latest FROM placement GROUP BY mailbox) AS real"
        " ON real.mailbox = mailbox.id WHERE messages != coalesce(n, 0)"
        " OR mailbox.size != coalesce(octets, 0) OR mailbox.unseen != coalesce(fresh, 0)"
        " OR mailbox.deleted != coalesce(gone, 0) OR uidnext <= coalesce(top, 0)"
        " OR mailbox.modseq < coalesce(latest, 0)",
        _COUNT_MAILBOX,
    ),
    Rule(
        "an account's usage differs from its emails",
        "SELECT account.id, login FROM account LEFT JOIN (SELECT account, count(*) AS n,"
        " sum(length(header) + body_size) AS octets FROM email JOIN content"
        " ON content.id = email.content GROUP BY account) AS real ON real.account = account.id"
        " WHERE emails != coalesce(n, 0) OR used != coalesce(octets, 0)",
        _COUNT_ACCOUNT,
    ),
    Rule(
        "a pack's live octets differ from its parts",
        "SELECT pack.id, live FROM pack LEFT JOIN (SELECT pack, sum(length) AS octets FROM packed"
        " GROUP BY pack) AS real ON real.pack = pack.id WHERE live != coalesce(octets, 0)",
        _COUNT_PACK,
    ),
    Rule(
        "a part has no pack, or does not lie within it",
        "SELECT packed.id, pack FROM packed LEFT JOIN pack ON pack.id = packed.pack"
        " WHERE pack.id IS NULL OR start < 0 OR start + length > pack.size",
    ),
    Rule(
        "a part is both loose and packed",
        "SELECT id, pack FROM packed WHERE id IN (SELECT id FROM blob)",
    ),
    Rule(
        "a placement has no email or no content",
        "SELECT mailbox, uid FROM placement WHERE email NOT IN (SELECT id FROM email)"
        " OR content NOT IN (SELECT id FROM content)",
    ),
    Rule(
        "rights in a mailbox that is gone, or of an account that is",
        "SELECT mailbox, account FROM mailbox_right WHERE mailbox NOT IN (SELECT id FROM mailbox)"
        " OR (account != 0 AND account NOT IN (SELECT id FROM account))",
    ),
    Rule(
        "annotations of a mailbox that is gone, or of an account that is",
        "SELECT mailbox, owner FROM annotation WHERE (mailbox != 0 AND mailbox NOT IN"
        " (SELECT id FROM mailbox)) OR (owner > 0 AND owner NOT IN (SELECT id FROM account))",
    ),
    Rule(
        "an email lies in a mailbox of another account",
        "SELECT email.id, placement.mailbox FROM placement JOIN email ON email.id ="
        " placement.email JOIN mailbox ON mailbox.id = placement.mailbox"
        " WHERE mailbox.account != email.account",
    ),
    Rule(
        "an email lies in no mailbox",
        "SELECT id, account FROM email WHERE id NOT IN (SELECT email FROM placement)",
    ),
    Rule(
        "a content belongs to no email",
        "SELECT id, 0 FROM content WHERE id NOT IN (SELECT content FROM email)",
    ),
    Rule(
        "a body is not there, or not whole",
        "SELECT id, body_size FROM (SELECT id, blob, body_size FROM content"
        " UNION SELECT id, blob, body_size FROM outgoing) AS message WHERE body_size !="
        " (SELECT coalesce(sum(length(data)), 0) FROM blob WHERE body_size > 0 AND blob.id"
        " BETWEEN message.blob AND message.blob + (body_size - 1) / :part)"
        " + (SELECT coalesce(sum(size), 0) FROM packed WHERE body_size > 0 AND packed.id"
        " BETWEEN message.blob AND message.blob + (body_size - 1) / :part)",
    ),
    Rule(
        "a body belongs to nothing",
        # Bodies do not overlap: a part belongs to the last that begins before it, or to none.
        "SELECT id, 0 FROM (SELECT id FROM blob UNION ALL SELECT id FROM packed) AS part WHERE"
        " coalesce((SELECT blob + (body_size - 1) / :part FROM content"
        " WHERE blob <= part.id ORDER BY blob DESC LIMIT 1), 0) < part.id"
        " AND coalesce((SELECT blob + (body_size - 1) / :part FROM outgoing"
        " WHERE blob <= part.id ORDER BY blob DESC LIMIT 1), 0) < part.id",
    ),
    Rule(
        "a queued recipient has no message, or a message no recipient",
        "SELECT id, 0 FROM queue WHERE outgoing NOT IN (SELECT id FROM outgoing)"
        " UNION SELECT id, 1 FROM outgoing WHERE id NOT IN (SELECT outgoing FROM queue)",
    ),
    Rule(
        "a UID that was expunged is in use",
        "SELECT mailbox, uid FROM placement JOIN expunged USING (mailbox, uid)",
    ),
)
_VALUES = {"seen": SEEN, "deleted": DELETED, "part": PART_SIZE}


def broken(tx: Tx) -> list[str]:
    """Each rule that does not hold, with the rows that break it; empty if all is well."""
    found = []
    for rule in RULES:
        try:
            rows = _run(tx, rule.sql)
        except tx.errors as error:
            found.append(f"the database cannot be read to find out if {rule.meaning}: {error}")
            continue
        if rows:
            more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
            found.append(f"{rule.meaning}: {rows[:SHOWN]}{more}")
    return found


def repair(tx: Tx) -> list[str]:
    """Count again what is counted wrong, a write's worth of it; what was done."""
    done: list[str] = []
    for rule in RULES:
        if rule.repair and len(done) < WRITE_LIMIT:
            for row in _run(tx, rule.sql)[: WRITE_LIMIT - len(done)]:
                for statement in rule.repair:
                    _run(tx, statement, id=row[0])
                done.append(f"{rule.meaning}: {row}")
    return done


def _run(tx: Tx, sql: str, **more: int) -> list[tuple[Any, ...]]:
    used = {name: value for name, value in _VALUES.items() if f":{name}" in sql}
    return tx.rows(sql, **used, **more)


def integrity(tx: Tx) -> list[str]:
    """What the database itself finds wrong with its file."""
    try:
        return [f"the database is damaged: {text}" for text in tx.damage()]
    except tx.errors as error:
        return [f"the database cannot be read: {error}"]


def count_packed(tx: Tx) -> int:
    """How many parts are packed."""
    number: int = tx.value("SELECT count(*) FROM packed")
    return number


def next_parts(tx: Tx, pack: int, start: int) -> list[tuple[Place, int]]:
    """The next packed parts behind this place, (place, octets)."""
    rows = tx.rows(
        "SELECT id, pack, start, length, size FROM packed WHERE (pack, start) > (:pack, :start)"
        " ORDER BY pack, start LIMIT :limit",
        pack=pack,
        start=start,
        limit=PARTS_AT_ONCE,
    )
    return [(row[:4], row[4]) for row in rows]


def read_parts(tx: Tx, pack: int, start: int) -> Read:
    """Read the next packed parts behind this place; `last` is None behind the end."""
    parts = next_parts(tx, pack, start)
    places = [place for place, _ in parts]
    sizes = [size for _, size in parts]
    last = places[-1] if places else None
    try:
        if [len(part) for part in tx.packed(places)] == sizes:
            return Read(len(places), [], last)
    except DamagedBody:
        pass
    found = [_damage(tx, *pair) for pair in zip(places, sizes, strict=True)]
    return Read(len(places), [damage for damage in found if damage], last)


def _damage(tx: Tx, place: Place, size: int) -> Damage | None:
    try:
        (part,) = tx.packed([place])
    except DamagedBody as damage:
        return Damage(str(damage), _messages(tx, place[0]))
    if len(part) != size:
        what = f"part {place[0]} has {len(part)} octets instead of {size}"
        return Damage(what, _messages(tx, place[0]))
    return None


def damage_of(tx: Tx, place: Place, what: str) -> Damage | None:
    """The messages that lose by it, if the part still lies at this place."""
    found = tx.rows("SELECT id, pack, start, length FROM packed WHERE id = :id", id=place[0])
    return Damage(what, _messages(tx, place[0])) if found == [place] else None


def _messages(tx: Tx, part: int) -> tuple[str, ...]:
    """The messages that this part is of, as an operator knows them."""
    placed = tx.rows(
        "SELECT uid, mailbox.name, login FROM content JOIN email ON email.content = content.id"
        " JOIN placement ON placement.email = email.id JOIN mailbox"
        " ON mailbox.id = placement.mailbox JOIN account ON account.id = mailbox.account"
        " WHERE blob = (SELECT max(blob) FROM content WHERE blob <= :id)"
        " AND :id <= blob + (body_size - 1) / :part",
        id=part,
        part=PART_SIZE,
    )
    queued = tx.rows(
        "SELECT trace FROM outgoing WHERE blob = (SELECT max(blob) FROM outgoing"
        " WHERE blob <= :id) AND :id <= blob + (body_size - 1) / :part",
        id=part,
        part=PART_SIZE,
    )
    texts = [f"UID {uid} in {name} of {login}" for uid, name, login in placed]
    return (*texts, *(f"{trace} in the queue" for (trace,) in queued))
