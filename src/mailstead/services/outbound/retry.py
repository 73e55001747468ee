"""What an outcome means for a queued recipient: done, again later, or given up. Pure.

RFC 5321 section 4.5.4.1: retry at growing intervals, give up after days. Waits are 5, 10, 20, 40
and 60 minutes, hourly to the age of 24 h, then every 3 h to 5 days; a DSN (null reverse-path) is
given up after 2 days. The last try is made when the time is up, not before. Greylisting is over in
minutes, so it is asked in minutes; who is too fast for a site waits as long as its lane does.
"""

from datetime import datetime, timedelta
from itertools import accumulate

import msgspec

from mailstead.model.reply import Reply
from mailstead.services.outbound.rules import ReplyClass

FIRST_WAITS = tuple(timedelta(minutes=minutes) for minutes in (5, 10, 20, 40, 60))
GREY_WAITS = tuple(timedelta(minutes=minutes) for minutes in (2, 5, 5, 10, 15))
LANE_WAIT = timedelta(minutes=5)  # of a lane whose site said that we are too fast
HOURLY = timedelta(hours=1)
HOURLY_UNTIL = timedelta(hours=24)  # of age
LATE = timedelta(hours=3)
LIFETIME = timedelta(days=5)
NULL_PATH_LIFETIME = timedelta(days=2)
DELAY_NOTICE = timedelta(hours=4)  # of age: the sender is told once that it takes longer
JITTER = 0.2
# The other server may have taken the message; should it tell us apart, give it time to.
UNKNOWN_WAIT = timedelta(minutes=10)


class Relayed(msgspec.Struct, frozen=True):
    """The other server has taken responsibility (RFC 5321 section 6.1).

    `will_tell`: it knows what the sender wants to hear, and does the telling (RFC 3461 5.2.1).
    """

    reply: Reply
    host: str
    will_tell: bool = False


class Deferred(msgspec.Struct, frozen=True):
    """Not now. `unknown`: the connection broke after the final dot, the message may be there."""

    reply: Reply
    host: str = ""  # that said so; empty: the words are our own
    unknown: bool = False
    until: datetime | None = None  # not before


class Failed(msgspec.Struct, frozen=True):
    """Never."""

    reply: Reply
    host: str = ""


Outcome = Relayed | Deferred | Failed


class Age(msgspec.Struct, frozen=True):
    """How long a recipient has waited, and what was done about it."""

    created: datetime
    attempts: int  # with the one that just ended
    null_path: bool = False
    delay_notified: bool = False
    ends: datetime | None = None  # given up then, whatever the usual lifetime

    @property
    def expires(self) -> datetime:
        """When it is given up."""
        return self.ends or self.created + (NULL_PATH_LIFETIME if self.null_path else LIFETIME)


class Done(msgspec.Struct, frozen=True):
    """It leaves the queue: relayed."""


class Later(msgspec.Struct, frozen=True):
    """It waits; with `notify_delay` the sender is to be told so."""

    when: datetime
    notify_delay: bool = False


class GiveUp(msgspec.Struct, frozen=True):
    """It leaves the queue: failed; `expired` if not by a refusal but by its age."""

    expired: bool = False


Decision = Done | Later | GiveUp


def decide(
    outcome: Outcome,
    age: Age,
    now: datetime,
    spread: float,
    about: ReplyClass = ReplyClass.UNKNOWN,
    lane_wait: timedelta = LANE_WAIT,
) -> Decision:
    """What to do next; `spread` is chance, from -1 to 1.

    `about` is what the other server's answer is about, `lane_wait` how long the lane is paused.
    """
    match outcome:
        case Relayed():
            return Done()
        case Failed():
            return GiveUp()
        case Deferred(unknown=unknown, until=until):
            if now >= age.expires:
                return GiveUp(expired=True)
            pause = _pause(about, age, now, lane_wait) * (1 + JITTER * spread)
            if unknown:
                pause = max(pause, UNKNOWN_WAIT)
            notify = not age.delay_notified and now - age.created >= DELAY_NOTICE
            return Later(min(max(now + pause, until or now), age.expires), notify)


def _pause(about: ReplyClass, age: Age, now: datetime, lane_wait: timedelta) -> timedelta:
    waited = now - age.created
    if about is ReplyClass.RATE_LIMIT:
        return lane_wait
    if about is ReplyClass.GREYLISTED and age.attempts <= len(GREY_WAITS):
        return GREY_WAITS[max(age.attempts, 1) - 1]
    return wait(age.attempts, waited)


def wait(attempts: int, age: timedelta) -> timedelta:
    """How long to wait after so many attempts, without jitter.

    Attempts that came faster than this schedule makes them (greylisting, rates, an operator's
    `retry`) do not count: they say nothing about how long the other side will be away.
    """
    step = min(max(attempts, 1), sum(since <= age for since in _SINCE))
    if step <= len(FIRST_WAITS):
        return FIRST_WAITS[step - 1]
    return HOURLY if age < HOURLY_UNTIL else LATE


# The age from which on each wait may have its turn, if chance made all the ones before short.
_SINCE = (timedelta(0), *(total * (1 - JITTER) for total in accumulate(FIRST_WAITS)))
