"""Packing: bodies that came in loose are compressed into packs, mostly dead packs are rewritten.

Loose parts wait ten minutes, then until LOOSE_ENOUGH octets are together or an hour has passed. It
all happens in small steps, so that mail goes on meanwhile; one process of a machine at a time.
Holds: a pack is durable before a row places a part in it, and the loose row goes in the transaction
that does; a pack goes in a later round than the row that named it. So a crash at any moment loses
nothing, and leaves at most a pack that a later round removes.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from mailstead.model.errors import TemporaryFailure
from mailstead.model.world import Clock, Offload
from mailstead.storage import packfile, packs
from mailstead.storage.packfile import DamagedBody, Packs, PackWriter, Place
from mailstead.storage.packs import Pack
from mailstead.storage.store import WRITE_LIMIT, Store

ROUND = timedelta(seconds=30)
RIPE = timedelta(minutes=10)  # most mail is read, and much deleted, soon after it came
OVERDUE = timedelta(hours=1)
MIB = 1024 * 1024
LOOSE_ENOUGH = 8 * MIB
PACK_SIZE = 32 * MIB  # a pack is closed when it has so many octets
SMALL_PACK = 8 * MIB  # smaller packs are joined, when there are SMALL_PACKS of them
SMALL_PACKS = 8
BATCH = 64  # parts that are read and compressed at once: 16 MiB at most
SLICE = 250  # parts that one write records: some 10 ms during which other writes wait
LOOSE_PARTS_ENOUGH = 5_000  # so many small ones are enough, too

log = logging.getLogger("mailstead.packing")


class Packing:
    """The service. `run` it in a TaskGroup; cancel it to end it."""

    def __init__(self, store: Store, clock: Clock, offload: Offload, where: Packs) -> None:
        self._store, self._clock, self._offload, self._packs = store, clock, offload, where
        self._marks: list[tuple[datetime, int]] = []  # when which loose part was the newest
        self._unreadable: set[int] = set()  # packs that cannot be rewritten

    async def run(self) -> None:
        """A round now and then."""
        while True:
            try:
                await self.tidy()
            except (TemporaryFailure, OSError) as failure:
                log.warning("packing has to wait: %s", failure)
            except Exception:
                log.exception("packing failed, by our own fault")
            await self._clock.sleep(ROUND)

    async def tidy(self) -> None:
        """One round."""
        await self._mark()
        if await self._alone(self._sweep):
            while await self._alone(self._pack_ripe):
                pass
            while await self._alone(self._rewrite_worst):
                pass

    async def pack_all(self) -> None:
        """Pack all that is loose now, however young."""
        newest = await self._store.read(packs.newest_loose)
        while await self._alone(lambda: self._pack(newest)):
            pass

    async def rewrite(self, victims: Sequence[Pack]) -> None:
        """Copy what is in use of these packs into a new one, and forget them."""
        await self._alone(lambda: self._rewrite(victims))

    async def _alone(self, step: Callable[[], Awaitable[bool]]) -> bool:
        """Do the step if no other process is at it; what it says."""
        with self._packs.locked() as ours:
            return ours and await step()

    async def _sweep(self) -> bool:
        """Remove the packs that no row names. They were dropped in an earlier round, or a crash
        left them: who reads an older state of the store reads it again."""
        if gone := await sweep(self._store, self._offload, self._packs):
            log.info("removed packs that nothing refers to: %s", " ".join(gone))
        return True

    # ------------------------------------------------------------------ loose -> packed

    async def _mark(self) -> None:
        """Remember which part is the newest: in a minute, all up to it are ripe."""
        now = self._clock.now()
        self._marks.append((now, await self._store.read(packs.newest_loose)))
        overdue = [mark for mark in self._marks if now - mark[0] >= OVERDUE]
        self._marks = overdue[-1:] + self._marks[len(overdue) :]

    def _older_than(self, age: timedelta) -> int:
        """The newest part that is that old, as far as we know."""
        now = self._clock.now()
        return max((newest for at, newest in self._marks if now - at >= age), default=0)

    async def _pack_ripe(self) -> bool:
        """Fill one pack, if there is enough for it."""
        ripe, overdue = self._older_than(RIPE), self._older_than(OVERDUE)
        loose = await self._store.read(lambda tx: packs.count_loose(tx, ripe, LOOSE_PARTS_ENOUGH))
        enough = loose.octets >= LOOSE_ENOUGH or loose.parts >= LOOSE_PARTS_ENOUGH
        if not enough and not 0 < loose.oldest <= overdue:
            return False
        return await self._pack(ripe)

    async def _pack(self, upto: int) -> bool:
        """Move loose parts into one pack; whether there were any."""
        writer = await self._create()
        try:
            placed = await self._fill(writer, upto)
            if placed:
                await self._offload.run(writer.finish)
        except Exception:
            await self._offload.run(writer.abandon)
            raise
        if not placed:
            await self._give_up(writer)
            return False
        pack, size = writer.pack, writer.size
        for some in _slices(placed):
            await self._store.write(lambda tx, some=some: packs.record(tx, pack, size, some))  # type: ignore[misc]
        log.debug("packed %d parts into %s", len(placed), packfile.pack_name(pack))
        return True

    async def _fill(self, writer: PackWriter, upto: int) -> list[tuple[Place, int]]:
        placed: list[tuple[Place, int]] = []
        while writer.size < PACK_SIZE:
            after = placed[-1][0][0] if placed else 0
            parts = await self._store.read(
                lambda tx, after=after: packs.loose_parts(tx, after, upto, BATCH)  # type: ignore[misc]
            )
            if not parts:
                break
            places = await self._offload.run(
                lambda parts=parts: writer.add(packfile.compress(parts))  # type: ignore[misc]
            )
            sizes = [len(data) for _, data in parts]
            placed += zip(places, sizes, strict=True)
        return placed

    async def _create(self) -> PackWriter:
        pack = await self._store.write(packs.new)
        return await self._offload.run(lambda: self._packs.create(pack))

    async def _give_up(self, writer: PackWriter) -> None:
        await self._offload.run(writer.abandon)
        await self._store.write(lambda tx: packs.forget(tx, writer.pack))

    # ------------------------------------------------------------------ pack -> pack

    async def _rewrite_worst(self) -> bool:
        """Rewrite the packs that are worth it, one new pack's fill; whether there were any."""
        if await self._store.read(packs.has_empty) and await self._drop_empty():
            return True
        found = await self._store.read(packs.list_all)
        victims = choose([pack for pack in found if pack.id not in self._unreadable])
        return bool(victims) and await self._rewrite(victims)

    async def _rewrite(self, victims: Sequence[Pack]) -> bool:
        writer = await self._create()
        try:
            moved = await self._copy(writer, victims)
            if moved:
                await self._offload.run(writer.finish)
        except Exception:
            await self._offload.run(writer.abandon)
            raise
        if not moved:
            await self._give_up(writer)
        size = writer.size
        for some in _slices(moved):
            await self._store.write(lambda tx, some=some: packs.move(tx, size, some))  # type: ignore[misc]
        await self._drop_empty()
        return True

    async def _drop_empty(self) -> int:
        return await self._store.write(lambda tx: packs.drop_empty(tx, WRITE_LIMIT))

    async def _copy(self, writer: PackWriter, victims: Sequence[Pack]) -> list[tuple[Place, int]]:
        """Copy the records that are in use, as they are; (new place, old pack) of each."""
        moved: list[tuple[Place, int]] = []
        for victim in victims:
            try:
                await self._copy_one(writer, victim.id, moved)
            except DamagedBody as damage:
                if not await self._store.read(lambda tx, pack=victim.id: packs.is_there(tx, pack)):  # type: ignore[misc]
                    continue  # another machine has rewritten it
                log.error("a pack cannot be rewritten, see mailstead fsck: %s", damage)
                self._unreadable.add(victim.id)
        return moved

    async def _copy_one(
        self, writer: PackWriter, victim: int, moved: list[tuple[Place, int]]
    ) -> None:
        start = 0
        while places := await self._store.read(
            lambda tx, start=start: packs.in_pack(tx, victim, start, BATCH)  # type: ignore[misc]
        ):
            new = await self._offload.run(
                lambda places=places: _copy_records(self._packs, writer, places)  # type: ignore[misc]
            )
            moved += [(place, victim) for place in new]
            start = places[-1][2] + 1


