"""Which job may begin: limits and turns."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.model.envelope import BodyType
from mailstead.model.numbers import BlobId, OrganisationId, OutgoingId, TraceId
from mailstead.services.outbound.lanes import (
    ALL,
    BACKLOG_HIGH,
    BACKLOG_LOW,
    WAITING_LIMIT,
    Lanes,
)
from mailstead.services.outbound.octets import Loaded
from mailstead.services.outbound.providers import Limits
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


def lanes_of(connections: int, lane_connections: int, rate: int = 0) -> Lanes:
    return Lanes(connections, lambda _: Limits(lane_connections, rate, 100))


def job(lane: str, priority: int = 0) -> Loaded:
    return Loaded(Job(OUTGOING, lane, "smtp", "", (), "", priority), b"", b"")


def filled(lanes: Lanes, **counts: int) -> Lanes:
    for lane, count in counts.items():
        for _ in range(count):
            lanes.add(job(lane))
    return lanes


def begun(lanes: Lanes) -> str:
    names = []
    while loaded := lanes.begin(NOW):
        names.append(loaded.job.lane)
    return "".join(names)


def test_lanes_take_turns() -> None:
    assert begun(filled(lanes_of(100, 3), a=5, b=5)) == "ababab"


def test_all_together_have_a_limit() -> None:
    lanes = filled(lanes_of(3, 2), a=5, b=5)
    assert begun(lanes) == "aba"
    lanes.end("a")
    assert begun(lanes) == "b"
    lanes.end("b")
    assert begun(lanes) == "a"


def test_a_backlog_shuts_its_lane_for_a_while() -> None:
    lanes = filled(lanes_of(100, 1), a=BACKLOG_HIGH - 1, b=1)
    assert lanes.shut() == {}
    filled(lanes, a=1)
    assert lanes.shut() == {"a": 0}
    for _ in range(BACKLOG_HIGH - BACKLOG_LOW - 1):
        begun(lanes)
        lanes.end("a")
    assert (lanes.shut(), lanes.reopened) == ({"a": 0}, False)
    begun(lanes)
    assert (lanes.shut(), lanes.reopened) == ({}, True)


def test_a_pause_stops_one_lane() -> None:
    lanes = filled(lanes_of(100, 2), a=5, b=2)
    until = NOW + timedelta(minutes=5)
    lanes.pause("a", until)
    assert begun(lanes) == "bb"
    assert ({"a": ALL}, until) == (lanes.shut(), lanes.next_resume())
    lanes.resume(NOW)
    assert begun(lanes) == ""
    lanes.resume(until)
    assert begun(lanes) == "aa"
    assert (lanes.shut(), lanes.next_resume()) == ({}, None)


def test_what_is_drained_does_not_begin() -> None:
    lanes = filled(lanes_of(100, 1), a=3, b=3)
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
    lanes, added, now = lanes_of(4, 2), 0, NOW
    running: list[str] = []
    done = 0
    for step, lane in [*steps, ("resume", "")]:
        if step == "add":
            lanes.add(job(lane))
            added += 1
        elif step == "begin" and (loaded := lanes.begin(NOW)):
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
        while loaded := lanes.begin(NOW):
            running.append(loaded.job.lane)
        lanes.end(running.pop())
        count += 1
    return count


def test_the_urgent_begins_before_the_backlog_of_its_lane() -> None:
    lanes = lanes_of(3, 1)
    filled(lanes, a=1)
    for lane in "abc":
        for _ in range(5):
            lanes.add(job(lane, 20))
    lanes.add(job("c", 10))
    assert [loaded.job.priority for loaded in iter(lambda: lanes.begin(NOW), None)] == [0, 10, 20]
    lanes.add(job("b", 10))
    lanes.end("b")
    following = lanes.begin(NOW)
    assert following is not None
    assert (following.job.lane, following.job.priority) == ("b", 10)


def test_a_lane_is_shut_for_what_is_not_more_urgent_than_its_backlog() -> None:
    lanes = lanes_of(10, 1)
    for _ in range(BACKLOG_HIGH):
        lanes.add(job("a", 20))
    assert lanes.shut() == {"a": 20}
    assert (lanes.is_shut("a", 20), lanes.is_shut("a", 10), lanes.is_shut("b", 20)) == (
        True,
        False,
        False,
    )
    for _ in range(BACKLOG_HIGH):
        lanes.add(job("a", 10))
    assert lanes.shut() == {"a": 10}


def test_full_hands_still_take_what_is_more_urgent() -> None:
    lanes = lanes_of(10, 1)
    for number in range(WAITING_LIMIT):
        assert lanes.below() is None
        lanes.add(job(str(number % 7), 20))
    assert lanes.below() == 20
    for number in range(WAITING_LIMIT):
        lanes.add(job(str(number % 7), 10))
    assert lanes.below() == 10
    while lanes.below() != ALL:
        lanes.add(job("a", 0))


def test_a_rate_is_kept() -> None:
    lanes = filled(lanes_of(100, 10, rate=60), a=3)
    assert begun(lanes) == "a"
    second = NOW + timedelta(seconds=1)
    assert (lanes.next_resume(), lanes.shut()) == (second, {})
    lanes.end("a")
    assert begun(lanes) == ""
    lanes.resume(second)
    assert begun(lanes) == "a"
