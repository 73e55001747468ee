"""Which parts of bodies lie in which pack: the rows of `pack` and `packed`.

A part goes loose -> packed -> into another pack -> gone, each in one transaction; `pack.live` is
kept with it. The packs themselves: storage.packfile. Who decides what is packed when:
services.packing.
Holds: what `packed` says lies in a pack that was durable before the row was written. A pack has a
row before it has a first octet, of size 0 until it is recorded: no sweep, on whatever machine,
takes it for nobody's. One whose row went meanwhile is abandoned.
"""

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from mailstead.model.errors import TemporaryFailure
from mailstead.storage.packfile import Place, pack_name
from mailstead.storage.store import Tx, to_micros

PACKS = "packs"  # the folder, beside the database
STALE = timedelta(hours=1)  # after which a pack that is not recorded never will be


class Loose(msgspec.Struct, frozen=True):
    """What could be packed: loose parts, their octets, and the id of the oldest."""

    parts: int
    octets: int
    oldest: int


class Pack(msgspec.Struct, frozen=True):
    """A pack: octets of its file, and of the records in it that are in use."""

    id: int
    size: int
    live: int


class Named(msgspec.Struct, frozen=True):
    """The packs that have a row, begun ones, too, and the last number that was given to one."""

    packs: frozenset[int]
    upto: int


def new(tx: Tx) -> int:
    """The number of a pack that is to be made."""
    pack = tx.allocate("pack")
    tx.run(
        "INSERT INTO pack (id, size, live, created) VALUES (:id, 0, 0, :created)",
        id=pack,
        created=to_micros(tx.now),
    )
    return pack


def forget(tx: Tx, pack: int) -> None:
    """The pack that was begun will not be made."""
    tx.run("DELETE FROM pack WHERE id = :id AND size = 0", id=pack)


# ---------------------------------------------------------------------- loose parts


def newest_loose(tx: Tx) -> int:
    """The newest loose part, 0 if there is none."""
    newest: int = tx.value("SELECT coalesce(max(id), 0) FROM blob")
    return newest


def count_loose(tx: Tx, upto: int, limit: int) -> Loose:
    """The loose parts up to this one, the oldest `limit` of them."""
    parts, octets, oldest = tx.rows(
        "SELECT count(*), coalesce(sum(octets), 0), coalesce(min(id), 0) FROM"
        " (SELECT id, length(data) AS octets FROM blob WHERE id <= :upto"
        " ORDER BY id LIMIT :limit) AS oldest",
        upto=upto,
        limit=limit,
    )[0]
    return Loose(parts, octets, oldest)


def loose_parts(tx: Tx, after: int, upto: int, limit: int) -> list[tuple[int, bytes]]:
    """The next loose parts, (id, octets)."""
    return tx.rows(
        "SELECT id, data FROM blob WHERE id > :after AND id <= :upto ORDER BY id LIMIT :limit",
        after=after,
        upto=upto,
        limit=limit,
    )


def record(tx: Tx, pack: int, size: int, parts: Sequence[tuple[Place, int]]) -> None:
    """These parts (place, octets when read) are packed now; not those deleted meanwhile."""
    _finish(tx, pack, size)
    first, last = parts[0][0][0], parts[-1][0][0]
    there = {
        row[0]
        for row in tx.rows(
            "SELECT id FROM blob WHERE id BETWEEN :first AND :last", first=first, last=last
        )
    }
    rows = [
        {"id": place[0], "pack": pack, "start": place[2], "length": place[3], "size": octets}
        for place, octets in parts
        if place[0] in there
    ]
    tx.many(
        "INSERT INTO packed (id, pack, start, length, size)"
        " VALUES (:id, :pack, :start, :length, :size)",
        rows,
    )
    tx.many("DELETE FROM blob WHERE id = :id", [{"id": row["id"]} for row in rows])
    _count(tx, pack, sum(row["length"] for row in rows))


# ---------------------------------------------------------------------- packed parts


