"""PostgreSQL under contention, and while it is in trouble."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest

from mailstead.model.errors import Refusal, TemporaryFailure
from mailstead.model.flags import SEEN
from mailstead.model.numbers import AccountId, MailboxId
from mailstead.net.clock import SystemClock
from mailstead.storage import accounts, mailboxes, messages, postgres_tx
from mailstead.storage.packfile import PackFolder
from mailstead.storage.plan import Enqueue
from mailstead.storage.postgres import PostgresStore
from mailstead.storage.postgres_tx import IdRanges, Link, connect
from mailstead.storage.store import Tx
from mailstead.testing.invariants import broken

from .contending import ACCOUNTS, HEADER, append, login, open_store, plan, populate, recipients

pytestmark = pytest.mark.postgres

CONTENDING = Path(__file__).with_name("contending.py")


class OwnPostgres(Protocol):
    url: str

    def crash(self) -> None: ...
    def start(self) -> None: ...


class StoppedClock:
    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        return self._at

    async def sleep(self, duration: timedelta) -> None:
        raise AssertionError("nobody sleeps here")


def inbox(tx: Tx, name: str = "INBOX", number: int = 0) -> tuple[AccountId, MailboxId]:
    account = accounts.get_account(tx, login(number)).id
    return account, mailboxes.get(tx, account, name).id


def messages_in(tx: Tx) -> int:
    count: int = tx.value("SELECT count(*) FROM placement")
    return count


async def prepared(url: str, folder: Path) -> PostgresStore:
    store = open_store(url, folder)
    await store.write(populate)
    return store


# ---------------------------------------------------------------------- contention


async def contend(url: str, folder: Path, seconds: float) -> list[dict[str, Any]]:
    """What three processes that are in each other's way were promised."""

    def one(name: str) -> dict[str, Any]:
        program = [sys.executable, CONTENDING, url, folder, name, str(seconds)]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return await asyncio.gather(*(asyncio.to_thread(one, name) for name in "abc"))


async def test_processes_in_each_others_way_lose_nothing(postgres: str, tmp_path: Path) -> None:
    store = await prepared(postgres, tmp_path)
    for number in range(ACCOUNTS):
        board = await store.read(lambda tx, n=number: inbox(tx, "Board", n))
        await store.apply(plan(append(*board)))
    told = await contend(postgres, tmp_path, 5)
    assert await store.read(broken) == []
    uids = [tuple(uid) for one in told for uid in one["uids"]]
    assert [uid for uid, count in Counter(uids).items() if count > 1] == []
    claims = [tuple(claim) for one in told for claim in one["claims"]]
    assert [claim for claim, count in Counter(claims).items() if count > 1] == []
    modseqs = Counter(tuple(pair) for one in told for pair in one["modseqs"])
    assert [pair for pair, count in modseqs.items() if count > 1] == []
    for board in {board for one in told for board in one["keywords"]}:
        (row,) = await store.read(lambda tx, id_=int(board): messages.snapshot(tx, id_).keywords)  # type: ignore[arg-type, union-attr]
        assert set(row.split()) == {word for one in told for word in one["keywords"].get(board, [])}
    queued = {id_ for one in told for id_ in one["queued"]}
    released = [id_ for one in told for id_ in one["released"]]
    assert len(set(released)) == len(released)
    left = await store.read(lambda tx: {id_ for (id_,) in tx.rows("SELECT id FROM queue")})
    assert left == queued - set(released)
    done = Counter[str]()
    for one in told:
        done.update(one["done"])
    assert all(done[work] for work in ("deliver", "file", "flag", "pin", "send", "claim")), done
    await store.close()


