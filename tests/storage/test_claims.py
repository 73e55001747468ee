"""Whose turn it is: priorities, organisations, and lanes that are passed by."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from mailstead.model.entries import Changed
from mailstead.model.errors import Refusal
from mailstead.model.numbers import OrganisationId, TraceId
from mailstead.storage import claims, hold_rules, journal, queue
from mailstead.storage.blobs import MemoryBody
from mailstead.storage.claims import Asked, Behind, Claimed, Cursor, claim
from mailstead.storage.plan import Enqueue, Plan, QueuedRecipient
from mailstead.storage.store import Store, to_micros

Open = Callable[[], Store]
LEASE = timedelta(minutes=30)
OLD = timedelta(hours=1)
HEADER = b"Subject: Hello\r\n\r\n"


async def enqueue(
    store: Store,
    *recipients: str,
    organisation: int = 1,
    priority: int = 0,
    age: timedelta = OLD,
    return_domain: str = "",
    sources: tuple[str, ...] = ("",),
    sender: str = "a@b.example",
    stream: str = "",
) -> None:
    now = await store.read(lambda tx: tx.now)
    rows = tuple(
        QueuedRecipient(one, "smtp", one.rpartition("@")[2], now - age, source=source)
        for one in recipients
        for source in sources
    )
    step = Enqueue(
        HEADER, sender, rows, priority=priority, return_domain=return_domain, stream=stream
    )
    trace, owner = TraceId("t"), OrganisationId(organisation)
    await store.apply(Plan((step,), trace, owner, MemoryBody(b"Hi\r\n")))


async def take(store: Store, limit: int = 100, **more: Any) -> Claimed:
    return await store.write(lambda tx: claim(tx, Asked(LEASE, limit, 100, **more)))


def names(claimed: Claimed) -> list[str]:
    return [row.recipient.partition("@")[0] for job in claimed.jobs for row in job.recipients]


async def test_the_urgent_comes_first(open_store: Open) -> None:
    store = open_store()
    await enqueue(store, "bulk@x", priority=20, age=timedelta(hours=3))
    await enqueue(store, "receipt@x", priority=10, age=timedelta(hours=2))
    await enqueue(store, "person@x", priority=0)
    assert names(await take(store, 2)) == ["person", "receipt"]
    assert names(await take(store, 2, below=20)) == []
    assert names(await take(store, 2)) == ["bulk"]
    await store.close()


async def test_organisations_share(open_store: Open) -> None:
    store = open_store()
    for number in range(8):
        await enqueue(store, f"a{number}@x", organisation=1, age=OLD + timedelta(minutes=number))
    await enqueue(store, "b0@x", "b1@x", organisation=2)
    await enqueue(store, "c0@x", organisation=3)
    claimed = await take(store, 6)
    assert sorted(names(claimed)) == ["a5", "a6", "a7", "b0", "b1", "c0"]
    assert claimed.more
    rest = await take(store, 6)
    assert (sorted(names(rest)), rest.more) == (["a0", "a1", "a2", "a3", "a4"], False)
    await store.close()


async def test_more_organisations_than_places_come_round(open_store: Open) -> None:
    store = open_store()
    for number in range(5):
        await enqueue(store, f"{number}a@x", f"{number}b@x", organisation=number + 1)
    first = await take(store, 3)
    second = await take(store, 3, after=first.after)
    assert sorted(names(first)) == ["0a", "1a", "2a"]
    assert sorted(names(second)) == ["0b", "3a", "4a"]
    await store.close()


async def test_more_turns_than_are_looked_at_come_round(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "TURNS_LIMIT", 2)
    store = open_store()
    for number in range(5):
        await enqueue(store, f"{number}@x", organisation=number + 1, priority=number % 2)
    seen, after, rounds = [], {}, 0
    while rounds < 5:
        claimed = await take(store, 10, after=after)
        seen += names(claimed)
        after, rounds = claimed.after, rounds + 1
        if not claimed.more:
            break
    assert (sorted(seen), rounds) == (["0", "1", "2", "3", "4"], 2)
    await store.close()


async def test_what_is_shut_is_passed_once(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "WINDOW", 4)
    monkeypatch.setattr(claims, "WINDOWS", 1)
    store = open_store()
    for number in range(10):
        await enqueue(store, f"big{number}@big", age=OLD - timedelta(minutes=number))
    await enqueue(store, "small@small", age=timedelta(minutes=1))
    remembered: dict[str, Any] = {"shut": {"big": 0}}
    seen, rounds = [], 0
    while rounds < 10:
        claimed = await take(store, **remembered)
        seen += names(claimed)
        remembered |= {"cursors": claimed.cursors, "behind": claimed.behind}
        rounds += 1
        if not claimed.more:
            break
    assert (seen, rounds) == (["small"], 3)
    (cursor,) = claimed.cursors.values()
    assert cursor.passed == 10
    # What comes in later is found behind the cursor, and what is shut is still passed by.
    await enqueue(store, "new@small", "new@big", age=timedelta(0))
    claimed = await take(store, **remembered)
    assert names(claimed) == ["new"]
    claimed = await take(store, cursors=claimed.cursors)
    assert names(claimed) == ["new"]
    behind = {"big": Behind(0)}
    claimed = await take(store, 8, cursors=claimed.cursors, behind=behind)
    first, next_due = names(claimed), claimed.behind["big"].due
    assert first == ["big0", "big1", "big2", "big3"]
    claimed = await take(store, 100, cursors=claimed.cursors, behind=claimed.behind)
    assert (names(claimed), claimed.behind) == ([f"big{n}" for n in range(4, 10)], {})
    assert next_due < to_micros(await store.read(lambda tx: tx.now))
    await store.close()


async def test_rows_of_one_moment_are_passed_by_lane(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "WINDOW", 4)
    monkeypatch.setattr(claims, "WINDOWS", 1)
    store = open_store()
    await enqueue(store, *(f"{n}@big" for n in range(9)), "a@small", "b@small")
    claimed, rounds = await take(store, 1, shut={"big": 0}), 1
    while not claimed.jobs and rounds < 10:
        claimed = await take(store, 1, shut={"big": 0}, cursors=claimed.cursors)
        rounds += 1
    assert (names(claimed), rounds) == (["a"], 2)
    claimed = await take(store, 1, shut={"big": 0}, cursors=claimed.cursors)
    assert names(claimed) == ["b"]
    await store.close()


async def test_a_lane_is_shut_from_a_priority_on(open_store: Open) -> None:
    store = open_store()
    await enqueue(store, "bulk@x", priority=20)
    await enqueue(store, "receipt@x", priority=10)
    assert names(await take(store, shut={"x": 20})) == ["receipt"]
    await store.close()


async def test_the_next_time_is_that_of_an_open_lane(open_store: Open) -> None:
    store = open_store()
    soon, later = -timedelta(minutes=1), -timedelta(minutes=2)
    await enqueue(store, "old@shut")
    await enqueue(store, "soon@shut", age=soon)
    await enqueue(store, "later@open", age=later)
    claimed = await take(store, shut={"shut": 0})
    rows = {row.recipient: row.due for row, _ in await store.read(all_rows)}
    assert (names(claimed), claimed.next_due) == ([], rows["later@open"])
    await store.close()


def all_rows(tx: Any) -> list[tuple[queue.Waiting, queue.Outgoing]]:
    return queue.find(tx, queue.Filter(), 100)


async def test_one_job_for_each_way_and_for_each_return_path(open_store: Open) -> None:
    store = open_store()
    await enqueue(store, "a@x", "b@x", "c@y")
    await enqueue(store, "a@x", "b@x", return_domain="bounce.example.org", priority=1)
    await enqueue(store, "a@x", sources=("one", "two"), priority=2)
    claimed = await take(store)
    assert [(job.lane, job.source, job.priority, len(job.recipients)) for job in claimed.jobs] == [
        ("x", "", 0, 2),
        ("y", "", 0, 1),
        ("x", "", 1, 1),
        ("x", "", 1, 1),
        ("x", "one", 2, 1),
        ("x", "two", 2, 1),
    ]
    await store.close()


@pytest.mark.parametrize("change", ["release", "retry", "reroute"])
async def test_no_row_appears_before_a_cursor(open_store: Open, change: str) -> None:
    store = open_store()
    await enqueue(store, "a@x", age=OLD)
    now = await store.read(lambda tx: tx.now)
    ids = [row.id for row, _ in await store.read(all_rows)]
    await store.write(lambda tx: queue.set_hold(tx, ids, True))
    if change == "release":
        await store.write(lambda tx: queue.set_hold(tx, ids, False))
    elif change == "retry":
        await store.write(lambda tx: queue.make_due(tx, ids))
    else:
        await store.write(lambda tx: queue.set_route(tx, ids, "a.example:25"))
    ((row, _),) = await store.read(all_rows)
    assert row.due >= now
    await store.write(lambda tx: queue.set_hold(tx, ids, False))
    before = {(0, 1): Cursor(to_micros(now - claims.MARGIN), "")}
    assert names(await take(store, cursors=before)) == ["a"]
    await store.close()


@pytest.mark.parametrize(
    ("rule", "held"),
    [
        ({}, ["a", "b", "c", "d"]),
        ({"organisation": 2}, ["b"]),
        ({"stream": "news"}, ["c"]),
        ({"reverse_path": "Boss@b.example"}, ["d"]),
        ({"reverse_path": "@b.example"}, ["a", "b", "c", "d"]),
        ({"recipient": "a@X"}, ["a"]),
        ({"recipient": "@y"}, ["b", "c"]),
        ({"recipient": "@y", "stream": "news"}, ["c"]),
        ({"recipient": "@y", "organisation": 3}, []),
    ],
)
async def test_a_rule_holds_what_it_is_about(
    open_store: Open, rule: dict[str, Any], held: list[str]
) -> None:
    store = open_store()
    await enqueue(store, "a@x")
    await enqueue(store, "b@y", organisation=2)
    await enqueue(store, "c@y", stream="news")
    await enqueue(store, "d@x", sender="boss@b.example")
    values = {"organisation": 0, "stream": "", "reverse_path": "", "recipient": ""} | rule
    await store.write(lambda tx: hold_rules.add(tx, **values, reason="too loud"))
    claimed = await take(store)
    rows = [row for row, _ in await store.read(all_rows)]
    assert sorted(names(claimed)) == sorted({"a", "b", "c", "d"} - set(held))
    assert [(row.recipient[0], row.claimed) for row in rows if row.held] == [
        (name, False) for name in held
    ]
    story = await store.read(lambda tx: journal.find(tx, TraceId("t")))
    told = [one.detail for one in story.entries if isinstance(one, Changed)] if story else []
    assert told == ["too loud"] * len(held)
    (known,) = await store.read(hold_rules.list_all)
    assert await store.write(lambda tx: hold_rules.remove(tx, known.id))
    assert not await store.write(lambda tx: hold_rules.remove(tx, known.id))
    await store.write(lambda tx: queue.set_hold(tx, [row.id for row in rows if row.held], False))
    assert sorted(names(await take(store))) == held
    await store.close()


async def test_rules_have_an_end(open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold_rules, "RULES_LIMIT", 1)
    store = open_store()
    nobody = (OrganisationId(0), "", "", "a@x", "")
    await store.write(lambda tx: hold_rules.add(tx, *nobody))
    with pytest.raises(Refusal, match="no more"):
        await store.write(lambda tx: hold_rules.add(tx, *nobody))
    await store.close()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (queue.Filter(organisation=OrganisationId(2)), "b"),
        (queue.Filter(stream="news"), "c"),
        (queue.Filter(source="new"), "d"),
        (queue.Filter(lane="y"), "bc"),
        (queue.Filter(lane="x"), "ad"),
        (queue.Filter(stream="news", source="new"), ""),
    ],
)
async def test_finds_by_whose_it_is(open_store: Open, wanted: queue.Filter, found: str) -> None:
    store = open_store()
    await enqueue(store, "a@x")
    await enqueue(store, "b@y", organisation=2)
    await enqueue(store, "c@y", stream="news")
    await enqueue(store, "d@x", sources=("new",))
    claimed = await take(store, 1, shut={"y": 0, "x": 5})
    rows = [queue.in_lane(job, "x/new").recipients[0] for job in claimed.jobs]
    await store.write(lambda tx: queue.give_back_to(tx, rows))
    page = await store.read(lambda tx: queue.find(tx, wanted, 10))
    assert "".join(row.recipient[0] for row, _ in page) == found
    await store.close()