def places(tx: Tx, first: int, last: int) -> list[Place]:
    """Where the packed ones of these parts lie."""
    return tx.rows(
        "SELECT id, pack, start, length FROM packed WHERE id BETWEEN :first AND :last ORDER BY id",
        first=first,
        last=last,
    )


def in_pack(tx: Tx, pack: int, start: int, limit: int) -> list[Place]:
    """The next parts in a pack, from this octet on."""
    return tx.rows(
        "SELECT id, pack, start, length FROM packed WHERE pack = :pack AND start >= :start"
        " ORDER BY start LIMIT :limit",
        pack=pack,
        start=start,
        limit=limit,
    )


def drop(tx: Tx, first: int, last: int) -> None:
    """Delete these parts: their octets are dead."""
    dead: dict[int, int] = {}
    for pack, length in tx.rows(
        "DELETE FROM packed WHERE id BETWEEN :first AND :last RETURNING pack, length",
        first=first,
        last=last,
    ):
        dead[pack] = dead.get(pack, 0) + length
    for pack, octets in dead.items():
        _count(tx, pack, -octets)


def move(tx: Tx, size: int, moved: Sequence[tuple[Place, int]]) -> None:
    """These parts (new place, old pack) lie elsewhere now; not those deleted meanwhile."""
    change: dict[int, int] = {}
    _finish(tx, moved[0][0][1], size)
    for (part, pack, start, length), old in moved:
        if tx.run(
            "UPDATE packed SET pack = :pack, start = :start WHERE id = :id AND pack = :old",
            id=part,
            pack=pack,
            start=start,
            old=old,
        ):
            change[pack] = change.get(pack, 0) + length
            change[old] = change.get(old, 0) - length
    for pack, octets in change.items():
        _count(tx, pack, octets)


# ---------------------------------------------------------------------- packs


def list_all(tx: Tx) -> list[Pack]:
    """All packs that are recorded, oldest first."""
    rows = tx.rows("SELECT id, size, live FROM pack WHERE size > 0 ORDER BY id")
    return [Pack(*row) for row in rows]


def is_there(tx: Tx, pack: int) -> bool:
    """Whether the pack still has a row."""
    return tx.value("SELECT 1 FROM pack WHERE id = :id", id=pack) is not None


def named(tx: Tx) -> Named:
    """What a sweep must know."""
    found = frozenset(pack for (pack,) in tx.rows("SELECT id FROM pack"))
    following: int = tx.value("SELECT next FROM sequence WHERE name = 'pack'") or 1
    return Named(found, following - 1)


_EMPTY = (
    "NOT EXISTS (SELECT 1 FROM packed WHERE packed.pack = pack.id)"
    " AND (size > 0 OR created < :stale)"
)


def has_empty(tx: Tx) -> bool:
    """Whether `drop_empty` has something to do, as far as the packs are counted right."""
    sql = f"SELECT 1 FROM pack WHERE live <= 0 AND {_EMPTY} LIMIT 1"
    return tx.value(sql, stale=to_micros(tx.now - STALE)) is not None


def drop_empty(tx: Tx, limit: int) -> int:
    """Forget packs in which nothing is in use; how many it were. Their octets go later."""
    stale = to_micros(tx.now - STALE)
    sql = f"SELECT id FROM pack WHERE {_EMPTY} ORDER BY id LIMIT :limit"
    dropped = 0
    for (pack,) in tx.rows(sql, stale=stale, limit=limit):
        # Who moves parts into it right now has its row: wait for them, and only then look again.
        tx.run("UPDATE pack SET live = live WHERE id = :id", id=pack)
        dropped += tx.run(f"DELETE FROM pack WHERE id = :id AND {_EMPTY}", id=pack, stale=stale)
    return dropped


def _finish(tx: Tx, pack: int, size: int) -> None:
    if not tx.run("UPDATE pack SET size = :size WHERE id = :id", id=pack, size=size):
        raise TemporaryFailure(f"{pack_name(pack)} was given up before it was recorded")


def _count(tx: Tx, pack: int, octets: int) -> None:
    tx.run("UPDATE pack SET live = live + :octets WHERE id = :id", id=pack, octets=octets)
