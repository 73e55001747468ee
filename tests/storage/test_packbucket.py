"""Bodies in a bucket: packed, read, rewritten and swept, by one machine and by two."""

import asyncio
import random
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from mailstead.message import mime, structure
from mailstead.model.address import Domain, parse_address
from mailstead.model.errors import TemporaryFailure
from mailstead.model.flags import DELETED
from mailstead.model.numbers import MailboxId, OrganisationId, TraceId
from mailstead.net.clock import ThreadOffload
from mailstead.services.checking import Checking
from mailstead.services.outbound import octets
from mailstead.services.packing import Packing, sweep
from mailstead.storage import accounts, blobs, mailboxes, messages, packs
from mailstead.storage.blobs import PART_SIZE
from mailstead.storage.blockcache import BLOCK
from mailstead.storage.claims import Asked, claim
from mailstead.storage.objects import Bucket, ObjectStoreSettings, Patience
from mailstead.storage.packbucket import PackBucket, open_bucket
from mailstead.storage.packfile import DamagedBody, PackFolder, pack_name
from mailstead.storage.plan import Append, Enqueue, Plan, QueuedRecipient, Rendered, StoredBody
from mailstead.storage.postgres import PostgresStore
from mailstead.storage.sqlite import SqliteStore
from mailstead.storage.store import Store, Tx, to_micros
from mailstead.testing.clock import InlineOffload
from mailstead.testing.invariants import broken

from .object_store import Moto, Unwell, running_moto, settings

T = TypeVar("T")

HEADER = b"Subject: Hello\r\n\r\n"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SIZES = (0, 1, 100, 4000, 50_000, PART_SIZE, PART_SIZE + 1, 2 * PART_SIZE + 77)
BRIEF = timedelta(seconds=0.2)
QUICK = Patience(BRIEF, BRIEF, BRIEF, 0, BRIEF)


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with running_moto() as store:
        yield store


@pytest.fixture
def here(moto: Moto, tmp_path: Path) -> ObjectStoreSettings:
    return moto.new_bucket(tmp_path / "cache")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str:
    """The database that two machines share; none: an SQLite file."""
    if request.param == "sqlite":
        return ""
    found: str = request.getfixturevalue("postgres")
    return found


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    async def sleep(self, duration: timedelta) -> None:
        self.time += duration


class Node:
    """One machine: a store, the bucket as it sees it, and the service that packs."""

    def __init__(
        self, folder: Path, where: PackBucket, clock: Hands | None = None, url: str = ""
    ) -> None:
        self.clock, self.packs = clock or Hands(), where
        self.store: Store
        if url:
            self.store = PostgresStore(url, where, self.clock, threads=False)
        else:
            path = folder / "mailstead.db"
            self.store = SqliteStore(path, self.clock, threads=False, packs=where)
        self.packing = Packing(self.store, self.clock, InlineOffload(), where)

    async def populate(self, *bodies: bytes) -> "Node":
        def work(tx: Tx) -> None:
            organisation = accounts.create_organisation(tx, "example")
            accounts.create_domain(tx, organisation, Domain("example.org"))
            accounts.create_account(tx, parse_address("alice@example.org"), "hash")

        await self.store.write(work)
        await self.append(*bodies)
        return self

    async def append(self, *bodies: bytes) -> list[int]:
        account, mailbox = await self.store.read(
            lambda tx: (accounts.get_account(tx, "alice@example.org").id, inbox(tx))
        )
        uids = []
        for body in bodies:
            step = Append(account, mailbox, HEADER, render(body), NOW)
            plan = Plan((step,), TraceId("t"), OrganisationId(1), blobs.MemoryBody(body))
            uids.append((await self.store.apply(plan)).appended[0].uid)
        return uids

    async def enqueue(self, body: bytes) -> None:
        recipient = QueuedRecipient("bob@example.net", "smtp", "example.net", NOW)
        step = Enqueue(HEADER, "a@example.org", (recipient,))
        plan = Plan((step,), TraceId("t"), OrganisationId(1), blobs.MemoryBody(body))
        await self.store.apply(plan)

    async def remove(self, uids: Sequence[int]) -> None:
        def work(tx: Tx) -> None:
            ranges = [(uid, uid) for uid in uids]
            messages.set_flags(tx, inbox(tx), ranges, "add", DELETED, "")
            messages.expunge(tx, inbox(tx), ranges)

        await self.store.write(work)

    async def bodies(self) -> list[bytes]:
        return await self.store.read(read_all)

    async def parts(self) -> tuple[int, int]:
        """How many are loose, how many packed."""
        sql = "SELECT (SELECT count(*) FROM blob), (SELECT count(*) FROM packed)"
        return (await self.store.read(lambda tx: tx.rows(sql)))[0]  # type: ignore[return-value]

    async def rows(self) -> list[tuple[int, bool]]:
        """All packs, and whether they are recorded."""
        sql = "SELECT id, size > 0 FROM pack ORDER BY id"
        return [(pack, bool(done)) for pack, done in await self.store.read(lambda tx: tx.rows(sql))]

    async def close(self) -> None:
        self.packs.close()
        await self.store.close()


