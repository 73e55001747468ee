"""The operator's address: GET /metrics and GET /health over HTTP/1.1 (RFC 9112), nothing else.

Not for the public: it has no log-in, and says how much mail there is, though never whose. Each
connection has one request of 8 KiB and ten seconds.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import msgspec

from mailstead.model.errors import Refusal, TemporaryFailure
from mailstead.model.world import Stream
from mailstead.server.metrics import CONTENT_TYPE, Board, Series, exposition
from mailstead.server.wiring import House
from mailstead.storage import figures
from mailstead.storage.store import Tx

HEAD_LIMIT = 8 * 1024  # octets of the request line and the header
TIME_LIMIT = 10.0  # seconds for the whole request, and for its answer
STORE_TIME_LIMIT = 5.0  # seconds until a store that does not answer is called unreadable
FRESH = timedelta(seconds=20)  # a worker that showed life since then is alive
FIGURES_AGE = timedelta(seconds=5)  # figures of the store are not counted more often

_REQUEST = re.compile(rb"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.[01]\r\n")
_HOST = re.compile(
    rb"\r\nHost:[ \t]*([A-Za-z0-9.-]{1,253})(?::[0-9]{1,5})?[ \t]*\r\n", re.IGNORECASE
)
_PHRASES = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Request(msgspec.Struct, frozen=True):
    """What is asked for; the host is in lower case, without a port."""

    target: str
    host: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What goes back."""

    status: int
    text: str
    content_type: str = "text/plain; charset=utf-8"


class Health(msgspec.Struct, frozen=True):
    """Whether the server can do its work; `reason` says why not."""

    ok: bool
    reason: str
    workers: int


def page(house: House, board: Board) -> Callable[[Stream], Awaitable[None]]:
    """What serves a connection."""
    pages = Pages(house, board)
    return lambda stream: serve(stream, pages.answer)


async def serve(stream: Stream, answer: Callable[[Request], Awaitable[Answer]]) -> None:
    """One request, one answer."""
    try:
        async with asyncio.timeout(TIME_LIMIT):
            request = await _read_request(stream)
    except TimeoutError:
        request = failure(408)
    except ConnectionError:
        return
    try:
        async with asyncio.timeout(TIME_LIMIT):
            found = request if isinstance(request, Answer) else await answer(request)
            stream.send(format_answer(found))
            await stream.close()
    except (TimeoutError, ConnectionError):
        return


async def _read_request(stream: Stream) -> Request | Answer:
    head = bytearray()
    while True:
        data = await stream.receive()
        if data is None:
            continue  # the server ends, but this is quickly done
        head += data
        end = head.find(b"\r\n\r\n", max(0, len(head) - len(data) - 3), HEAD_LIMIT)
        if end >= 0:
            return parse_head(bytes(head[: end + 4]))
        if len(head) >= HEAD_LIMIT:
            return failure(431)
        if not data:
            return failure(400)


def parse_head(head: bytes) -> Request | Answer:
    """What a GET asks for, or the refusal."""
    found = _REQUEST.match(head)
    if found is None:
        return failure(400)
    if found[1] != b"GET":
        return failure(405)
    host = _HOST.search(head)
    return Request(found[2].decode("ascii"), host[1].decode("ascii").lower() if host else "")


def format_answer(answer: Answer) -> bytes:
    """The answer as it is sent; the connection ends with it."""
    body = answer.text.encode()
    fields = [
        f"HTTP/1.1 {answer.status} {_PHRASES[answer.status]}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if answer.status == 405:
        fields.append("Allow: GET")
    return "\r\n".join([*fields, "", ""]).encode() + body


def failure(status: int) -> Answer:
    """The answer that says only what went wrong."""
    return Answer(status, f"{_PHRASES[status]}\n")


class Pages:
    """The two pages."""

    def __init__(self, house: House, board: Board) -> None:
        self._house, self._board = house, board
        self._figures: dict[Series, list[float]] = {}
        self._counted = house.world.clock.now() - FIGURES_AGE

    async def answer(self, request: Request) -> Answer:
        """The page of that name."""
        path, _, query = request.target.partition("?")
        if path == "/metrics":
            return Answer(200, exposition(await self._totals()), CONTENT_TYPE)
        if path == "/health":
            return format_health(await self._health(), "json" in query.split("&"))
        return failure(404)

    # ------------------------------------------------------------------ /health

    async def _health(self) -> Health:
        workers = len(self._alive())
        if not workers:
            return Health(False, "no worker has shown life lately", workers)
        reason = await self._store_failure()
        return Health(not reason, reason or "ok", workers)

    def _alive(self) -> list[int]:
        now = self._house.world.clock.now().timestamp()
        fresh = now - FRESH.total_seconds()
        return [worker.pid for worker in self._board.workers() if worker.heartbeat > fresh]

    async def _store_failure(self) -> str:
        """Why the store cannot be read; "" if it can."""
        path = self._house.config.sqlite_path
        if path and not path.exists():
            return "the database is gone from its place"
        try:
            async with asyncio.timeout(STORE_TIME_LIMIT):
                await self._house.store.read(_touch)
        except TimeoutError:
            return "the database does not answer"
        except (TemporaryFailure, Refusal) as failure:
            return failure.reason
        except Exception as error:  # noqa: BLE001 whatever it is, mail cannot be read
            return f"the database cannot be read: {type(error).__name__}"
        return ""

    # ------------------------------------------------------------------ /metrics

    async def _totals(self) -> dict[Series, list[float]]:
        totals = self._board.totals() | await self._store_figures()
        totals["workers",] = [float(len(self._alive()))]
        for worker in self._board.workers():
            totals["worker_heartbeat_seconds", str(worker.pid)] = [worker.heartbeat]
        return totals

    async def _store_figures(self) -> dict[Series, list[float]]:
        """Counted anew when they are old; a store that cannot be read leaves them out."""
        now = self._house.world.clock.now()
        if now - self._counted >= FIGURES_AGE:
            self._counted = now
            self._figures = (
                {} if await self._store_failure() else await self._count(now.timestamp())
            )
        return self._figures

    async def _count(self, now: float) -> dict[Series, list[float]]:
        queue, packs = await self._house.store.read(_figures)
        oldest = now - queue.oldest.timestamp() if queue.oldest else 0.0
        return {
            ("queue_recipients", "waiting"): [float(queue.waiting)],
            ("queue_recipients", "held"): [float(queue.held)],
            ("queue_oldest_seconds",): [max(0.0, oldest)],
            ("store_octets", "packs"): [float(packs)],
            ("store_octets", "texts"): [float(await self._house.mailboxes.texts.size())],
            **_database_sizes(self._house.config.sqlite_path),
        }


def format_health(health: Health, as_json: bool) -> Answer:
    """One line, or JSON."""
    status = 200 if health.ok else 503
    if as_json:
        return Answer(status, msgspec.json.encode(health).decode() + "\n", "application/json")
    return Answer(status, f"{health.reason}\n")


def _touch(tx: Tx) -> None:
    tx.row("SELECT id FROM organisation LIMIT 1")


def _figures(tx: Tx) -> tuple[figures.QueueFigures, int]:
    return figures.queue_figures(tx), figures.packed_octets(tx)


def _database_sizes(path: Path | None) -> dict[Series, list[float]]:
    """Of the files of an SQLite database; a database server tells its own."""
    if path is None:
        return {}
    log = Path(f"{path}-wal")
    return {("store_octets", "database"): [_size(path)], ("store_octets", "log"): [_size(log)]}


def _size(path: Path) -> float:
    return float(path.stat().st_size) if path.exists() else 0.0
