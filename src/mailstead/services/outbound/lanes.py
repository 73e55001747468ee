"""Which claimed job may begin: limits per lane and in all, lanes in turn. Values only, no waiting.

A lane with a backlog is shut: no more of it is claimed, so that the others have their turn. A lane
that is paused (its site wants us slower) begins nothing before the pause is over.
"""

from collections import deque
from datetime import datetime

import msgspec

from mailstead.services.outbound.octets import Loaded

BACKLOG_HIGH = 100  # jobs claimed but not begun, from which on a lane is shut
BACKLOG_LOW = 50  # down to which it stays shut


class _Lane(msgspec.Struct):
    waiting: deque[Loaded] = msgspec.field(default_factory=deque)
    active: int = 0
    ready: bool = False  # stands in the line of lanes that may begin a job
    shut: bool = False
    paused: datetime | None = None


class Lanes:
    """All lanes that have jobs, or a pause, in this process."""

    def __init__(self, connections: int, lane_connections: int) -> None:
        self._limit, self._lane_limit = connections, lane_connections
        self._lanes: dict[str, _Lane] = {}
        self._line: deque[str] = deque()
        self.active = 0
        self.waiting = 0
        self.reopened = False  # a lane that was shut is not any more; whoever acts on it clears it

    def add(self, loaded: Loaded) -> None:
        """One more job."""
        lane = self._lanes.setdefault(loaded.job.lane, _Lane())
        lane.waiting.append(loaded)
        self.waiting += 1
        lane.shut = lane.shut or len(lane.waiting) >= BACKLOG_HIGH
        self._queue(loaded.job.lane, lane)

    def begin(self) -> Loaded | None:
        """The next job, if one may begin; `end` has to follow."""
        if self.active >= self._limit or not self._line:
            return None
        name = self._line.popleft()
        lane = self._lanes[name]
        lane.ready = False
        loaded = lane.waiting.popleft()
        lane.active += 1
        self.active += 1
        self.waiting -= 1
        if lane.shut and len(lane.waiting) <= BACKLOG_LOW:
            lane.shut, self.reopened = False, True
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
        lane = self._lanes.setdefault(name, _Lane())
        lane.paused = until
        if lane.ready:
            self._line.remove(name)
            lane.ready = False

    def resume(self, now: datetime) -> None:
        """Let lanes go on whose pause is over."""
        for name, lane in list(self._lanes.items()):
            if lane.paused is not None and lane.paused <= now:
                lane.paused = None
                self._queue(name, lane)
                self._forget(name, lane)

    def next_resume(self) -> datetime | None:
        """When the next pause is over."""
        return min((lane.paused for lane in self._lanes.values() if lane.paused), default=None)

    def shut(self) -> list[str]:
        """Lanes of which no more is to be claimed now."""
        return [name for name, lane in self._lanes.items() if lane.shut or lane.paused]

    def drain(self) -> list[Loaded]:
        """Take away everything that has not begun."""
        left = [loaded for lane in self._lanes.values() for loaded in lane.waiting]
        for lane in self._lanes.values():
            lane.waiting.clear()
            lane.ready = False
        self._line.clear()
        self.waiting = 0
        return left

    def _queue(self, name: str, lane: _Lane) -> None:
        may = lane.waiting and lane.active < self._lane_limit and lane.paused is None
        if may and not lane.ready:
            lane.ready = True
            self._line.append(name)

    def _forget(self, name: str, lane: _Lane) -> None:
        if not lane.waiting and not lane.active and lane.paused is None:
            del self._lanes[name]
