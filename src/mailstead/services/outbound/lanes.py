"""Which claimed job may begin: limits per lane and in all, the urgent first, lanes in turn.

Values only, no waiting. A lane with a backlog is shut: no more of it is claimed, so that the others
have their turn; what is more urgent than the backlog still is. A lane that is paused (its site
wants us slower) begins nothing before the pause is over.
"""

from bisect import insort
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from heapq import heappop, heappush

import msgspec

from mailstead.services.outbound.octets import Loaded
from mailstead.services.outbound.providers import Limits

BACKLOG_HIGH = 100  # jobs claimed but not begun, from which on a lane is shut
BACKLOG_LOW = 50  # down to which it stays shut
WAITING_LIMIT = 400  # jobs claimed but not begun, in all; more only of what is more urgent
WAITING_BOUND = 4 * WAITING_LIMIT  # however urgent
SHUT_LIMIT = 1000  # lanes that claims pass over
ALL = -(2**31)  # before every priority

_MINUTE = timedelta(minutes=1)


class _Line(msgspec.Struct):
    """Jobs of one lane and priority; their organisations take turns."""

    jobs: dict[int, deque[Loaded]] = msgspec.field(default_factory=dict)
    count: int = 0

    def add(self, loaded: Loaded) -> None:
        self.jobs.setdefault(loaded.job.outgoing.organisation, deque()).append(loaded)
        self.count += 1

    def next(self) -> Loaded:
        organisation = next(iter(self.jobs))
        own = self.jobs.pop(organisation)
        loaded = own.popleft()
        if own:
            self.jobs[organisation] = own  # after the others
        self.count -= 1
        return loaded

    def all(self) -> list[Loaded]:
        return [loaded for own in self.jobs.values() for loaded in own]


class _Lane(msgspec.Struct):
    limits: Limits
    waiting: dict[int, _Line] = msgspec.field(default_factory=dict)  # by priority
    active: int = 0
    line: int | None = None  # it stands in this priority's line of lanes that may begin a job
    shut: int | None = None  # from this priority on
    paused: datetime | None = None
    rests: datetime | None = None  # to keep below a rate

    def count(self, priority: int) -> int:
        """Jobs that are at least so urgent."""
        return sum(line.count for at, line in self.waiting.items() if at <= priority)

    def next(self) -> Loaded:
        """One of the most urgent jobs."""
        urgent = min(self.waiting)
        line = self.waiting[urgent]
        loaded = line.next()
        if not line.count:
            del self.waiting[urgent]
        return loaded


