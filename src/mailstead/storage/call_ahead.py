"""What other servers said when they were asked whether they take mail for an address.

"@domain" stands for an address that nobody has: where that is taken, all of them are. An answer is
good until it expires; that an address was taken is kept longer, for when its server is away.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from mailstead.storage.store import Tx, from_micros, to_micros

TAKEN_FOR = timedelta(hours=24)
UNKNOWN_FOR = timedelta(hours=1)
KEPT = timedelta(days=30)  # after its time: still better than nothing
REPLY_LIMIT = 500  # characters


class Said(msgspec.Struct, frozen=True):
    """An answer, and until when it is good."""

    address: str
    taken: bool
    reply: str
    expires: datetime


def anybody(domain: str) -> str:
    """What stands for an address of the domain that nobody has."""
    return f"@{domain}"


def find(tx: Tx, addresses: Sequence[str]) -> dict[str, Said]:
    """What is kept of these addresses, good or not."""
    values = {f"address{number}": one for number, one in enumerate(addresses)}
    wanted = ", ".join(f":{key}" for key in values)
    rows = tx.rows(
        f"SELECT address, taken, reply, expires FROM call_ahead WHERE address IN ({wanted})",
        **values,
    )
    return {
        address: Said(address, bool(taken), reply, from_micros(expires))
        for address, taken, reply, expires in rows
    }


def keep(tx: Tx, answers: Sequence[Said]) -> None:
    """Keep these instead of what was said before."""
    tx.many(
        "INSERT INTO call_ahead (address, taken, reply, expires)"
        " VALUES (:address, :taken, :reply, :expires) ON CONFLICT (address) DO UPDATE SET"
        " taken = excluded.taken, reply = excluded.reply, expires = excluded.expires",
        [
            {
                "address": one.address,
                "taken": int(one.taken),
                "reply": one.reply[:REPLY_LIMIT],
                "expires": to_micros(one.expires),
            }
            for one in sorted(answers, key=lambda one: one.address)
        ],
    )


def expire(tx: Tx, limit: int) -> int:
    """Forget what nobody will ask for again; how many it were."""
    rows = tx.rows(
        "SELECT address FROM call_ahead WHERE expires <= :now"
        " AND (taken = 0 OR expires <= :old) LIMIT :limit",
        now=to_micros(tx.now),
        old=to_micros(tx.now - KEPT),
        limit=limit,
    )
    tx.many(
        "DELETE FROM call_ahead WHERE address = :address",
        [{"address": address} for (address,) in rows],
    )
    return len(rows)