def inbox(tx: Tx) -> MailboxId:
    return mailboxes.get(tx, accounts.get_account(tx, "alice@example.org").id, "INBOX").id


def read_all(tx: Tx) -> list[bytes]:
    rows = messages.page(tx, inbox(tx), 1, 2**32, 10_000, ("uid", "blob", "body_size"))
    return [blobs.read(tx, StoredBody(blob, size)) for _, blob, size in rows]


def render(body: bytes) -> Rendered:
    part = mime.scan(HEADER, body)
    return Rendered(
        structure.dump(part),
        structure.envelope(HEADER),
        structure.body_structure(part),
        structure.digest(HEADER, part),
    )


def body_of(size: int, seed: int) -> bytes:
    """Octets that do not compress."""
    return random.Random(seed).randbytes(size)


def empty(cache: Path) -> None:
    """The cache of a machine that has just started."""
    for path in cache.glob("*/blocks/*"):
        path.unlink()


class Counting:
    """A bucket that counts what is got, and can be held up."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket, self.url, self.got = bucket, bucket.url, 0
        self.asked, self.held = threading.Event(), threading.Event()
        self.held.set()
        self.put, self.size = bucket.put, bucket.size
        self.sizes, self.delete = bucket.sizes, bucket.delete

    def get(self, name: str, start: int, length: int) -> bytes:
        self.got += 1
        self.asked.set()
        assert self.held.wait(10)
        return self._bucket.get(name, start, length)


# ---------------------------------------------------------------------- one machine


async def test_bodies_of_every_size_go_up_and_come_back(
    moto: Moto, here: ObjectStoreSettings, tmp_path: Path
) -> None:
    bodies = [body_of(size, number) for number, size in enumerate(SIZES)]
    node = await Node(tmp_path, open_bucket(here)).populate(*bodies)
    await node.packing.pack_all()
    assert await node.parts() == (0, 10)
    assert moto.names(here) == [f"some/prefix/{pack_name(1)}"]
    assert list(here.cache.glob("*/unfinished/*.new")) == []
    for _ in range(2):  # from the bucket, then from the cache
        assert await node.bodies() == bodies
    assert (
        len(list(here.cache.glob("*/blocks/*.block")))
        == 1 + len(moto.read(here, pack_name(1))) // BLOCK
    )
    moto.remove(here, pack_name(1))
    assert await node.bodies() == bodies
    await node.close()


async def test_a_body_is_whole_before_during_and_after(
    here: ObjectStoreSettings, tmp_path: Path
) -> None:
    bodies = [body_of(3000, number) for number in range(300)]
    node = await Node(tmp_path, open_bucket(here)).populate(*bodies)
    reads = 0

    class Reading:
        """Reads everything after each step that waits for something."""

        async def run(self, work: Callable[[], T]) -> T:
            nonlocal reads
            result = work()
            assert await node.bodies() == bodies
            reads += 1
            return result

    packing = Packing(node.store, node.clock, Reading(), node.packs)
    await packing.pack_all()
    await packing.rewrite(await node.store.read(packs.list_all))
    await packing.tidy()
    assert reads > 10
    assert await node.store.read(broken) == []
    await node.close()


@pytest.mark.parametrize("cache_limit", [0, 2 * BLOCK])
async def test_a_read_comes_to_its_end_although_nothing_stays_in_the_cache(
    moto: Moto, tmp_path: Path, cache_limit: int
) -> None:
    bodies = [body_of(PART_SIZE, number) for number in range(20)]
    here = moto.new_bucket(tmp_path / "cache", cache_limit)
    node = await Node(tmp_path, open_bucket(here)).populate(*bodies)
    await node.packing.pack_all()
    assert await node.bodies() == bodies
    assert len(list(here.cache.glob("*/blocks/*"))) * BLOCK <= cache_limit
    await node.close()


async def test_what_is_looked_up_in_the_loop_is_fetched_elsewhere(
    here: ObjectStoreSettings, tmp_path: Path
) -> None:
    node = await Node(tmp_path, open_bucket(here)).populate(b"Hi!\r\n")
    await node.packing.pack_all()
    await node.close()
    threads = []
    bucket = open_bucket(here)
    fetch = bucket.fetch
    bucket.fetch = lambda places: threads.append(threading.current_thread()) or fetch(places)  # type: ignore[func-returns-value, method-assign]
    store = SqliteStore(tmp_path / "mailstead.db", Hands(), packs=bucket)
    assert await store.look_up(read_all) == [b"Hi!\r\n"]
    assert [thread.name for thread in threads] == ["fetcher_0"]
    await store.close()
    bucket.close()


async def test_a_mostly_dead_pack_is_rewritten_and_goes_a_round_later(
    moto: Moto, here: ObjectStoreSettings, tmp_path: Path
) -> None:
    bodies = [body_of(5000, number) for number in range(10)]
    node = await Node(tmp_path, open_bucket(here)).populate(*bodies)
    await node.packing.pack_all()
    assert await node.bodies() == bodies
    await node.remove(range(1, 7))
    await node.packing.tidy()
    assert len(moto.names(here)) == 2
    assert await node.bodies() == bodies[6:]
    await node.packing.tidy()
    (new,) = await node.store.read(packs.list_all)
    assert moto.names(here) == [f"some/prefix/{pack_name(new.id)}"]
    blocks = [path.name[:12] for path in here.cache.glob("*/blocks/*")]
    assert blocks == [f"{new.id:012d}"]
    assert await node.bodies() == bodies[6:]
    await node.close()


async def test_a_sweep_leaves_what_is_newer_or_no_pack(
    moto: Moto, here: ObjectStoreSettings, tmp_path: Path
) -> None:
    node = await Node(tmp_path, open_bucket(here)).populate(b"Hi!\r\n")
    await node.packing.pack_all()  # 1, and 2 that had nothing to hold
    for name in (pack_name(2), pack_name(1000), "notes.txt", f"old/{pack_name(2)}"):
        moto.write(here, name, b"x")
    await node.packing.tidy()
    expected = [pack_name(1), pack_name(1000), "notes.txt", f"old/{pack_name(2)}"]
    assert moto.names(here) == [f"some/prefix/{name}" for name in expected]
    await node.close()


async def test_a_sweep_minds_no_pack_that_another_machine_begins(
    moto: Moto, here: ObjectStoreSettings, tmp_path: Path, url: str
) -> None:
    """Its number may have been reserved before."""
    clock = Hands()
    old = await Node(tmp_path, open_bucket(here), clock, url).populate()
    new = Node(tmp_path, elsewhere(here, tmp_path), clock, url)
    await new.store.write(lambda tx: tx.allocate("pack"))

    class Slow:
        """Before it looks, the other machine begins a pack, and uploads it."""

        steps = 0

        async def run(self, work: Callable[[], T]) -> T:
            self.steps += 1
            if self.steps == 1:
                sql = "INSERT INTO pack (id, size, live, created) VALUES (1, 0, 0, :now)"
                await new.store.write(lambda tx: tx.run(sql, now=to_micros(tx.now)))
                with new.packs.locked():
                    new.packs.create(1).finish()
            return work()

    assert await sweep(old.store, Slow(), old.packs) == []
    assert moto.names(here) == [f"some/prefix/{pack_name(1)}"]
    await old.close()
    await new.close()


async def test_nothing_is_listed_as_long_as_the_same_packs_are_named(
    here: ObjectStoreSettings, tmp_path: Path
) -> None:
    bucket = Counting(Bucket(here))
    lists = 0

    def sizes() -> dict[str, int]:
        nonlocal lists
        lists += 1
        return Bucket(here).sizes()

    bucket.sizes = sizes
    where = PackBucket(bucket, here.cache, 0)  # type: ignore[arg-type]
    node = await Node(tmp_path, where).populate(b"Hi!\r\n")
    for expected in (1, 1, 1):
        await node.packing.tidy()
        assert lists == expected
    await node.packing.pack_all()
    for expected in (2, 2, 2):
        await node.packing.tidy()
        assert lists == expected
    await node.close()


async def test_what_lies_there_already_is_never_overwritten(
    moto: Moto, here: ObjectStoreSettings, tmp_path: Path
) -> None:
    node = await Node(tmp_path, open_bucket(here)).populate(b"Hi!\r\n")
    moto.write(here, pack_name(1), b"somebody's mail")
    with pytest.raises(TemporaryFailure, match="does another database use this place"):
        await node.packing.pack_all()
    assert moto.read(here, pack_name(1)) == b"somebody's mail"
    assert list(here.cache.glob("*/unfinished/*.new")) == []
    assert await node.parts() == (1, 0)
    assert await node.bodies() == [b"Hi!\r\n"]
    await node.close()


def test_one_block_is_got_once_however_many_want_it(
    moto: Moto, here: ObjectStoreSettings, tmp_path: Path
) -> None:
    moto.write(here, pack_name(7), body_of(2 * BLOCK, 1))
    bucket = Counting(Bucket(here))
    where = PackBucket(bucket, here.cache, 2**30)  # type: ignore[arg-type]
    bucket.held.clear()
    results = []
    place = (1, 7, BLOCK - 10, 20)
    readers = [
        threading.Thread(target=lambda: results.append(where.fetch([place])[place]))
        for _ in range(5)
    ]
    for reader in readers:
        reader.start()
    assert bucket.asked.wait(10)
    bucket.held.set()
    for reader in readers:
        reader.join()
    assert results == [body_of(2 * BLOCK, 1)[BLOCK - 10 : BLOCK + 10]] * 5
    assert bucket.got == 1
    where.close()


# ---------------------------------------------------------------------- two machines, crashes


async def test_a_crash_between_upload_and_record_costs_an_object_for_an_hour(
    moto: Moto, here: ObjectStoreSettings, tmp_path: Path, url: str
) -> None:
    node = await Node(tmp_path, open_bucket(here), url=url).populate(b"Hi!\r\n")
    pack = await node.store.write(packs.new)
    with node.packs.locked():
        node.packs.create(pack).finish()
    await node.close()  # and the process ends here
    clock = Hands()
    node = Node(tmp_path, open_bucket(here), clock, url)
    await node.packing.tidy()
    assert await node.rows() == [(1, False)]
    assert moto.names(here) == [f"some/prefix/{pack_name(1)}"]
    await node.packing.pack_all()
    assert await node.bodies() == [b"Hi!\r\n"]
    clock.time += packs.STALE + timedelta(seconds=1)
    await node.packing.tidy()
    await node.packing.tidy()
    assert await node.rows() == [(2, True)]
    assert moto.names(here) == [f"some/prefix/{pack_name(2)}"]
    await node.close()


@pytest.mark.parametrize("late", [False, True])
async def test_one_machine_sweeps_while_another_still_uploads(
    moto: Moto, here: ObjectStoreSettings, tmp_path: Path, url: str, late: bool
) -> None:
    """Up to an hour the pack is spared; beyond that it is given up, and its bodies stay loose."""
    clock = Hands()
    old = await Node(tmp_path, open_bucket(here), clock, url).populate(b"Hi!\r\n")
    new = Node(tmp_path, elsewhere(here, tmp_path), clock, url)

    class Slow:
        """Uploads; before it tells so, the other machine has its turn."""

        async def run(self, work: Callable[[], T]) -> T:
            result = work()
            if getattr(work, "__name__", "") == "finish":
                if late:
                    clock.time += packs.STALE + timedelta(seconds=1)
                await new.packing.tidy()
                await new.packing.tidy()
            return result

    packing = Packing(old.store, clock, Slow(), old.packs)
    if late:
        with pytest.raises(TemporaryFailure, match="given up before it was recorded"):
            await packing.pack_all()
        assert await old.parts() == (1, 0)
    else:
        await packing.pack_all()
        assert await old.parts() == (0, 1)
    for node in (old, new):
        assert await node.bodies() == [b"Hi!\r\n"]
        assert await node.store.read(broken) == []
    await new.packing.tidy()
    assert len(moto.names(here)) == (not late)
    await old.close()
    await new.close()


async def test_a_pack_that_another_machine_rewrote_is_no_damage(
    moto: Moto,
    here: ObjectStoreSettings,
    tmp_path: Path,
    url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Hands()
    old = await Node(tmp_path, open_bucket(here), clock, url).populate(b"Hi!\r\n", b"Ho!\r\n")
    new = Node(tmp_path, elsewhere(here, tmp_path), clock, url)
    await old.packing.pack_all()
    victims = await old.store.read(packs.list_all)

    class Slow:
        """Before it copies what it found, the other machine has its turn."""

        steps = 0

        async def run(self, work: Callable[[], T]) -> T:
            self.steps += 1
            if self.steps == 2:
                await new.packing.rewrite(victims)
                await new.packing.tidy()
            return work()

    await Packing(old.store, clock, Slow(), old.packs).rewrite(victims)
    assert "cannot be rewritten" not in caplog.text
    for node in (old, new):
        assert await node.bodies() == [b"Hi!\r\n", b"Ho!\r\n"]
        assert await node.store.read(broken) == []
        await node.packing.tidy()
    assert len(moto.names(here)) == 1
    await old.close()
    await new.close()


async def test_a_check_minds_no_pack_that_another_machine_drops(
    here: ObjectStoreSettings, tmp_path: Path, url: str
) -> None:
    clock = Hands()
    old = await Node(tmp_path, open_bucket(here), clock, url).populate(b"Hi!\r\n")
    new = Node(tmp_path, elsewhere(here, tmp_path), clock, url)
    await old.packing.pack_all()

    class Slow:
        """Before it looks, the other machine has its turn."""

        steps = 0

        async def run(self, work: Callable[[], T]) -> T:
            self.steps += 1
            if self.steps == 1:
                await new.packing.rewrite(await new.store.read(packs.list_all))
                await new.packing.tidy()
            return work()

    report = await Checking(old.store, clock, Slow(), old.packs).check(print)
    assert [finding.what for finding in report.findings] == []
    await old.close()
    await new.close()


def elsewhere(here: ObjectStoreSettings, tmp_path: Path) -> PackBucket:
    """The same bucket, as another machine sees it."""
    return PackBucket(Bucket(here), tmp_path / "other cache", 2**30)


# ---------------------------------------------------------------------- damage, and no answer


async def test_a_damaged_block_in_the_cache_heals_itself(
    here: ObjectStoreSettings, tmp_path: Path
) -> None:
    bodies = [body_of(1000, number) for number in range(3)]
    node = await Node(tmp_path, open_bucket(here)).populate(*bodies)
    await node.packing.pack_all()
    assert await node.bodies() == bodies
    (block,) = here.cache.glob("*/blocks/*")
    octets = bytearray(block.read_bytes())
    octets[1500] ^= 1
    block.write_bytes(octets)
    assert await node.bodies() == bodies
    (block,) = here.cache.glob("*/blocks/*")
    octets[1500] ^= 1
    assert block.read_bytes() == octets
    await node.close()


@pytest.mark.parametrize("how", ["gone", "cut", "turned"])
async def test_a_damaged_object_is_told_so(
    moto: Moto, here: ObjectStoreSettings, tmp_path: Path, how: str
) -> None:
    bodies = [body_of(200_000, number) for number in range(3)]
    node = await Node(tmp_path, open_bucket(here)).populate(*bodies)
    await node.packing.pack_all()
    octets = bytearray(moto.read(here, pack_name(1)))
    octets[250_000] ^= 1
    assert await node.bodies() == bodies  # and so all is in the cache
    report = await Checking(node.store, node.clock, InlineOffload(), node.packs).check(print)
    assert report.clean
    moto.remove(here, pack_name(1))
    if how != "gone":
        moto.write(here, pack_name(1), bytes(octets if how == "turned" else octets[:250_000]))
    damaged = {"gone": [1, 2, 3], "cut": [2, 3], "turned": [2]}[how]
    report = await Checking(node.store, node.clock, InlineOffload(), node.packs).check(print)
    texts = [finding.what for finding in report.findings]
    address = f"{here.url}/{pack_name(1)}"
    if how == "gone":
        assert texts[0] == f"{address} is missing"
    elif how == "cut":
        assert texts[0] == f"{address} has 250000 octets, not {len(octets)}"
    parts = [int(text.split()[1]) for text in texts if text.startswith("part ")]
    assert parts == damaged
    assert report.findings[-1].messages == (f"UID {damaged[-1]} in INBOX of alice@example.org",)
    empty(here.cache)
    await node.close()
    node = Node(tmp_path, open_bucket(here))
    with pytest.raises(DamagedBody, match=f"part {damaged[0]} in "):
        await node.bodies()
    await node.packing.rewrite(await node.store.read(packs.list_all))  # told in the log, no loop
    await node.close()


async def test_without_a_store_packing_waits_and_what_is_loose_is_read(tmp_path: Path) -> None:
    store = Unwell(True)
    where = PackBucket(
        Bucket(settings(store.endpoint, tmp_path / "cache"), QUICK), tmp_path / "cache", 2**30
    )
    node = await Node(tmp_path, where).populate(b"Hi!\r\n")
    try:
        for _ in range(5):
            with pytest.raises(TemporaryFailure, match=r"cannot be used|does not answer"):
                await node.packing.pack_all()
            assert where.unfinished() == []
        assert await node.bodies() == [b"Hi!\r\n"]
        assert await node.parts() == (1, 0)
        assert await node.store.read(broken) == []
    finally:
        store.stop()
        await node.close()


async def test_without_a_store_what_is_packed_cannot_be_read_for_now(
    moto: Moto, here: ObjectStoreSettings, tmp_path: Path
) -> None:
    node = await Node(tmp_path, open_bucket(here)).populate(b"Hi!\r\n", body_of(600_000, 1))
    await node.packing.pack_all()
    await node.close()
    store = Unwell(False)
    away = Bucket(settings(store.endpoint, here.cache, here.url), QUICK)
    node = Node(tmp_path, PackBucket(away, here.cache, 2**30))
    try:
        for expected in ("cannot be used", "cannot be used", "cannot be used", "does not answer"):
            with pytest.raises(TemporaryFailure, match=expected):
                await node.bodies()
    finally:
        store.stop()
        await node.close()
    node = Node(tmp_path, open_bucket(here))
    assert await node.bodies() == [b"Hi!\r\n", body_of(600_000, 1)]
    await node.close()


async def test_without_a_store_only_queued_mail_that_lies_there_waits(
    moto: Moto, here: ObjectStoreSettings, tmp_path: Path
) -> None:
    node = await Node(tmp_path, open_bucket(here)).populate()
    await node.enqueue(b"packed")
    await node.packing.pack_all()
    await node.enqueue(b"loose")
    await node.close()
    store = Unwell(True)
    away = Bucket(settings(store.endpoint, here.cache, here.url), QUICK)
    node = Node(tmp_path, PackBucket(away, here.cache, 2**30))
    try:
        claimed = await node.store.write(lambda tx: claim(tx, Asked(packs.STALE, 10, 10)))
        loaded = await node.store.read(lambda tx: octets.load(tx, claimed.jobs))
        assert [one.body for one in loaded] == [None, b"loose"]
        with pytest.raises(TemporaryFailure, match="cannot be used"):
            _ = [piece async for piece in octets.pieces(node.store, loaded[0])]
        assert store.asked > 0
    finally:
        store.stop()
        await node.close()


async def test_from_a_folder_to_a_bucket_one_copies_the_files(
    moto: Moto, here: ObjectStoreSettings, tmp_path: Path
) -> None:
    """The two hold the same octets under the same names."""
    node = await Node(tmp_path, open_bucket(here)).populate(b"Hi!\r\n")
    folder = PackFolder(tmp_path / packs.PACKS)
    store = SqliteStore(tmp_path / "mailstead.db", node.clock, threads=False, packs=folder)
    await Packing(store, node.clock, InlineOffload(), folder).pack_all()
    assert await store.read(read_all) == [b"Hi!\r\n"]
    for pack in folder.sizes():
        moto.write(here, pack_name(pack), (folder.path / pack_name(pack)).read_bytes())
    shutil.rmtree(folder.path)
    assert await node.bodies() == [b"Hi!\r\n"]
    await store.close()
    await node.close()


# ---------------------------------------------------------------------- all at once


async def test_readers_on_threads_never_miss_a_body(moto: Moto, tmp_path: Path) -> None:
    """Mail comes, goes and is read, while all of it is packed and rewritten again and again."""
    here = moto.new_bucket(tmp_path / "cache", 3 * BLOCK)
    await (await Node(tmp_path, open_bucket(here)).populate()).close()
    offload, bucket = ThreadOffload(), open_bucket(here)
    node = Node(tmp_path, bucket)
    await node.store.close()
    node.store = store = SqliteStore(tmp_path / "mailstead.db", node.clock, packs=bucket)
    packing = Packing(store, node.clock, offload, bucket)
    bodies = [body_of(SIZES[number % len(SIZES)], number) for number in range(40)]
    done, reads = asyncio.Event(), 0

    async def write() -> None:
        for body in bodies:
            await node.append(body)
        done.set()

    async def pack() -> None:
        while not done.is_set():
            await packing.pack_all()
            await packing.rewrite(await store.read(packs.list_all))
            await packing.tidy()

    async def read() -> None:
        nonlocal reads
        while not done.is_set():
            found = await store.read(read_all)
            assert found == bodies[: len(found)]
            reads += len(found)

    async with asyncio.TaskGroup() as group:
        for work in (write(), pack(), read(), read()):
            group.create_task(work)
    assert reads > 40
    assert await store.read(read_all) == bodies
    assert await store.read(broken) == []
    await node.close()
    offload.close()


async def test_two_machines_that_both_pack_lose_nothing(
    moto: Moto, tmp_path: Path, url: str
) -> None:
    """Nobody was elected: both make, rewrite and remove packs of the same bodies at once."""
    here = moto.new_bucket(tmp_path / "cache", 3 * BLOCK)
    await (await Node(tmp_path, open_bucket(here), url=url).populate()).close()
    clock, offload, done = Hands(), ThreadOffload(), asyncio.Event()
    bodies = [body_of(SIZES[number % len(SIZES)], number) for number in range(24)]
    wheres = [open_bucket(here), elsewhere(here, tmp_path)]
    nodes = [Node(tmp_path, where, clock, url) for where in wheres]
    for node in nodes:
        await node.store.close()
        path = tmp_path / "mailstead.db"
        node.store = (
            PostgresStore(url, node.packs, clock)
            if url
            else SqliteStore(path, clock, packs=node.packs)
        )
        node.packing = Packing(node.store, clock, offload, node.packs)

    async def write() -> None:
        for body in bodies:
            await nodes[0].append(body)
        done.set()

    async def pack(node: Node) -> None:
        while not done.is_set():
            with suppress(TemporaryFailure):  # the other one was quicker
                await node.packing.pack_all()
                await node.packing.rewrite(await node.store.read(packs.list_all))
                await node.packing.tidy()

    async def read(node: Node) -> None:
        while not done.is_set():
            found = await node.store.read(read_all)
            assert found == bodies[: len(found)]

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        for node in nodes:
            group.create_task(pack(node))
            group.create_task(read(node))
    clock.time += 2 * packs.STALE
    for node in nodes * 2:
        await node.packing.tidy()
        assert await node.store.read(read_all) == bodies
        assert await node.store.read(broken) == []
    rows = await nodes[0].store.read(packs.list_all)
    assert moto.names(here) == [f"some/prefix/{pack_name(row.id)}" for row in rows]
    for node in nodes:
        await node.close()
    offload.close()
