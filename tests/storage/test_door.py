"""What the door keeps: switches, sealers, lists, engines, and who has to come again."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from mailstead.model.address import Domain
from mailstead.model.errors import Refusal
from mailstead.model.numbers import OrganisationId
from mailstead.storage import arc_sealers, dnsbl_uses, filter_engines, greylist, switches
from mailstead.storage.filter_engines import Engine
from mailstead.storage.store import Store, Tx
from mailstead.storage.switches import EVERYBODY, SEALING, Switch
from mailstead.testing.clock import START

OURS, THEIRS = OrganisationId(1), OrganisationId(2)
LONG = timedelta(days=1)


def on_store(open_store: Callable[[], Store], work: Callable[[Tx], object]) -> object:
    async def story() -> object:
        store = open_store()
        try:
            return await store.write(work)
        finally:
            await store.close()

    return asyncio.run(story())


def test_the_most_exact_switch_counts(open_store: Callable[[], Store]) -> None:
    def work(tx: Tx) -> list[bool]:
        rows = [(EVERYBODY, "", "on"), (OURS, "", "off"), (OURS, "a.example", "on")]
        for organisation, domain, value in rows:
            switches.put(tx, SEALING, Switch(organisation, domain, value))
        asked = [(OURS, "a.example"), (OURS, "b.example"), (OURS, ""), (THEIRS, "a.example")]
        found = [switches.is_on(tx, SEALING, *each) for each in asked]
        switches.forget(tx, SEALING, OURS, "a.example")
        return [*found, switches.is_on(tx, SEALING, OURS, "a.example")]

    assert on_store(open_store, work) == [True, False, False, True, False]


def test_sealers(open_store: Callable[[], Store]) -> None:
    def work(tx: Tx) -> tuple[object, ...]:
        arc_sealers.add(tx, EVERYBODY, Domain("a.example"))
        arc_sealers.add(tx, OURS, Domain("b.example"))
        arc_sealers.add(tx, OURS, Domain("b.example"))
        return (
            sorted(arc_sealers.believed_by(tx, OURS)),
            sorted(arc_sealers.believed_by(tx, THEIRS)),
            len(arc_sealers.list_all(tx)),
            arc_sealers.remove(tx, THEIRS, Domain("b.example")),
        )

    expected = (["a.example", "b.example"], ["a.example"], 2, False)
    assert on_store(open_store, work) == expected


def test_lists_and_engines(open_store: Callable[[], Store]) -> None:
    def engine(name: str, place: int) -> Engine:
        return Engine(name, "clamd", "/x", "out", "open", timedelta(seconds=5), place, START)

    def work(tx: Tx) -> tuple[object, ...]:
        dnsbl_uses.put(tx, "zen", True, "key")
        dnsbl_uses.put(tx, "zen", False, "")
        for name, place in (("late", 9), ("early", 1)):
            filter_engines.add(tx, engine(name, place))
        with pytest.raises(Refusal):
            filter_engines.add(tx, engine("late", 9))
        found = filter_engines.list_all(tx)
        uses = [(one.zone, one.active) for one in dnsbl_uses.list_all(tx)]
        sees = [found[0].sees(direction) for direction in ("in", "out")]
        return uses, [one.name for one in found], found[0].time_limit, sees

    expected = ([("zen", False)], ["early", "late"], timedelta(seconds=5), [False, True])
    assert on_store(open_store, work) == expected


def test_who_knocks(open_store: Callable[[], Store]) -> None:
    def work(tx: Tx) -> list[object]:
        def knock(wait: timedelta, window: timedelta = LONG) -> bool:
            return greylist.knock(tx, "net:x", "example.net", "a@b", wait, window)

        found: list[object] = [knock(LONG), knock(LONG), knock(timedelta())]
        found.append(greylist.has_passed(tx, "net:x", "example.net", "a@b"))
        found.append(knock(LONG))  # once in, always in
        found.append(greylist.count_passed(tx, "net:x", 3))
        found += [greylist.waits(tx, "dns", "example.net", "a@b", LONG) for _ in range(2)]
        found.append(greylist.waits(tx, "dns", "example.net", "a@b", timedelta()))
        found.append(greylist.expire(tx, 10))
        return found

    expected = [False, False, True, True, True, 1, True, True, False, 0]
    assert on_store(open_store, work) == expected
