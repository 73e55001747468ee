"""What is remembered between claims, and when it is forgotten."""

from datetime import UTC, datetime, timedelta

from mailstead.services.outbound.turns import AGAIN_LIMIT, FORGET, Turns
from mailstead.storage.claims import MARGIN, Behind, Claimed, Cursor
from mailstead.storage.store import to_micros

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DUE = to_micros(NOW - timedelta(minutes=5))
SMALL, BIG = Cursor(DUE, "", 10), Cursor(DUE, "", AGAIN_LIMIT + 1)


def remembering(*behind: str) -> Turns:
    """Passed by: little that is urgent, much that is not; lane a is shut for what is not."""
    turns = Turns(NOW)
    turns.ask({"a": 20}, None, NOW)
    cursors = {(0, 1): SMALL, (20, 1): SMALL, (20, 2): BIG}
    turns.learn(Claimed([], False, None, cursors, dict.fromkeys(behind, Behind(20)), {}), NOW)
    return turns


def test_goes_on_where_it_was() -> None:
    asked = remembering().ask({"a": 20}, 30, NOW)
    assert (len(asked.cursors), asked.behind, asked.below) == (3, {}, 30)


def test_an_open_lane_is_gone_over_again_if_that_is_cheap() -> None:
    asked = remembering().ask({}, None, NOW)
    assert (dict(asked.cursors), asked.behind) == (
        {(0, 1): SMALL, (20, 2): BIG},
        {"a": Behind(20, 0)},
    )


def test_a_lane_that_is_shut_for_less_is_open_for_the_rest() -> None:
    turns = remembering()
    turns.ask({"a": 10}, None, NOW)
    assert len(turns.ask({"a": 20}, None, NOW).cursors) == 2


def test_a_lane_that_caught_up_begins_there_when_it_opens_again() -> None:
    turns = remembering("a")
    turns.learn(Claimed([], False, None, {(20, 2): BIG}, {}, {}), NOW)
    turns.ask({"a": 20}, None, NOW)
    asked = turns.ask({}, None, NOW)
    assert asked.behind == {"a": Behind(20, to_micros(NOW - MARGIN))}


def test_what_is_given_back_is_found_again() -> None:
    turns = remembering("a")
    turns.give_back("a", 10, NOW - timedelta(hours=1))
    turns.give_back("b", 20, NOW - timedelta(hours=2))
    assert turns.ask({"a": 20}, None, NOW).behind == {
        "a": Behind(10, 0),
        "b": Behind(20, to_micros(NOW - timedelta(hours=2))),
    }


def test_everything_is_forgotten_now_and_then() -> None:
    asked = remembering("b").ask({"a": 20}, None, NOW + FORGET)
    assert (asked.cursors, asked.behind) == ({}, {})
