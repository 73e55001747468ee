"""Offices: duties that one process has at a time, among all that share a store.

A machine's workers share theirs by a file lock (server.duties). Where one machine is all there is,
that is enough; on PostgreSQL nodes elect one of them (storage.postgres_office).
"""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol


class Office(Protocol):
    """A duty among all nodes on one store."""

    async def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do the work whenever the office is ours, until cancelled."""
        ...


class OnlyNode:
    """There is no other node."""

    async def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do the work."""
        await work()
