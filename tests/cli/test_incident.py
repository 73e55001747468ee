"""`mailstead incident`."""

import asyncio

from mailstead.model.numbers import TraceId
from mailstead.server.config import load
from mailstead.server.wiring import open_house
from mailstead.storage import incidents
from mailstead.storage.incidents import Key

from .conftest import Shell


def open_incident(mailstead: Shell) -> None:
    key = Key("example.net", "", "reputation")

    async def work() -> None:
        async with open_house(load(mailstead.config), lambda trace, entries: None) as house:
            await house.store.write(
                lambda tx: incidents.open_one(tx, key, "mx.example.net", "550 no", TraceId("abc"))
            )

    asyncio.run(work())


def test_listed_and_closed(mailstead: Shell) -> None:
    assert "No site" in mailstead("incident", "list").out
    open_incident(mailstead)
    shown = mailstead("incident", "list").out
    assert "example.net" in shown
    assert "mailstead message explain abc" in shown
    (one,) = mailstead("incident", "list", "--json").json()
    assert mailstead("incident", "close", str(one["id"])).code == 0
    again = mailstead("incident", "close", str(one["id"]))
    assert (again.code, "mailstead incident list" in again.err) == (1, True)
    assert "550 no" in mailstead("incident", "list", "--closed").out
