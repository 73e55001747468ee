"""Wake-ups between nodes on one PostgreSQL."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import psycopg
import pytest

from mailstead.model.world import ALL
from mailstead.net.bus import JoinedBus, machine_of
from mailstead.storage import postgres_bus
from mailstead.storage.postgres_bus import PAYLOAD_LIMIT, TOPICS_LIMIT, PostgresBus
from mailstead.storage.postgres_tx import Link

pytestmark = pytest.mark.postgres

SOON = 0.2  # seconds from one node to the other


class OwnPostgres(Protocol):
    url: str

    def crash(self) -> None: ...
    def start(self) -> None: ...


class Node:
    """A bus, and what it has heard."""

    def __init__(self, url: str, name: str) -> None:
        self.bus, self.heard = PostgresBus(url, name), asyncio.Queue[bytes]()
        self.bus.subscribe(self.heard.put_nowait)

    async def hear(self, count: int, within: float = 10.0) -> list[bytes]:
        async with asyncio.timeout(within):
            return [await self.heard.get() for _ in range(count)]

    async def hear_until(self, topic: bytes, within: float = 10.0) -> list[bytes]:
        found: list[bytes] = []
        async with asyncio.timeout(within):
            while topic not in found:
                found.append(await self.heard.get())
        return found


@asynccontextmanager
async def nodes(url: str, *names: str) -> AsyncIterator[list[Node]]:
    """Nodes that listen."""
    made = [Node(url, name) for name in names]
    try:
        for node in made:
            assert await node.hear(1) == [ALL]
        yield made
    finally:
        for node in made:
            node.bus.close()


async def test_the_other_node_hears_within_200_ms(postgres: str) -> None:
    async with nodes(postgres, "a", "b") as (a, b):
        a.bus.publish(b"mailbox 1")
        await b.hear(1)
        for number in range(20):
            began = time.monotonic()
            a.bus.publish(b"mailbox %d" % number)
            assert await b.hear(1) == [b"mailbox %d" % number]
            assert time.monotonic() - began < SOON


async def test_a_node_does_not_hear_itself_nor_its_workers(postgres: str) -> None:
    async with nodes(postgres, "a", "a", "b") as (a, sibling, b):
        a.bus.publish(b"mailbox 1")
        b.bus.publish(b"mailbox 2")
        assert await b.hear(1) == [b"mailbox 1"]
        assert await a.hear(1) == [b"mailbox 2"]
        assert await sibling.hear(1) == [b"mailbox 2"]
        assert a.heard.empty()


async def test_other_schemas_are_other_servers(schemas: Callable[[str], str]) -> None:
    async with nodes(schemas("one"), "a", "b") as (a, b), nodes(schemas("two"), "c") as (c,):
        a.bus.publish(b"mailbox 1")
        assert await b.hear(1) == [b"mailbox 1"]
        c.bus.publish(b"mailbox 2")
        a.bus.publish(b"mailbox 3")
        assert await b.hear(1) == [b"mailbox 3"]
        assert c.heard.empty()


async def test_many_topics_travel_together_each_once(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[list[str]] = []
    notify = PostgresBus._notify

    def counted(bus: PostgresBus, payloads: list[str]) -> None:
        sent.append(payloads)
        notify(bus, payloads)

    monkeypatch.setattr(PostgresBus, "_notify", counted)
    topics = [b"mailbox %d" % number for number in range(2000)]
    async with nodes(postgres, "a", "b") as (a, b):
        for topic in topics + topics:
            a.bus.publish(topic)
        assert await b.hear(2000) == topics
        assert b.heard.empty()
    (payloads,) = sent
    assert 1 < len(payloads) < 6
    assert max(len(payload) for payload in payloads) <= PAYLOAD_LIMIT


async def test_beyond_the_limit_everybody_looks(postgres: str) -> None:
    async with nodes(postgres, "a", "b") as (a, b):
        for number in range(TOPICS_LIMIT + 1):
            a.bus.publish(b"mailbox %d" % number)
        assert await b.hear(2) == [ALL, b"mailbox %d" % TOPICS_LIMIT]


async def test_what_is_published_while_the_same_travels_is_sent_again(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first may have been heard before the second's commit."""
    gate, notify = threading.Event(), PostgresBus._notify

    def slow(bus: PostgresBus, payloads: list[str]) -> None:
        notify(bus, payloads)
        gate.wait(10)

    monkeypatch.setattr(PostgresBus, "_notify", slow)
    async with nodes(postgres, "a", "b") as (a, b):
        a.bus.publish(b"mailbox 1")
        assert await b.hear(1) == [b"mailbox 1"]
        a.bus.publish(b"mailbox 1")
        gate.set()
        assert await b.hear(1) == [b"mailbox 1"]


def kick(url: str, query: str) -> int:
    """End the sessions whose last statement was like this; how many it were."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'mailstead' AND query LIKE %s"
            " AND query LIKE '%%' || current_schema() || '%%'",
            (query,),
        ).rowcount


async def test_a_listener_whose_connection_is_lost_looks_at_everything(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_bus, "TRY_AGAIN", 0.1)
    async with nodes(postgres, "a", "b") as (a, b):
        assert await asyncio.to_thread(kick, postgres, "LISTEN%") == 2
        assert await b.hear_until(ALL) == [ALL]
        assert await a.hear_until(ALL) == [ALL]
        a.bus.publish(b"mailbox 1")
        assert await b.hear(1) == [b"mailbox 1"]


async def test_what_cannot_be_sent_now_is_sent_later(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_bus, "TRY_AGAIN", 0.05)
    async with nodes(postgres, "a", "b") as (a, b):
        telling, away = a.bus._telling, Link("host=/nowhere")
        a.bus._telling = away
        for number in range(3):
            a.bus.publish(b"mailbox %d" % number)
            await asyncio.sleep(0.1)
        assert b.heard.empty()
        a.bus._telling = telling
        assert sorted(await b.hear(3)) == [b"mailbox 0", b"mailbox 1", b"mailbox 2"]


async def test_what_waits_at_the_end_is_sent(postgres: str) -> None:
    async with nodes(postgres, "b") as (b,):
        last = PostgresBus(postgres, "a")
        last.publish(b"mailbox 1")
        last.close()
        assert await b.hear(1) == [b"mailbox 1"]


async def test_a_server_that_crashes(own_postgres: OwnPostgres) -> None:
    async with nodes(own_postgres.url, "a", "b") as (a, b):
        await asyncio.to_thread(own_postgres.crash)
        a.bus.publish(b"mailbox 1")
        await asyncio.to_thread(own_postgres.start)
        assert ALL in await b.hear_until(ALL, within=15)
        await a.hear_until(ALL, within=15)
        a.bus.publish(b"mailbox 2")
        await b.hear_until(b"mailbox 2", within=15)


async def test_joined_buses_tell_and_hear_all(postgres: str) -> None:
    ours = [PostgresBus(postgres, "a") for _ in range(2)]
    joined, heard = JoinedBus(*ours), asyncio.Queue[bytes]()
    joined.subscribe(heard.put_nowait)
    assert [await heard.get() for _ in range(2)] == [ALL, ALL]
    async with nodes(postgres, "b") as (b,):
        joined.publish(b"mailbox 1")
        assert await b.hear(2) == [b"mailbox 1", b"mailbox 1"]
        b.bus.publish(b"queue")
        assert [await heard.get() for _ in range(2)] == [b"queue", b"queue"]
    joined.close()


def test_machine_of(tmp_path_factory: pytest.TempPathFactory) -> None:
    one, other = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    assert machine_of(one) == machine_of(one)
    assert machine_of(one) != machine_of(other)
