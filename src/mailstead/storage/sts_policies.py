"""The MTA-STS policies that we publish for domains hosted here (RFC 8461).

Holds: the id changes whenever the policy does, so that others fetch it again.
"""

import msgspec

from mailstead.model.address import Domain
from mailstead.msgauth.mtasts import Mode
from mailstead.storage import accounts
from mailstead.storage.store import Tx


class Published(msgspec.Struct, frozen=True):
    """The policy of a domain; `mx` are the hosts beside ours."""

    domain: Domain
    mode: Mode
    mx: tuple[str, ...]
    id: str


def publish(tx: Tx, domain: Domain, mode: Mode | None, mx: tuple[str, ...]) -> Published | None:
    """Publish this from now on; without a mode, nothing. Refusal if it is not hosted here."""
    hosted = accounts.get_domain(tx, domain)
    before = find(tx, domain)
    if before and (before.mode, before.mx) == (mode, mx):
        return before
    policy_id = f"{tx.now:%Y%m%d%H%M%S}"
    tx.run(
        "UPDATE domain SET sts_mode = :mode, sts_mx = :mx, sts_id = :policy_id WHERE id = :id",
        id=hosted.id,
        mode=mode.value if mode else "",
        mx=" ".join(mx),
        policy_id=policy_id if mode else "",
    )
    return Published(domain, mode, mx, policy_id) if mode else None


def find(tx: Tx, domain: Domain) -> Published | None:
    """What the domain publishes."""
    row = tx.row(
        "SELECT name, sts_mode, sts_mx, sts_id FROM domain WHERE name = :name AND sts_mode != ''",
        name=domain,
    )
    return None if row is None else _published(row)


def list_all(tx: Tx, limit: int = 1000) -> list[Published]:
    """All domains that publish one."""
    rows = tx.rows(
        "SELECT name, sts_mode, sts_mx, sts_id FROM domain WHERE sts_mode != ''"
        " ORDER BY name LIMIT :limit",
        limit=limit,
    )
    return [_published(row) for row in rows]


def _published(row: tuple[str, ...]) -> Published:
    name, mode, mx, policy_id = row
    return Published(Domain(name), Mode(mode), tuple(mx.split()), policy_id)
