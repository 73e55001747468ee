"""Bodies are packed, rewritten and read, whatever happens in between."""

import asyncio
import random
import re
import shutil
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest

from mailstead.message import mime, structure
from mailstead.model.address import Domain, parse_address
from mailstead.model.errors import TemporaryFailure
from mailstead.model.flags import DELETED
from mailstead.model.numbers import MailboxId, OrganisationId, TraceId
from mailstead.net.clock import ThreadOffload
from mailstead.services.packing import PACK_SIZE, SMALL_PACK, SMALL_PACKS, Packing, choose
from mailstead.storage import accounts, blobs, mailboxes, messages, packs, placing
from mailstead.storage.blobs import PART_SIZE
from mailstead.storage.packfile import DamagedBody, Files, PackFolder, RealFiles, pack_name
from mailstead.storage.packs import Pack
from mailstead.storage.plan import Append, Plan, Rendered, StoredBody
from mailstead.storage.sqlite import SqliteStore
from mailstead.storage.store import Store, Tx
from mailstead.testing.clock import InlineOffload
from mailstead.testing.disk import PowerCut, SimulatedDisk, SimulatedFiles
from mailstead.testing.house import SimulatedHouse, SimulatedWorld
from mailstead.testing.imap import ImapClient
from mailstead.testing.invariants import broken

T = TypeVar("T")

HEADER = b"Subject: Hello\r\n\r\n"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SIZES = (0, 1, 100, 4000, 50_000, PART_SIZE, PART_SIZE + 1, 2 * PART_SIZE + 77)


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    async def sleep(self, duration: timedelta) -> None:
        self.time += duration


class Shop:
    """A store with one account, and the service that packs."""

    def __init__(self, folder: Path, vfs: str | None = None, files: Files | None = None) -> None:
        self.clock = Hands()
        self.store = SqliteStore(folder / "mailstead.db", self.clock, False, vfs)
        self.folder = PackFolder(folder / packs.PACKS, files)
        self.packing = Packing(self.store, self.clock, InlineOffload(), self.folder)

    async def populate(self) -> "Shop":
        def work(tx: Tx) -> None:
            organisation = accounts.create_organisation(tx, "example")
            accounts.create_domain(tx, organisation, Domain("example.org"))
            accounts.create_account(tx, parse_address("alice@example.org"), "hash")

        await self.store.write(work)
        return self

    async def append(self, *bodies: bytes) -> list[int]:
        return [await append(self.store, body) for body in bodies]

    async def remove(self, uids: Sequence[int]) -> None:
        def work(tx: Tx) -> None:
            ranges = [(uid, uid) for uid in uids]
            messages.set_flags(tx, inbox(tx), ranges, "add", DELETED, "")
            messages.expunge(tx, inbox(tx), ranges)

        await self.store.write(work)

    async def bodies(self) -> dict[int, bytes]:
        return await self.store.read(read_all)

    async def parts(self) -> tuple[int, int]:
        """How many are loose, how many packed."""
        sql = "SELECT (SELECT count(*) FROM blob), (SELECT count(*) FROM packed)"
        return (await self.store.read(lambda tx: tx.rows(sql)))[0]  # type: ignore[return-value]

    async def packs(self) -> list[Pack]:
        return await self.store.read(packs.list_all)

    async def pack_files(self) -> list[int]:
        return sorted(self.folder.sizes())

    async def check(self, expected: dict[int, bytes]) -> None:
        """All bodies are there, by either way of reading, and the invariants hold."""
        assert await self.bodies() == expected
        columns = ("uid", "part")
        rows = await self.store.read(
            lambda tx: messages.page(tx, inbox(tx), 1, 2**32, 10_000, columns)
        )
        assert [(uid, part or b"") for uid, part in rows] == [
            (uid, body[:PART_SIZE]) for uid, body in expected.items()
        ]
        assert await self.store.read(broken) == []


def inbox(tx: Tx) -> MailboxId:
    return mailboxes.get(tx, accounts.get_account(tx, "alice@example.org").id, "INBOX").id


def read_all(tx: Tx) -> dict[int, bytes]:
    rows = messages.page(tx, inbox(tx), 1, 2**32, 10_000, ("uid", "blob", "body_size"))
    return {uid: blobs.read(tx, StoredBody(blob, size)) for uid, blob, size in rows}


