"""Other programs that are asked about mail, in the order in which they are asked."""

from datetime import datetime, timedelta
from typing import Any

import msgspec

from mailstead.model.errors import Refusal
from mailstead.storage.store import Tx, from_micros, to_micros

ENGINES_LIMIT = 20
KINDS = ("milter", "rspamd", "clamd", "http")
DIRECTIONS = ("in", "out", "both")
FAILURES = ("open", "closed")


class Engine(msgspec.Struct, frozen=True):
    """One program: what it speaks, where it listens, which mail it sees, what its silence means."""

    name: str
    kind: str
    endpoint: str
    direction: str
    failure: str  # "open": mail goes on without it; "closed": it is put off
    time_limit: timedelta
    place: int
    created: datetime

    def sees(self, direction: str) -> bool:
        """Whether mail that comes in ("in") or leaves ("out") is shown to it."""
        return self.direction in (direction, "both")


def add(tx: Tx, engine: Engine) -> None:
    """One more program; Refusal if there is one of that name, or no room."""
    names = {one.name for one in list_all(tx)}
    if engine.name in names:
        raise Refusal(f"there is a filter {engine.name} already", "ALREADYEXISTS")
    if len(names) >= ENGINES_LIMIT:
        raise Refusal(f"there are {ENGINES_LIMIT} filters, and no more can be", "LIMIT")
    tx.run(
        "INSERT INTO filter_engine"
        " (name, kind, endpoint, direction, failure, time_limit, place, created) VALUES"
        " (:name, :kind, :endpoint, :direction, :failure, :time_limit, :place, :created)",
        name=engine.name,
        kind=engine.kind,
        endpoint=engine.endpoint,
        direction=engine.direction,
        failure=engine.failure,
        time_limit=engine.time_limit // timedelta(seconds=1),
        place=engine.place,
        created=to_micros(tx.now),
    )


def remove(tx: Tx, name: str) -> bool:
    """Without it; whether there was one."""
    return tx.run("DELETE FROM filter_engine WHERE name = :name", name=name) > 0


def list_all(tx: Tx) -> list[Engine]:
    """All, in their order."""
    rows = tx.rows(
        "SELECT name, kind, endpoint, direction, failure, time_limit, place, created"
        " FROM filter_engine ORDER BY place, name LIMIT :limit",
        limit=ENGINES_LIMIT,
    )
    return [_engine(row) for row in rows]


def _engine(row: tuple[Any, ...]) -> Engine:
    name, kind, endpoint, direction, failure, seconds, place, created = row
    limit = timedelta(seconds=seconds)
    return Engine(name, kind, endpoint, direction, failure, limit, place, from_micros(created))
