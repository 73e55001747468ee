"""Claiming past lanes that are shut, leases kept and given back."""

from datetime import timedelta

import pytest

from mailstead.storage import queue

LEASE = timedelta(minutes=30)


@pytest.mark.parametrize(
    ("shut", "limit", "expected"),
    [
        ((), 10, ["a", "c", "b", "a"]),
        (("b",), 10, ["a", "c", "a"]),
        (("a",), 10, ["c", "b"]),
        (("a", "c"), 10, ["b"]),
        (("a", "b", "c"), 10, []),
        (("nowhere",), 2, ["a", "c"]),
        (("b",), 2, ["a", "c"]),
    ],
)
def test_claims_what_is_due_of_lanes_that_are_open(tell, shut, limit, expected) -> None:
    async def story(stage) -> None:
        for lane in ("a", "c", "b", "a"):
            await stage.enqueue(f"bob@{lane}")
            await stage.sleep(seconds=1)
        await stage.enqueue("held@b", hold=True)
        first = await stage.store.read(lambda tx: queue.next_due(tx, shut))
        jobs = await stage.store.write(lambda tx: queue.claim(tx, LEASE, limit, shut, 10))
        assert [job.lane for job in jobs] == expected
        assert first == (jobs[0].recipients[0].due if jobs else None)
        if limit == 10:
            left = await stage.store.write(lambda tx: queue.claim(tx, LEASE, limit, shut, 10))
            assert left == []

    tell(story, running=False)


def test_recipients_of_a_message_come_together_up_to_a_limit(tell) -> None:
    async def story(stage) -> None:
        await stage.enqueue(*(f"r{n}@a" for n in range(5)), "s@b")
        jobs = await stage.store.write(lambda tx: queue.claim(tx, LEASE, 10, (), 3))
        assert sorted((job.lane, len(job.recipients)) for job in jobs) == [
            ("a", 2),
            ("a", 3),
            ("b", 1),
        ]

    tell(story, running=False)


def test_a_lease_is_renewed_or_given_back(tell) -> None:
    async def story(stage) -> None:
        await stage.enqueue("bob@a", "carol@a")
        (job,) = await stage.store.write(lambda tx: queue.claim(tx, LEASE, 10, (), 10))
        bob, carol = (row.id for row in job.recipients)
        await stage.sleep(minutes=20)
        await stage.store.write(lambda tx: queue.renew(tx, [bob], LEASE))
        await stage.store.write(lambda tx: queue.give_back(tx, [carol]))
        due = {row.id: (row.due, row.claimed) for row, _ in await stage.waiting()}
        now = stage.clock.now()
        assert due == {bob: (now + LEASE, True), carol: (now, False)}
        # What nobody has claimed is nobody's to renew or to give back.
        await stage.store.write(lambda tx: queue.renew(tx, [carol], LEASE))
        await stage.sleep(minutes=1)
        await stage.store.write(lambda tx: queue.give_back(tx, [carol]))
        assert {row.id: (row.due, row.claimed) for row, _ in await stage.waiting()} == due

    tell(story, running=False)