async def test_a_long_change_comes_through_beside_much_new_mail(
    postgres: str, tmp_path: Path
) -> None:
    store, other = await prepared(postgres, tmp_path), open_store(postgres, tmp_path)
    account, mailbox = place = await store.read(inbox)
    await asyncio.gather(*(store.apply(plan(append(*place))) for _ in range(1000)))
    going = True

    async def deliver() -> None:
        while going:
            await asyncio.gather(*(other.apply(plan(append(*place))) for _ in range(5)))

    async with asyncio.TaskGroup() as group:
        group.create_task(deliver())
        for mode in ("add", "remove", "add", "remove", "add"):
            rows = await store.write(
                lambda tx, mode=mode: messages.set_flags(tx, mailbox, [(1, 1000)], mode, SEEN, "")  # type: ignore[misc]
            )
            assert len(rows) == 1000
        going = False
    unseen = await store.read(lambda tx: mailboxes.get(tx, account, "INBOX").unseen)
    assert unseen == await store.read(messages_in) - 1000
    assert await store.read(broken) == []
    for one in (store, other):
        await one.close()


async def test_who_waits_for_each_other_does_not_wait_long(postgres: str, tmp_path: Path) -> None:
    """PostgreSQL itself looks for deadlocks after a second."""
    stores = [await prepared(postgres, tmp_path), open_store(postgres, tmp_path)]
    both = [threading.Barrier(2, timeout=5), threading.Barrier(2, timeout=5)]
    for barrier in both:
        began = time.monotonic()

        def cross(tx: Tx, first: int, barrier: threading.Barrier = barrier) -> list[int]:
            modseq = mailboxes.next_modseq(tx, AccountId(first))
            with suppress(threading.BrokenBarrierError):
                barrier.wait()  # both have one
                barrier.abort()
            return [modseq, mailboxes.next_modseq(tx, AccountId(3 - first))]

        works = [lambda tx, first=first: cross(tx, first) for first in (1, 2)]
        results = await asyncio.gather(
            *(store.write(work) for store, work in zip(stores, works, strict=True))  # type: ignore[arg-type]
        )
        assert len({tuple(one) for one in results}) == 2
        assert time.monotonic() - began < 0.8
    for store in stores:
        await store.close()


async def test_one_of_two_gets_the_name(postgres: str, tmp_path: Path) -> None:
    stores = [await prepared(postgres, tmp_path), open_store(postgres, tmp_path)]
    account, _ = await stores[0].read(inbox)
    for number in range(20):
        outcomes = await asyncio.gather(
            *(
                store.write(lambda tx, n=number: mailboxes.create(tx, account, f"M{n}"))
                for store in stores
            ),
            return_exceptions=True,
        )
        assert sorted(type(one) for one in outcomes if isinstance(one, Exception)) == [Refusal]
    for store in stores:
        await store.close()


async def test_new_mail_for_a_mailbox_that_goes_away_is_refused(
    postgres: str, tmp_path: Path
) -> None:
    stores = [await prepared(postgres, tmp_path), open_store(postgres, tmp_path)]
    account, _ = await stores[0].read(inbox)
    for _ in range(20):
        mailbox = await stores[0].write(lambda tx: mailboxes.create(tx, account, "Temp"))
        deliveries = [stores[1].apply(plan(append(account, mailbox))) for _ in range(5)]
        gone, *outcomes = await asyncio.gather(
            stores[0].write(lambda tx: mailboxes.delete(tx, account, "Temp")),
            *deliveries,
            return_exceptions=True,
        )
        assert gone == mailbox
        assert {type(one) for one in outcomes if isinstance(one, Exception)} <= {Refusal}
        await stores[0].write(lambda tx, gone=mailbox: messages.clear(tx, account, gone, 1000))  # type: ignore[misc]
        assert await stores[0].read(broken) == []
        assert await stores[0].read(messages_in) == 0
    for store in stores:
        await store.close()


# ---------------------------------------------------------------------- ids and the time


