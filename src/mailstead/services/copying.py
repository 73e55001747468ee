"""A store copied into another: SQLite to PostgreSQL, a folder of packs to a bucket, and back.

Every row of every table is copied under its own key, every pack as it is. A copy that was broken
off goes on where it was. At the end all of both stores is read and compared by digest.
Holds: the target cannot be served before the comparison came out equal. The source's server has to
be stopped; if it was not, the comparison says so.
"""

from collections.abc import Callable

import msgspec

from mailstead.model.errors import Refusal
from mailstead.model.world import Offload
from mailstead.storage import copying, packs
from mailstead.storage.copying import Row, Table
from mailstead.storage.packfile import MAGIC, DamagedBody, Packs, Place, pack_name
from mailstead.storage.store import Store

PIECE = 1024 * 1024  # octets of a pack that are held at once
PROGRESS = 20_000  # rows after which one hears how far it is


class Side(msgspec.Struct, frozen=True):
    """One of the two: a database, and where its packs lie."""

    store: Store
    packs: Packs


class Copied(msgspec.Struct, frozen=True):
    """What both stores hold now."""

    messages: int
    rows: int
    packs: int
    digest: str


class Copying:
    """The service."""

    def __init__(
        self, source: Side, target: Side, offload: Offload, progress: Callable[[str], None]
    ) -> None:
        self._source, self._target = source, target
        self._offload, self._progress = offload, progress
        self._tables = copying.tables()

    async def copy(self) -> Copied:
        """All of it; Refusal if the target is in use, or differs in the end."""
        if not await self._target.store.write(copying.begin):
            raise Refusal("there is mail in the target already: name an empty database")
        with self._target.packs.locked() as ours:
            if not ours:
                raise Refusal("somebody else is at the packs of the target: wait, and try again")
            await self._copy_packs()
        for table in self._tables:
            await self._copy_table(table)
        copied = await self._compare()
        await self._target.store.write(copying.finish)
        return copied

    # ------------------------------------------------------------------ copying

    async def _copy_table(self, table: Table) -> None:
        total, done = await self._count(table), 0
        self._progress(f"{table.name}: {total} rows to copy ...")
        after = await self._target.store.read(lambda tx: copying.position(tx, table))
        while rows := await _read_page(self._source, table, after):
            await self._target.store.write(
                lambda tx, after=after, rows=rows: copying.write_page(tx, table, after, rows)  # type: ignore[misc]
            )
            after = copying.key_of(table, rows[-1])
            if (done + len(rows)) // PROGRESS > done // PROGRESS:
                self._progress(f"{table.name}: {done + len(rows)} of {total} rows copied ...")
            done += len(rows)

    async def _copy_packs(self) -> None:
        found = await self._source.store.read(packs.list_all)
        there = await self._offload.run(self._target.packs.sizes)
        for number, pack in enumerate(found, 1):
            if pack.size and there.get(pack.id) != pack.size:
                await self._offload.run(lambda pack=pack: self._copy_pack(pack.id, pack.size))  # type: ignore[misc]
                self._progress(f"pack {number} of {len(found)} copied ...")

    def _copy_pack(self, pack: int, size: int) -> None:
        writer = self._target.packs.create(pack)
        try:
            for piece in _pieces(pack, size):
                writer.add([(0, self._source.packs.records([piece])[0])])
            if writer.size != size:
                raise Refusal(f"{pack_name(pack)} has not all of its octets: mailstead fsck")
            writer.finish()
        except DamagedBody as damage:
            writer.abandon()
            raise Refusal(f"{damage}: mailstead fsck") from damage
        except BaseException:
            writer.abandon()
            raise

    # ------------------------------------------------------------------ comparing

    async def _compare(self) -> Copied:
        rows, whole = 0, b""
        for table in self._tables:
            self._progress(f"{table.name}: comparing ...")
            digest, count = await self._compare_table(table)
            rows += count
            whole = copying.digest([(table.name, digest)], whole)
        found = await self._compare_packs()
        for table in self._tables:
            if table.name in copying.TELLTALES:  # the others were compared some time ago
                await self._compare_table(table)
        messages = await self._target.store.read(
            lambda tx: tx.value("SELECT count(*) FROM placement")
        )
        return Copied(messages, rows, found, whole.hex())

    async def _compare_table(self, table: Table) -> tuple[bytes, int]:
        """The digest of both, and how many rows they have."""
        ours = await self._digest(self._source, table)
        if ours != await self._digest(self._target, table):
            raise Refusal(
                f"the stores differ in {table.name}: mail came in while they were copied."
                " Stop the server of the source, empty the target, and copy again"
            )
        return ours

    async def _digest(self, side: Side, table: Table) -> tuple[bytes, int]:
        digest, count, after = b"", 0, None
        while rows := await _read_page(side, table, after):
            digest = await self._offload.run(
                lambda rows=rows, before=digest: copying.digest(rows, before)  # type: ignore[misc]
            )
            count, after = count + len(rows), copying.key_of(table, rows[-1])
        return digest, count

    async def _compare_packs(self) -> int:
        found = await self._source.store.read(packs.list_all)
        for number, pack in enumerate(found, 1):
            self._progress(f"pack {number} of {len(found)}: comparing ...")
            for piece in _pieces(pack.id, pack.size):
                if not await self._offload.run(lambda piece=piece: self._same(piece)):  # type: ignore[misc]
                    raise Refusal(f"the stores differ in {pack_name(pack.id)}: delete the copy's")
        return len(found)

    def _same(self, piece: Place) -> bool:
        return self._source.packs.records([piece]) == self._target.packs.records([piece])

    async def _count(self, table: Table) -> int:
        return await self._source.store.read(lambda tx: copying.count(tx, table))


async def _read_page(side: Side, table: Table, after: Row | None) -> list[Row]:
    return await side.store.read(lambda tx: copying.read_page(tx, table, after))


def _pieces(pack: int, size: int) -> list[Place]:
    """The octets of a pack behind its first ones, which every pack begins with."""
    starts = range(len(MAGIC), size, PIECE)
    return [(0, pack, start, min(PIECE, size - start)) for start in starts]
