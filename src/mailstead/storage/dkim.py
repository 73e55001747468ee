"""The keys that hosted domains sign their mail with (RFC 6376).

Holds: a selector is used once in a domain, so what was published under it never changes.
"""

from datetime import datetime
from typing import Any

import msgspec

from mailstead.model.errors import Refusal
from mailstead.model.numbers import DomainId
from mailstead.storage.store import Tx, from_micros, to_micros


class StoredKey(msgspec.Struct, frozen=True):
    """One key; the private half is PEM."""

    selector: str
    algorithm: str  # "rsa", "ed25519"
    private_key: bytes
    active: bool
    created: datetime
    retired: datetime | None = None  # when another took its place


def create(
    tx: Tx, domain: DomainId, selector: str, algorithm: str, private_key: bytes, active: bool
) -> None:
    """Keep a new key; Refusal if the selector was used before."""
    if find(tx, domain, selector):
        raise Refusal(f"there is a key {selector} already", "ALREADYEXISTS")
    tx.run(
        "INSERT INTO dkim_key (id, domain, selector, algorithm, private_key, active, created)"
        " VALUES (:id, :domain, :selector, :algorithm, :key, :active, :now)",
        id=tx.allocate("dkim_key"),
        domain=domain,
        selector=selector,
        algorithm=algorithm,
        key=private_key,
        active=int(active),
        now=to_micros(tx.now),
    )


def list_all(tx: Tx, domain: DomainId) -> list[StoredKey]:
    """All keys of the domain, the newest first."""
    rows = tx.rows(f"SELECT {_KEY} FROM dkim_key WHERE domain = :id ORDER BY id DESC", id=domain)
    return [_key(row) for row in rows]


def active(tx: Tx, name: str) -> list[StoredKey]:
    """The keys that sign for the domain of that name, the newest first; none if it is not ours."""
    rows = tx.rows(
        f"SELECT {_KEY} FROM dkim_key WHERE active = 1"
        " AND domain = (SELECT id FROM domain WHERE name = :name) ORDER BY id DESC",
        name=name,
    )
    return [_key(row) for row in rows]


def signing_selectors(tx: Tx) -> dict[DomainId, str]:
    """The selectors that each domain signs with; domains without a key are not in it."""
    found: dict[DomainId, list[str]] = {}
    for domain, selector in tx.rows(
        "SELECT domain, selector FROM dkim_key WHERE active = 1 ORDER BY id"
    ):
        found.setdefault(domain, []).append(selector)
    return {domain: " ".join(selectors) for domain, selectors in found.items()}


def find(tx: Tx, domain: DomainId, selector: str) -> StoredKey | None:
    """The key with that selector."""
    row = tx.row(
        f"SELECT {_KEY} FROM dkim_key WHERE domain = :domain AND selector = :selector",
        domain=domain,
        selector=selector,
    )
    return None if row is None else _key(row)


def activate(tx: Tx, domain: DomainId, selector: str) -> None:
    """Sign with this key from now on; Refusal if there is none."""
    _set_active(tx, domain, selector, True)


def retire(tx: Tx, domain: DomainId, selector: str) -> None:
    """Sign with this key no more; Refusal if there is none."""
    _set_active(tx, domain, selector, False)


def forget_retired(tx: Tx, before: datetime) -> int:
    """Forget the keys that were replaced before that time; how many it were."""
    return tx.run(
        "DELETE FROM dkim_key WHERE active = 0 AND retired < :before", before=to_micros(before)
    )


def delete_all(tx: Tx, domain: DomainId) -> None:
    """Forget the keys of a domain that goes."""
    tx.run("DELETE FROM dkim_key WHERE domain = :id", id=domain)


def _set_active(tx: Tx, domain: DomainId, selector: str, active: bool) -> None:
    changed = tx.run(
        "UPDATE dkim_key SET active = :active, retired = :retired"
        " WHERE domain = :domain AND selector = :selector",
        active=int(active),
        retired=None if active else to_micros(tx.now),
        domain=domain,
        selector=selector,
    )
    if not changed:
        raise Refusal(f"there is no key {selector}", "NONEXISTENT")


_KEY = "selector, algorithm, private_key, active, created, retired"


def _key(row: tuple[Any, ...]) -> StoredKey:
    selector, algorithm, private_key, active, created, retired = row
    gone = None if retired is None else from_micros(retired)
    return StoredKey(selector, algorithm, private_key, bool(active), from_micros(created), gone)
