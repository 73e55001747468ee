"""Claiming: whose turn it is among the recipients that wait.

Lower priorities first; within a priority organisations share; within an organisation by time. A
turn is a priority and an organisation. Lanes that are shut are passed over in the index. How far
all that is left belongs to such lanes, a cursor remembers; when one opens, it is `behind`.
Holds: no claim goes over more than so many rows of a turn, but for those of one lane and moment.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from mailstead.storage import hold_rules, queue
from mailstead.storage.queue import COLUMNS, Job, Waiting, read_waiting
from mailstead.storage.store import Tx, from_micros, to_micros

WINDOW, WINDOWS = 2_000, 10  # entries of the index that one look at a turn goes over, and looks
AHEAD = 1_000  # entries that are looked at for the next time that something is due
TURNS_LIMIT = 200  # at once; more of them have to come round
PRIORITIES_LIMIT = 100
# What is committed now may be due since a moment ago: no cursor goes nearer to now.
MARGIN = timedelta(seconds=30)

Turn = tuple[int, int]  # priority, organisation


class Cursor(msgspec.Struct, frozen=True):
    """Up to where a turn has only rows of shut lanes, and how many they are."""

    due: int
    lane: str
    passed: int = 0


class Behind(msgspec.Struct, frozen=True):
    """A lane that opened again: what it has before the cursors, from `due` on, and its priority."""

    priority: int
    due: int = 0


class Asked(msgspec.Struct, frozen=True):
    """What is wanted, and what is remembered of earlier claims."""

    lease: timedelta
    limit: int  # recipients
    per_job: int  # recipients
    shut: Mapping[str, int] = {}  # lane -> the priority from which on it is shut
    below: int | None = None  # only priorities lower than that
    cursors: Mapping[Turn, Cursor] = {}
    behind: Mapping[str, Behind] = {}
    after: Mapping[int, int] = {}  # priority -> the organisation that came last


class Claimed(msgspec.Struct, frozen=True):
    """What was got, and what is to be remembered."""

    jobs: list[Job]
    more: bool  # there may be more that is due
    next_due: datetime | None  # if there is no more
    cursors: dict[Turn, Cursor]
    behind: dict[str, Behind]
    after: dict[int, int]


def claim(tx: Tx, asked: Asked) -> Claimed:
    """Take up to `limit` due recipients, of lanes that are not shut, for the length of a lease.

    Those of one message that go the same way come as one job, `per_job` at most.
    """
    claiming = _Claiming(tx, asked)
    claiming.run()
    rows = claiming.rows
    messages = queue.get_outgoings(tx, {row.outgoing for row in rows})
    if claiming.ruled:
        rows = hold_rules.apply(tx, rows, messages)
    return Claimed(
        jobs_of(rows, messages, asked.per_job),
        claiming.more,
        None if claiming.more else claiming.next_due(),
        claiming.cursors,
        claiming.behind,
        claiming.after,
    )


def jobs_of(rows: list[Waiting], messages: dict[int, queue.Outgoing], per_job: int) -> list[Job]:
    """Recipients of one message that go the same way, together."""
    groups: dict[tuple[Any, ...], list[Waiting]] = {}
    for row in sorted(rows, key=lambda row: (row.priority, row.due, row.id)):
        alone = row.id if messages[row.outgoing].return_domain else 0  # a return path of its own
        key = (row.outgoing, row.lane, _domain(row), row.transport, row.route, row.source, alone)
        groups.setdefault(key, []).append(row)
    return [
        _job(messages[members[0].outgoing], members[at : at + per_job])
        for members in groups.values()
        for at in range(0, len(members), per_job)
    ]


def _job(outgoing: queue.Outgoing, rows: list[Waiting]) -> Job:
    first = rows[0]
    return Job(
        outgoing,
        first.lane,
        first.transport,
        first.route,
        tuple(rows),
        first.source,
        min(row.priority for row in rows),
    )


def _domain(row: Waiting) -> str:
    return row.recipient.rpartition("@")[2]


class _Claiming:
    """One claim on its way."""

    def __init__(self, tx: Tx, asked: Asked) -> None:
        self.tx, self.asked = tx, asked
        self.now, self.until = to_micros(tx.now), to_micros(tx.now + asked.lease)
        self.left = asked.limit
        self.rows: list[Waiting] = []
        self.cursors, self.behind = dict(asked.cursors), dict(asked.behind)
        self.after = dict(asked.after)
        self.more = self.ruled = False
        self.turns: dict[Turn, int] = {}  # and the earliest time that they have

    def run(self) -> None:
        """Priority after priority, until there is enough."""
        self.turns = self._find_turns()
        due = [turn for turn, due in self.turns.items() if due <= self.now]
        behind = {one.priority for one in self.behind.values() if self._wanted(one.priority)}
        for priority in sorted({turn[0] for turn in due} | behind):
            if self.left:
                self._catch_up(priority)
                self._share([turn for turn in due if turn[0] == priority])
        self.more = self.more or not self.left

    def _wanted(self, priority: int) -> bool:
        return self.asked.below is None or priority < self.asked.below

    # ------------------------------------------------------------------ turns

    def _find_turns(self) -> dict[Turn, int]:
        rows = self._find_two()
        if len(rows) > 1:
            rows = self.tx.rows(_TURNS, priority=_FIRST, organisation=None, limit=TURNS_LIMIT)
        if len(rows) == TURNS_LIMIT:
            rows = self._find_some()
        self.ruled = any(row[3] for row in rows)
        return {(row[0], row[1]): row[2] for row in rows if self._wanted(row[0])}

    def _find_two(self) -> list[tuple[Any, ...]]:
        """The first turn, and one more if there is one: on a quiet server that is all."""
        first = self.tx.rows(f"{_ONE_TURN} {_IN_ORDER}")
        if not first:
            return []
        after = {"priority": first[0][0], "organisation": first[0][1]}
        return first + self.tx.rows(f"{_ONE_TURN} AND {_BEHIND} {_IN_ORDER}", **after)

    def _find_some(self) -> list[tuple[Any, ...]]:
        """Of each priority the organisations that come next."""
        found = []
        for (priority,) in self.tx.rows(_PRIORITIES, limit=PRIORITIES_LIMIT):
            if not self._wanted(priority):
                break
            after = self.after.pop(priority, -1)
            rows = self.tx.rows(_TURNS, priority=priority, organisation=after, limit=TURNS_LIMIT)
            mine = [row for row in rows if row[0] == priority]
            if len(mine) == TURNS_LIMIT:
                self.after[priority], self.more = mine[-1][1], True
            found += mine
        return found

    def _share(self, turns: list[Turn]) -> None:
        """Each gets the same; what one does not need, the others get."""
        if not turns:
            return
        priority = turns[0][0]
        start = self.asked.after.get(priority, 0)
        turns = sorted(turns, key=lambda turn: (turn[1] <= start, turn[1]))
        while turns and self.left:
            share, hungry = max(1, self.left // len(turns)), []
            for turn in turns[: self.left]:
                if self._take(turn, min(share, self.left)):
                    hungry.append(turn)
                self.after[priority] = turn[1]
            turns = hungry

    # ------------------------------------------------------------------ rows

    def _take(self, turn: Turn, count: int) -> bool:
        """Claim so many of this turn; whether there are so many."""
        shut = sorted(lane for lane, at in self.asked.shut.items() if at <= turn[0])
        if shut:
            return self._go_past(turn, count, shut)
        return self._keep(self._look(turn, count)) == count

    def _go_past(self, turn: Turn, count: int, shut: list[str]) -> bool:
        """The same past lanes that are shut, window after window."""
        wanted = self.left - count
        for _ in range(WINDOWS):
            ended = self._take_past(turn, self.left - wanted, shut)
            if self.left == wanted or ended:
                return self.left == wanted
        self.more = True
        return False

    def _take_past(self, turn: Turn, count: int, shut: list[str]) -> bool:
        """One window; the cursor moves on. Whether nothing comes after it."""
        start = self.cursors.get(turn, Cursor(0, ""))
        end = self.tx.row(
            f"SELECT due, lane FROM queue WHERE {_TURN} AND (due, lane) >= (:due, :lane)"
            " AND due <= :now ORDER BY due, lane LIMIT 1 OFFSET :window",
            **self._place(turn),
            window=WINDOW,
        )
        found = self._look(turn, count, shut, end)
        if self._keep(found) == count:
            self._pass(turn, start, (to_micros(found[-1].due), found[-1].lane))
            return False
        near = (self.now - MARGIN // _MICROSECOND, "")
        self._pass(turn, start, near if end is None else (end[0], end[1] + _NEXT))
        return end is None

    def _pass(self, turn: Turn, start: Cursor, end: tuple[int, str]) -> None:
        if end <= (start.due, start.lane):
            return
        passed = self.tx.value(
            f"SELECT count(*) FROM queue WHERE {_TURN} AND (due, lane) >= (:due, :lane)"
            " AND (due, lane) < (:end_due, :end_lane)",
            **self._place(turn, now=False),
            end_due=end[0],
            end_lane=end[1],
        )
        self.cursors[turn] = Cursor(*end, start.passed + passed)

    def _look(
        self,
        turn: Turn,
        count: int,
        shut: list[str] | None = None,
        end: tuple[Any, ...] | None = None,
    ) -> list[Waiting]:
        where, values = _TURN, self._place(turn)
        if turn in self.cursors:
            where += " AND (due, lane) >= (:due, :lane)"
        if end is not None:
            where += " AND (due, lane) <= (:end_due, :end_lane)"
            values |= {"end_due": end[0], "end_lane": end[1]}
        if shut:
            names, lanes = _parameters(shut)
            where, values = f"{where} AND lane NOT IN ({names})", values | lanes
        rows = self.tx.rows(
            f"SELECT {COLUMNS} FROM queue WHERE id IN (SELECT id FROM queue WHERE {where}"
            " AND due <= :now ORDER BY due, lane LIMIT :count) ORDER BY due, lane",
            **values,
            count=count,
        )
        return [read_waiting(row) for row in rows]

    def _place(self, turn: Turn, now: bool = True) -> dict[str, Any]:
        at = self.cursors.get(turn, Cursor(0, ""))
        place = {"priority": turn[0], "organisation": turn[1], "due": at.due, "lane": at.lane}
        return place | {"now": self.now} if now else place

    def _catch_up(self, priority: int) -> None:
        """Claim of lanes that are open again what lies before the cursors."""
        lanes = [
            lane
            for lane, one in self.behind.items()
            if one.priority <= priority and lane not in self.asked.shut
        ]
        for lane in lanes[: self.left]:
            count = max(1, self.left // 2 // len(lanes))
            rows = self.tx.rows(
                f"SELECT {COLUMNS} FROM queue WHERE lane = :lane AND due >= :due AND due <= :now"
                " AND hold = 0 ORDER BY due LIMIT :count",
                lane=lane,
                due=self.behind[lane].due,
                now=self.now,
                count=count,
            )
            found = [read_waiting(row) for row in rows]
            if self._keep(found) < count:
                del self.behind[lane]
            else:
                self.behind[lane] = Behind(priority, to_micros(found[-1].due))

    def _keep(self, rows: list[Waiting]) -> int:
        """They are ours for the length of the lease."""
        self.tx.many(
            "UPDATE queue SET lease = :until, due = :until WHERE id = :id",
            [{"id": row.id, "until": self.until} for row in rows],
        )
        self.rows += rows
        self.left -= len(rows)
        return len(rows)

    # ------------------------------------------------------------------ next

    def next_due(self) -> datetime | None:
        """When the next recipient of a lane that is not shut is due, or may be."""
        times = [due if due > self.now else self._next_of(turn) for turn, due in self.turns.items()]
        due = min((time for time in times if time is not None), default=None)
        return None if due is None else from_micros(due)

    def _next_of(self, turn: Turn) -> int | None:
        shut = sorted(lane for lane, at in self.asked.shut.items() if at <= turn[0])
        due: int | None
        if not shut:
            place = {"priority": turn[0], "organisation": turn[1], "now": self.now}
            due = self.tx.value(f"SELECT min(due) FROM queue WHERE {_TURN} AND due > :now", **place)
            return due
        names, lanes = _parameters(shut)
        due = self.tx.value(
            f"SELECT coalesce(min(CASE WHEN lane NOT IN ({names}) THEN due END), max(due)) FROM"
            f" (SELECT due, lane FROM queue WHERE {_TURN} AND due > :now ORDER BY due LIMIT :ahead)"
            " AS coming",
            priority=turn[0],
            organisation=turn[1],
            now=self.now,
            ahead=AHEAD,
            **lanes,
        )
        return due


_FIRST = -(2**31)  # before every priority
_MICROSECOND = timedelta(microseconds=1)
_NEXT = "\x01"  # makes of a lane's name one that comes after it, before all others
_TURN = "hold = 0 AND priority = :priority AND organisation = :organisation"

_ONE_TURN = (
    "SELECT priority, organisation, due, EXISTS (SELECT 1 FROM hold_rule) FROM queue WHERE hold = 0"
)
_BEHIND = "(priority, organisation) > (:priority, :organisation)"
_IN_ORDER = "ORDER BY priority, organisation, due LIMIT 1"

# Each turn by one look into the index, whatever it has waiting: after the last organisation of a
# priority (NULL) comes the next priority, before its first (-1).
_TURNS = (
    "WITH RECURSIVE turn (priority, organisation) AS (SELECT CAST(:priority AS BIGINT),"
    " CAST(:organisation AS BIGINT) UNION ALL SELECT CASE WHEN turn.organisation IS NULL THEN"
    " (SELECT min(priority) FROM queue WHERE hold = 0 AND queue.priority > turn.priority)"
    " ELSE turn.priority END, CASE WHEN turn.organisation IS NULL THEN -1 ELSE"
    " (SELECT min(organisation) FROM queue WHERE hold = 0 AND queue.priority = turn.priority"
    " AND queue.organisation > turn.organisation) END FROM turn WHERE turn.priority IS NOT NULL)"
    " SELECT priority, organisation, (SELECT min(due) FROM queue WHERE hold = 0 AND"
    " queue.priority = turn.priority AND queue.organisation = turn.organisation),"
    " EXISTS (SELECT 1 FROM hold_rule) FROM turn"
    " WHERE organisation >= 0 AND (priority > :priority OR organisation > :organisation)"
    " LIMIT :limit"
)
_PRIORITIES = (
    "WITH RECURSIVE found (priority) AS (SELECT min(priority) FROM queue WHERE hold = 0"
    " UNION ALL SELECT (SELECT min(priority) FROM queue WHERE hold = 0 AND"
    " priority > found.priority) FROM found WHERE priority IS NOT NULL)"
    " SELECT priority FROM found WHERE priority IS NOT NULL LIMIT :limit"
)


def _parameters(shut: list[str]) -> tuple[str, dict[str, str]]:
    """Names and values, of few different lengths: a statement is prepared for each."""
    length = 1 << (len(shut) - 1).bit_length()
    padded = shut + shut[-1:] * (length - len(shut))
    values = {f"lane{number}": lane for number, lane in enumerate(padded)}
    return ", ".join(f":{name}" for name in values), values
