"""What is switched on at the door, and for whom: rows of filter_setting that say "on" or "off".

The most exact one counts: of the domain, of the organisation, of everybody (organisation 0).
"""

import msgspec

from mailstead.model.numbers import OrganisationId
from mailstead.storage.store import Tx

EVERYBODY = OrganisationId(0)
GREYLISTING = "greylisting"
SEALING = "arc-sealing"
STRICT = "dmarc-strict"
CODE = "code"  # the operator's own: the path of a Python file; only for everybody


class Switch(msgspec.Struct, frozen=True):
    """One row."""

    organisation: OrganisationId
    domain: str
    value: str


def put(tx: Tx, name: str, switch: Switch) -> None:
    """Say so from now on."""
    forget(tx, name, switch.organisation, switch.domain)
    tx.run(
        "INSERT INTO filter_setting (organisation, domain, account, name, value)"
        " VALUES (:organisation, :domain, 0, :name, :value)",
        organisation=switch.organisation,
        domain=switch.domain,
        name=name,
        value=switch.value,
    )


def forget(tx: Tx, name: str, organisation: OrganisationId, domain: str = "") -> bool:
    """Say nothing any more; whether something was said."""
    sql = (
        "DELETE FROM filter_setting WHERE organisation = :organisation AND domain = :domain"
        " AND account = 0 AND name = :name"
    )
    return tx.run(sql, organisation=organisation, domain=domain, name=name) > 0


def list_all(tx: Tx, name: str) -> list[Switch]:
    """Everything that is said under the name."""
    rows = tx.rows(
        "SELECT organisation, domain, value FROM filter_setting"
        " WHERE name = :name AND account = 0 ORDER BY organisation, domain",
        name=name,
    )
    return [Switch(*row) for row in rows]


def find(tx: Tx, name: str, organisation: OrganisationId, domain: str = "") -> str:
    """What counts there; "" if nothing is said."""
    return find_all(tx, organisation, domain).get(name, "")


def find_all(tx: Tx, organisation: OrganisationId, domain: str = "") -> dict[str, str]:
    """Everything that counts there, by name."""
    rows = tx.rows(
        "SELECT name, value, organisation, domain FROM filter_setting"
        " WHERE organisation IN (0, :organisation) AND domain IN ('', :domain) AND account = 0",
        organisation=organisation,
        domain=domain,
    )
    rows.sort(key=lambda row: (row[2] != EVERYBODY, row[3] != ""))  # the most exact last
    return {name: value for name, value, _, _ in rows}


def is_on(tx: Tx, name: str, organisation: OrganisationId, domain: str = "") -> bool:
    """Whether it is on there."""
    return find(tx, name, organisation, domain) == "on"
