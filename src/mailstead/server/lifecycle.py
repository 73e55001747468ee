"""The life of the server: open the ports, work until told to stop, leave nothing half done.

SIGTERM and SIGINT end it: no new connections, sessions are cut (what had no 250 was not promised),
the queue gives its running attempts a moment, the store commits what waits.
"""

import asyncio
import gc
import signal
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

from mailstead.server import certificates
from mailstead.server.config import Config
from mailstead.server.listeners import Listeners, bind_all
from mailstead.server.wiring import House, open_house
from mailstead.services.telling import Tell


class _Stop(Exception):
    """Somebody asked the server to end."""


def run(config: Config, tell: Tell, ready: Callable[[House], None]) -> None:
    """Serve until a signal; `ready` is called once every port is open."""
    _run_loop(serve(config, tell, ready))


async def serve(config: Config, tell: Tell, ready: Callable[[House], None]) -> None:
    """The server's main task."""
    async with open_house(config, tell) as house:
        tls = tls_context(config, house)
        bound = bind_all(house)
        house.watch.start()
        try:
            async with asyncio.TaskGroup() as group:
                listeners = Listeners(house, tls, group)
                await listeners.open(bound)
                gc.freeze()  # what is here now stays: the collector need not look at it again
                group.create_task(house.outbound.run())
                group.create_task(house.housekeeping.run())
                ready(house)
                group.create_task(_until_told())
        except* _Stop:
            pass


async def _until_told() -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await told.wait()
    raise _Stop


def tls_context(config: Config, house: House) -> ssl.SSLContext:
    """The certificate of the configuration, or one of our own making."""
    if config.tls.certificate:
        return certificates.context_from_files(config.tls.certificate, config.tls.key)
    names = [config.hostname, "localhost", "127.0.0.1", "::1"]
    return certificates.own_context(config.folder / "tls", names, house.world.clock.now())


def _run_loop(main: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)
