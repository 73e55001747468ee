"""Duties that one worker of a machine has at a time: the queue, certificates, texts kept for
searching; and those that one machine has of all that share a store: housekeeping, packing,
learning.

Whoever gets the lock does them; the others wait for it, and go on where a dead one left off: the
kernel frees the lock of a process that is gone, and leases in the queue end by themselves.
"""

import asyncio
import fcntl
import logging
import os
from datetime import timedelta
from pathlib import Path

from mailstead.server.acme import AcmeKeeper
from mailstead.server.wiring import House

TRY_AGAIN = timedelta(seconds=1)

log = logging.getLogger("mailstead.duties")


class Duties:
    """This worker's share."""

    def __init__(self, folder: Path, house: House) -> None:
        self._path, self._house = folder / "duties.lock", house

    async def run(self) -> None:
        """Wait for the lock, then work until cancelled."""
        lock = await self._open()
        try:
            await self._acquire(lock)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._house.outbound.run())
                group.create_task(self._house.mailboxes.texts.run())
                if acme := self._house.config.tls.acme:
                    keeper = AcmeKeeper(
                        acme, self._house.config, self._house.world, self._house.store
                    )
                    group.create_task(keeper.run())
                group.create_task(self._house.office.run(self._common))
        finally:
            os.close(lock)

    async def _common(self) -> None:
        """What is done for all nodes."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._house.housekeeping.run())
            group.create_task(self._house.packing.run())
            group.create_task(self._house.training.run())

    async def _open(self) -> int:
        """The lock's file: who cannot have it serves clients all the same."""
        while True:
            try:
                return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                log.warning("the queue and packing have to wait: %s", error)
                await self._house.world.clock.sleep(TRY_AGAIN)

    async def _acquire(self, lock: int) -> None:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await self._house.world.clock.sleep(TRY_AGAIN)
            else:
                return