def test_ids_are_unique_and_follow_the_clock(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(postgres, tmp_path)
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    ranges = [IdRanges(Link(postgres, relaxed=True)) for _ in range(3)]
    seen: set[int] = set()
    for count in (1, 1, 5, 1, 2000, 3, 1, 1, 1):
        for ids in ranges:
            first = ids.take("email", count)
            taken = set(range(first, first + count))
            assert not taken & seen
            seen |= taken
    highest = max(seen)
    now = postgres_tx.RANGE_TIME  # a range that was taken before is older than others' ids
    assert ranges[0].take("email", 1) > highest
    for ids in ranges:
        ids.close()


async def test_nodes_whose_clocks_differ_go_by_the_databases(postgres: str, tmp_path: Path) -> None:
    clock = StoppedClock(SystemClock().now() - timedelta(hours=5))
    store = PostgresStore(postgres, PackFolder(tmp_path), clock)
    ours = await store.read(lambda tx: tx.now)
    assert abs(ours - SystemClock().now()) < timedelta(seconds=5)
    await store.close()


async def test_the_simulated_world_has_its_own_time(postgres: str, tmp_path: Path) -> None:
    clock = StoppedClock(SystemClock().now() - timedelta(hours=5))
    store = PostgresStore(postgres, PackFolder(tmp_path), clock, threads=False)
    assert await store.read(lambda tx: tx.now) == clock.now()
    await store.close()


# ---------------------------------------------------------------------- trouble


def hold_up(url: str, sql: str) -> psycopg.Connection[Any]:
    """A session that has done this and does not commit."""
    connection = psycopg.connect(url)
    connection.execute(sql)
    return connection


async def test_a_lock_that_another_keeps_is_a_temporary_failure(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_tx, "LOCK_TIMEOUT", timedelta(milliseconds=200))
    store = await prepared(postgres, tmp_path)
    place = await store.read(inbox)
    with hold_up(postgres, "SELECT * FROM account FOR UPDATE"):
        with pytest.raises(TemporaryFailure, match="lock timeout"):
            await store.apply(plan(append(*place)))
        with pytest.raises(TemporaryFailure, match="lock timeout"):
            await store.write(lambda tx: mailboxes.next_modseq(tx, place[0]))
        await store.apply(plan(Enqueue(HEADER, "", recipients(1))))  # nobody else pays
    await store.apply(plan(append(*place)))
    await store.close()


async def test_a_statement_that_takes_too_long_is_a_temporary_failure(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres_tx._LIMITS, "statement_timeout", timedelta(milliseconds=200))
    store = await prepared(postgres, tmp_path)
    for do in (store.read, store.write):
        with pytest.raises(TemporaryFailure, match="statement timeout"):
            await do(lambda tx: tx.value("SELECT pg_sleep(5)"))
    assert await store.read(messages_in) == 0
    await store.close()


def test_every_connection_has_its_limits(postgres: str) -> None:
    settings = {
        "statement_timeout": "30s",
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "10s",
        "synchronous_commit": "on",
        "TimeZone": "UTC",
    }
    with connect(postgres) as connection:
        for name, expected in settings.items():
            assert connection.execute(f"SHOW {name}").fetchone() == (expected,)


def kick_out(url: str) -> int:
    """End all other sessions of the schema; how many it were."""
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'mailstead' AND datname = current_database()"
        ).fetchall()
    return len(rows)


async def test_a_lost_connection_is_not_seen_by_readers(
    own_postgres: OwnPostgres, tmp_path: Path
) -> None:
    store = await prepared(own_postgres.url, tmp_path)
    runs = 0

    def work(tx: Tx) -> int:
        nonlocal runs
        runs += 1
        found = messages_in(tx)
        if runs == 1:
            kick_out(own_postgres.url)
        return found + messages_in(tx)

    assert await store.read(work) == 0
    assert runs == 2
    await store.close()


async def test_a_connection_lost_within_a_write_costs_nothing(
    own_postgres: OwnPostgres, tmp_path: Path
) -> None:
    """What was not committed is done again, on a new connection."""
    store = await prepared(own_postgres.url, tmp_path)
    account, _ = await store.read(inbox)
    runs = 0

    def work(tx: Tx) -> int:
        nonlocal runs
        runs += 1
        modseq = mailboxes.next_modseq(tx, account)
        if runs == 1:
            kick_out(own_postgres.url)
        return modseq

    before = await store.read(lambda tx: tx.value("SELECT modseq FROM account WHERE id = 1"))
    assert await store.write(work) == before + 1
    assert runs == 2
    await store.close()


