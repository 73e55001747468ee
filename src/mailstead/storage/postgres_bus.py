"""Wake-ups between the nodes on one PostgreSQL: LISTEN on one connection, NOTIFY on another.

What is published in one turn of the loop travels in one NOTIFY, after the commits it tells of.
What cannot be sent now is kept and sent later; after a lost connection everybody looks (ALL), for
nobody knows what was missed. A node does not hear itself: its workers have their own bus.
"""

import asyncio
from asyncio import Future
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import psycopg

from mailstead.model.errors import TemporaryFailure
from mailstead.model.world import ALL
from mailstead.storage.postgres_tx import Connection, Link

PAYLOAD_LIMIT = 7_900  # octets; PostgreSQL takes less than 8,000
TOPICS_LIMIT = 10_000  # that wait to be sent; beyond, everybody is told to look
TRY_AGAIN = 1.0  # seconds


class PostgresBus:
    """The Bus of many machines. `node` is the same for all processes of one machine."""

    def __init__(self, url: str, node: str) -> None:
        self._node = node.encode()
        self._listening, self._telling = Link(url), Link(url, relaxed=True)
        self._threads = ThreadPoolExecutor(2, "bus")
        self._waiting: dict[bytes, None] = {}  # in order, each once
        self._sending = False
        self._closed = False
        self._heard: Callable[[bytes], None] = lambda topic: None
        self._reading: Connection | None = None

    # ------------------------------------------------------------------ telling

    def publish(self, topic: bytes) -> None:
        """Tell the other nodes."""
        self._wait([topic])
        if not self._sending:
            self._sending = True
            asyncio.get_running_loop().call_soon(self._send)

    def _wait(self, topics: Iterable[bytes]) -> None:
        for topic in topics:
            if len(self._waiting) >= TOPICS_LIMIT:
                self._waiting = {ALL: None}
            self._waiting[topic] = None

    def _send(self) -> None:
        """What is published from here on travels later: it may tell of a later commit."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        topics, self._waiting = self._waiting, {}
        done = loop.run_in_executor(self._threads, self._notify, _payloads(self._node, topics))
        done.add_done_callback(lambda future: self._sent(loop, topics, future))

    def _sent(
        self, loop: asyncio.AbstractEventLoop, topics: dict[bytes, None], done: Future[None]
    ) -> None:
        if self._closed or done.cancelled():
            return
        failed = done.exception() is not None
        if failed:
            self._wait(topics)
        if not self._waiting:
            self._sending = False
        elif failed:
            loop.call_later(TRY_AGAIN, self._send)
        else:
            loop.call_soon(self._send)

    def _notify(self, payloads: list[str]) -> None:
        connection = self._telling.get()
        for payload in payloads:
            connection.execute("SELECT pg_notify(%s || current_schema(), %s)", (_CHANNEL, payload))

    # ------------------------------------------------------------------ hearing

    def subscribe(self, hear: Callable[[bytes], None]) -> None:
        """Call hear(topic) for what other nodes publish; needs a running loop."""
        self._heard = hear
        self._connect(asyncio.get_running_loop())

    def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._closed:
            done = loop.run_in_executor(self._threads, self._listen)
            done.add_done_callback(lambda future: self._connected(loop, future))

    def _listen(self) -> Connection:
        connection = self._listening.get()
        row = connection.execute("SELECT current_schema()").fetchone()
        assert row is not None
        channel = psycopg.sql.Identifier(f"{_CHANNEL}{row[0]}")
        connection.execute(psycopg.sql.SQL("LISTEN {}").format(channel))
        return connection

    def _connected(self, loop: asyncio.AbstractEventLoop, done: Future[Connection]) -> None:
        if self._closed or done.cancelled():
            return
        if done.exception() is not None:
            loop.call_later(TRY_AGAIN, self._connect, loop)
            return
        self._reading = done.result()
        loop.add_reader(self._reading.fileno(), self._receive, loop, self._reading)
        self._heard(ALL)
        self._receive(loop, self._reading)

    def _receive(self, loop: asyncio.AbstractEventLoop, connection: Connection) -> None:
        """What has come in; nothing here waits."""
        descriptor = connection.fileno()
        try:
            connection.pgconn.consume_input()
            while found := connection.pgconn.notifies():
                self._hear(found.extra)
        except psycopg.OperationalError:
            loop.remove_reader(descriptor)
            self._reading = None
            connection.close()
            loop.call_later(TRY_AGAIN, self._connect, loop)

    def _hear(self, payload: bytes) -> None:
        node, *topics = payload.split(b"\n")
        if node != self._node:
            for topic in topics:
                self._heard(topic)

    # ------------------------------------------------------------------ the end

    def close(self) -> None:
        """Send what waits, if that is possible at once, and let go of the connections."""
        self._closed = True
        if self._reading is not None:
            asyncio.get_running_loop().remove_reader(self._reading.fileno())
        if self._waiting:
            self._threads.submit(self._notify_last)
        self._threads.shutdown(wait=True)
        self._listening.close()
        self._telling.close()

    def _notify_last(self) -> None:
        try:
            self._notify(_payloads(self._node, self._waiting))
        except (psycopg.Error, TemporaryFailure):
            return  # they look by themselves when they are connected again


_CHANNEL = "mailstead_"


def _payloads(node: bytes, topics: dict[bytes, None]) -> list[str]:
    """The topics in as few payloads as they fit in."""
    payloads, lines, octets = [], [node], len(node)
    for topic in topics:
        if octets + 1 + len(topic) > PAYLOAD_LIMIT:
            payloads.append(b"\n".join(lines))
            lines, octets = [node], len(node)
        lines.append(topic)
        octets += 1 + len(topic)
    return [payload.decode("ascii", "replace") for payload in [*payloads, b"\n".join(lines)]]
