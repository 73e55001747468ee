"""The queue's rows: waiting -> claimed -> gone.

A claimed row has a lease and is due again when the lease ends, so a crash needs no repair: the
remote may see a message twice, never not at all.
Holds: a recipient leaves the queue only in the transaction that records its outcome.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from mailstead.model.envelope import NO_WISH, BodyType, TlsWish, Wish
from mailstead.model.numbers import (
    AccountId,
    BlobId,
    OrganisationId,
    OutgoingId,
    QueueId,
    TraceId,
)
from mailstead.storage import blobs
from mailstead.storage.plan import Postpone, QueuedRecipient, StoredBody
from mailstead.storage.store import Tx, from_micros, to_micros

INSERT = (
    "INSERT INTO queue (id, outgoing, organisation, recipient, transport, lane, priority, due,"
    " hold, attempts, created, delay_notified, route, last_reply, notify, orcpt, source, expires)"
    " VALUES (:id, :outgoing, :organisation, :recipient, :transport, :lane, :priority, :due, :hold,"
    " 0, :created, 0, :route, '', :notify, :orcpt, :source, :expires)"
)


class Waiting(msgspec.Struct, frozen=True):
    """One recipient in the queue."""

    id: QueueId
    outgoing: OutgoingId
    recipient: str
    transport: str
    lane: str
    route: str
    due: datetime
    held: bool
    claimed: bool
    attempts: int
    created: datetime
    delay_notified: bool
    last_tried: datetime | None
    last_reply: str
    wish: Wish = NO_WISH
    source: str = ""
    expires: datetime | None = None
    priority: int = 0


class Outgoing(msgspec.Struct, frozen=True):
    """One message in the queue, without its octets."""

    id: OutgoingId
    trace: TraceId
    organisation: OrganisationId
    account: AccountId | None
    reverse_path: str
    header_size: int
    body: StoredBody
    body_type: BodyType
    smtputf8: bool
    notify: bool
    created: datetime
    envid: str = ""
    ret: str = ""
    tls: TlsWish = TlsWish.USUAL
    release: str = ""
    stream: str = ""
    return_domain: str = ""


class Job(msgspec.Struct, frozen=True):
    """What one attempt is about: a message and those of its recipients that go the same way."""

    outgoing: Outgoing
    lane: str
    transport: str
    route: str
    recipients: tuple[Waiting, ...]
    source: str = ""
    priority: int = 0


class Filter(msgspec.Struct, frozen=True):
    """Which recipients an operator means; what is empty matches all."""

    ids: tuple[QueueId, ...] = ()
    trace: str = ""
    lane: str = ""
    recipient: str = ""  # an address, or "@domain"
    reverse_path: str = ""
    held: bool | None = None
    stream: str = ""
    organisation: OrganisationId | None = None
    source: str = ""


def new_row(
    queue_id: QueueId,
    outgoing: int,
    organisation: OrganisationId,
    priority: int,
    recipient: QueuedRecipient,
) -> dict[str, Any]:
    """The values of a row that waits."""
    return {
        "id": queue_id,
        "outgoing": outgoing,
        "organisation": organisation,
        "recipient": recipient.recipient,
        "transport": recipient.transport,
        "lane": recipient.lane,
        "priority": priority,
        "due": to_micros(recipient.due),
        "hold": int(recipient.hold),
        "route": recipient.route,
        "notify": recipient.wish.notify,
        "orcpt": recipient.wish.orcpt,
        "source": recipient.source,
        "expires": None if recipient.expires is None else to_micros(recipient.expires),
    }


def renew(tx: Tx, ids: Sequence[QueueId], lease: timedelta) -> None:
    """Keep claimed recipients for the length of another lease."""
    until = to_micros(tx.now + lease)
    tx.many(
        "UPDATE queue SET lease = :until, due = :until WHERE id = :id AND lease IS NOT NULL",
        [{"id": id_, "until": until} for id_ in ids],
    )


def give_back(tx: Tx, ids: Sequence[QueueId]) -> None:
    """Let claimed recipients be due at once, as if nobody had claimed them."""
    tx.many(
        "UPDATE queue SET lease = NULL, due = :now WHERE id = :id AND lease IS NOT NULL",
        [{"id": id_, "now": to_micros(tx.now)} for id_ in ids],
    )


def in_lane(job: Job, lane: str) -> Job:
    """The job and its recipients in this lane."""
    if job.lane == lane:
        return job
    rows = tuple(msgspec.structs.replace(row, lane=lane) for row in job.recipients)
    return msgspec.structs.replace(job, lane=lane, recipients=rows)


def give_back_to(tx: Tx, rows: Sequence[Waiting]) -> None:
    """Give claimed recipients back as they were, in the lanes that they say."""
    tx.many(
        "UPDATE queue SET lease = NULL, due = :due, lane = :lane"
        " WHERE id = :id AND lease IS NOT NULL",
        [{"id": row.id, "due": to_micros(row.due), "lane": row.lane} for row in rows],
    )


def get_outgoings(tx: Tx, ids: Collection[int]) -> dict[int, Outgoing]:
    """The messages of queued recipients."""
    return {row[0]: _outgoing(row) for row in tx.each(_OUTGOING, ids)}


_OUTGOING = (
    "SELECT id, trace, organisation, account, reverse_path, length(header), blob, body_size,"
    " body_type, smtputf8, notify, created, envid, ret, require_tls, release, stream,"
    " return_domain FROM outgoing WHERE id = :id"
)


def _outgoing(row: tuple[Any, ...]) -> Outgoing:
    id_, trace, organisation, account, reverse_path, header_size, blob, size, *rest = row
    body_type, smtputf8, notify, created, envid, ret, require_tls, release, *rest = rest
    stream, return_domain = rest
    return Outgoing(
        id=id_,
        trace=trace,
        organisation=organisation,
        account=account,
        reverse_path=reverse_path,
        header_size=header_size,
        body=StoredBody(BlobId(blob), size),
        body_type=BodyType(body_type),
        smtputf8=bool(smtputf8),
        notify=bool(notify),
        created=from_micros(created),
        envid=envid,
        ret=ret,
        tls=TlsWish(require_tls),
        release=release,
        stream=stream,
        return_domain=return_domain,
    )


def find_header(tx: Tx, outgoing: OutgoingId) -> bytes | None:
    """The header of a message, or None if it has left the queue."""
    header: bytes | None = tx.value("SELECT header FROM outgoing WHERE id = :id", id=outgoing)
    return header


def postpone_row(step: Postpone, now: int) -> dict[str, Any]:
    """The values that a postponed recipient waits with."""
    return {
        "id": step.queue_id,
        "due": to_micros(step.due),
        "attempts": step.attempts,
        "last_reply": step.last_reply,
        "last_tried": now,
        "delay_notified": int(step.delay_notified),
        "lane": step.lane,
    }


def postpone(tx: Tx, rows: Sequence[dict[str, Any]]) -> None:
    """Let claimed recipients wait again, in another lane if it is named."""
    for lane, some in (
        ("", [row for row in rows if not row["lane"]]),
        (", lane = :lane", [row for row in rows if row["lane"]]),
    ):
        tx.many(
            "UPDATE queue SET due = :due, lease = NULL, attempts = :attempts,"
            " last_reply = :last_reply, last_tried = :last_tried,"
            f" delay_notified = :delay_notified{lane} WHERE id = :id",
            some,
        )


def change_source(tx: Tx, steps: Sequence[Postpone]) -> None:
    """Let postponed recipients that say so leave from another source from now on."""
    tx.many(
        "UPDATE queue SET source = :source WHERE id = :id",
        [{"id": step.queue_id, "source": step.source} for step in steps],
    )


def release(tx: Tx, ids: Sequence[QueueId]) -> None:
    """Take recipients out of the queue, and messages that have none left."""
    gone = tx.each("DELETE FROM queue WHERE id = :id RETURNING outgoing", ids)
    rows = tx.each(
        "DELETE FROM outgoing WHERE id = :id AND NOT EXISTS"
        " (SELECT 1 FROM queue WHERE queue.outgoing = outgoing.id) RETURNING blob, body_size",
        sorted({outgoing for (outgoing,) in gone}),
    )
    for blob, size in rows:
        blobs.drop_unused(tx, StoredBody(BlobId(blob), size))


# ---------------------------------------------------------------------- for operators


def find(tx: Tx, wanted: Filter, limit: int, after: int = 0) -> list[tuple[Waiting, Outgoing]]:
    """A page of the recipients that match, in the order they came; go on after the last id."""
    where, values = _where(wanted)
    rows = tx.rows(
        f"SELECT {COLUMNS} FROM queue WHERE id > :after{where} ORDER BY id LIMIT :limit",
        after=after,
        limit=limit,
        **values,
    )
    waiting = [read_waiting(row) for row in rows]
    messages = get_outgoings(tx, {one.outgoing for one in waiting})
    return [(one, messages[one.outgoing]) for one in waiting]


def count(tx: Tx) -> int:
    """How many recipients are in the queue."""
    number: int = tx.value("SELECT count(*) FROM queue")
    return number


def make_due(tx: Tx, ids: Sequence[QueueId]) -> None:
    """Try these at once; a running attempt is not doubled."""
    tx.many(
        "UPDATE queue SET due = :now WHERE id = :id AND lease IS NULL",
        [{"id": id_, "now": to_micros(tx.now)} for id_ in ids],
    )


def waiting_in(tx: Tx, lane: str, whatever: bool, limit: int) -> list[QueueId]:
    """Recipients of the lane that were tried and are not due yet, because no server was there.

    From any source. With `whatever`, those that the server put off itself, too.
    """
    lanes = "SELECT CAST(:lane AS TEXT) UNION ALL SELECT :lane || '/' || name FROM source"
    why = "" if whatever else " AND (last_reply LIKE '421%' OR last_reply LIKE '451 4.4.%')"
    rows = tx.rows(
        f"SELECT id FROM queue WHERE lane IN ({lanes}) AND due > :now AND lease IS NULL"
        f" AND hold = 0 AND attempts > 0{why} ORDER BY due LIMIT :limit",
        lane=lane,
        now=to_micros(tx.now),
        limit=limit,
    )
    return [row[0] for row in rows]


def set_hold(tx: Tx, ids: Sequence[QueueId], hold: bool) -> None:
    """Keep these back, or let them go on; what would have been due meanwhile is due now."""
    # No row appears in the past, where claims have passed by (storage.claims).
    tx.many(
        "UPDATE queue SET hold = :hold, due = CASE WHEN due < :now THEN :now ELSE due END"
        " WHERE id = :id",
        [{"id": id_, "hold": int(hold), "now": to_micros(tx.now)} for id_ in ids],
    )


def set_route(tx: Tx, ids: Sequence[QueueId], route: str) -> None:
    """Send these by another way (host:port), and at once; "" goes back to the usual one."""
    tx.many(
        "UPDATE queue SET route = :route, due = :now WHERE id = :id AND lease IS NULL",
        [{"id": id_, "route": route, "now": to_micros(tx.now)} for id_ in ids],
    )


def _where(wanted: Filter) -> tuple[str, dict[str, Any]]:
    parts: list[str] = []
    values: dict[str, Any] = {}
    if wanted.ids:
        values = {f"id{number}": id_ for number, id_ in enumerate(wanted.ids)}
        parts.append(f"id IN ({', '.join(f':{name}' for name in values)})")
    if wanted.lane:
        # A site's lane, and those of the site with a source (its name, "/", the source).
        parts.append("(lane = :lane OR (lane > :lane || '/' AND lane < :lane || '0'))")
        values["lane"] = wanted.lane
    if wanted.recipient:
        parts.append("recipient LIKE :recipient ESCAPE '!'")
        values["recipient"] = ("%" if wanted.recipient.startswith("@") else "") + _like(
            wanted.recipient
        )
    if wanted.held is not None:
        parts.append("hold = :hold")
        values["hold"] = int(wanted.held)
    for column in ("organisation", "source"):
        if value := getattr(wanted, column):
            parts.append(f"{column} = :{column}")
            values[column] = value
    if wanted.trace:
        parts.append("outgoing IN (SELECT id FROM outgoing WHERE trace = :trace)")
        values["trace"] = wanted.trace
    for column in ("reverse_path", "stream"):
        if text := getattr(wanted, column):
            parts.append(
                "EXISTS (SELECT 1 FROM outgoing WHERE outgoing.id = queue.outgoing"
                f" AND {column} = :{column})"
            )
            values[column] = text
    return "".join(f" AND {part}" for part in parts), values


def _like(text: str) -> str:
    for special in "!%_":
        text = text.replace(special, "!" + special)
    return text


COLUMNS = (
    "id, outgoing, recipient, transport, lane, route, due, hold, lease, attempts, created,"
    " delay_notified, last_tried, last_reply, notify, orcpt, source, expires, priority"
)


def read_waiting(row: tuple[Any, ...]) -> Waiting:
    """The recipient of a row of COLUMNS."""
    id_, outgoing, recipient, transport, lane, route, due, hold, lease = row[:9]
    attempts, created, delay_notified, last_tried, last_reply, notify, orcpt, source, *rest = row[
        9:
    ]
    ends, priority = rest
    return Waiting(
        id_,
        outgoing,
        recipient,
        transport,
        lane,
        route,
        from_micros(due),
        bool(hold),
        lease is not None,
        attempts,
        from_micros(created),
        bool(delay_notified),
        None if last_tried is None else from_micros(last_tried),
        last_reply,
        Wish(notify, orcpt) if notify or orcpt else NO_WISH,
        source,
        None if ends is None else from_micros(ends),
        priority,
    )
