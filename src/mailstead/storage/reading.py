"""Running the work of a read until what it wants of the packs is at hand.

A transaction never waits for an object store. What is not here ends it; it is fetched, and the
work runs again, with what was fetched before still supplied, so that each round comes further.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from mailstead.model.errors import TemporaryFailure
from mailstead.storage.packfile import Known, NotHere, PackGone, Place

T = TypeVar("T")

ROUNDS = 100  # a page of bodies takes two, work that reads body after body one more for each


async def repeat(
    once: Callable[[Known], Awaitable[T]],
    fetch: Callable[[Sequence[Place]], Awaitable[dict[Place, bytes]]],
) -> T:
    """What `once` gives, a new transaction each time; TemporaryFailure if it never ends."""
    known = Known(newest=False)
    for _ in range(ROUNDS):
        try:
            return await once(known)
        except PackGone:
            # Rewritten since the transaction began: a newer one knows where to.
            known.newest = True
        except NotHere as missing:
            known.supplied.update(await fetch(missing.places))
    raise TemporaryFailure("a read wants more than can be fetched for it")
