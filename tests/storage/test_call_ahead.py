"""What other servers said about addresses."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from mailstead.storage import call_ahead
from mailstead.storage.call_ahead import Said
from mailstead.storage.store import Store, Tx


def test_kept_replaced_and_forgotten(open_store: Callable[[], Store]) -> None:
    def work(tx: Tx) -> None:
        def said(address: str, taken: bool, days: float) -> Said:
            return Said(address, taken, "250 OK", tx.now + timedelta(days=days))

        old = [said("gone@x", False, -1), said("away@x", True, -1), said("never@x", True, -31)]
        good = [said("bob@x", True, 1), said("nobody@x", False, 0.1)]
        call_ahead.keep(tx, [*old, *good])
        call_ahead.keep(tx, [said("bob@x", False, 2)])
        assert call_ahead.find(tx, ["bob@x", "else@x"]) == {"bob@x": said("bob@x", False, 2)}
        assert call_ahead.expire(tx, 1) + call_ahead.expire(tx, 5) + call_ahead.expire(tx, 5) == 2
        every = [one.address for one in (*old, *good)]
        assert sorted(call_ahead.find(tx, every)) == ["away@x", "bob@x", "nobody@x"]

    async def story() -> None:
        store = open_store()
        try:
            await store.write(work)
        finally:
            await store.close()

    asyncio.run(story())
