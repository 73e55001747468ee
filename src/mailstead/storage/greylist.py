"""Who was asked to come again, and who came: by source, sender's domain and recipient.

Used for strangers (source: a network or an SPF domain) and for senders that the DNS is silent about
(source: "dns"), whose mail waits for a while and is then judged without an answer.
"""

from datetime import timedelta

from mailstead.storage.store import Tx, to_micros

FORGOTTEN_AFTER = timedelta(days=2)  # who did not come again
KEPT_FOR = timedelta(days=36)  # who did, and was seen since
SEEN_AGAIN = timedelta(days=1)  # a row is written anew at most so often


def knock(
    tx: Tx, source: str, domain: str, recipient: str, wait: timedelta, window: timedelta
) -> bool:
    """Whether the sender may come in: it has waited since it was first here, and not too long."""
    key = {"source": source, "domain": domain, "recipient": recipient}
    row = tx.row(f"SELECT first, passed FROM greylist WHERE {_KEY}", **key)
    now = to_micros(tx.now)
    if row is None:
        tx.run(
            "INSERT INTO greylist (source, reverse_path, recipient, first, passed, last)"
            " VALUES (:source, :domain, :recipient, :now, NULL, :now)",
            now=now,
            **key,
        )
        return False
    first, passed = row
    age = now - first
    if passed is None and age > _micros(window):  # an attempt of its own, not the second of one
        tx.run(f"UPDATE greylist SET first = :now, last = :now WHERE {_KEY}", now=now, **key)
        return False
    if passed is None and age < _micros(wait):
        return False
    tx.run(
        f"UPDATE greylist SET passed = coalesce(passed, :now), last = :now WHERE {_KEY}",
        now=now,
        **key,
    )
    return True


_KEY = "source = :source AND reverse_path = :domain AND recipient = :recipient"


def has_passed(tx: Tx, source: str, domain: str, recipient: str) -> bool:
    """Whether it came in before, and was seen within a day: then nothing need be written."""
    oldest = to_micros(tx.now - SEEN_AGAIN)
    sql = f"SELECT 1 FROM greylist WHERE {_KEY} AND passed IS NOT NULL AND last > :oldest"
    found = tx.value(sql, source=source, domain=domain, recipient=recipient, oldest=oldest)
    return found is not None


def count_passed(tx: Tx, source: str, most: int) -> int:
    """How many times the source has passed with different mail, `most` at most."""
    rows = tx.rows(
        "SELECT 1 FROM greylist WHERE source = :source AND passed IS NOT NULL LIMIT :most",
        source=source,
        most=most,
    )
    return len(rows)


def waits(tx: Tx, source: str, domain: str, recipient: str, limit: timedelta) -> bool:
    """Whether it began to wait less than `limit` ago; begins to, if it had not."""
    key = {"source": source, "domain": domain, "recipient": recipient}
    first = tx.value(f"SELECT first FROM greylist WHERE {_KEY}", **key)
    now = to_micros(tx.now)
    if first is None:
        knock(tx, source, domain, recipient, timedelta(), limit)
        return True
    tx.run(f"UPDATE greylist SET last = :now WHERE {_KEY}", now=now, **key)
    return bool(now - first < _micros(limit))


def expire(tx: Tx, limit: int) -> int:
    """Without the oldest of those that are of no use any more; how many went."""
    keys = tx.rows(
        "SELECT source, reverse_path, recipient FROM greylist WHERE last < :kept"
        " OR (passed IS NULL AND last < :forgotten) ORDER BY last LIMIT :limit",
        kept=to_micros(tx.now - KEPT_FOR),
        forgotten=to_micros(tx.now - FORGOTTEN_AFTER),
        limit=limit,
    )
    gone = [
        {"source": source, "domain": domain, "recipient": recipient}
        for source, domain, recipient in keys
    ]
    tx.many(f"DELETE FROM greylist WHERE {_KEY}", gone)
    return len(gone)


def _micros(length: timedelta) -> int:
    return length // timedelta(microseconds=1)
