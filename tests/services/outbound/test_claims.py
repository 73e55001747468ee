"""Claiming past lanes that are shut, leases kept and given back."""

from datetime import timedelta

import pytest

from mailstead.storage import queue
from mailstead.storage.claims import Asked, Claimed, claim
from mailstead.storage.store import Tx

LEASE = timedelta(minutes=30)


def take(tx: Tx, limit: int = 10, shut: tuple[str, ...] = (), per_job: int = 10) -> Claimed:
    return claim(tx, Asked(LEASE, limit, per_job, dict.fromkeys(shut, 0)))


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
        claimed = await stage.store.write(lambda tx: take(tx, limit, shut))
        assert [job.lane for job in claimed.jobs] == expected
        assert claimed.more == (limit == 2)
        if limit == 10:
            assert claimed.next_due == (stage.clock.now() + LEASE if expected else None)
            left = await stage.store.write(lambda tx: take(tx, limit, shut))
            assert left.jobs == []

    tell(story, running=False)


def test_recipients_of_a_message_come_together_up_to_a_limit(tell) -> None:
    async def story(stage) -> None:
        await stage.enqueue(*(f"r{n}@a" for n in range(5)), "s@b")
        claimed = await stage.store.write(lambda tx: take(tx, per_job=3))
        assert sorted((job.lane, len(job.recipients)) for job in claimed.jobs) == [
            ("a", 2),
            ("a", 3),
            ("b", 1),
        ]

    tell(story, running=False)


def test_a_lease_is_renewed_or_given_back(tell) -> None:
    async def story(stage) -> None:
        await stage.enqueue("bob@a", "carol@a")
        (job,) = (await stage.store.write(take)).jobs
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
