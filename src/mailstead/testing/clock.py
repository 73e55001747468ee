"""Simulated time: a loop that jumps to the next timer, so that five days pass in a moment.

When everybody waits and no timer is set, nothing can ever happen again: that is a Deadlock, and
said at once instead of hanging.
"""

import asyncio
import random
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class Deadlock(RuntimeError):
    """All tasks wait for something that nobody will do."""


class _Selector(selectors.SelectSelector):
    """Instead of waiting, moves the loop's time on."""

    loop: "SimulatedLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready in the real world (nothing, but for the loop's own pipe)."""
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise Deadlock("everybody waits, and no timer is set")
            self.loop.advance(timeout)
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes only when nothing else is to be done."""

    def __init__(self) -> None:
        selector = _Selector()
        selector.loop = self
        self._now = 0.0
        super().__init__(selector)

    def time(self) -> float:
        """Seconds since the simulation began."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Jump."""
        self._now += seconds


class SimulatedClock:
    """The time of day that goes with the loop's time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: datetime = START) -> None:
        self._loop, self._start = loop, start

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return self._start + timedelta(seconds=self._loop.time())

    async def sleep(self, duration: timedelta) -> None:
        """Come back after that long."""
        await asyncio.sleep(max(0.0, duration.total_seconds()))


class SeededRandom:
    """Chance that happens again in the same way."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)

    def token(self, octets: int) -> bytes:
        """So many octets."""
        return self._random.randbytes(octets)

    def uniform(self, low: float, high: float) -> float:
        """A number between the two."""
        return self._random.uniform(low, high)

    def shuffle(self, items: list[T]) -> None:
        """Put the list into any order, in place."""
        self._random.shuffle(items)


class InlineOffload:
    """No threads: the work is done at once."""

    async def run(self, work: Callable[[], T]) -> T:
        """The result of work()."""
        return work()


class LocalBus:
    """There is no other process."""

    def publish(self, topic: bytes) -> None:
        """Nobody hears it."""

    def subscribe(self, hear: Callable[[bytes], None]) -> None:
        """Nothing will ever be heard."""


def simulate(story: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of the story, told in simulated time."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(story())