async def test_a_commit_whose_answer_is_lost_is_done_again_and_never_lost(
    own_postgres: OwnPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can know whether it was done: mail may be there twice, as after a lost 250."""
    store = await prepared(own_postgres.url, tmp_path)
    place = await store.read(inbox)
    commit, lost = postgres_tx.PostgresTx.commit, False

    def commit_and_lose(tx: postgres_tx.PostgresTx) -> None:
        nonlocal lost
        commit(tx)
        if not lost and tx is store._writer.tx:
            lost = True
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(postgres_tx.PostgresTx, "commit", commit_and_lose)
    applied = await store.apply(plan(append(*place)))
    assert lost
    assert await store.read(messages_in) == 2
    assert applied.appended[0].uid == 2
    assert await store.read(broken) == []
    await store.close()


async def test_a_transaction_that_swallowed_an_error_is_not_taken_for_committed(
    postgres: str, tmp_path: Path
) -> None:
    store = await prepared(postgres, tmp_path)
    tx = store._writer.tx
    tx.begin(postgres_tx.PLAIN)
    with pytest.raises(psycopg.Error):
        tx.run("SELECT nonsense")
    with pytest.raises(psycopg.Error, match="COMMIT came back as ROLLBACK"):
        tx.commit()
    tx.rollback()
    assert await store.read(messages_in) == 0
    await store.close()


async def test_a_server_that_is_away_and_comes_back(
    own_postgres: OwnPostgres, tmp_path: Path
) -> None:
    store = await prepared(own_postgres.url, tmp_path)
    place = await store.read(inbox)
    await store.apply(plan(append(*place)))
    own_postgres.crash()
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(TemporaryFailure, match="database"):
            await store.apply(plan(append(*place)))
        with pytest.raises(TemporaryFailure, match="database"):
            await store.read(messages_in)
        assert time.monotonic() - began < 1
    own_postgres.start()
    await comes_back(store)
    await store.apply(plan(append(*place)))
    assert await store.read(messages_in) == 2
    await store.close()


async def comes_back(store: PostgresStore) -> None:
    async with asyncio.timeout(3 * postgres_tx.BACK_OFF[1]):
        for work in (store.read, store.write):
            while True:
                try:
                    await work(messages_in)
                    break
                except TemporaryFailure:
                    await asyncio.sleep(0.05)


async def test_under_load_while_the_server_crashes_nothing_that_was_promised_is_lost(
    own_postgres: OwnPostgres, tmp_path: Path
) -> None:
    store = await prepared(own_postgres.url, tmp_path)
    place = await store.read(inbox)
    promised: list[int] = []
    enough = asyncio.Event()
    failed = 0
    going = True

    async def deliver() -> None:
        nonlocal failed
        while going:
            try:
                applied = await store.apply(plan(append(*place)))
            except TemporaryFailure:
                failed += 1
                await asyncio.sleep(0.05)
            else:
                promised.append(applied.appended[0].uid)
                if len(promised) % 100 == 0:
                    enough.set()

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(deliver())
        for _ in range(2):
            enough.clear()
            await enough.wait()
            await asyncio.to_thread(own_postgres.crash)
            await asyncio.to_thread(own_postgres.start)
            await comes_back(store)
        going = False
    assert failed
    assert len(set(promised)) == len(promised)
    uids = await store.read(lambda tx: messages.snapshot(tx, place[1]).uids)  # type: ignore[union-attr]
    assert set(promised) <= set(uids)
    assert await store.read(broken) == []
    await store.close()


def test_who_cannot_connect_waits_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, tries = 1000.0, []

    def refuse(*_: object) -> None:
        tries.append(now)
        raise psycopg.OperationalError("connection refused")

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(postgres_tx, "connect", refuse)
    link = Link("postgresql://")
    for _ in range(150):
        with pytest.raises(TemporaryFailure, match="cannot be reached"):
            link.get()
        now += 0.1
    waits = [round(later - earlier, 1) for earlier, later in pairwise(tries)]
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6] + [2.0] * 5


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.OperationalError("server closed the connection"), TemporaryFailure),
        (psycopg.InterfaceError("the connection is closed"), TemporaryFailure),
        (psycopg.InternalError("got no result"), TemporaryFailure),
        (psycopg.errors.PipelineAborted("aborted"), TemporaryFailure),
        (psycopg.errors.InFailedSqlTransaction("aborted"), TemporaryFailure),
        (psycopg.errors.DiskFull("no space left"), TemporaryFailure),
        (psycopg.errors.SerializationFailure("in the way"), TemporaryFailure),
        (OSError("no space left"), TemporaryFailure),
        (psycopg.errors.UndefinedTable("no such table"), psycopg.errors.UndefinedTable),
        (psycopg.errors.UniqueViolation("there is one"), psycopg.errors.UniqueViolation),
        (psycopg.errors.NumericValueOutOfRange("too big"), psycopg.errors.NumericValueOutOfRange),
        (Refusal("no"), Refusal),
    ],
)
def test_failures_that_pass_and_those_of_our_own(error: Exception, expected: type) -> None:
    assert type(postgres_tx.failure_of(error)) is expected


# ---------------------------------------------------------------------- what cannot even begin


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ("dbname=nowhere", TemporaryFailure, 'database "nowhere" does not exist'),
        ("nonsense=1", Refusal, "nonsense"),
        ("options=-csearch_path%3Dnowhere", Refusal, "no schema has been selected"),
    ],
)
def test_a_database_that_cannot_be_used(
    postgres_server: str, tmp_path: Path, options: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        open_store(f"{postgres_server}&{options}", tmp_path)


def test_nodes_that_start_at_the_same_time_wait_for_the_tables(
    postgres: str, tmp_path: Path
) -> None:
    url = postgres
    other = hold_up(url, f"SELECT pg_advisory_xact_lock({0x6D61696C})")

    async def start() -> None:
        async with asyncio.TaskGroup() as group:
            opening = group.create_task(asyncio.to_thread(open_store, url, tmp_path))
            await asyncio.sleep(0.5)
            assert not opening.done()
            other.close()
        await opening.result().close()

    asyncio.run(start())


@pytest.mark.parametrize(("statements", "runs"), [(1, 1), (2, 2)])
async def test_a_look_up_is_one_statement_or_a_transaction(
    postgres: str, tmp_path: Path, statements: int, runs: int
) -> None:
    """Two statements would see two states: the work runs again, in a transaction."""
    store = await prepared(postgres, tmp_path)
    began = []

    def work(tx: Tx) -> list[str]:
        began.append(tx)
        asked = "SELECT current_setting('transaction_isolation')"
        return [tx.value(asked) for _ in range(statements)]

    found = await store.look_up(work)
    assert (len(began), len(set(found))) == (runs, 1)
    assert found[0] == ("read committed" if statements == 1 else "repeatable read")
    await store.close()


async def test_ids_that_a_crashed_server_forgot_are_not_used(postgres: str, tmp_path: Path) -> None:
    """A range is taken without waiting for the disk: a crash may forget it, and give it again."""
    store = await prepared(postgres, tmp_path)
    for _ in range(4):  # the ranges grow: of the last one ids are left
        pid, _ = await store.write(
            lambda tx: (tx.value("SELECT pg_backend_pid()"), tx.allocate("blob"))
        )
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute("UPDATE sequence SET next = 1000 WHERE name = 'blob'")
        server.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    with suppress(TemporaryFailure):  # the first notices that the connection is gone
        await store.write(lambda tx: tx.allocate("blob"))
    assert await store.write(lambda tx: tx.allocate("blob")) >= 1000
    await store.close()
