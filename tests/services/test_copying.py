"""A store copied into another: both ways, broken off and resumed, and what is refused."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest
from tests.storage.contending import append, login, plan, populate, recipients
from tests.storage.object_store import Moto, running_moto

from mailstead.model.address import Domain, parse_address
from mailstead.model.errors import Refusal
from mailstead.model.flags import DELETED, FLAGGED
from mailstead.net.clock import SystemClock
from mailstead.services.copying import Copied, Copying, Side
from mailstead.services.packing import Packing
from mailstead.storage import (
    accounts,
    blobs,
    copying,
    mailboxes,
    messages,
    packs,
    placing,
    postgres_tx,
)
from mailstead.storage.packbucket import open_bucket
from mailstead.storage.packfile import PackFolder, Packs, pack_name
from mailstead.storage.plan import Applied, Enqueue, JournalRow, Plan
from mailstead.storage.postgres import PostgresStore
from mailstead.storage.sqlite import SqliteStore
from mailstead.storage.store import Tx
from mailstead.testing.clock import InlineOffload
from mailstead.testing.invariants import broken

pytestmark = pytest.mark.postgres

T = TypeVar("T")
ALL = [(1, 2**32 - 1)]


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with running_moto() as found:
        yield found


class Places:
    """SQLite with a folder of packs, PostgreSQL with a bucket; each of a name is made once."""

    def __init__(self, folder: Path, url: Callable[[str], str], moto: Moto) -> None:
        self._folder, self._url, self._moto = folder, url, moto
        self._packs = dict[str, Packs]()

    def open(self, name: str) -> Side:
        """`sqlite...` or `postgres...`."""
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        if name.startswith("sqlite"):
            where: Packs = PackFolder(folder / packs.PACKS)
            return Side(SqliteStore(folder / "mailstead.db", SystemClock(), packs=where), where)
        if name not in self._packs:
            self._packs[name] = open_bucket(self._moto.new_bucket(folder / "cache"))
        where = self._packs[name]
        return Side(PostgresStore(self._url(name), where, SystemClock()), where)

    def close(self) -> None:
        for where in self._packs.values():
            where.close()


@pytest.fixture
def places(tmp_path: Path, schemas: Callable[[str], str], moto: Moto) -> Iterator[Places]:
    found = Places(tmp_path, schemas, moto)
    yield found
    found.close()


async def fill(side: Side) -> None:
    """Mail of all kinds: loose and packed, big and small, deleted, queued; keys and aliases."""
    store, chance = side.store, random.Random(1)
    packing = Packing(store, SystemClock(), InlineOffload(), side.packs)
    await store.write(populate)
    await store.write(odds_and_ends)
    account = await store.read(lambda tx: accounts.get_account(tx, login(0)).id)
    inbox, archive = await store.read(
        lambda tx: [mailboxes.get(tx, account, name).id for name in ("INBOX", "Archive")]
    )
    for number in range(30):
        body = chance.randbytes(chance.choice([0, 10, 5000]))
        await store.apply(plan(append(account, inbox, f"k{number}"), body=body))
    await store.apply(plan(append(account, inbox), body=chance.randbytes(blobs.PART_SIZE * 3 + 1)))
    await packing.pack_all()
    for _ in range(5):
        await store.apply(plan(append(account, inbox), body=chance.randbytes(3000)))
    await store.apply(plan(Enqueue(b"Subject: x\r\n\r\n", "a@example.org", recipients(3))))
    await store.write(lambda tx: placing.move(tx, inbox, [(3, 6)], archive))
    await store.write(lambda tx: messages.set_flags(tx, inbox, [(8, 9)], "add", DELETED, ""))
    await store.write(lambda tx: messages.expunge(tx, inbox, ALL))
    await store.write(lambda tx: messages.set_flags(tx, inbox, ALL, "add", FLAGGED, "later"))
    await store.write(lambda tx: mailboxes.delete(tx, account, "Board"))


def odds_and_ends(tx: Tx) -> None:
    alias = parse_address("team@example.org")
    accounts.create_alias(tx, alias, [parse_address(login(0)), parse_address("x@example.net")])
    accounts.set_catch_all(tx, Domain("example.org"), parse_address(login(1)))
    tx.run(
        "INSERT INTO dkim_key (id, domain, selector, algorithm, private_key, active, created)"
        " VALUES (1, 1, 's1', 'ed25519', :key, 1, 5)",
        key=bytes(range(256)),
    )


def contents(tx: Tx) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table."""
    found = {}
    for table in copying.tables():
        order = ", ".join(table.key)
        columns = ", ".join(table.columns)
        found[table.name] = tx.rows(f"SELECT {columns} FROM {table.name} ORDER BY {order}")
    return found


