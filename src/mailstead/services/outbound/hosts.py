"""Addresses that did not answer lately, so that others are asked before them. Values only.

An address that takes no connection is remembered for two minutes, twice as long each time it fails
again, for half an hour at most; one that answers is forgotten. A family of addresses (no route for
IPv6) of which one after the other fails is remembered in the same way.
Holds: this changes the order, never whether mail leaves; what all are remembered for is tried.
"""

from collections import OrderedDict
from datetime import datetime, timedelta

import msgspec

FIRST_WAIT = timedelta(minutes=2)
LONGEST_WAIT = timedelta(minutes=30)
MEMORY = timedelta(hours=2)  # after which a failure counts as the first one again
ADDRESSES_LIMIT = 10_000  # remembered; the one that failed longest ago goes first
FAMILY_PROOF = 4  # addresses in a row, none of which answered, speak against their family

Key = tuple[str, str]  # the source address, empty for the usual one, and what was asked


class Remembered(msgspec.Struct, frozen=True):
    """Why not to ask an address now."""

    said: str  # what happened the last time
    since: datetime
    family: bool = False  # it was not this address, but others of its family


class _Silence(msgspec.Struct, frozen=True):
    said: str
    since: datetime
    wait: timedelta
    until: datetime


class DeadHosts:
    """What is remembered, in this process."""

    def __init__(self) -> None:
        self._silent: OrderedDict[Key, _Silence] = OrderedDict()
        self._in_a_row: dict[Key, frozenset[str]] = {}  # by family

    def failed(self, address: str, said: str, now: datetime, source: str = "") -> None:
        """The address took no connection."""
        self._remember((source, address), said, now)
        family = (source, family_of(address))
        row = self._in_a_row.pop(family, frozenset())
        if len(row) < FAMILY_PROOF:
            row |= {address}
        self._in_a_row[family] = row
        if len(self._in_a_row) > ADDRESSES_LIMIT:
            del self._in_a_row[next(iter(self._in_a_row))]
        if len(row) >= FAMILY_PROOF:
            self._remember(family, said, now)

    def answered(self, address: str, source: str = "") -> None:
        """The address took a connection."""
        family = (source, family_of(address))
        self._in_a_row.pop(family, None)
        for key in ((source, address), family):
            self._silent.pop(key, None)

    def find(self, address: str, now: datetime, source: str = "") -> Remembered | None:
        """Why to ask others before this address, or None."""
        for name in (address, family_of(address)):
            silence = self._silent.get((source, name))
            if silence is not None and now < silence.until:
                return Remembered(silence.said, silence.since, name != address)
        return None

    def _remember(self, key: Key, said: str, now: datetime) -> None:
        before = self._silent.pop(key, None)
        wait = FIRST_WAIT
        if before is not None and now < before.since + MEMORY:
            # Several that were under way at once failed once.
            wait = before.wait if now < before.until else min(before.wait * 2, LONGEST_WAIT)
        self._silent[key] = _Silence(said, now, wait, now + wait)
        if len(self._silent) > ADDRESSES_LIMIT:
            self._silent.popitem(last=False)


def family_of(address: str) -> str:
    """The name of the address's family."""
    return "IPv6" if ":" in address else "IPv4"
