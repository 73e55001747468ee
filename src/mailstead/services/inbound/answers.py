"""The DNS for one message or one connection: each question once, and none after the time is over.

Questions are asked while the peer goes on talking (`Errand`) and looked up again when it has come
to its end; from `end_by` on whatever is not known by that time is a TIMEOUT, so every look-up ends.
Holds: an errand ends with whoever sent it; nothing of it outlives a connection.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

from mailstead.model.dns import Answer, Question, Status
from mailstead.model.world import Resolver

T = TypeVar("T")


class Answers:
    """A Resolver that remembers, and that has an end."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._known: dict[Question, Answer] = {}
        self._deadline: float | None = None  # of the loop

    def end_by(self, deadline: float) -> None:
        """After that time of the loop every new question times out at once."""
        self._deadline = deadline

    async def ask(self, question: Question) -> Answer:
        """The answer; never raises."""
        known = self._known.get(question)
        if known is not None:
            return known
        answer = await self._ask(question)
        self._known[question] = answer
        return answer

    async def _ask(self, question: Question) -> Answer:
        if self._deadline is None:
            return await self._resolver.ask(question)
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._resolver.ask(question)
        except TimeoutError:
            return Answer(Status.TIMEOUT)


class Errand(Generic[T]):
    """Work that goes on while the peer talks; who sends it calls `end` when it is of no use."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._task = asyncio.get_running_loop().create_task(work)

    async def join(self, deadline: float) -> T | None:
        """What came of it; None if it is not done by that time of the loop, and given up."""
        try:
            async with asyncio.timeout_at(deadline):
                return await self._task
        except TimeoutError:
            return None

    def end(self) -> None:
        """Give it up, if it is not done."""
        self._task.cancel()
