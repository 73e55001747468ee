"""When it is tried again: the schedule as a table."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.model.reply import Reply
from mailstead.services.outbound.retry import (
    Age,
    Decision,
    Deferred,
    Done,
    Failed,
    GiveUp,
    Later,
    Outcome,
    Relayed,
    decide,
    wait,
)
from mailstead.services.outbound.rules import ReplyClass

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
OK, LATER, NO = Reply(250, "2.0.0", "ok"), Reply(451, "4.3.0", "later"), Reply(550, "5.1.1", "no")
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.mark.rfc("5321 section 4.5.4.1")
@pytest.mark.parametrize(
    ("attempts", "age", "expected"),
    [
        (1, 0 * MINUTE, 5 * MINUTE),
        (2, 5 * MINUTE, 10 * MINUTE),
        (3, 15 * MINUTE, 20 * MINUTE),
        (4, 35 * MINUTE, 40 * MINUTE),
        (5, 75 * MINUTE, 60 * MINUTE),
        (6, 135 * MINUTE, HOUR),
        (27, 23 * HOUR, HOUR),
        (28, 24 * HOUR, 3 * HOUR),
        (60, 119 * HOUR, 3 * HOUR),
    ],
)
def test_waits_longer_and_longer(attempts: int, age: timedelta, expected: timedelta) -> None:
    assert expected == wait(attempts, age)


@pytest.mark.parametrize(
    ("outcome", "age", "now", "spread", "expected"),
    [
        (Relayed(OK, "mx"), Age(START, 1), START, 0, Done()),
        (Failed(NO, "mx"), Age(START, 1), START, 0, GiveUp()),
        (Deferred(LATER), Age(START, 1), START, 0, Later(START + 5 * MINUTE)),
        (Deferred(LATER), Age(START, 1), START, 1, Later(START + 6 * MINUTE)),
        (Deferred(LATER), Age(START, 1), START, -1, Later(START + 4 * MINUTE)),
        # After the final dot nobody knows: ten minutes at least.
        (Deferred(LATER, unknown=True), Age(START, 1), START, -1, Later(START + 10 * MINUTE)),
        (
            Deferred(LATER, unknown=True),
            Age(START, 3),
            START + 15 * MINUTE,
            0,
            Later(START + 35 * MINUTE),
        ),
        # The sender is told once, after four hours.
        (Deferred(LATER), Age(START, 9), START + 239 * MINUTE, 0, Later(START + 299 * MINUTE)),
        (Deferred(LATER), Age(START, 9), START + 4 * HOUR, 0, Later(START + 5 * HOUR, True)),
        (
            Deferred(LATER),
            Age(START, 9, delay_notified=True),
            START + 4 * HOUR,
            0,
            Later(START + 5 * HOUR),
        ),
        # The last try is when the time is up.
        (
            Deferred(LATER),
            Age(START, 60, delay_notified=True),
            START + 5 * DAY - HOUR,
            0,
            Later(START + 5 * DAY),
        ),
        (Deferred(LATER), Age(START, 61), START + 5 * DAY, 0, GiveUp(expired=True)),
        (Deferred(LATER, unknown=True), Age(START, 61), START + 5 * DAY, 0, GiveUp(expired=True)),
        (Deferred(LATER), Age(START, 50, null_path=True), START + 2 * DAY, 0, GiveUp(expired=True)),
    ],
)
def test_decides(
    outcome: Outcome, age: Age, now: datetime, spread: float, expected: Decision
) -> None:
    assert expected == decide(outcome, age, now, spread)


@pytest.mark.parametrize(
    ("about", "attempts", "waited", "expected"),
    [
        # Greylisting ends within minutes; after that it is no greylisting.
        (ReplyClass.GREYLISTED, 1, 0 * MINUTE, 2 * MINUTE),
        (ReplyClass.GREYLISTED, 2, 2 * MINUTE, 5 * MINUTE),
        (ReplyClass.GREYLISTED, 3, 7 * MINUTE, 5 * MINUTE),
        (ReplyClass.GREYLISTED, 4, 12 * MINUTE, 10 * MINUTE),
        (ReplyClass.GREYLISTED, 5, 22 * MINUTE, 15 * MINUTE),
        (ReplyClass.GREYLISTED, 6, 37 * MINUTE, 40 * MINUTE),
        (ReplyClass.GREYLISTED, 7, 77 * MINUTE, HOUR),
        # Too fast: as long as the lane, however often.
        (ReplyClass.RATE_LIMIT, 1, 0 * MINUTE, 7 * MINUTE),
        (ReplyClass.RATE_LIMIT, 40, 30 * HOUR, 7 * MINUTE),
        # Blocks and outages: as usual.
        (ReplyClass.REPUTATION, 1, 0 * MINUTE, 5 * MINUTE),
        (ReplyClass.THEIR_OUTAGE, 6, 135 * MINUTE, HOUR),
        # Quick attempts before make no wait of an outage longer.
        (ReplyClass.THEIR_OUTAGE, 6, 12 * MINUTE, 20 * MINUTE),
    ],
)
def test_waits_by_what_was_said(
    about: ReplyClass, attempts: int, waited: timedelta, expected: timedelta
) -> None:
    age, now = Age(START, attempts, delay_notified=True), START + waited
    decision = decide(Deferred(LATER, "mx"), age, now, 0, about, 7 * MINUTE)
    assert Later(now + expected) == decision


@pytest.mark.rfc("5321 section 4.5.4.1")
@settings(deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=80, max_size=80))
def test_gives_up_after_five_days_and_some_fifty_attempts(spreads: list[float]) -> None:
    now, attempts, notices = START, 0, 0
    for spread in spreads:
        attempts += 1
        age = Age(START, attempts, delay_notified=notices > 0)
        decision = decide(Deferred(LATER), age, now, spread)
        if not isinstance(decision, Later):
            break
        assert decision.when > now
        notices += decision.notify_delay
        now = decision.when
    assert (GiveUp(expired=True), START + 5 * DAY, 1) == (decision, now, notices)
    assert 40 <= attempts <= 80
