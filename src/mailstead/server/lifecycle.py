"""The life of a worker: a whole server on sockets that it is given, until it is told to end.

SIGTERM drains: no new connections; each session is told goodbye when it waits for its client; what
runs has DRAIN_LIMIT to end. What had no 250 or OK was not promised. If the supervisor dies, its
workers end in the same way.
"""

import asyncio
import gc
import os
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from mailstead.server import certificates, operator
from mailstead.server.acme import AcmeFolder
from mailstead.server.config import Config
from mailstead.server.duties import Duties
from mailstead.server.listeners import Contexts, Listeners
from mailstead.server.metrics import BoardMeter
from mailstead.server.supervisor import HEARTBEAT, Post, Supervisor
from mailstead.server.tls import Certificates, Pair
from mailstead.server.wiring import House, open_house
from mailstead.services.telling import Tell
from mailstead.storage import login_certificates

# Of the garbage collector: a look at all that lives stops the loop for tens of milliseconds where
# big mailboxes are in use, and finds next to nothing: ten times less often than by default.
COLLECTOR = (700, 10, 100)
DRAIN_LIMIT = 20.0  # seconds for sessions to end by themselves


class _Stop(Exception):
    """Somebody asked the server to end."""


def run(load: Callable[[], Config], tell: Tell, ready: Callable[[Config], None]) -> bool:
    """Serve until a signal; `ready` is called once every port is open. False if it never was."""

    def work(config: Config, post: Post) -> int:
        _run_loop(serve(config, tell, post))
        return 0

    supervisor = Supervisor(load, work, ready)
    supervisor.run()
    return not supervisor.failed


async def serve(config: Config, tell: Tell, post: Post) -> None:
    """A worker's main task."""
    meter = post.board.meter(post.region, os.getpid(), time.time())
    post.counters.seat = post.seat
    async with open_house(config, tell, meter, post.counters) as house:
        asking = await house.store.look_up(login_certificates.any_at_all)
        tls = tls_contexts(config, house, asking)
        house.watch.start()
        try:
            async with asyncio.TaskGroup() as group:
                listeners = Listeners(house, tls, group, operator.page(house, post.board))
                await listeners.open(post.bound)
                gc.freeze()  # what is here now stays: the collector need not look at it again
                gc.set_threshold(*COLLECTOR)
                duties = Duties(config.folder, house)
                group.create_task(duties.run())
                group.create_task(_show_life(post.pipe, meter))
                await _until_told(post.lifeline)
                await listeners.drain(DRAIN_LIMIT)
                raise _Stop
        except* _Stop:
            pass


async def _show_life(pipe: int, meter: BoardMeter) -> None:
    os.write(pipe, b"R")
    while True:
        await asyncio.sleep(HEARTBEAT)
        os.write(pipe, b".")
        meter.show_life(time.time())


async def _until_told(lifeline: int) -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    loop.add_reader(lifeline, told.set)  # its end: the supervisor is gone
    await told.wait()
    loop.remove_reader(lifeline)


def tls_contexts(config: Config, house: House, asking: bool) -> Contexts:
    """Certificates by ACME, of the configuration, or of our own making; by the name asked for.

    Clients are asked for theirs only if somebody logs in by one: some programs ask people then.
    """
    folder = AcmeFolder(config.folder)
    pairs = [folder.pair] if config.tls.acme else []
    pairs += [Pair(Path(certificate), Path(key)) for certificate, key in config.tls.certificates]
    if not config.tls.certificates:
        names = [config.hostname, "localhost", "127.0.0.1", "::1"]
        now = house.world.clock.now()
        pairs.append(certificates.own_pair(config.folder / "tls", names, now))
    more = folder.pairs_of_hosts if config.tls.acme else list
    found = Certificates(pairs, more, config.tls.ca_file if asking else "")
    return Contexts(found.context, found.asking)


def _run_loop(main: Coroutine[Any, Any, None]) -> None:
    with suppress(ImportError):
        import uvloop

        uvloop.run(main)
        return
    asyncio.run(main)
