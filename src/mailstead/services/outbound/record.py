"""From an attempt to events: what each recipient's outcome means for its row and its story. Pure.

Each row is released or postponed, gets one Attempted entry, and is named in a DSN if it failed or
is late for the first time.
"""

from datetime import datetime, timedelta

import msgspec

from mailstead.message.dsn import Action, ReportedRecipient
from mailstead.model.address import Address
from mailstead.model.entries import AnyEntry, Attempted, Suppressed
from mailstead.model.world import Random
from mailstead.services.delivery import srs
from mailstead.services.delivery.success import original_recipient
from mailstead.services.outbound.attempt import Attempt
from mailstead.services.outbound.bounce import Event, group, reported
from mailstead.services.outbound.classify import Classified, classify
from mailstead.services.outbound.octets import Loaded
from mailstead.services.outbound.retry import (
    LANE_WAIT,
    Age,
    Decision,
    Done,
    Failed,
    GiveUp,
    Later,
    Outcome,
    Relayed,
    decide,
)
from mailstead.services.outbound.rules import ReplyClass
from mailstead.services.outbound.rules import Suppress as SuppressRule
from mailstead.storage.plan import Postpone, Release, Step, Suppress
from mailstead.storage.queue import Outgoing, Waiting

_EXPIRED = "It was tried again and again for {time}, which is now over."


class Tried(msgspec.Struct, frozen=True):
    """One row and what came of the attempt for it."""

    row: Waiting
    address: Address
    outcome: Outcome
    about: Classified | None
    age: Age
    decision: Decision


def events_of(
    loaded: Loaded,
    addresses: dict[str, Address],
    attempt: Attempt,
    now: datetime,
    random: Random,
    lane_wait: timedelta = LANE_WAIT,
) -> list[Event]:
    """What is to be recorded; `addresses` has those of the job's rows, `lane_wait` its pause."""
    spread = random.uniform(-1, 1)  # one for all, so that they stay together
    results = []
    for row in loaded.job.recipients:
        address = addresses[row.recipient]
        outcome = attempt.outcomes[address]
        null_path = not loaded.job.outgoing.reverse_path
        age = Age(row.created, row.attempts + 1, null_path, row.delay_notified, row.expires)
        about = _about(outcome)
        class_ = about.class_ if about and about.about_site else ReplyClass.UNKNOWN
        decision = decide(outcome, age, now, spread, class_, lane_wait)
        tried = Tried(row, address, outcome, about, age, decision)
        step = _step(tried, attempt.departure.source)
        results.append((_notice(tried, now), step, _entry(tried, attempt, now)))
        if found := _suppression(tried, loaded.job.outgoing, now):
            results.append((None, *found))
    return group(results, loaded.job.outgoing, loaded.header)


def _step(tried: Tried, source: str) -> Step:
    match tried.decision:
        case Later(when, notify_delay):
            return Postpone(
                tried.row.id,
                when,
                tried.age.attempts,
                str(tried.outcome.reply),
                tried.age.delay_notified or notify_delay,
                source if source != tried.row.source else "",
                tried.row.lane,
            )
        case Done() | GiveUp():
            return Release(tried.row.id)


def _suppression(tried: Tried, outgoing: Outgoing, now: datetime) -> tuple[Step, AnyEntry] | None:
    """What a refusal for good says about the address; of forwards and DSNs nothing follows."""
    outcome, verdict = tried.outcome, tried.about
    ours = outgoing.reverse_path and (outgoing.notify or outgoing.stream) and not _forward(outgoing)
    if not isinstance(outcome, Failed) or not ours:
        return None
    if verdict is None or verdict.suppress is SuppressRule.NEVER:
        return None
    twice = verdict.suppress is SuppressRule.TWICE
    evidence = f"{outcome.host}: {outcome.reply}"
    reason = "suspect" if twice else "gone"
    entry = Suppressed(at=now, recipient=tried.row.recipient, reason=reason, evidence=evidence)
    return Suppress(tried.row.recipient, evidence, twice), entry


def _forward(outgoing: Outgoing) -> bool:
    """An alias of ours passes it on: it says nothing about whom our people write to."""
    return srs.is_rewritten(outgoing.reverse_path) and outgoing.account is None


def _entry(tried: Tried, attempt: Attempt, now: datetime) -> AnyEntry:
    decision = tried.decision
    about = tried.about
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
        kind=about.class_.value if about else "",
        rule=about.rule if about else "",
    )


def _about(outcome: Outcome) -> Classified | None:
    """What a refusal is about; nothing where it is our own words."""
    if isinstance(outcome, Relayed) or not outcome.host:
        return None
    return classify(outcome.reply, outcome.host)


def _notice(tried: Tried, now: datetime) -> ReportedRecipient | None:
    """What the sender is told, if they want to hear it (RFC 3461 section 4.1)."""
    notice = _wanted(tried, now)
    orcpt = original_recipient(tried.row.wish)
    if notice is None or not orcpt:
        return notice
    return msgspec.structs.replace(notice, original_recipient=orcpt)


def _wanted(tried: Tried, now: datetime) -> ReportedRecipient | None:
    outcome, age, wants = tried.outcome, tried.age, tried.row.wish.wants
    reply, host = outcome.reply, outcome.host
    match tried.decision:
        case GiveUp(expired) if wants("FAILURE"):
            reason = _EXPIRED.format(time=_time(age.expires - age.created)) if expired else ""
            return reported(tried.address, Action.FAILED, reply, host, now, reason)
        case Later(notify_delay=True) if wants("DELAY"):
            until = age.expires
            return reported(tried.address, Action.DELAYED, reply, host, now, will_retry_until=until)
        case Done() if wants("SUCCESS") and isinstance(outcome, Relayed) and not outcome.will_tell:
            return reported(tried.address, Action.RELAYED, reply, host, now)
        case _:
            return None


def _time(duration: timedelta) -> str:
    """As people say it."""
    hours = max(1, round(duration / timedelta(hours=1)))
    if hours >= 48:
        return f"{hours // 24} days"
    return "an hour" if hours == 1 else f"{hours} hours"
