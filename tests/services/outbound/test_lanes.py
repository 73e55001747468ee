"""Which job may begin: limits and turns."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.model.envelope import BodyType
from mailstead.model.numbers import BlobId, OrganisationId, OutgoingId, TraceId
from mailstead.services.outbound.lanes import BACKLOG_HIGH, BACKLOG_LOW, Lanes
from mailstead.services.outbound.octets import Loaded
from mailstead.storage.plan import StoredBody
from mailstead.storage.queue import Job, Outgoing

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
OUTGOING = Outgoing(
    OutgoingId(1),
    TraceId("t"),
    OrganisationId(1),
    None,
    "",
    0,
    StoredBody(BlobId(0), 0),
    BodyType.SEVEN_BIT,
    False,
    True,
    NOW,
)


def job(lane: str) -> Loaded:
    return Loaded(Job(OUTGOING, lane, "smtp", "", ()), b"", b"")


def filled(lanes: Lanes, **counts: int) -> Lanes:
    for lane, count in counts.items():
        for _ in range(count):
            lanes.add(job(lane))
    return lanes


def begun(lanes: Lanes) -> str:
    names = []
    while loaded := lanes.begin():
        names.append(loaded.job.lane)
    return "".join(names)


def test_lanes_take_turns() -> None:
    assert begun(filled(Lanes(100, 3), a=5, b=5)) == "ababab"


def test_all_together_have_a_limit() -> None:
    lanes = filled(Lanes(3, 2), a=5, b=5)
    assert begun(lanes) == "aba"
    lanes.end("a")
    assert begun(lanes) == "b"
    lanes.end("b")
    assert begun(lanes) == "a"


def test_a_backlog_shuts_its_lane_for_a_while() -> None:
    lanes = filled(Lanes(100, 1), a=BACKLOG_HIGH - 1, b=1)
    assert lanes.shut() == []
    filled(lanes, a=1)
    assert lanes.shut() == ["a"]
    for _ in range(BACKLOG_HIGH - BACKLOG_LOW - 1):
        begun(lanes)
        lanes.end("a")
    assert (lanes.shut(), lanes.reopened) == (["a"], False)
    begun(lanes)
    assert (lanes.shut(), lanes.reopened) == ([], True)


def test_a_pause_stops_one_lane() -> None:
    lanes = filled(Lanes(100, 2), a=5, b=2)
    until = NOW + timedelta(minutes=5)
    lanes.pause("a", until)
    assert begun(lanes) == "bb"
    assert (["a"], until) == (lanes.shut(), lanes.next_resume())
    lanes.resume(NOW)
    assert begun(lanes) == ""
    lanes.resume(until)
    assert begun(lanes) == "aa"
    assert (lanes.shut(), lanes.next_resume()) == ([], None)


def test_what_is_drained_does_not_begin() -> None:
    lanes = filled(Lanes(100, 1), a=3, b=3)
    assert begun(lanes) == "ab"
    assert len(lanes.drain()) == 4
    lanes.end("a")
    lanes.end("b")
    assert (begun(lanes), lanes.waiting, lanes.active) == ("", 0, 0)


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "begin", "end", "pause", "resume"]), st.sampled_from("abc")),
    max_size=200,
)


@settings(deadline=None)
@given(STEPS)
def test_limits_hold_and_nothing_is_lost(steps: list[tuple[str, str]]) -> None:
    lanes, added, now = Lanes(4, 2), 0, NOW
    running: list[str] = []
    done = 0
    for step, lane in [*steps, ("resume", "")]:
        if step == "add":
            lanes.add(job(lane))
            added += 1
        elif step == "begin" and (loaded := lanes.begin()):
            running.append(loaded.job.lane)
        elif step == "end" and lane in running:
            running.remove(lane)
            lanes.end(lane)
            done += 1
        elif step == "pause":
            lanes.pause(lane, now + timedelta(minutes=1))
        elif step == "resume":
            now += timedelta(minutes=1)
            lanes.resume(now)
        assert len(running) == lanes.active <= 4
        assert all(running.count(one) <= 2 for one in "abc")
    assert added == done + len(running) + lanes.waiting
    assert added == finish(lanes, running) + done


def finish(lanes: Lanes, running: list[Any]) -> int:
    """Run everything that is left; how many jobs that were."""
    count = 0
    while running or lanes.waiting:
        while loaded := lanes.begin():
            running.append(loaded.job.lane)
        lanes.end(running.pop())
        count += 1
    return count
