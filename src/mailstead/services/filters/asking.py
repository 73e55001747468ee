"""The filters in use, asked one after the other: each sees what those before it have changed.

Owns: which are asked, for how long, and what their silence means. Holds: a filter that hangs, dies
or talks nonsense costs its time limit, never a message: its mail goes on ("open") or is put off
("closed"), as the operator chose; one that failed is left alone for a moment.
"""

import asyncio
import ipaddress
import logging
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from mailstead.model.dns import Question
from mailstead.model.entries import Filtered
from mailstead.model.errors import TemporaryFailure
from mailstead.model.reply import Reply
from mailstead.model.world import Network, World
from mailstead.net import http
from mailstead.net.https import HttpError
from mailstead.protocol.milter.edit import change_header
from mailstead.services.filters import clamd, hook, milter, rspamd
from mailstead.services.filters.letter import (
    NO_CHANGES,
    Advice,
    Changes,
    EngineFailed,
    Letter,
    Opinion,
)
from mailstead.services.metering import Meter
from mailstead.storage import filter_engines
from mailstead.storage.blobs import Budget, Gathering
from mailstead.storage.filter_engines import Engine
from mailstead.storage.store import Store

ENGINES_REMEMBERED = timedelta(minutes=1)  # so long until a change by `mailstead filter` is seen
FILTERS_LIMIT = timedelta(minutes=4)  # for all of them; a client waits for ten
DOWN_FOR = timedelta(seconds=15)  # a filter that failed is not asked again before
UNANSWERED = Reply(451, "4.7.1", "A filter of ours does not answer; try again later")

log = logging.getLogger("mailstead.filters")


class Scanned(msgspec.Struct, frozen=True):
    """What all filters said, and the message as they left it."""

    header: bytes
    changes: Changes = NO_CHANGES  # but for the header
    opinions: tuple[Opinion, ...] = ()
    entries: tuple[Filtered, ...] = ()

    @property
    def malware(self) -> str:
        """The name of what was found; nothing, if nothing was."""
        return next((one.malware for one in self.opinions if one.malware), "")

    @property
    def gravest(self) -> Opinion | None:
        """The one that wants most; None if nobody wants anything."""
        grave = [one for one in self.opinions if one.advice is not Advice.NOTHING]
        return max(grave, key=lambda one: list(Advice).index(one.advice), default=None)


