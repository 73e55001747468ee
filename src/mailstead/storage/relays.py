"""Domains whose mail we take for another server, and which of their addresses exist there.

A domain that is hosted here as well is split: an address that exists here gets its mail here, all
others there. Local-parts are compared folded, and a name on the list takes its tags too.
Holds: no domain has both a catch-all account and a server elsewhere.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from mailstead.model.address import Address, Domain
from mailstead.model.errors import Refusal
from mailstead.model.numbers import OrganisationId
from mailstead.storage import accounts
from mailstead.storage.accounts import SEPARATOR, fold
from mailstead.storage.store import Tx, from_micros, to_micros

TRANSPORTS = ("smtp", "lmtp")
CHECKS = ("list", "call")  # how recipients are known: a list here, or the other server is asked
DAYS = 14  # that mail waits; the other server may be down for longer than senders would try
DAYS_LIMIT = 60


class RelayDomain(msgspec.Struct, frozen=True):
    """A domain whose mail goes on to another server; without `host` the DNS says which."""

    name: Domain
    organisation: OrganisationId
    host: str  # "host:port"
    transport: str
    recipients: str
    days: int
    created: datetime

    @property
    def wait(self) -> timedelta:
        """How long its mail waits before it is given up."""
        return timedelta(days=self.days)


class Relayed(msgspec.Struct, frozen=True):
    """An address of a relay domain that does not exist here; whether it is on the list."""

    domain: RelayDomain
    listed: bool


# ---------------------------------------------------------------------- look-ups


def find(tx: Tx, name: str) -> RelayDomain | None:
    """The relay domain of that name."""
    return find_all(tx, [name]).get(name)


def find_all(tx: Tx, names: Collection[str]) -> dict[str, RelayDomain]:
    """Those of these domains, at least one, that are relay domains."""
    wanted_names = sorted(set(names))
    # Few lengths, so few statements: databases keep those that they know.
    padding = (1 << (len(wanted_names) - 1).bit_length()) - len(wanted_names)
    wanted_names += wanted_names[-1:] * padding
    values = {f"name{number}": name for number, name in enumerate(wanted_names)}
    wanted = ", ".join(f":{key}" for key in values)
    rows = tx.rows(f"SELECT {_COLUMNS} FROM relay_domain WHERE name IN ({wanted})", **values)
    return {row[0]: _domain(row) for row in rows}


def find_recipient(tx: Tx, address: Address) -> Relayed | None:
    """What is known of an address that leads nowhere here; None if it is none of a relay domain."""
    row = tx.row(
        f"SELECT {_COLUMNS}, EXISTS (SELECT 1 FROM relay_recipient WHERE domain = :domain"
        " AND local_part IN (:local_part, :name)) FROM relay_domain WHERE name = :domain"
        " AND NOT EXISTS (SELECT 1 FROM address JOIN domain ON domain.id = address.domain"
        " WHERE domain.name = :domain AND local_part IN (:local_part, :name))",
        domain=address.domain,
        **_names(address),
    )
    return None if row is None else Relayed(_domain(row[:-1]), bool(row[-1]))


def list_all(tx: Tx) -> list[RelayDomain]:
    """All relay domains, by name."""
    return [_domain(row) for row in tx.rows(f"SELECT {_COLUMNS} FROM relay_domain ORDER BY name")]


def get(tx: Tx, name: str) -> RelayDomain:
    """The relay domain; Refusal, with what to do, if it is none."""
    found = find(tx, name)
    if found is None:
        raise Refusal(f"{name} is no relay domain: mailstead relay add {name}", "NONEXISTENT")
    return found


# ---------------------------------------------------------------------- changes


def add(tx: Tx, relay: RelayDomain) -> None:
    """Take the domain's mail for its server; Refusal if that is so already, or cannot be."""
    if find(tx, relay.name):
        raise Refusal(f"{relay.name} is a relay domain already", "ALREADYEXISTS")
    hosted = accounts.find_domain(tx, relay.name)
    if hosted and hosted.catch_all:
        raise Refusal(
            f"{relay.name} has a catch-all account ({hosted.catch_all}), so nothing would be left"
            f" for the other server: mailstead domain catch-all {relay.name} --none",
            "INUSE",
        )
    tx.run(
        f"INSERT INTO relay_domain ({_COLUMNS}) VALUES (:name, :organisation, :host, :transport,"
        " :recipients, :days, :created)",
        **_row(relay),
    )


def change(tx: Tx, relay: RelayDomain) -> None:
    """Replace what is kept of the domain."""
    get(tx, relay.name)
    tx.run(
        "UPDATE relay_domain SET organisation = :organisation, host = :host,"
        " transport = :transport, recipients = :recipients, days = :days, created = :created"
        " WHERE name = :name",
        **_row(relay),
    )


def remove(tx: Tx, name: Domain) -> None:
    """Take its mail no longer; its list has to be empty."""
    get(tx, name)
    tx.run("DELETE FROM relay_domain WHERE name = :name", name=name)


# ---------------------------------------------------------------------- the list


def count_recipients(tx: Tx, name: Domain) -> int:
    """How many addresses are on the list."""
    number: int = tx.value("SELECT count(*) FROM relay_recipient WHERE domain = :name", name=name)
    return number


def page(tx: Tx, name: Domain, after: str, limit: int) -> list[str]:
    """The next local-parts of the list behind this one."""
    rows = tx.rows(
        "SELECT local_part FROM relay_recipient WHERE domain = :name AND local_part > :after"
        " ORDER BY local_part LIMIT :limit",
        name=name,
        after=after,
        limit=limit,
    )
    return [row[0] for row in rows]


def add_recipients(tx: Tx, name: Domain, local_parts: Sequence[str]) -> None:
    """Put these on the list; those that are there already stay."""
    tx.many(
        "INSERT INTO relay_recipient (domain, local_part) VALUES (:name, :local_part)"
        " ON CONFLICT DO NOTHING",
        [{"name": name, "local_part": one} for one in sorted(set(map(fold, local_parts)))],
    )


def remove_recipients(tx: Tx, name: Domain, local_parts: Sequence[str]) -> None:
    """Take these off the list."""
    tx.many(
        "DELETE FROM relay_recipient WHERE domain = :name AND local_part = :local_part",
        [{"name": name, "local_part": fold(one)} for one in local_parts],
    )


_COLUMNS = "name, organisation, host, transport, recipients, days, created"


def _domain(row: tuple[Any, ...]) -> RelayDomain:
    name, organisation, host, transport, recipients, days, created = row
    return RelayDomain(name, organisation, host, transport, recipients, days, from_micros(created))


def _row(relay: RelayDomain) -> dict[str, Any]:
    return msgspec.structs.asdict(relay) | {"created": to_micros(relay.created)}


def _names(address: Address) -> dict[str, str]:
    """The local-part, and the same without its tag."""
    local_part = fold(address.local_part)
    return {"local_part": local_part, "name": local_part.partition(SEPARATOR)[0] or local_part}