class Lanes:
    """All lanes that have jobs, or a pause, in this process."""

    def __init__(self, connections: int, limits_of: Callable[[str], Limits]) -> None:
        self._limit, self._limits_of = connections, limits_of
        self._lanes: dict[str, _Lane] = {}
        self._lines: dict[int, deque[str]] = {}
        self._priorities: list[int] = []  # of the lines, sorted
        self._alarms: list[tuple[datetime, str]] = []  # a heap: when a pause or a rest may be over
        self._shut: dict[str, int] = {}
        self._counts: dict[int, int] = {}  # waiting jobs by priority
        self.active = 0
        self.waiting = 0
        self.reopened = False  # a lane that was shut is not any more; whoever acts on it clears it

    def add(self, loaded: Loaded) -> None:
        """One more job."""
        name, priority = loaded.job.lane, loaded.job.priority
        lane = self._lane(name)
        lane.waiting.setdefault(priority, _Line()).add(loaded)
        self._count(priority, 1)
        if (lane.shut is None or priority < lane.shut) and lane.count(priority) >= BACKLOG_HIGH:
            lane.shut = priority
            self._mark(name, lane)
        self._queue(name, lane)

    def begin(self, now: datetime) -> Loaded | None:
        """The next job, if one may begin; `end` has to follow."""
        name = self._first() if self.active < self._limit else None
        if name is None:
            return None
        lane = self._lanes[name]
        lane.line = None
        loaded = lane.next()
        lane.active += 1
        self.active += 1
        self._count(loaded.job.priority, -1)
        lane.limits = self._limits_of(name)
        if rate := lane.limits.messages_a_minute:
            lane.rests = now + _MINUTE / rate
            heappush(self._alarms, (lane.rests, name))
        if lane.shut is not None and lane.count(lane.shut) <= BACKLOG_LOW:
            self._reopen(name, lane)
        self._queue(name, lane)
        return loaded

    def end(self, name: str) -> None:
        """A job of the lane has let go of its connection."""
        lane = self._lanes[name]
        lane.active -= 1
        self.active -= 1
        self._queue(name, lane)
        self._forget(name, lane)

    def pause(self, name: str, until: datetime) -> None:
        """Begin nothing in this lane before then."""
        lane = self._lane(name)
        lane.paused = until
        heappush(self._alarms, (until, name))
        self._leave_line(name, lane)
        self._mark(name, lane)

    def resume(self, now: datetime) -> None:
        """Let lanes go on whose pause is over, or whose rest."""
        while self._alarms and self._alarms[0][0] <= now:
            _, name = heappop(self._alarms)
            if lane := self._lanes.get(name):
                self._resume(name, lane, now)

    def _resume(self, name: str, lane: _Lane, now: datetime) -> None:
        if lane.paused is not None and lane.paused <= now:
            lane.paused, self.reopened = None, True
            self._mark(name, lane)
        if lane.rests is not None and lane.rests <= now:
            lane.rests = None
        self._queue(name, lane)
        self._forget(name, lane)

    def next_resume(self) -> datetime | None:
        """When a lane may go on."""
        return self._alarms[0][0] if self._alarms else None

    def is_shut(self, name: str, priority: int) -> bool:
        """Whether no more of this lane and priority is to be claimed now."""
        return self._shut.get(name, priority + 1) <= priority

    def shut(self) -> dict[str, int]:
        """Lanes of which no more is to be claimed now, and from which priority on."""
        return dict(list(self._shut.items())[:SHUT_LIMIT])

    def below(self, others: int = 0) -> int | None:
        """No more is to be claimed from this priority on; `others` are claimed and not here yet."""
        if self.waiting + others < WAITING_LIMIT:
            return None
        if others >= WAITING_LIMIT or self.waiting >= WAITING_BOUND:
            return ALL
        total = others
        for priority, count in sorted(self._counts.items()):
            total += count
            if total >= WAITING_LIMIT:
                return priority
        return None

    def drain(self) -> list[Loaded]:
        """Take away everything that has not begun."""
        lanes = self._lanes.values()
        left = [loaded for lane in lanes for line in lane.waiting.values() for loaded in line.all()]
        for lane in lanes:
            lane.waiting.clear()
            lane.line = None
        self._lines.clear()
        self._priorities.clear()
        self._counts.clear()
        self.waiting = 0
        return left

    # ------------------------------------------------------------------ lines

    def _first(self) -> str | None:
        """The lane that comes next among those with the most urgent jobs."""
        if not self._priorities:
            return None
        line = self._lines[self._priorities[0]]
        name = line.popleft()
        if not line:
            del self._lines[self._priorities.pop(0)]
        return name

    def _queue(self, name: str, lane: _Lane) -> None:
        """Let it stand where its most urgent job belongs, if it may begin one."""
        if not lane.waiting or lane.paused or lane.rests:
            return
        urgent = min(lane.waiting)
        if lane.line is not None and lane.line <= urgent:
            return
        if lane.active >= lane.limits.connections:
            return
        self._leave_line(name, lane)
        if urgent not in self._lines:
            self._lines[urgent] = deque()
            insort(self._priorities, urgent)
        self._lines[urgent].append(name)
        lane.line = urgent

    def _leave_line(self, name: str, lane: _Lane) -> None:
        if lane.line is None:
            return
        line = self._lines[lane.line]
        line.remove(name)
        if not line:
            del self._lines[lane.line]
            self._priorities.remove(lane.line)
        lane.line = None

    # ------------------------------------------------------------------ books

    def _lane(self, name: str) -> _Lane:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane(self._limits_of(name))
        return lane

    def _count(self, priority: int, change: int) -> None:
        self.waiting += change
        count = self._counts.get(priority, 0) + change
        self._counts[priority] = count
        if not count:
            del self._counts[priority]

    def _reopen(self, name: str, lane: _Lane) -> None:
        full = [at for at in sorted(lane.waiting) if lane.count(at) >= BACKLOG_HIGH]
        lane.shut, self.reopened = (full[0] if full else None), True
        self._mark(name, lane)

    def _mark(self, name: str, lane: _Lane) -> None:
        at = ALL if lane.paused else lane.shut
        if at is None:
            self._shut.pop(name, None)
        else:
            self._shut[name] = at

    def _forget(self, name: str, lane: _Lane) -> None:
        if not (lane.waiting or lane.active or lane.paused or lane.rests):
            del self._lanes[name]
