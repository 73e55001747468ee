"""Secrets of our own making, by purpose; the newest is used, older ones are still believed."""

from mailstead.storage.store import Tx, to_micros


def find_all(tx: Tx, name: str) -> list[bytes]:
    """All secrets for the purpose, the newest first."""
    rows = tx.rows("SELECT value FROM secret WHERE name = :name ORDER BY created DESC", name=name)
    return [value for (value,) in rows]


def ensure(tx: Tx, name: str, fresh: bytes) -> bytes:
    """The newest; `fresh` if there was none."""
    found = find_all(tx, name)
    if found:
        return found[0]
    tx.run(
        "INSERT INTO secret (name, created, value) VALUES (:name, :now, :value)",
        name=name,
        now=to_micros(tx.now),
        value=fresh,
    )
    return fresh
