"""What would change: thresholds and weights tried on the mail of the last days.

The journal keeps every part of every score, so that nothing has to be looked at again.
Holds: what is not changed moves no message.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TypeGuard

import msgspec

from mailstead.model.entries import Accepted, AnyEntry, Refused, Scored
from mailstead.model.numbers import TraceId
from mailstead.storage import journal, spam_corpus
from mailstead.storage.journal import Story
from mailstead.storage.store import Store

PAGE = 500  # rows of the journal that are read at once
MOVED_LIMIT = 10_000  # messages that are told


class Change(msgspec.Struct, frozen=True):
    """What would be different; None: as it was."""

    junk: float | None = None
    refuse: float | None = None
    weights: Mapping[str, float] = {}


class Moved(msgspec.Struct, frozen=True):
    """A message that would have gone elsewhere; `people` is what its owner said of it since."""

    at: datetime
    trace: TraceId
    reverse_path: str
    recipients: tuple[str, ...]
    before: str
    after: str
    total: float
    new_total: float
    people: str = ""  # "ham", "spam"


class Replayed(msgspec.Struct, frozen=True):
    """How many judgements were looked at, and which would be others."""

    judged: int
    moved: list[Moved]


async def replay(store: Store, since: datetime, change: Change) -> Replayed:
    """The mail since then, judged again with the change."""
    judged, moved, after = 0, list[Moved](), 0
    while page := await store.read(
        lambda tx, after=after: journal.arrivals_after(tx, since, after, PAGE)  # type: ignore[misc]
    ):
        after = page[-1][0]
        for _, story in page:
            scored = [entry for entry in story.entries if _came_in(entry)]
            judged += len(scored)
            moved += [found for one in scored if (found := _move(story, one, change))]
        if len(moved) > MOVED_LIMIT:
            break
    said = await store.read(spam_corpus.said_of_messages)
    return Replayed(
        judged,
        [msgspec.structs.replace(one, people=said.get(one.trace, "")) for one in moved],
    )


def _came_in(entry: AnyEntry) -> TypeGuard[Scored]:
    """What our own people sent is judged by another threshold."""
    return isinstance(entry, Scored) and entry.action not in ("send", "hold")


def _move(story: Story, entry: Scored, change: Change) -> Moved | None:
    total = judge_again(entry, change)
    junk = entry.junk_at if change.junk is None else change.junk
    refuse = entry.refuse_at if change.refuse is None else change.refuse
    before = place_of(entry.total, entry.junk_at, entry.refuse_at)
    after = place_of(total, junk, refuse)
    if before == after:
        return None
    return Moved(
        at=entry.at,
        trace=story.trace,
        reverse_path=_reverse_path(story),
        recipients=entry.recipients,
        before=before,
        after=after,
        total=entry.total,
        new_total=total,
    )


def judge_again(entry: Scored, change: Change) -> float:
    """The total with other weights; a rule that did not hold cannot be known to hold."""
    weights = [change.weights.get(part.rule, part.weight) for part in entry.parts]
    return round(sum(weights), 2)


def place_of(total: float, junk: float, refuse: float) -> str:
    """Where that many points lead."""
    if total >= refuse:
        return "refuse"
    return "junk" if total >= junk else "inbox"


def _reverse_path(story: Story) -> str:
    return next(
        (one.reverse_path for one in story.entries if isinstance(one, Accepted | Refused)), ""
    )
