"""One of the nodes on a PostgreSQL has the common duties."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Protocol

import psycopg
import pytest

from mailstead.net.clock import SystemClock, ThreadOffload
from mailstead.storage import postgres_office
from mailstead.storage.postgres_office import PostgresOffice

pytestmark = pytest.mark.postgres


class OwnPostgres(Protocol):
    url: str

    def crash(self) -> None: ...
    def start(self) -> None: ...


class Nodes:
    """Nodes that want the office, and who has it."""

    def __init__(self, url: str) -> None:
        self.url, self.holders = url, list[str]()
        self.changed = asyncio.Condition()
        self.ends = dict[str, int]()
        self._offload = ThreadOffload()

    async def want(self, name: str) -> None:
        office = PostgresOffice(self.url, SystemClock(), self._offload)
        await office.run(lambda: self._hold(name))

    async def _hold(self, name: str) -> None:
        await self._change(name, here=True)
        try:
            await asyncio.Event().wait()
        finally:
            self.ends[name] = self.ends.get(name, 0) + 1
            await asyncio.shield(self._change(name, here=False))

    async def _change(self, name: str, here: bool) -> None:
        async with self.changed:
            (self.holders.append if here else self.holders.remove)(name)
            self.changed.notify_all()

    async def until(self, wanted: Callable[[list[str]], bool]) -> None:
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(lambda: wanted(self.holders))

    def close(self) -> None:
        self._offload.close()


@asynccontextmanager
async def running(
    url: str, *names: str
) -> AsyncIterator[tuple[Nodes, dict[str, asyncio.Task[None]]]]:
    nodes = Nodes(url)
    async with asyncio.TaskGroup() as group:
        tasks = {name: group.create_task(nodes.want(name)) for name in names}
        yield nodes, tasks
        for task in tasks.values():
            task.cancel()
    nodes.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_office, "LOOK_AGAIN", timedelta(seconds=0.05))


def holders(url: str) -> list[int]:
    """The server's processes whose session has the lock of the schema's office."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND granted"
            " AND objid = ((hashtext(current_schema())::bigint + 4294967296) %% 4294967296)::oid",
            (postgres_office._LOCKS,),
        ).fetchall()
    return [pid for (pid,) in rows]


def kill(url: str, pid: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))


async def test_one_of_two_has_it(postgres: str) -> None:
    async with running(postgres, "a", "b") as (nodes, _):
        await nodes.until(lambda held: len(held) == 1)
        await asyncio.sleep(0.5)  # ten looks of the other
        assert len(nodes.holders) == 1
        assert len(holders(postgres)) == 1


async def test_who_ends_leaves_it_to_the_other(postgres: str) -> None:
    async with running(postgres, "a", "b") as (nodes, tasks):
        await nodes.until(lambda held: len(held) == 1)
        (first,) = nodes.holders
        tasks[first].cancel()
        await nodes.until(lambda held: held not in ([], [first]))
        assert nodes.ends == {first: 1}


async def test_whose_connection_is_killed_stops_working(postgres: str) -> None:
    async with running(postgres, "a", "b") as (nodes, _):
        await nodes.until(lambda held: len(held) == 1)
        (first,) = nodes.holders
        (pid,) = holders(postgres)
        await asyncio.to_thread(kill, postgres, pid)
        await nodes.until(lambda held: nodes.ends == {first: 1} and len(held) == 1)
        assert holders(postgres) != [pid]


async def test_a_crash_of_the_server_is_survived(own_postgres: OwnPostgres) -> None:
    async with running(own_postgres.url, "a", "b") as (nodes, _):
        await nodes.until(lambda held: len(held) == 1)
        await asyncio.to_thread(own_postgres.crash)
        await nodes.until(lambda held: held == [])
        await asyncio.to_thread(own_postgres.start)
        await nodes.until(lambda held: len(held) == 1)


async def test_a_failure_of_the_work_is_told_and_frees_it(postgres: str) -> None:
    async def fail() -> None:
        raise ValueError("our own fault")

    offload = ThreadOffload()
    with pytest.raises(ExceptionGroup) as raised:
        await PostgresOffice(postgres, SystemClock(), offload).run(fail)
    offload.close()
    assert [str(one) for one in raised.value.exceptions] == ["our own fault"]
    async with running(postgres, "b") as (nodes, _):
        await nodes.until(lambda held: held == ["b"])


async def test_other_schemas_have_their_own(schemas: Callable[[str], str]) -> None:
    async with running(schemas("one"), "a") as (one, _), running(schemas("two"), "b") as (two, _):
        await one.until(lambda held: held == ["a"])
        await two.until(lambda held: held == ["b"])
