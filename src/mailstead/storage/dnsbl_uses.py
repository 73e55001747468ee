"""Lists in the DNS that the operator switched on or off, with the key of a registration."""

from datetime import datetime

import msgspec

from mailstead.storage.store import Tx, from_micros, to_micros

USES_LIMIT = 1000


class Use(msgspec.Struct, frozen=True):
    """What was said of one zone."""

    zone: str
    active: bool
    key: str
    created: datetime


def put(tx: Tx, zone: str, active: bool, key: str) -> None:
    """Use the zone, or do not, whatever was said before."""
    tx.run("DELETE FROM dnsbl_use WHERE zone = :zone", zone=zone)
    tx.run(
        "INSERT INTO dnsbl_use (zone, active, key, created) VALUES (:zone, :active, :key, :now)",
        zone=zone,
        active=int(active),
        key=key,
        now=to_micros(tx.now),
    )


def forget(tx: Tx, zone: str) -> bool:
    """As if nothing had been said; whether something had been."""
    return tx.run("DELETE FROM dnsbl_use WHERE zone = :zone", zone=zone) > 0


def list_all(tx: Tx) -> list[Use]:
    """All that was said, by name."""
    rows = tx.rows(
        "SELECT zone, active, key, created FROM dnsbl_use ORDER BY zone LIMIT :limit",
        limit=USES_LIMIT,
    )
    return [Use(zone, bool(active), key, from_micros(at)) for zone, active, key, at in rows]
