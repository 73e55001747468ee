"""Senders that are always welcome, or never: addresses, domains and networks, by name.

For an organisation, one of its accounts, or everybody (organisation 0). An entry of a domain is
about those below it, too. Holds: what is found costs the same however many entries there are.
"""

import functools
import ipaddress
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from mailstead.model.address import parse_address, parse_domain
from mailstead.model.errors import Refusal
from mailstead.model.numbers import AccountId, OrganisationId
from mailstead.storage.store import Tx, from_micros, to_micros

EVERYBODY = OrganisationId(0)
ALLOW, BLOCK = "allow", "block"
PREFIXES = {4: (8, 16, 24, 32), 6: (32, 48, 64, 128)}  # lengths of networks that can be named
LABELS_LIMIT = 5  # of a domain and its parents that are looked for
KEYS_LIMIT = 16  # entries that one message is looked for under


class Entry(msgspec.Struct, frozen=True):
    """One row; `account` 0 is all of the organisation."""

    organisation: OrganisationId
    account: AccountId
    entry: str
    verdict: str
    note: str
    created: datetime


def parse_entry(text: str) -> str:
    """The entry as it is kept; Refusal says what it may be."""
    text = text.strip().lower()
    try:
        if "@" in text.strip("@"):
            return str(parse_address(text)).lower()
        if text[:1].isdigit() or ":" in text:
            return _parse_network(text)
        return parse_domain(text.lstrip("@"))
    except ValueError as error:
        raise Refusal(f"{error}; name an address, a domain or a network") from error


def _parse_network(text: str) -> str:
    network = ipaddress.ip_network(text, strict=False)
    lengths = PREFIXES[network.version]
    if network.prefixlen not in lengths:
        known = ", ".join(f"/{length}" for length in lengths)
        raise Refusal(f"a network has one of these lengths: {known}")
    return str(network)


def keys_of(address: str, domains: Iterable[str], addresses: Iterable[str]) -> list[str]:
    """What a message is looked for under: who brings it, and whom it says it is from."""
    keys = [one.lower() for one in addresses if one]
    for domain in domains:
        labels = domain.lower().split(".")[-LABELS_LIMIT:]
        keys += [".".join(labels[start:]) for start in range(max(1, len(labels) - 1))]
    return [*_networks(address), *dict.fromkeys(keys)][:KEYS_LIMIT]


@functools.lru_cache(maxsize=4096)
def _networks(address: str) -> tuple[str, ...]:
    """The networks that an address is in, of the lengths that can be named."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return ()
    lengths = PREFIXES[ip.version]
    return tuple(str(ipaddress.ip_network((ip, length), strict=False)) for length in lengths)


def find(tx: Tx, organisation: OrganisationId, account: AccountId, keys: list[str]) -> list[Entry]:
    """The entries under these keys that count for the account, the most exact first."""
    values: dict[str, Any] = {
        f"k{at}": keys[at] if at < len(keys) else "" for at in range(KEYS_LIMIT)
    }
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM filter_list WHERE organisation IN (:everybody, :organisation)"
        f" AND account IN (0, :account) AND entry IN ({_KEYS})"
        " ORDER BY account DESC, organisation DESC, length(entry) DESC",
        everybody=EVERYBODY,
        organisation=organisation,
        account=account,
        **values,
    )
    return [_entry(row) for row in rows]


_KEYS = ", ".join(f":k{at}" for at in range(KEYS_LIMIT))


def add(tx: Tx, entry: Entry) -> None:
    """From now on; what was said of the same entry before gives way."""
    remove(tx, entry.organisation, entry.account, entry.entry)
    tx.run(
        "INSERT INTO filter_list (organisation, account, entry, verdict, note, created)"
        " VALUES (:organisation, :account, :entry, :verdict, :note, :created)",
        organisation=entry.organisation,
        account=entry.account,
        entry=entry.entry,
        verdict=entry.verdict,
        note=entry.note,
        created=to_micros(entry.created),
    )


def remove(tx: Tx, organisation: OrganisationId, account: AccountId, entry: str) -> bool:
    """Without it; whether it was there."""
    gone = tx.run(
        "DELETE FROM filter_list WHERE organisation = :organisation AND account = :account"
        " AND entry = :entry",
        organisation=organisation,
        account=account,
        entry=entry,
    )
    return gone > 0


def list_all(tx: Tx, limit: int = 1000) -> list[Entry]:
    """The entries, by whose they are."""
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM filter_list ORDER BY organisation, account, entry LIMIT :limit",
        limit=limit,
    )
    return [_entry(row) for row in rows]


_COLUMNS = "organisation, account, entry, verdict, note, created"


def _entry(row: tuple[Any, ...]) -> Entry:
    organisation, account, entry, verdict, note, created = row
    whose = OrganisationId(organisation), AccountId(account)
    return Entry(*whose, entry, verdict, note, from_micros(created))
