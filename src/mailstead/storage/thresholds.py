"""From how many points on mail is junk, quarantined, put off, refused, held: for everybody, an
organisation, one of its domains, an account.

Rows of filter_setting; the most exact one counts for each name. "never" is a threshold that no
message reaches. Not here: what the points are made of (spam.score).
"""

import msgspec

from mailstead.model.errors import Refusal
from mailstead.model.numbers import AccountId, OrganisationId
from mailstead.storage.store import Tx

EVERYBODY = OrganisationId(0)
NEVER = 1_000_000.0
NAMES = ("junk", "quarantine", "defer", "refuse", "hold")


class Thresholds(msgspec.Struct, frozen=True):
    """Points from which on each of these happens."""

    junk: float = 5.0
    quarantine: float = NEVER
    defer: float = NEVER
    refuse: float = 15.0
    hold: float = NEVER  # of what our own people send


class Whose(msgspec.Struct, frozen=True):
    """Whom a setting is for; nothing in a field: all of them."""

    organisation: OrganisationId = EVERYBODY
    domain: str = ""
    account: AccountId = AccountId(0)


class Set(msgspec.Struct, frozen=True):
    """One threshold as it was set."""

    whose: Whose
    name: str
    value: float


def find(tx: Tx, whose: Whose) -> Thresholds:
    """What counts for mail to that account in that domain; in one statement."""
    rows = tx.rows(
        f"SELECT name, value FROM filter_setting WHERE {_OF_THRESHOLDS} AND"
        " (organisation = :everybody OR organisation = :organisation) AND"
        " (domain = '' OR domain = :domain) AND (account = 0 OR account = :account)"
        " ORDER BY organisation, account, domain",
        everybody=EVERYBODY,
        organisation=whose.organisation,
        domain=whose.domain,
        account=whose.account,
    )
    return Thresholds(**{name.removeprefix(_PREFIX): float(value) for name, value in rows})


_PREFIX = "spam-"
_OF_THRESHOLDS = f"name IN ({', '.join(repr(_PREFIX + name) for name in NAMES)})"


def put(tx: Tx, whose: Whose, name: str, value: float | None) -> None:
    """From now on so many points; None: as for all the others."""
    if name not in NAMES:
        raise Refusal(f"there is no threshold {name!r}; there are: {', '.join(NAMES)}")
    key = {
        "organisation": whose.organisation,
        "domain": whose.domain,
        "account": whose.account,
        "name": _PREFIX + name,
    }
    tx.run(
        "DELETE FROM filter_setting WHERE organisation = :organisation AND domain = :domain"
        " AND account = :account AND name = :name",
        **key,
    )
    if value is not None:
        tx.run(
            "INSERT INTO filter_setting (organisation, domain, account, name, value)"
            " VALUES (:organisation, :domain, :account, :name, :value)",
            **key,
            value=f"{value:g}",
        )


def list_all(tx: Tx) -> list[Set]:
    """All that were set."""
    rows = tx.rows(
        "SELECT organisation, domain, account, name, value FROM filter_setting"
        f" WHERE {_OF_THRESHOLDS} ORDER BY organisation, domain, account, name"
    )
    return [
        Set(
            Whose(OrganisationId(organisation), domain, AccountId(account)),
            name.removeprefix(_PREFIX),
            float(value),
        )
        for organisation, domain, account, name, value in rows
    ]
