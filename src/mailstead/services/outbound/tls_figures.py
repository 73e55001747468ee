"""How TLS went with the hosts of others, counted for reports to them (RFC 8460).

Counted in memory and written once a minute, for domains that ask for reports and no others; a crash
costs the figures of that minute. Not here: sending the reports.
Holds: at most KEYS_LIMIT kinds of sessions are kept in memory; what is new beyond that is dropped.
"""

import asyncio
import logging
from datetime import date, timedelta

from mailstead.model.errors import TemporaryFailure
from mailstead.model.world import World
from mailstead.msgauth import tlsrpt
from mailstead.msgauth.tlsrpt import Session
from mailstead.services.outbound.asking import answer
from mailstead.storage import tls_policies
from mailstead.storage.store import Store
from mailstead.storage.tls_policies import Figure

KEYS_LIMIT = 10_000
PAUSE = timedelta(minutes=1)  # from the first session to the commit of its figure
PAGE = 200  # rows of one write
LAST_FLUSH_TIMEOUT = timedelta(seconds=5)

log = logging.getLogger("mailstead.outbound")


class TlsFigures:
    """The counter. `run` it, and `flush` it at the end."""

    def __init__(self, store: Store, world: World) -> None:
        self._store, self._world = store, world
        self._counted: dict[tuple[date, Session], int] = {}
        self._changed = asyncio.Event()

    def note(self, session: Session) -> None:
        """Count one session."""
        key = (self._world.clock.now().date(), session)
        if key in self._counted or len(self._counted) < KEYS_LIMIT:
            self._counted[key] = self._counted.get(key, 0) + 1
            self._changed.set()

    async def run(self) -> None:
        """Write down what was counted, until cancelled."""
        while True:
            await self._changed.wait()
            await self._world.clock.sleep(PAUSE)
            self._changed.clear()
            try:
                await self._write()
            except Exception:
                log.exception("counting TLS sessions failed, by our own fault")

    async def flush(self) -> None:
        """Write down what is left, unless that takes too long."""
        try:
            async with asyncio.timeout(LAST_FLUSH_TIMEOUT.total_seconds()):
                await self._write()
        except TimeoutError:
            log.warning("figures about TLS were lost: the store or the DNS takes too long")

    async def _write(self) -> None:
        counted, self._counted = self._counted, {}
        wanted = {session.domain for _, session in counted}
        wanted = {domain for domain in wanted if await self._wants_reports(domain)}
        figures = [
            Figure(day, session, count)
            for (day, session), count in counted.items()
            if session.domain in wanted
        ]
        for start in range(0, len(figures), PAGE):
            page = figures[start : start + PAGE]
            try:
                await self._store.write(lambda tx, page=page: tls_policies.count(tx, page))  # type: ignore[misc]
            except TemporaryFailure as failure:
                log.warning("figures about TLS were lost: %s", failure.reason)

    async def _wants_reports(self, domain: str) -> bool:
        """Whether it does, or may: the DNS may be silent for now."""
        addresses = await answer(tlsrpt.find_addresses(domain), self._world.resolver)
        return addresses is None or bool(addresses)
