"""Counts that processes share: bounded, exact about who is here, cleared when a process dies."""

import os
import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.net.shared import SLOTS, SharedCounters


def test_what_is_kept_is_found() -> None:
    counters = SharedCounters(buckets=4)
    assert counters.find(0, b"a") is None
    counters.keep(0, b"a", (7, 3, 5), 100.0)
    counters.keep(0, b"a", (8, 1, 3), 101.0)
    assert counters.find(0, b"a") == (8, 1, 3)
    assert counters.find(1, b"a") is None
    assert counters.find(0, b"b") is None


def test_numbers_that_are_too_big_stay_numbers() -> None:
    counters = SharedCounters(buckets=4)
    counters.keep(0, b"a", (2**40, -1, 2**33), 2.0**40)
    assert counters.find(0, b"a") == (2**32 - 1, 0, 2**32 - 1)


def test_the_oldest_makes_room() -> None:
    counters = SharedCounters(buckets=1)
    for number in range(SLOTS + 1):
        counters.keep(0, b"%d" % number, (1, number, 0), 100.0 + number)
    kept = [counters.find(0, b"%d" % number) for number in range(SLOTS + 1)]
    assert kept == [None] + [(1, number, 0) for number in range(1, SLOTS + 1)]


def test_a_flood_of_one_kind_leaves_the_others() -> None:
    counters = SharedCounters(buckets=4)
    counters.keep(2, b"device", (1, 1, 0), 1.0)
    for number in range(1000):
        counters.keep(0, b"%d" % number, (1, 1, 0), 100.0)
    assert counters.find(2, b"device") == (1, 1, 0)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([b"a", b"b", b"c"])), max_size=100))
def test_who_is_here(steps: list[tuple[bool, bytes]]) -> None:
    counters = SharedCounters(seats=2)
    here = dict.fromkeys([b"a", b"b", b"c"], 0)
    for comes, key in steps:
        if comes:
            here[key] += 1
            assert counters.enter(key) == here[key]
        elif here[key]:
            here[key] -= 1
            counters.leave(key)


def test_nobody_is_here_less_than_never() -> None:
    counters = SharedCounters()
    counters.leave(b"a")
    assert counters.enter(b"a") == 1


def in_child(counters: SharedCounters, seat: int) -> int:
    """A process that comes, counts, and is killed; its id."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        counters.seat = seat
        counters.enter(b"address")
        counters.keep(0, b"event", (1, 41, 0), 1.0)
        os.write(write, b"x")
        signal.pause()
    os.read(read, 1)
    os.close(read)
    os.close(write)
    return pid


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_two_processes_count_together() -> None:
    counters = SharedCounters(seats=3)
    assert counters.take_seat() == 0
    seat = counters.take_seat()
    pid = in_child(counters, seat)
    try:
        assert counters.find(0, b"event") == (1, 41, 0)
        assert counters.enter(b"address") == 2
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert counters.enter(b"address") == 3  # the dead one is still counted
    counters.free_seat(seat)
    assert counters.enter(b"address") == 3
    assert counters.take_seat() == seat


def test_when_seats_run_out_the_last_is_shared() -> None:
    counters = SharedCounters(seats=2)
    assert [counters.take_seat() for _ in range(4)] == [0, 1, 1, 1]
