"""Hosts that do not answer: who is remembered, and for how long."""

from datetime import UTC, datetime, timedelta

import pytest

from mailstead.services.outbound.hosts import (
    ADDRESSES_LIMIT,
    FAMILY_PROOF,
    DeadHosts,
    Remembered,
)

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def at(minutes: float) -> datetime:
    return START + minutes * MINUTE


@pytest.mark.parametrize(
    ("failures", "dead_until"),
    [
        ([0], 2),
        ([0, 2], 6),  # twice as long
        ([0, 2, 6], 14),
        ([0, 2, 6, 14], 30),
        ([0, 2, 6, 14, 30, 60], 90),  # never longer than half an hour
        ([0, 0.5, 1], 3),  # three at once failed once
        ([0, 2, 200], 202),  # long ago
    ],
)
def test_a_dead_host_is_left_alone_longer_and_longer(
    failures: list[float], dead_until: float
) -> None:
    dead = DeadHosts()
    for minutes in failures:
        dead.failed("192.0.2.1", "refused", at(minutes))
    expected = Remembered("refused", at(failures[-1]))
    assert expected == dead.find("192.0.2.1", at(dead_until) - timedelta(seconds=1))
    assert dead.find("192.0.2.1", at(dead_until)) is None


def test_who_answers_is_forgotten() -> None:
    dead = DeadHosts()
    for minutes in (0, 2):
        dead.failed("192.0.2.1", "refused", at(minutes))
    dead.answered("192.0.2.1")
    assert dead.find("192.0.2.1", at(2)) is None
    dead.failed("192.0.2.1", "refused", at(3))
    assert dead.find("192.0.2.1", at(5)) is None


def test_a_host_is_dead_only_for_the_source_that_it_did_not_answer() -> None:
    dead = DeadHosts()
    dead.failed("192.0.2.1", "timed out", START, source="198.51.100.1")
    assert dead.find("192.0.2.1", START) is None
    assert dead.find("192.0.2.1", START, source="198.51.100.1") is not None


def test_a_family_of_which_nobody_answers_is_dead() -> None:
    dead = DeadHosts()
    for number in range(FAMILY_PROOF):
        assert dead.find("2001:db8::99", START) is None
        dead.failed(f"2001:db8::{number}", "Network is unreachable", START)
    expected = Remembered("Network is unreachable", START, family=True)
    assert expected == dead.find("2001:db8::99", START)
    assert dead.find("192.0.2.1", START) is None
    dead.answered("2001:db8::99")
    assert dead.find("2001:db8::98", START) is None


def test_one_that_answers_clears_its_family() -> None:
    dead = DeadHosts()
    for number in range(FAMILY_PROOF * 3):
        dead.failed(f"192.0.2.{number}", "refused", START)
        if number % 2:
            dead.answered("192.0.2.200")
    assert dead.find("192.0.2.201", START) is None


def test_one_host_that_is_dead_again_and_again_is_no_family() -> None:
    dead = DeadHosts()
    for minutes in range(0, 100, 5):
        dead.failed("2001:db8::1", "refused", at(minutes))
    assert dead.find("2001:db8::2", at(95)) is None


def test_remembers_no_more_than_the_limit() -> None:
    dead = DeadHosts()
    for number in range(ADDRESSES_LIMIT + 5):
        dead.failed(f"host {number}", "refused", START)
    assert dead.find("host 0", START).family  # type: ignore[union-attr]
    assert not dead.find(f"host {ADDRESSES_LIMIT}", START).family  # type: ignore[union-attr]
    assert len(dead._silent) == ADDRESSES_LIMIT