async def append(store: Store, body: bytes) -> int:
    part = mime.scan(HEADER, body)
    rendered = Rendered(
        structure.dump(part),
        structure.envelope(HEADER),
        structure.body_structure(part),
        structure.digest(HEADER, part),
    )
    account, mailbox = await store.read(
        lambda tx: (accounts.get_account(tx, "alice@example.org").id, inbox(tx))
    )
    step = Append(account, mailbox, HEADER, rendered, NOW)
    plan = Plan((step,), TraceId("t"), OrganisationId(1), blobs.MemoryBody(body))
    return (await store.apply(plan)).appended[0].uid


@cache
def body_of(size: int, seed: int) -> bytes:
    """Octets that compress, and differ."""
    chance = random.Random(seed)
    words = [b"%x" % chance.getrandbits(24) for _ in range(50)]
    return b" ".join(chance.choice(words) for _ in range(size // 5 + 1))[:size].ljust(size, b".")


# ---------------------------------------------------------------------- when what is packed


async def test_bodies_are_packed_when_enough_are_ten_minutes_old(tmp_path: Path) -> None:
    shop = await Shop(tmp_path).populate()
    chance = random.Random(1)
    bodies = [chance.randbytes(PART_SIZE) for _ in range(33)]  # 8.25 MiB
    await shop.append(*bodies)
    await shop.packing.tidy()
    assert await shop.parts() == (33, 0)
    shop.clock.time += timedelta(seconds=599)
    await shop.packing.tidy()
    assert await shop.parts() == (33, 0)
    shop.clock.time += timedelta(seconds=1)
    young = body_of(100, 1)
    await shop.append(young)
    await shop.packing.tidy()
    assert await shop.parts() == (1, 33)
    (pack,) = await shop.packs()
    assert pack.size == shop.folder.sizes()[pack.id]
    assert pack.live == pack.size - 8  # all but the first octets of the file
    await shop.check(dict(enumerate([*bodies, young], 1)))
    await shop.store.close()


async def test_a_few_bodies_are_packed_after_an_hour(tmp_path: Path) -> None:
    shop = await Shop(tmp_path).populate()
    await shop.append(b"Hi!\r\n", body_of(10_000, 1))
    for minute in range(60):
        await shop.packing.tidy()
        assert await shop.parts() == (2, 0), minute
        shop.clock.time += timedelta(minutes=1)
    await shop.packing.tidy()
    assert await shop.parts() == (0, 2)
    assert sum(pack.size for pack in await shop.packs()) < 5000
    await shop.store.close()


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], []),
        ([Pack(1, PACK_SIZE, PACK_SIZE // 2)], []),
        ([Pack(1, PACK_SIZE, PACK_SIZE // 2 - 1)], [1]),
        ([Pack(n, SMALL_PACK - 1, SMALL_PACK - 9) for n in range(SMALL_PACKS - 1)], []),
        ([Pack(n, 1000, 992) for n in range(SMALL_PACKS)], list(range(SMALL_PACKS))),
        ([Pack(n, SMALL_PACK - 1, SMALL_PACK - 9) for n in range(SMALL_PACKS)], [0, 1, 2, 3]),
        ([Pack(n, PACK_SIZE, PACK_SIZE * 2 // 5) for n in range(5)], [0, 1]),
    ],
)
def test_packs_worth_rewriting(found: list[Pack], expected: list[int]) -> None:
    assert [pack.id for pack in choose(found)] == expected


async def test_a_mostly_dead_pack_is_rewritten_and_its_file_goes_a_round_later(
    tmp_path: Path,
) -> None:
    shop = await Shop(tmp_path).populate()
    uids = await shop.append(*(body_of(5000, n) for n in range(10)))
    await shop.packing.pack_all()
    (old,) = await shop.packs()
    await shop.remove(uids[:4])
    await shop.packing.tidy()
    assert [pack.id for pack in await shop.packs()] == [old.id]
    await shop.remove(uids[4:6])
    await shop.packing.tidy()
    (new,) = await shop.packs()
    assert new.id > old.id
    assert new.live == new.size - 8
    assert await shop.pack_files() == [old.id, new.id]
    await shop.packing.tidy()
    assert await shop.pack_files() == [new.id]
    await shop.check({uid: body_of(5000, uid - 1) for uid in uids[6:]})
    await shop.remove(uids[6:])
    await shop.packing.tidy()
    await shop.packing.tidy()
    assert await shop.packs() == []
    assert await shop.pack_files() == []
    await shop.check({})
    await shop.store.close()


@pytest.mark.parametrize("live", [0, 3, -5])
async def test_a_pack_that_is_counted_wrong_is_rewritten_once(tmp_path: Path, live: int) -> None:
    shop = await Shop(tmp_path).populate()
    await shop.append(body_of(5000, 1), body_of(5000, 2))
    await shop.packing.pack_all()
    await shop.store.write(lambda tx: tx.run("UPDATE pack SET live = :live", live=live))
    await shop.packing.tidy()
    await shop.check({1: body_of(5000, 1), 2: body_of(5000, 2)})
    assert len(await shop.packs()) == 1
    await shop.store.close()


async def test_only_one_packs_at_a_time(tmp_path: Path) -> None:
    shop = await Shop(tmp_path).populate()
    await shop.append(b"Hi!\r\n")
    with PackFolder(tmp_path / packs.PACKS).locked() as ours:
        assert ours
        await shop.packing.pack_all()
        assert await shop.parts() == (1, 0)
    await shop.packing.pack_all()
    assert await shop.parts() == (0, 1)
    await shop.store.close()


async def test_what_is_deleted_while_it_is_packed_is_not_packed(tmp_path: Path) -> None:
    shop = await Shop(tmp_path).populate()
    uids = await shop.append(*(body_of(1000, n) for n in range(4)))

    class Deleting:
        """Deletes a message between the reading and the recording of its part."""

        async def run(self, work: Callable[[], T]) -> T:
            result = work()
            await shop.remove(uids[1:3])
            return result

    packing = Packing(shop.store, shop.clock, Deleting(), shop.folder)
    await packing.pack_all()
    assert await shop.parts() == (0, 2)
    await shop.check({uids[0]: body_of(1000, 0), uids[3]: body_of(1000, 3)})
    await shop.store.close()


async def test_a_reader_of_an_older_state_reads_again(tmp_path: Path) -> None:
    """Between its first row and its first octet the pack is rewritten and its file removed."""
    shop = await Shop(tmp_path).populate()
    await shop.append(b"Hi!\r\n")
    await shop.packing.pack_all()
    old = await shop.packs()
    runs = []

    def rewrite() -> None:
        async def story() -> None:
            other = Shop(tmp_path)
            await other.packing.rewrite(old)
            await other.packing.tidy()
            await other.store.close()

        asyncio.run(story())

    def work(tx: Tx) -> dict[int, bytes]:
        runs.append(tx.value("SELECT count(*) FROM pack"))
        if len(runs) == 1:
            thread = threading.Thread(target=rewrite)
            thread.start()
            thread.join()
            assert not (tmp_path / packs.PACKS / pack_name(old[0].id)).exists()
        return read_all(tx)

    assert await shop.store.read(work) == {1: b"Hi!\r\n"}
    assert len(runs) == 2
    await shop.store.close()


# ---------------------------------------------------------------------- anything in any order


@pytest.mark.parametrize("seed", range(6))
async def test_any_order_of_work_keeps_every_body(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    shop = await Shop(tmp_path).populate()
    expected: dict[int, bytes] = {}

    async def add() -> None:
        body = body_of(chance.choice(SIZES), chance.randrange(2**30))
        expected.update(dict.fromkeys(await shop.append(body), body))

    async def expunge() -> None:
        gone = chance.sample(sorted(expected), min(len(expected), chance.randrange(6)))
        await shop.remove(gone)
        for uid in gone:
            del expected[uid]

    async def copy() -> None:
        for uid in chance.sample(sorted(expected), min(len(expected), 2)):
            copied = await shop.store.write(
                lambda tx, uid=uid: placing.copy(tx, inbox(tx), [(uid, uid)], inbox(tx))
            )
            expected[copied.copies[0]] = expected[uid]

    async def rewrite() -> None:
        found = await shop.packs()
        await shop.packing.rewrite(chance.sample(found, chance.randrange(len(found) + 1)))

    async def tidy() -> None:
        shop.clock.time += timedelta(minutes=chance.choice((1, 61)))
        await shop.packing.tidy()

    async def check() -> None:
        await shop.check(expected)

    work = [add, add, add, expunge, copy, shop.packing.pack_all, rewrite, tidy, check]
    for _ in range(80):
        await chance.choice(work)()
    await check()
    await tidy()
    assert sorted(shop.folder.sizes()) == [pack.id for pack in await shop.packs()]
    await check()
    await shop.store.close()


# ---------------------------------------------------------------------- crashes and full disks


def new_folder(path: Path) -> Path:
    path.mkdir()
    return path


async def prepare(folder: Path) -> dict[int, bytes]:
    """A store with a half-dead pack and loose bodies; what is in it."""
    shop = await Shop(folder).populate()
    bodies = [body_of(size, n) for n, size in enumerate((5000, 300_000, 9000, 10, 7000))]
    expected = dict(zip(await shop.append(*bodies), bodies, strict=True))
    await shop.packing.pack_all()
    await shop.remove([2, 3])
    del expected[2], expected[3]
    bodies = [body_of(size, size) for size in (2000, PART_SIZE + 5, 40)]
    expected |= dict(zip(await shop.append(*bodies), bodies, strict=True))
    await shop.store.close()
    return expected


async def test_a_power_cut_at_any_step_of_packing_loses_nothing(tmp_path: Path) -> None:
    expected = await prepare(new_folder(tmp_path / "before"))
    cut, done = 0, False
    while not done:
        cut += 1
        folder, after = tmp_path / f"cut{cut}", tmp_path / f"after{cut}"
        shutil.copytree(tmp_path / "before", folder)
        disk = SimulatedDisk(f"packing-{cut}")
        files = SimulatedFiles(disk, folder / packs.PACKS)
        shop = Shop(folder, disk.vfs_name, files)
        disk.fail_at = disk.operations + cut
        try:
            await shop.packing.pack_all()
            await shop.packing.tidy()
            await shop.packing.tidy()
            done = True
        except (PowerCut, TemporaryFailure):
            pass
        disk.crash(new_folder(after), seed=cut)
        files.crash(after / packs.PACKS, seed=cut)
        disk.fail_at = 0
        await shop.store.close()
        await check_again(Shop(after), expected)
    assert cut > 20  # writes and syncs of the database, and of two packs


async def check_again(shop: Shop, expected: dict[int, bytes]) -> None:
    """What a server finds and does when it starts after the crash."""
    await shop.check(expected)
    await shop.packing.pack_all()
    shop.clock.time += packs.STALE + timedelta(seconds=1)
    await shop.packing.tidy()
    await shop.packing.tidy()
    await shop.check(expected)
    assert await shop.parts() == (0, sum(-(-len(body) // PART_SIZE) for body in expected.values()))
    assert sorted(shop.folder.sizes()) == [pack.id for pack in await shop.packs()]
    assert list((shop.folder.path).glob("*.new")) == []
    await shop.store.close()


class FullDisk:
    """Files on a disk with room for so many octets."""

    def __init__(self, room: int) -> None:
        self.room, self.real = room, RealFiles()
        self.create, self.finish = self.real.create, self.real.finish
        self.abandon, self.rename = self.real.abandon, self.real.rename
        self.remove = self.real.remove

    def write(self, file: int, data: bytes) -> None:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(28, "No space left on device")
        self.real.write(file, data)


async def test_on_a_full_disk_packing_waits_and_mail_goes_on(tmp_path: Path) -> None:
    files = FullDisk(100)
    shop = await Shop(tmp_path, files=files).populate()
    await shop.append(body_of(5000, 1))
    with pytest.raises(OSError, match="No space"):
        await shop.packing.pack_all()
    assert list(shop.folder.path.glob("*.pack")) == list(shop.folder.path.glob("*.new")) == []
    await shop.append(body_of(5000, 2))
    await shop.check({1: body_of(5000, 1), 2: body_of(5000, 2)})
    files.room = 10**9
    await shop.packing.pack_all()
    assert await shop.parts() == (0, 2)
    await shop.check({1: body_of(5000, 1), 2: body_of(5000, 2)})
    await shop.store.close()


# ---------------------------------------------------------------------- damage


def damage(folder: Path, number: int) -> None:
    """Turn a bit around in the frame of the part with this number in the only pack."""
    (path,) = (folder / packs.PACKS).glob("*.pack")
    octets = bytearray(path.read_bytes())
    at = 8
    for _ in range(number):
        at += 12 + int.from_bytes(octets[at + 8 : at + 12], "big")
    octets[at + 12 + 20] ^= 1
    path.write_bytes(octets)


async def test_a_damaged_part_costs_its_message_only(tmp_path: Path) -> None:
    shop = await Shop(tmp_path).populate()
    await shop.append(*(body_of(1000, n) for n in range(5)))
    await shop.packing.pack_all()
    damage(tmp_path, 2)
    with pytest.raises(DamagedBody, match=r"part 3 in 000000000001\.pack at \d+\+\d+ is damaged"):
        await shop.bodies()
    (found,) = await shop.store.read(broken)
    assert "part 3 " in found
    # A pack with damage in it can be rewritten: what is damaged stays so, and is told so.
    await shop.packing.rewrite(await shop.packs())
    await shop.packing.tidy()
    (found,) = await shop.store.read(broken)
    assert "part 3 in " in found
    await shop.remove([3])
    await shop.check({uid: body_of(1000, uid - 1) for uid in (1, 2, 4, 5)})
    await shop.store.close()


@pytest.mark.parametrize("cut", [0, 8, 200])
async def test_a_pack_that_is_gone_or_cut_off_is_told_so(tmp_path: Path, cut: int) -> None:
    shop = await Shop(tmp_path).populate()
    await shop.append(*(random.Random(n).randbytes(1000) for n in range(3)))
    await shop.packing.pack_all()
    (path,) = (tmp_path / packs.PACKS).glob("*.pack")
    if cut:
        path.write_bytes(path.read_bytes()[:cut])
    else:
        path.unlink()
    with pytest.raises(DamagedBody, match="the pack ends before it does" if cut else "No such"):
        await shop.bodies()
    assert len(await shop.store.read(broken)) == 3
    await shop.packing.rewrite(await shop.packs())  # nothing to copy: told in the log, no loop
    await shop.packing.tidy()
    assert await shop.parts() == (0, 3)
    await shop.store.close()


@pytest.mark.rfc("5530 section 3")
async def test_imap_gives_all_but_the_damaged_message(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    text = "".join(f"line {number}\r\n" for number in range(100))
    for number in range(1, 10):
        await house.receive("x@example.net", "alice@example.org", f"No. {number}", text)
    await house.house.packing.pack_all()
    damage(house.folder, 4)
    client = ImapClient(world.network, house.address)
    await see_all_but_the_fifth(house, client)


async def see_all_but_the_fifth(house: SimulatedHouse, client: ImapClient) -> None:
    async with client:
        await client.log_in("alice@example.org", "secret")
        lines = await client.command("FETCH 1:* BODY.PEEK[]")
        assert lines[-1].startswith(b"NO [CORRUPTION] ")
        there = re.findall(rb"\r\nSubject: No. (\d)\r\n", b"".join(lines))
        assert there == [b"1", b"2", b"3", b"4", b"6", b"7", b"8", b"9"]
        for what, answer in (
            ("5 BODY.PEEK[TEXT]", b"NO [CORRUPTION] "),
            ("6 BODY[]", b"OK "),
            ("5 (BODY.PEEK[HEADER] ENVELOPE)", b"OK "),
        ):
            assert (await client.command(f"FETCH {what}"))[-1].startswith(answer)
        found = await client.command('SEARCH TEXT "line 99"')
        assert b"* SEARCH 1 2 3 4 6 7 8 9" in found[0]
    assert (await house.receive("x@example.net", "alice@example.org")).ok


async def test_a_damaged_message_in_the_queue_holds_up_no_other(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    other = await world.house("example.net", accounts=["bob"], address="203.0.113.26")
    world.network.unlisten(other.address, 25)
    for number in range(3):
        await house.submit("alice@example.org", "bob@example.net", f"No. {number}", "Hi!\r\n" * 20)
    await house.house.packing.pack_all()
    damage(house.folder, 1)
    await other.stop()
    await other.start()
    await world.sleep(hours=12)
    assert sorted(filed.subject for filed in await other.mailbox("bob@example.net")) == [
        "No. 0",
        "No. 2",
    ]


# ---------------------------------------------------------------------- all at once


async def test_readers_on_threads_never_miss_a_body(tmp_path: Path) -> None:
    """Mail comes, goes and is read, while all of it is packed and rewritten again and again."""
    shop = await Shop(tmp_path).populate()
    await shop.store.close()
    offload = ThreadOffload()
    store = SqliteStore(tmp_path / "mailstead.db", shop.clock)
    packing = Packing(store, shop.clock, offload, shop.folder)
    done = asyncio.Event()
    reads = 0

    async def write() -> None:
        for number in range(60):
            await append(store, body_of(SIZES[number % len(SIZES)], number))
            if number % 7 == 6:
                uid = number - 3
                await store.write(lambda tx, uid=uid: _remove_one(tx, uid))  # type: ignore[misc]
        done.set()

    async def pack() -> None:
        while not done.is_set():
            await packing.pack_all()
            await packing.rewrite(await store.read(packs.list_all))
            await packing.tidy()

    async def read() -> None:
        nonlocal reads
        while not done.is_set():
            for uid, body in (await store.read(read_all)).items():
                assert body == body_of(SIZES[(uid - 1) % len(SIZES)], uid - 1)
                reads += 1

    async with asyncio.TaskGroup() as group:
        for work in (write(), pack(), read(), read()):
            group.create_task(work)
    assert reads > 60
    assert await store.read(broken) == []
    await store.close()
    offload.close()


def _remove_one(tx: Tx, uid: int) -> None:
    messages.set_flags(tx, inbox(tx), [(uid, uid)], "add", DELETED, "")
    messages.expunge(tx, inbox(tx), [(uid, uid)])
