"""Other weights for rules of the spam filter: rows of filter_setting, for everybody."""

from mailstead.storage.store import Tx

_PREFIX = "spam-rule-"


def find_all(tx: Tx) -> dict[str, float]:
    """The rules that weigh something else here, and what."""
    rows = tx.rows(
        "SELECT name, value FROM filter_setting WHERE organisation = 0 AND domain = ''"
        " AND account = 0 AND name >= :first AND name < :last",
        first=_PREFIX,
        last=_PREFIX[:-1] + ".",
    )
    return {name.removeprefix(_PREFIX): float(value) for name, value in rows}


def put(tx: Tx, rule: str, weight: float | None) -> None:
    """From now on so many points; None: as the rule comes."""
    name = _PREFIX + rule
    tx.run(
        "DELETE FROM filter_setting WHERE organisation = 0 AND domain = '' AND account = 0"
        " AND name = :name",
        name=name,
    )
    if weight is not None:
        tx.run(
            "INSERT INTO filter_setting (organisation, domain, account, name, value)"
            " VALUES (0, '', 0, :name, :value)",
            name=name,
            value=f"{weight:g}",
        )