async def sweep(store: Store, offload: Offload, where: Packs) -> list[str]:
    """Remove the packs that no row names; what went. Call it while nobody else here does."""
    named = await store.read(packs.named)
    found = await offload.run(lambda: where.strays(named.packs, named.upto))
    if found:
        # Another machine may have begun one before it was found here: its row is there by now.
        named = await store.read(packs.named)
    dead = [pack for pack in found if pack not in named.packs]
    return await offload.run(lambda: where.remove(dead))


def choose(found: Sequence[Pack]) -> list[Pack]:
    """The packs to rewrite into one: those more than half dead, and small ones if they are many."""
    dead = [pack for pack in found if pack.live * 2 < pack.size]
    small = [pack for pack in found if pack.live * 2 >= pack.size and pack.size < SMALL_PACK]
    chosen: list[Pack] = []
    octets = 0
    for pack in dead + (small if len(small) >= SMALL_PACKS else []):
        octets += pack.live
        if chosen and octets > PACK_SIZE:
            break
        chosen.append(pack)
    return chosen


def _copy_records(where: Packs, writer: PackWriter, places: Sequence[Place]) -> list[Place]:
    records = where.records(places)
    for place, record in zip(places, records, strict=True):
        if len(record) != place[3]:
            raise packfile.damaged(place, "the pack ends before it does")
    return writer.add([(place[0], record) for place, record in zip(places, records, strict=True)])


def _slices(placed: list[tuple[Place, int]]) -> list[list[tuple[Place, int]]]:
    cuts = [*range(0, len(placed), SLICE), len(placed)]
    return [placed[start:stop] for start, stop in pairwise(cuts)]
