"""From an attempt to events: what each recipient's outcome means for its row and its story. Pure.

Each row is released or postponed, gets one Attempted entry, and is named in a DSN if it failed or
is late for the first time.
"""

from datetime import datetime

import msgspec

from mailstead.message.dsn import Action, ReportedRecipient
from mailstead.model.address import Address
from mailstead.model.entries import AnyEntry, Attempted
from mailstead.model.world import Random
from mailstead.services.outbound.attempt import Attempt
from mailstead.services.outbound.bounce import Event, group, reported
from mailstead.services.outbound.octets import Loaded
from mailstead.services.outbound.retry import (
    Age,
    Decision,
    Done,
    GiveUp,
    Later,
    Outcome,
    decide,
)
from mailstead.storage.plan import Postpone, Release, Step
from mailstead.storage.queue import Waiting

_EXPIRED = "It was tried again and again for {days} days, which is now over."


class Tried(msgspec.Struct, frozen=True):
    """One row and what came of the attempt for it."""

    row: Waiting
    address: Address
    outcome: Outcome
    age: Age
    decision: Decision


def events_of(
    loaded: Loaded,
    addresses: dict[str, Address],
    attempt: Attempt,
    now: datetime,
    random: Random,
) -> list[Event]:
    """What is to be recorded; `addresses` has those of the job's rows."""
    spread = random.uniform(-1, 1)  # one for all, so that they stay together
    results = []
    for row in loaded.job.recipients:
        address = addresses[row.recipient]
        outcome = attempt.outcomes[address]
        null_path = not loaded.job.outgoing.reverse_path
        age = Age(row.created, row.attempts + 1, null_path, row.delay_notified)
        decision = decide(outcome, age, now, spread)
        tried = Tried(row, address, outcome, age, decision)
        results.append((_notice(tried, now), _step(tried), _entry(tried, attempt, now)))
    return group(results, loaded.job.outgoing, loaded.header)


def _step(tried: Tried) -> Step:
    match tried.decision:
        case Later(when, notify_delay):
            return Postpone(
                tried.row.id,
                when,
                tried.age.attempts,
                str(tried.outcome.reply),
                tried.age.delay_notified or notify_delay,
            )
        case Done() | GiveUp():
            return Release(tried.row.id)


def _entry(tried: Tried, attempt: Attempt, now: datetime) -> AnyEntry:
    decision = tried.decision
    outcomes = {Done: "relayed", Later: "deferred", GiveUp: "failed"}
    return Attempted(
        at=now,
        recipient=tried.row.recipient,
        attempt=tried.age.attempts,
        outcome=outcomes[type(decision)],
        reply=str(tried.outcome.reply),
        hosts=attempt.hosts,
        route=attempt.route,
        due=decision.when if isinstance(decision, Later) else None,
        queue_id=tried.row.id,
    )


def _notice(tried: Tried, now: datetime) -> ReportedRecipient | None:
    outcome, age = tried.outcome, tried.age
    match tried.decision:
        case GiveUp(expired):
            days = (age.expires - age.created).days
            reason = _EXPIRED.format(days=days) if expired else ""
            return reported(tried.address, Action.FAILED, outcome.reply, outcome.host, now, reason)
        case Later(notify_delay=True):
            return reported(
                tried.address,
                Action.DELAYED,
                outcome.reply,
                outcome.host,
                now,
                will_retry_until=age.expires,
            )
        case _:
            return None