def bodies(tx: Tx) -> list[bytes]:
    """All bodies, packed or not."""
    rows = tx.rows("SELECT DISTINCT blob, body_size FROM content WHERE blob > 0 ORDER BY blob")
    return [blobs.read(tx, blobs.StoredBody(*row)) for row in rows]


async def copy(source: Side, target: Side) -> Copied:
    said: list[str] = []
    return await Copying(source, target, InlineOffload(), said.append).copy()


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("sqlite", "postgres"),
        ("postgres", "sqlite"),
        ("sqlite", "sqlite 2"),
        ("postgres", "postgres 2"),
    ],
)
async def test_everything_is_copied(places: Places, source: str, target: str) -> None:
    old, new = places.open(source), places.open(target)
    await fill(old)
    copied = await copy(old, new)
    expected = await old.store.read(contents)
    assert await new.store.read(contents) == expected
    assert copied.messages == len(expected["placement"]) == 34
    assert copied.rows == sum(map(len, expected.values()))
    assert copied.packs == 1
    await new.store.read(copying.check_finished)
    assert await new.store.read(broken) == []
    octets = await repeat(old, bodies)
    assert len(octets) > 20
    assert await repeat(new, bodies) == octets
    await goes_on(new)
    for side in (old, new):
        await side.store.close()


async def repeat(side: Side, work: Callable[[Tx], T]) -> T:
    return await side.store.read(work)


async def goes_on(side: Side) -> None:
    """It takes mail as any store does, with numbers that nobody had."""
    account = await side.store.read(lambda tx: accounts.get_account(tx, login(0)).id)
    inbox = await side.store.read(lambda tx: mailboxes.get(tx, account, "INBOX"))
    applied = await side.store.apply(plan(append(account, inbox.id)))
    assert applied.appended[0].uid == inbox.uidnext
    assert await side.store.read(broken) == []


async def test_there_and_back_is_the_same(places: Places) -> None:
    first, between, last = (places.open(name) for name in ("sqlite", "postgres", "sqlite 2"))
    await fill(first)
    there = await copy(first, between)
    back = await copy(between, last)
    assert there.digest == back.digest
    assert await last.store.read(contents) == await first.store.read(contents)
    for side in (first, between, last):
        await side.store.close()


class Killed(Exception):
    """The process is gone."""


class Doomed:
    """A store, or its packs, of a process that is killed after so many steps."""

    def __init__(self, side: Side, steps: int) -> None:
        self._side, self._left = side, steps
        self.create = self._dying(side.packs.create)

    def _dying(self, work: Callable[..., T]) -> Callable[..., T]:
        def step(*values: object) -> T:
            self._left -= 1
            if self._left < 0:
                raise Killed
            return work(*values)

        return step

    async def read(self, work: Callable[[Tx], T]) -> T:
        return await self._side.store.read(work)

    async def look_up(self, work: Callable[[Tx], T]) -> T:
        return await self._side.store.look_up(work)

    async def write(self, work: Callable[[Tx], T]) -> T:
        return await self._dying(self._side.store.write)(work)

    async def apply(self, plan: Plan) -> Applied:
        raise NotImplementedError

    def note(self, row: JournalRow) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(("source", "target"), [("sqlite", "postgres"), ("postgres", "sqlite")])
async def test_a_copy_that_is_killed_anywhere_goes_on_where_it_was(
    places: Places, monkeypatch: pytest.MonkeyPatch, source: str, target: str
) -> None:
    monkeypatch.setattr(copying, "PAGE", 10)
    monkeypatch.setattr(copying, "HEAVY_PAGE", 10)
    old = places.open(source)
    await fill(old)
    new = places.open(target)
    kills = 0
    while True:  # each time, one page more is copied before the end
        doomed = Doomed(new, 3)
        try:
            await copy(old, Side(doomed, new.packs))
            break
        except Killed:
            kills += 1
            with pytest.raises(Refusal, match="unfinished copy"):
                await new.store.read(copying.check_finished)
    assert kills > 10
    assert await new.store.read(contents) == await old.store.read(contents)
    assert await repeat(new, bodies) == await repeat(old, bodies)
    for side in (old, new):
        await side.store.close()


async def test_a_half_written_pack_is_written_anew(places: Places) -> None:
    old, new = places.open("sqlite"), places.open("sqlite 2")
    await fill(old)
    (pack,) = await old.store.read(packs.list_all)
    with new.packs.locked():
        writer = new.packs.create(pack.id)  # and never finished
    assert writer.size < pack.size
    await copy(old, new)
    assert new.packs.sizes() == old.packs.sizes()
    assert await repeat(new, bodies) == await repeat(old, bodies)
    for side in (old, new):
        await side.store.close()


