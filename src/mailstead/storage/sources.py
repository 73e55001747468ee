"""Outgoing addresses with names, the pools they form, and who sends from which pool.

Few rows that change seldom: services read all of them at once and remember them for a while. What a
warming source sent is counted by provider and day (since 1970, UTC).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from mailstead.model.errors import Refusal
from mailstead.model.numbers import OrganisationId
from mailstead.storage.plan import CountSent
from mailstead.storage.store import Tx, from_micros, to_micros

SOURCES_LIMIT = 1000  # read at once; so many addresses nobody has
DAYS_KEPT = 60
EVERYBODY = OrganisationId(0)


class Source(msgspec.Struct, frozen=True):
    """Where mail leaves from: an address, or one of each family, and the name it says in EHLO."""

    name: str
    addresses: tuple[str, ...]
    helo: str
    created: datetime
    warming: datetime | None = None  # since then, until it is warm


class PoolUse(msgspec.Struct, frozen=True):
    """Who sends from a pool; what is empty (0 of organisation) means all."""

    organisation: OrganisationId
    domain: str  # of the sender
    stream: str
    pool: str


class Arrangement(msgspec.Struct, frozen=True):
    """All of it."""

    sources: dict[str, Source] = {}
    pools: dict[str, tuple[str, ...]] = {}  # names of their sources
    uses: tuple[PoolUse, ...] = ()


def load(tx: Tx) -> Arrangement:
    """Everything there is."""
    pools: dict[str, list[str]] = {}
    for pool, source in tx.rows("SELECT name, source FROM pool ORDER BY name, source"):
        pools.setdefault(pool, []).append(source)
    sources = tx.rows(
        "SELECT name, address, helo, created, warming FROM source ORDER BY name LIMIT :limit",
        limit=SOURCES_LIMIT,
    )
    uses = tx.rows(
        "SELECT organisation, domain, stream, pool FROM pool_use"
        " ORDER BY organisation, domain, stream"
    )
    return Arrangement(
        {row[0]: _source(row) for row in sources},
        {pool: tuple(names) for pool, names in pools.items()},
        tuple(PoolUse(*row) for row in uses),
    )


def get(tx: Tx, name: str) -> Source:
    """The source of that name; Refusal if there is none."""
    row = tx.row(
        "SELECT name, address, helo, created, warming FROM source WHERE name = :name", name=name
    )
    if row is None:
        raise Refusal(f"there is no source {name}", "NONEXISTENT")
    return _source(row)


def add(tx: Tx, source: Source) -> None:
    """A new source; Refusal if the name or an address is taken."""
    for other in load(tx).sources.values():
        if other.name == source.name:
            raise Refusal(f"there is a source {source.name} already", "ALREADYEXISTS")
        if taken := set(other.addresses) & set(source.addresses):
            raise Refusal(f"{', '.join(taken)} is the source {other.name} already", "ALREADYEXISTS")
    tx.run(
        "INSERT INTO source (name, address, helo, warming, created)"
        " VALUES (:name, :address, :helo, :warming, :created)",
        name=source.name,
        address=" ".join(source.addresses),
        helo=source.helo,
        warming=None if source.warming is None else to_micros(source.warming),
        created=to_micros(source.created),
    )


def set_warming(tx: Tx, name: str, since: datetime | None) -> None:
    """Warm the source up from then on; None: it is warm."""
    get(tx, name)
    micros = None if since is None else to_micros(since)
    tx.run("UPDATE source SET warming = :since WHERE name = :name", name=name, since=micros)


def remove(tx: Tx, name: str) -> None:
    """Forget the source, and take it out of its pools; Refusal if one in use would be empty."""
    get(tx, name)
    for pool, sources in load(tx).pools.items():
        if name in sources:
            take_out(tx, pool, name)
    tx.run("DELETE FROM source WHERE name = :name", name=name)
    tx.run("DELETE FROM source_day WHERE source = :name", name=name)


# ---------------------------------------------------------------------- pools


def put_in(tx: Tx, pool: str, source: str) -> None:
    """Let the source be one of the pool."""
    get(tx, source)
    tx.run(
        "INSERT INTO pool (name, source) VALUES (:pool, :source) ON CONFLICT DO NOTHING",
        pool=pool,
        source=source,
    )


def take_out(tx: Tx, pool: str, source: str) -> None:
    """Let the source be no more of the pool; Refusal if that is in use and would be empty."""
    arrangement = load(tx)
    left = set(arrangement.pools.get(pool, ())) - {source}
    if not left and any(use.pool == pool for use in arrangement.uses):
        raise Refusal(f"{source} is the last source of the pool {pool}, which is in use", "INUSE")
    gone = tx.run(
        "DELETE FROM pool WHERE name = :pool AND source = :source", pool=pool, source=source
    )
    if not gone:
        raise Refusal(f"{source} is not in the pool {pool}", "NONEXISTENT")


def use(tx: Tx, wanted: PoolUse) -> None:
    """Send the mail of these from the pool."""
    if wanted.pool not in load(tx).pools:
        raise Refusal(f"there is no pool {wanted.pool}", "NONEXISTENT")
    tx.run(
        "INSERT INTO pool_use (organisation, domain, stream, pool)"
        " VALUES (:organisation, :domain, :stream, :pool)"
        " ON CONFLICT (organisation, domain, stream) DO UPDATE SET pool = excluded.pool",
        **msgspec.structs.asdict(wanted),
    )


def owners(tx: Tx) -> dict[OrganisationId, str]:
    """The names of the organisations that use a pool."""
    rows = tx.rows(
        "SELECT id, name FROM organisation WHERE id IN (SELECT organisation FROM pool_use)"
    )
    return {OrganisationId(id_): name for id_, name in rows}


def use_no_more(tx: Tx, organisation: OrganisationId, domain: str, stream: str) -> bool:
    """Send their mail as that of all others; False if it was so."""
    gone = tx.run(
        "DELETE FROM pool_use WHERE organisation = :organisation AND domain = :domain"
        " AND stream = :stream",
        organisation=organisation,
        domain=domain,
        stream=stream,
    )
    return gone > 0


# ---------------------------------------------------------------------- what was sent

COUNT = (
    "INSERT INTO source_day (source, provider, day, sent) VALUES (:source, :provider, :day, :sent)"
    " ON CONFLICT (source, provider, day) DO UPDATE SET sent = source_day.sent + excluded.sent"
)


def count_rows(steps: Sequence[CountSent]) -> list[dict[str, Any]]:
    """One row for `COUNT` for each key, in their order: a statement changes a row only once."""
    sums: dict[tuple[str, str, int], int] = {}
    for step in steps:
        key = (step.source, step.provider, step.day)
        sums[key] = sums.get(key, 0) + step.sent
    names = ("source", "provider", "day", "sent")
    return [dict(zip(names, (*key, sums[key]), strict=True)) for key in sorted(sums)]


def sent(tx: Tx, source: str, day: int) -> dict[str, int]:
    """What the source sent on that day, by provider."""
    rows = tx.rows(
        "SELECT provider, sent FROM source_day WHERE source = :source AND day = :day"
        " ORDER BY provider",
        source=source,
        day=day,
    )
    return dict(rows)


def sent_to(tx: Tx, source: str, provider: str, day: int) -> int:
    """What the source sent to the provider on that day."""
    number: int | None = tx.value(
        "SELECT sent FROM source_day WHERE source = :source AND provider = :provider"
        " AND day = :day",
        source=source,
        provider=provider,
        day=day,
    )
    return number or 0


def day_of(at: datetime) -> int:
    """The day since 1970 that a time is in."""
    return to_micros(at) // (timedelta(days=1) // timedelta(microseconds=1))


def expire(tx: Tx, limit: int) -> int:
    """Forget the counts of long ago; how many it were."""
    rows = tx.rows(
        "SELECT source, provider, day FROM source_day WHERE day < :before LIMIT :limit",
        before=day_of(tx.now) - DAYS_KEPT,
        limit=limit,
    )
    tx.many(
        "DELETE FROM source_day WHERE source = :source AND provider = :provider AND day = :day",
        [{"source": row[0], "provider": row[1], "day": row[2]} for row in rows],
    )
    return len(rows)


def _source(row: tuple[Any, ...]) -> Source:
    name, address, helo, created, warming = row
    since = None if warming is None else from_micros(warming)
    return Source(name, tuple(address.split()), helo, from_micros(created), since)