class Filters:
    """Asks them."""

    def __init__(
        self, store: Store, world: World, spool: Path, budget: Budget, meter: Meter
    ) -> None:
        self._store, self._world, self._meter = store, world, meter
        self._spool, self._budget = spool, budget
        self._used: tuple[datetime, tuple[Engine, ...]] | None = None
        self._down: dict[str, datetime] = {}

    async def in_use(self, direction: str) -> list[Engine]:
        """Those that see mail of this direction: "in" or "out"."""
        now = self._world.clock.now()
        if self._used is None or self._used[0] <= now:
            engines = await self._store.look_up(filter_engines.list_all)
            self._used = (now + ENGINES_REMEMBERED, tuple(engines))
        return [one for one in self._used[1] if one.sees(direction)]

    async def ask(self, letter: Letter, direction: str) -> Scanned:
        """What they say of the message."""
        scanned = Scanned(letter.header)
        end = asyncio.get_running_loop().time() + FILTERS_LIMIT.total_seconds()
        for engine in await self.in_use(direction):
            opinion = await self._ask(engine, letter, direction, end)
            letter, scanned = _apply(letter, scanned, opinion)
            entry = _entry(engine, opinion, self._world.clock.now())
            scanned = msgspec.structs.replace(
                scanned,
                opinions=(*scanned.opinions, opinion),
                entries=(*scanned.entries, entry),
            )
            if opinion.advice in (Advice.REFUSE, Advice.DEFER):
                break
        return scanned

    async def test(self, engine: Engine, letter: Letter, direction: str) -> Opinion:
        """What one says of a message; EngineFailed, OSError or TimeoutError if nothing."""
        async with asyncio.timeout(engine.time_limit.total_seconds()):
            return await self._talk(engine, letter, direction)

    async def _ask(self, engine: Engine, letter: Letter, direction: str, end: float) -> Opinion:
        now = self._world.clock.now()
        if self._down.get(engine.name, now) > now:
            return self._failed(engine, "it has just failed")
        limit = asyncio.get_running_loop().time() + engine.time_limit.total_seconds()
        try:
            async with asyncio.timeout_at(min(limit, end)):
                opinion = await self._talk(engine, letter, direction)
        except TimeoutError:
            problem = f"no answer within {engine.time_limit.total_seconds():.0f} s"
        except (EngineFailed, HttpError, OSError, TemporaryFailure) as error:
            problem = str(error) or type(error).__name__
        else:
            self._down.pop(engine.name, None)
            self._count(engine, opinion.advice.value)
            return opinion
        self._down[engine.name] = self._world.clock.now() + DOWN_FOR
        log.warning(
            "filter-failed name=%s failure=%s reason=%r", engine.name, engine.failure, problem
        )
        return self._failed(engine, problem)

    def _failed(self, engine: Engine, problem: str) -> Opinion:
        self._count(engine, "failed")
        if engine.failure == "closed":
            return Opinion(engine.name, Advice.DEFER, problem, UNANSWERED, failed=True)
        return Opinion(engine.name, reason=problem, failed=True)

    def _count(self, engine: Engine, result: str) -> None:
        self._meter.count("filter_answers_total", kind=engine.kind, result=result)

    # ------------------------------------------------------------------ talking

    async def _talk(self, engine: Engine, letter: Letter, direction: str) -> Opinion:
        if engine.kind in ("rspamd", "http"):
            return await self._post(engine, letter, direction)
        address, port = await self._find(engine.endpoint)
        network: Network = self._world.network
        stream = await network.connect(address, port)
        try:
            if engine.kind == "clamd":
                return await clamd.ask(stream, letter, engine.name)
            opinion = await milter.ask(stream, letter, engine.name, self._new_body)
            await stream.close()  # it has still to hear that we go
            return opinion
        finally:
            stream.abort()

    async def _post(self, engine: Engine, letter: Letter, direction: str) -> Opinion:
        url, network = http.parse_url(engine.endpoint), self._world.network
        address = await self._address_of(url.host)
        if engine.kind == "rspamd":
            what, pieces = rspamd.request(letter), (letter.header, *letter.body.parts())
            return rspamd.read(await http.post(network, address, url, what, pieces), engine.name)
        what, data = hook.request(letter, direction)
        return hook.read(await http.post(network, address, url, what, (data,)), engine.name)

    async def _find(self, endpoint: str) -> tuple[str, int]:
        if endpoint.startswith("/"):
            return endpoint, 0
        host, _, port = endpoint.rpartition(":")
        return await self._address_of(host.strip("[]")), int(port)

    async def _address_of(self, host: str) -> str:
        if host == "localhost":
            return "127.0.0.1"
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            pass
        for kind in ("A", "AAAA"):
            answer = await self._world.resolver.ask(Question(kind, host.lower()))
            if answer.records:
                return answer.records[0]
        raise EngineFailed(f"the DNS has no address of {host}")

    def _new_body(self) -> Gathering:
        return Gathering(self._spool, self._budget)


def parse_endpoint(kind: str, text: str) -> str:
    """Where a filter listens, in one spelling; ValueError says what it should look like."""
    if kind in ("rspamd", "http"):
        url = http.parse_url(text)
        if kind == "rspamd" and url.path == "/":
            return text.rstrip("/") + "/checkv2"
        return text
    text = text.removeprefix("unix:").removeprefix("local:").removeprefix("inet:")
    if text.startswith("/"):
        return text
    if "@" in text:  # as milters write it: inet:8891@localhost
        port, _, host = text.partition("@")
        text = f"{host}:{port}"
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is no place like 127.0.0.1:8891 or unix:/run/clamd.sock")
    return text


def _apply(letter: Letter, scanned: Scanned, opinion: Opinion) -> tuple[Letter, Scanned]:
    """The message with what one filter changes."""
    new, before = opinion.changes, scanned.changes
    if new is NO_CHANGES:
        return letter, scanned
    header = change_header(letter.header, new.header)
    path = letter.reverse_path if new.reverse_path is None else new.reverse_path
    removed = {one.lower() for one in new.removed}
    kept = tuple(one for one in letter.recipients if one.lower() not in removed)
    letter = msgspec.structs.replace(
        letter,
        header=header,
        body=letter.body if new.body is None else new.body,
        reverse_path=path,
        recipients=(*kept, *new.added),
    )
    changes = Changes(
        body=before.body if new.body is None else new.body,
        added=(*before.added, *new.added),
        removed=(*before.removed, *new.removed),
        reverse_path=before.reverse_path if new.reverse_path is None else new.reverse_path,
    )
    return letter, msgspec.structs.replace(scanned, header=header, changes=changes)


def _entry(engine: Engine, opinion: Opinion, now: datetime) -> Filtered:
    return Filtered(
        at=now,
        filter=engine.name,
        advice=opinion.advice.value,
        reason=opinion.reason,
        malware=opinion.malware,
        changes=opinion.changes.words,
        failed=opinion.failed,
    )
