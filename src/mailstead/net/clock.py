"""The real sides of Clock, Random and Offload."""

import asyncio
import random
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TypeVar

T = TypeVar("T")

OFFLOAD_THREADS = 2
TOKENS_AHEAD = 256  # octets of chance that one call to the kernel brings


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return datetime.now(UTC)  # noqa: TID251 this is where the Clock gets it from

    async def sleep(self, duration: timedelta) -> None:
        """Come back after that long."""
        await asyncio.sleep(max(0.0, duration.total_seconds()))


class SystemRandom:
    """Chance from the kernel."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()
        self._unused = b""

    def token(self, octets: int) -> bytes:
        """So many octets that nobody can guess."""
        if octets > len(self._unused):
            self._unused = secrets.token_bytes(max(octets, TOKENS_AHEAD))
        token, self._unused = self._unused[:octets], self._unused[octets:]
        return token

    def uniform(self, low: float, high: float) -> float:
        """A number between the two."""
        return self._random.uniform(low, high)

    def shuffle(self, items: list[T]) -> None:
        """Put the list into any order, in place."""
        self._random.shuffle(items)


class ThreadOffload:
    """Heavy work on a few threads."""

    def __init__(self, threads: int = OFFLOAD_THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, "offload")

    async def run(self, work: Callable[[], T]) -> T:
        """The result of work(), done on a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Let the threads end when they are idle."""
        self._pool.shutdown(wait=False, cancel_futures=True)
