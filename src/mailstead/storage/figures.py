"""Figures for operators: how much waits, since when, and why. Read only, never in the hot path."""

from datetime import datetime

import msgspec

from mailstead.storage.store import Tx, from_micros


class QueueFigures(msgspec.Struct, frozen=True):
    """The queue as a whole."""

    waiting: int  # not held
    held: int
    oldest: datetime | None


class LaneFigures(msgspec.Struct, frozen=True):
    """One lane: the domain that its recipients wait for."""

    lane: str
    recipients: int
    held: int
    claimed: int
    due: datetime
    last_reply: str  # what the other side said last


def queue_figures(tx: Tx) -> QueueFigures:
    """Counted in indexes; the oldest has the smallest id."""
    total = tx.value("SELECT count(*) FROM queue")
    waiting = tx.value("SELECT count(*) FROM queue WHERE hold = 0")
    created = tx.value("SELECT created FROM queue ORDER BY id LIMIT 1")
    oldest = None if created is None else from_micros(created)
    return QueueFigures(waiting, total - waiting, oldest)


def fullest_lanes(tx: Tx, limit: int) -> list[LaneFigures]:
    """The lanes with the most recipients."""
    rows = tx.rows(
        "SELECT lane, count(*) AS recipients, min(due) FROM queue GROUP BY lane"
        " ORDER BY recipients DESC, lane LIMIT :limit",
        limit=limit,
    )
    return [_lane(tx, *row) for row in rows]


def _lane(tx: Tx, lane: str, recipients: int, due: int) -> LaneFigures:
    held, claimed = tx.rows(
        "SELECT sum(hold), count(lease) FROM queue WHERE lane = :lane", lane=lane
    )[0]
    reply = tx.value(
        "SELECT last_reply FROM queue WHERE lane = :lane AND last_reply != ''"
        " ORDER BY last_tried DESC LIMIT 1",
        lane=lane,
    )
    return LaneFigures(lane, recipients, held, claimed, from_micros(due), reply or "")


def packed_octets(tx: Tx) -> int:
    """How big all packs are."""
    octets: int = tx.value("SELECT coalesce(sum(size), 0) FROM pack")
    return octets
