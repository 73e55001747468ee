"""One contract suite for every database, and for bodies wherever they lie: see `open_store`."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from mailstead.net.clock import SystemClock
from mailstead.services.packing import Packing
from mailstead.storage import packs
from mailstead.storage.packfile import PackFolder
from mailstead.storage.plan import Applied, JournalRow, Plan
from mailstead.storage.postgres import PostgresStore
from mailstead.storage.sqlite import SqliteStore
from mailstead.storage.store import Store, Tx
from mailstead.testing.clock import InlineOffload

T = TypeVar("T")


class PackingStore:
    """A store in which, whenever one reads, everything is packed, and maybe rewritten just now."""

    def __init__(self, store: Store, folder: Path, rewriting: bool) -> None:
        self.store, self.rewriting = store, rewriting
        clock = SystemClock()
        self.packing = Packing(store, clock, InlineOffload(), PackFolder(folder / packs.PACKS))

    async def pack(self) -> None:
        await self.packing.pack_all()
        if self.rewriting and (victims := await self.store.read(packs.list_all)):
            await self.packing.rewrite(victims)
            await self.packing.tidy()

    async def read(self, work: Callable[[Tx], T]) -> T:
        await self.pack()
        return await self.store.read(work)

    async def look_up(self, work: Callable[[Tx], T]) -> T:
        await self.pack()
        return await self.store.look_up(work)

    async def write(self, work: Callable[[Tx], T]) -> T:
        result = await self.store.write(work)
        await self.pack()
        return result

    async def apply(self, plan: Plan) -> Applied:
        return await self.store.apply(plan)

    def note(self, row: JournalRow) -> None:
        self.store.note(row)

    async def close(self) -> None:
        await self.store.close()


@pytest.fixture(
    params=[
        f"{database}{bodies}"
        for database in ("sqlite", "postgres")
        for bodies in ("", "-in-loop", "-packed", "-rewritten")
    ]
)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Opens the store of this test; call it inside the loop, again to open it anew."""
    database, _, how = request.param.partition("-")
    url = request.getfixturevalue("postgres") if database == "postgres" else ""

    def open_() -> Store:
        store: Store
        if url:
            store = PostgresStore(url, PackFolder(tmp_path / packs.PACKS), SystemClock(), not how)
        else:
            store = SqliteStore(tmp_path / "mailstead.db", SystemClock(), threads=not how)
        if how in ("packed", "rewritten"):
            return PackingStore(store, tmp_path, how == "rewritten")
        return store

    return open_
