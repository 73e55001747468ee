"""What always holds in the store, whatever happened before: `broken` lists what does not."""

from mailstead.model.flags import DELETED, SEEN
from mailstead.storage.blobs import PART_SIZE
from mailstead.storage.store import Tx

# What must find nothing: (what it would mean, SQL).
_RULES = (
    (
        "a mailbox's counters differ from its messages",
        "SELECT mailbox.id, name FROM mailbox LEFT JOIN (SELECT mailbox, count(*) AS n,"
        " sum(size) AS octets, sum(flags & :seen = 0) AS fresh,"
        " sum(flags & :deleted != 0) AS gone,"
        " max(uid) AS top, max(modseq) AS latest FROM placement GROUP BY mailbox) AS real"
        " ON real.mailbox = mailbox.id WHERE messages != coalesce(n, 0)"
        " OR mailbox.size != coalesce(octets, 0) OR mailbox.unseen != coalesce(fresh, 0)"
        " OR mailbox.deleted != coalesce(gone, 0) OR uidnext <= coalesce(top, 0)"
        " OR mailbox.modseq < coalesce(latest, 0)",
    ),
    (
        "an account's usage differs from its emails",
        "SELECT account.id, login FROM account LEFT JOIN (SELECT account, count(*) AS n,"
        " sum(length(header) + body_size) AS octets FROM email JOIN content"
        " ON content.id = email.content GROUP BY account) AS real ON real.account = account.id"
        " WHERE emails != coalesce(n, 0) OR used != coalesce(octets, 0)",
    ),
    (
        "a placement has no email or no content",
        "SELECT mailbox, uid FROM placement WHERE email NOT IN (SELECT id FROM email)"
        " OR content NOT IN (SELECT id FROM content)",
    ),
    (
        "an email lies in no mailbox",
        "SELECT id, account FROM email WHERE id NOT IN (SELECT email FROM placement)",
    ),
    (
        "a content belongs to no email",
        "SELECT id, 0 FROM content WHERE id NOT IN (SELECT content FROM email)",
    ),
    (
        "a body is not there, or not whole",
        "SELECT id, body_size FROM (SELECT id, blob, body_size FROM content"
        " UNION SELECT id, blob, body_size FROM outgoing) AS message WHERE body_size !="
        " (SELECT coalesce(sum(length(data)), 0) FROM blob WHERE body_size > 0 AND blob.id"
        " BETWEEN message.blob AND message.blob + (body_size - 1) / :part)",
    ),
    (
        "a body belongs to nothing",
        "SELECT id, 0 FROM blob WHERE NOT EXISTS (SELECT 1 FROM (SELECT blob, body_size FROM"
        " content UNION SELECT blob, body_size FROM outgoing) AS message WHERE blob.id BETWEEN"
        " message.blob AND message.blob + (body_size - 1) / :part)",
    ),
    (
        "a queued recipient has no message, or a message no recipient",
        "SELECT id, 0 FROM queue WHERE outgoing NOT IN (SELECT id FROM outgoing)"
        " UNION SELECT id, 1 FROM outgoing WHERE id NOT IN (SELECT outgoing FROM queue)",
    ),
    (
        "a UID that was expunged is in use",
        "SELECT mailbox, uid FROM placement JOIN expunged USING (mailbox, uid)",
    ),
)


def broken(tx: Tx) -> list[str]:
    """Each rule that does not hold, with the rows that break it; empty if all is well."""
    values = {"seen": SEEN, "deleted": DELETED, "part": PART_SIZE}
    found = []
    for meaning, sql in _RULES:
        used = {name: value for name, value in values.items() if f":{name}" in sql}
        if rows := tx.rows(sql, **used):
            found.append(f"{meaning}: {rows[:10]}")
    return found
