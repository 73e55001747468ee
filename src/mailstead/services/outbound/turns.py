"""What the service remembers between claims: where storage.claims may go on. Values only.

It may forget everything at any time: the next claims then go over more of the index, once. It does
so now and then on purpose, for what another process gave back behind our cursors.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from mailstead.storage.claims import MARGIN, Asked, Behind, Claimed, Cursor, Turn
from mailstead.storage.store import to_micros

LEASE = timedelta(minutes=30)
CLAIM_LIMIT = 200  # recipients at once
JOB_LIMIT = 100  # recipients of one job: one transaction (RFC 5321 section 4.5.3.1.8)
FORGET = timedelta(minutes=5)
AGAIN_LIMIT = 10_000  # rows of shut lanes that are rather gone over again when one opens


class Turns:
    """The cursors, and the lanes that opened behind them."""

    def __init__(self, now: datetime) -> None:
        self._cursors: dict[Turn, Cursor] = {}
        self._behind: dict[str, Behind] = {}
        self._caught_up: dict[str, int] = {}  # lanes that have nothing before that time
        self._after: dict[int, int] = {}
        self._shut: Mapping[str, int] = {}
        self._fresh = now

    def ask(self, shut: Mapping[str, int], below: int | None, now: datetime) -> Asked:
        """The next claim, with lanes that are shut from a priority on."""
        if now - self._fresh >= FORGET:
            self.__init__(now)  # type: ignore[misc]
        for lane, at in self._shut.items():
            if lane not in shut or shut[lane] > at:
                self._open(lane, at)
        self._shut = shut
        return Asked(
            LEASE,
            CLAIM_LIMIT,
            JOB_LIMIT,
            shut,
            below,
            dict(self._cursors),
            dict(self._behind),
            dict(self._after),
        )

    def learn(self, claimed: Claimed, now: datetime) -> None:
        """What that claim found."""
        for lane in self._behind.keys() - claimed.behind.keys():
            self._caught_up[lane] = to_micros(now - MARGIN)
        self._cursors, self._behind = claimed.cursors, claimed.behind
        self._after = claimed.after

    def give_back(self, lane: str, priority: int, due: datetime) -> None:
        """A row went back to where it was, in this lane."""
        known = self._behind.get(lane, Behind(priority, to_micros(due)))
        self._behind[lane] = Behind(min(known.priority, priority), min(known.due, to_micros(due)))

    def _open(self, lane: str, at: int) -> None:
        """Go over its turns again, or remember that it has something before their cursors."""
        mine = [turn for turn in self._cursors if turn[0] >= at]
        big = [turn for turn in mine if self._cursors[turn].passed > AGAIN_LIMIT]
        for turn in set(mine) - set(big):
            del self._cursors[turn]
        if big and lane not in self._behind:
            priority = min(priority for priority, _ in big)
            self._behind[lane] = Behind(priority, self._caught_up.get(lane, 0))
