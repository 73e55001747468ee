"""Checking the store as a whole: the database, the rules that hold in it, every pack and part.

It reads while mail goes on; bodies outside of transactions, and not through a cache. A repair
counts again and removes files that nothing names; it never deletes what might be somebody's mail.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeVar

import msgspec

from mailstead.model.world import Clock, Offload
from mailstead.services.packing import sweep
from mailstead.storage import check, packs
from mailstead.storage.packfile import DamagedBody, Packs, Place, Unpacker, pack_name
from mailstead.storage.store import Store

T = TypeVar("T")

PROGRESS = 20_000  # parts after which one hears how far it is
PATIENCE = timedelta(milliseconds=200)  # between looks whether packs are being made


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as it should be. Harmless is what the server mends by itself."""

    what: str
    messages: tuple[str, ...] = ()
    harmless: bool = False


class Report(msgspec.Struct, frozen=True):
    """What was looked at, and what was found."""

    findings: list[Finding]
    packs: int
    parts: int

    @property
    def clean(self) -> bool:
        """Nothing was found that matters."""
        return all(finding.harmless for finding in self.findings)


class Checking:
    """The service; packs are looked at while nobody makes any."""

    def __init__(self, store: Store, clock: Clock, offload: Offload, where: Packs) -> None:
        self._store, self._clock, self._offload, self._packs = store, clock, offload, where

    async def check(self, progress: Callable[[str], None]) -> Report:
        """Everything; `progress` hears what takes long."""
        progress("Checking the database ...")
        findings = [Finding(text) for text in await self._store.read(check.integrity)]
        findings += [Finding(text) for text in await self._store.read(check.broken)]
        findings += await self._alone(self._check_files)
        count = len(await self._store.read(packs.list_all))
        parts, damage = await self._read_parts(progress)
        return Report(findings + damage, count, parts)

    async def repair(self) -> list[str]:
        """Count again what is counted wrong, remove files that nothing names; what was done."""
        done: list[str] = []
        while counted := await self._store.write(check.repair):
            if counted[-1] in done:  # counting does not help
                break
            done += counted
        removed = await self._alone(self._sweep)
        return [f"counted again: {text}" for text in done] + [f"removed {one}" for one in removed]

    async def _check_files(self) -> list[Finding]:
        before = await self._store.read(packs.list_all)
        there = await self._offload.run(self._packs.sizes)
        unfinished = await self._offload.run(self._packs.unfinished)
        # Another machine may make and drop packs meanwhile: what counts is there before and after.
        named = await self._store.read(packs.named)
        known = {pack.id: pack.size for pack in before if pack.id in named.packs}
        missing = [pack_name(pack) for pack in known if pack not in there]
        found = [Finding(f"{self._packs.address(name)} is missing") for name in missing]
        for pack, size in known.items():
            if there.get(pack, size) != size:
                address = self._packs.address(pack_name(pack))
                found.append(Finding(f"{address} has {there[pack]} octets, not {size}"))
        unnamed = [pack for pack in there if pack not in named.packs]
        return found + _orphans(unnamed, named.upto, unfinished)

    async def _read_parts(self, progress: Callable[[str], None]) -> tuple[int, list[Finding]]:
        total, read = await self._store.read(check.count_packed), 0
        findings: list[Finding] = []
        pack, start = 0, -1
        while parts := await self._store.read(
            lambda tx, pack=pack, start=start: check.next_parts(tx, pack, start)  # type: ignore[misc]
        ):
            wrong = await self._offload.run(lambda parts=parts: _read(self._packs, parts))  # type: ignore[misc]
            for place, what in wrong:
                damage = await self._store.read(
                    lambda tx, place=place, what=what: check.damage_of(tx, place, what)  # type: ignore[misc]
                )
                findings += [Finding(damage.what, damage.messages)] if damage else []
            if (read + len(parts)) // PROGRESS > read // PROGRESS:
                progress(f"{read + len(parts)} of {total} packed parts read ...")
            read += len(parts)
            _, pack, start, _ = parts[-1][0]
        return read, findings

    async def _sweep(self) -> list[str]:
        return await sweep(self._store, self._offload, self._packs)

    async def _alone(self, step: Callable[[], Awaitable[T]]) -> T:
        while True:
            with self._packs.locked() as ours:
                if ours:
                    return await step()
            await self._clock.sleep(PATIENCE)


def _read(where: Packs, parts: Sequence[tuple[Place, int]]) -> list[tuple[Place, str]]:
    """Read these parts where they lie, not in a cache: those that are not as written, and why."""
    try:
        records = where.records([place for place, _ in parts])
    except DamagedBody as damage:
        if len(parts) == 1:
            return [(parts[0][0], str(damage))]
        return [wrong for part in parts for wrong in _read(where, [part])]
    unpacker, found = Unpacker(), []
    for (place, size), record in zip(parts, records, strict=True):
        try:
            octets = len(unpacker.part(place, record))
        except DamagedBody as damage:
            found.append((place, str(damage)))
            continue
        if octets != size:
            found.append((place, f"part {place[0]} has {octets} octets instead of {size}"))
    return found


def _orphans(unnamed: list[int], upto: int, unfinished: list[str]) -> list[Finding]:
    """Packs without a row: left over, or made by a later state of the database than this one."""
    dead = [pack_name(pack) for pack in unnamed if pack <= upto] + unfinished
    texts = [f"{name} belongs to nothing; the server removes it within a minute" for name in dead]
    newer = [pack_name(pack) for pack in unnamed if pack > upto]
    texts += [f"{name} is newer than the database; nothing removes it" for name in newer]
    return [Finding(text, harmless=True) for text in sorted(texts)]
