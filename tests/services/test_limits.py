"""The arithmetic of limits: windows, whom something is counted to, who may log in."""

from datetime import timedelta

import pytest

from mailstead.net.shared import SharedCounters
from mailstead.services import limits
from mailstead.services.limits import Cell, Rate

RATE = Rate("test", 10, timedelta(seconds=100))
NOON = 1_000_000.0


@pytest.mark.parametrize(
    ("cell", "number", "expected"),
    [
        (None, 7, (7, 0, 0)),
        ((7, 3, 5), 7, (7, 3, 5)),
        ((6, 3, 5), 7, (7, 0, 3)),
        ((5, 3, 5), 7, (7, 0, 0)),
        ((9, 3, 5), 7, (7, 0, 0)),  # the clock was put back, or the cell is torn
    ],
)
def test_windows_follow_each_other(cell: Cell | None, number: int, expected: Cell) -> None:
    assert limits.advance(cell, number) == expected


@pytest.mark.parametrize(
    ("cell", "part", "expected"),
    [((7, 3, 0), 0.5, 3), ((7, 3, 4), 0.0, 7), ((7, 3, 4), 0.5, 5), ((7, 0, 4), 0.75, 1)],
)
def test_the_window_slides(cell: Cell, part: float, expected: float) -> None:
    assert limits.estimate(cell, part) == expected


def test_counts_fade() -> None:
    counters = SharedCounters(buckets=16)
    counts = [limits.add(counters, RATE, b"a", NOON + second) for second in range(3)]
    assert counts == [1, 2, 3]
    assert limits.count(counters, RATE, b"b", NOON) == 0
    assert limits.count(counters, RATE, b"a", NOON + 150) == 1.5
    assert limits.count(counters, RATE, b"a", NOON + 200) == 0


def test_the_journal_is_told_once_a_minute_even_under_fire() -> None:
    counters = SharedCounters(buckets=16)
    told = [limits.first_in_window(counters, b"a", 600.0 + second) for second in range(180)]
    assert [second for second, one in enumerate(told) if one] == [0, 60, 120]


@pytest.mark.parametrize(
    ("one", "other", "same_unit", "same_network"),
    [
        ("192.0.2.1", "192.0.2.1", True, True),
        ("192.0.2.1", "192.0.2.254", False, True),
        ("192.0.2.1", "192.0.3.1", False, False),
        ("192.0.2.1", "::ffff:192.0.2.1", True, True),
        ("2001:db8::1", "2001:db8::2:3:4:5", True, True),
        ("2001:db8::1", "2001:db8:0:1::1", False, True),
        ("2001:db8::1", "2001:db8:1::1", False, False),
        ("", "nonsense\udcff", False, False),
    ],
)
def test_whom_it_is_counted_to(one: str, other: str, same_unit: bool, same_network: bool) -> None:
    assert (limits.unit_of(one) == limits.unit_of(other)) is same_unit
    assert (limits.network_of(one) == limits.network_of(other)) is same_network


@pytest.mark.parametrize(
    ("address", "networks", "expected"),
    [
        ("10.1.2.3", ["10.0.0.0/8"], True),
        ("11.1.2.3", ["10.0.0.0/8"], False),
        ("::1", ["127.0.0.0/8", "::1"], True),
        ("10.1.2.3", ["::/0"], False),
        ("10.1.2.3", [], False),
        ("", ["0.0.0.0/0"], False),
    ],
)
def test_networks(address: str, networks: list[str], expected: bool) -> None:
    assert limits.is_within(address, limits.parse_networks(networks)) is expected


class Door:
    """Log-ins at one moment."""

    def __init__(self) -> None:
        self.counters = SharedCounters()
        self.guesses = 0

    def guess(self, login: str, address: str, password: str = "") -> str:
        """A wrong password; the limit that puts it off, if one does."""
        attempt = limits.attempt_of(login, address)
        limit = limits.find_login_limit(self.counters, attempt, NOON)
        if not limit:
            self.guesses += 1
            word = password or f"guess {self.guesses}"
            limits.log_in_failed(self.counters, attempt, word, NOON)
        return limit

    def succeed(self, login: str, address: str) -> str:
        """The right password; the limit that puts it off, if one does."""
        attempt = limits.attempt_of(login, address)
        limit = limits.find_login_limit(self.counters, attempt, NOON)
        if not limit:
            limits.log_in_worked(self.counters, attempt, NOON)
        return limit


def test_guessing_from_one_network_ends() -> None:
    door = Door()
    found = [door.guess("alice", f"192.0.2.{number}") for number in range(12)]
    assert found == [""] * 10 + ["logins_account"] * 2
    assert door.guess("ALICE", "192.0.2.99") == "logins_account"
    assert door.guess("alice", "198.51.100.1") == ""


def test_guessing_at_many_accounts_from_one_address_ends() -> None:
    door = Door()
    found = [door.guess(f"user{number}", "192.0.2.7") for number in range(22)]
    assert found == [""] * 20 + ["logins_address"] * 2
    assert door.guess("user99", "192.0.2.8") == ""


def test_the_same_wrong_password_counts_once() -> None:
    door = Door()
    found = [door.guess("alice", "192.0.2.7", "old password") for _ in range(50)]
    assert found == [""] * 50


def test_guessing_from_elsewhere_does_not_touch_the_owner() -> None:
    door = Door()
    for number in range(2000):
        door.guess("alice", f"198.18.{number % 250}.7")
    assert door.succeed("alice", "192.0.2.7") == ""


def test_a_known_device_goes_on_where_strangers_guess() -> None:
    """In the same network, even from the same address at other accounts."""
    door = Door()
    assert door.succeed("alice", "192.0.2.7") == ""
    for number in range(40):
        door.guess("alice", f"192.0.2.{100 + number % 20}")
    for number in range(400):
        door.guess(f"user{number}", "192.0.2.7")
    assert door.guess("user1000", "192.0.2.7") == "logins_address"
    assert door.succeed("alice", "192.0.2.7") == ""
    for _ in range(10):
        door.guess("alice", "192.0.2.7")
    assert door.succeed("alice", "192.0.2.7") == "logins_account"


def test_an_address_with_a_good_log_in_is_not_banned_whole() -> None:
    door = Door()
    door.succeed("alice", "192.0.2.7")
    found = [door.guess(f"user{number}", "192.0.2.7") for number in range(201)]
    assert found == [""] * 200 + ["logins_address"]


def test_even_a_known_network_has_an_end() -> None:
    door = Door()
    door.succeed("alice", "192.0.2.7")
    found = [door.guess("alice", f"192.0.2.{100 + number % 50}") for number in range(101)]
    assert found == [""] * 100 + ["logins_account"]


def test_connections_come_too_soon() -> None:
    counters = SharedCounters(buckets=16)
    may = [limits.may_connect(counters, "192.0.2.7", NOON, 5) for _ in range(7)]
    assert may == [True] * 5 + [False] * 2
    limits.log_in_worked(counters, limits.attempt_of("alice", "192.0.2.7"), NOON)
    assert limits.may_connect(counters, "192.0.2.7", NOON, 5)
    assert limits.may_connect(counters, "192.0.2.8", NOON, 5)