@pytest.mark.parametrize(
    "moment", ["account: comparing", "journal_key: comparing", "pack 1 of 1: com"]
)
async def test_mail_that_comes_in_meanwhile_is_noticed(places: Places, moment: str) -> None:
    old, new = places.open("sqlite"), places.open("postgres")
    await fill(old)
    other = SqliteStore(
        Path(old.packs.address("")).parent / "mailstead.db", SystemClock(), threads=False
    )
    came = False

    def watch(said: str) -> None:
        nonlocal came
        if said.startswith(moment) and not came:
            came = True
            flag_one(other)

    with pytest.raises(Refusal, match=r"the stores differ in (account|sequence)"):
        await Copying(old, new, InlineOffload(), watch).copy()
    assert came
    with pytest.raises(Refusal, match="unfinished copy"):
        await new.store.read(copying.check_finished)
    for store in (old.store, new.store, other):
        await store.close()


def flag_one(store: SqliteStore) -> None:
    """In another process of the source: the server that was not stopped."""
    tx = store._writer.tx
    store._writer.begin("")
    messages.set_flags(tx, messages.MailboxId(1), ALL, "remove", FLAGGED, "")
    store._writer.commit()


async def test_mail_that_came_in_between_two_tries_is_noticed(places: Places) -> None:
    old, new = places.open("sqlite"), places.open("postgres")
    await fill(old)
    doomed = Doomed(new, 12)
    with pytest.raises(Killed):
        await copy(old, Side(doomed, new.packs))
    await goes_on(old)
    with pytest.raises(Refusal, match="the stores differ"):
        await copy(old, new)
    for side in (old, new):
        await side.store.close()


async def test_a_target_that_is_in_use_is_refused(places: Places) -> None:
    old, new = places.open("sqlite"), places.open("postgres")
    await fill(old)
    await new.store.write(populate)
    before = await new.store.read(contents)
    with pytest.raises(Refusal, match="there is mail in the target already"):
        await copy(old, new)
    assert await new.store.read(contents) == before
    for side in (old, new):
        await side.store.close()


async def test_a_finished_copy_is_not_made_again(places: Places) -> None:
    old, new = places.open("sqlite"), places.open("postgres")
    await fill(old)
    await copy(old, new)
    with pytest.raises(Refusal, match="there is mail in the target already"):
        await copy(old, new)
    for side in (old, new):
        await side.store.close()


async def test_two_copies_at_a_time_do_not_get_in_each_others_way(places: Places) -> None:
    old, new = places.open("sqlite"), places.open("sqlite 2")
    await fill(old)
    with new.packs.locked(), pytest.raises(Refusal, match="somebody else is at the packs"):
        await copy(old, new)
    await copy(old, new)
    for side in (old, new):
        await side.store.close()


@pytest.mark.parametrize("damage", ["gone", "short", "other"])
async def test_packs_that_are_not_whole_are_refused(places: Places, damage: str) -> None:
    old, new = places.open("sqlite"), places.open("sqlite 2")
    await fill(old)
    (pack,) = await old.store.read(packs.list_all)
    if damage == "other":
        await copy_packs_only(old, new)
    spoil(Path(old.packs.address(pack_name(pack.id))), damage)
    with pytest.raises(Refusal, match=r"fsck|the stores differ in 0*1\.pack"):
        await copy(old, new)
    for side in (old, new):
        await side.store.close()


def spoil(path: Path, damage: str) -> None:
    data = path.read_bytes()
    path.unlink()
    if damage == "short":
        path.write_bytes(data[:-1])
    if damage == "other":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


async def copy_packs_only(old: Side, new: Side) -> None:
    with pytest.raises(Killed):
        await copy(old, Side(Doomed(new, 2), new.packs))


async def test_the_answer_to_a_commit_that_is_lost_does_not_matter(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = places.open("sqlite"), places.open("postgres")
    await fill(old)
    commit, count = postgres_tx.PostgresTx.commit, 0

    def commit_and_lose(tx: postgres_tx.PostgresTx) -> None:
        nonlocal count
        commit(tx)
        if tx is new.store._writer.tx:  # type: ignore[attr-defined]
            count += 1
            if count % 2:
                raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(postgres_tx.PostgresTx, "commit", commit_and_lose)
    await copy(old, new)
    assert count > 20
    assert await new.store.read(contents) == await old.store.read(contents)
    for side in (old, new):
        await side.store.close()
