"""What operators do with the queue: look, try now, hold, release, drop, send by another way.

Each change is told in the journal of the message it concerns. A change of many recipients is a
series of transactions of at most WRITE_LIMIT rows, so mail goes on meanwhile.
Holds: a recipient that is being tried at this moment is dropped or held all the same; `retry` and
`reroute` leave it alone.
"""

from collections.abc import Callable
from datetime import datetime
from itertools import groupby

from mailstead.message.dsn import Action
from mailstead.model.address import parse_address
from mailstead.model.entries import Changed
from mailstead.model.errors import Refusal
from mailstead.model.numbers import QueueId
from mailstead.model.reply import Reply
from mailstead.model.world import World
from mailstead.services.delivery.recipients import Catch
from mailstead.services.outbound.bounce import Bounces, Event, reported, wakes_of
from mailstead.services.outbound.route import parse_route
from mailstead.services.watch import Watch
from mailstead.storage import journal, queue
from mailstead.storage.plan import JournalRow, Release
from mailstead.storage.queue import Filter, Outgoing, Waiting
from mailstead.storage.store import WRITE_LIMIT, Store, Tx

SLICE = WRITE_LIMIT // 2  # recipients: a row of the queue and one of the journal for each
DROPPED = Reply(554, "5.0.0", "An operator took the message out of the queue")
EXPIRED = Reply(554, "5.4.7", "An operator gave the message up before its time")

Found = tuple[Waiting, Outgoing]


class Operators:
    """The queue's back door."""

    def __init__(
        self,
        store: Store,
        world: World,
        watch: Watch,
        hostname: str,
        catch: Catch | None = None,
    ) -> None:
        self._store, self._world, self._watch = store, world, watch
        self._bounces = Bounces(store, world, hostname, catch)

    async def find(self, wanted: Filter, limit: int = 100, after: int = 0) -> list[Found]:
        """A page of recipients with their messages; go on after the last id."""
        return await self._store.read(lambda tx: queue.find(tx, wanted, limit, after))

    async def count(self) -> int:
        """How many recipients are in the queue."""
        return await self._store.read(queue.count)

    async def show(self, queue_id: QueueId) -> Found | None:
        """One recipient with its message, or None if it is not in the queue."""
        found = await self.find(Filter(ids=(queue_id,)), 1)
        return found[0] if found else None

    async def show_header(self, queue_id: QueueId) -> bytes | None:
        """The header of a recipient's message."""
        found = await self.show(queue_id)
        if found is None:
            return None
        outgoing = found[1].id
        return await self._store.read(lambda tx: queue.find_header(tx, outgoing))

    async def retry(self, wanted: Filter) -> int:
        """Try them at once; how many."""
        return await self._change(wanted, "retried", "", queue.make_due, _not_running)

    async def hold(self, wanted: Filter) -> int:
        """Keep them back until they are released; how many."""
        return await self._change(
            wanted, "held", "", lambda tx, ids: queue.set_hold(tx, ids, True), _not_held
        )

    async def release(self, wanted: Filter) -> int:
        """Let held ones go on; how many."""
        return await self._change(
            wanted, "released", "", lambda tx, ids: queue.set_hold(tx, ids, False), _held
        )

    async def reroute(self, wanted: Filter, route: str) -> int:
        """Send them by host:port, and at once; "" goes back to the usual way. How many."""
        if route:
            try:
                parse_route(route)
            except ValueError as error:
                raise Refusal(f"{error}; write it as mx.example.net:25") from error
        return await self._change(
            wanted, "rerouted", route, lambda tx, ids: queue.set_route(tx, ids, route), _not_running
        )

    async def expire(self, wanted: Filter) -> int:
        """Give them up now, with a DSN; how many."""
        return await self._end(wanted, "expired", EXPIRED)

    async def drop(self, wanted: Filter, notify: bool = False) -> int:
        """Take them out of the queue; with `notify` their senders get a DSN. How many."""
        return await self._end(wanted, "dropped", DROPPED if notify else None)

    async def _end(self, wanted: Filter, change: str, reply: Reply | None) -> int:
        dropped, after = 0, 0
        while page := await self.find(wanted, SLICE, after):
            after = page[-1][0].id
            dropped += len(page)
            for _, several in groupby(page, key=lambda found: found[1].id):
                await self._end_message(list(several), change, reply)
        self._watch.wake_queue()
        return dropped

    async def _end_message(self, several: list[Found], change: str, reply: Reply | None) -> None:
        """Recipients of one message."""
        outgoing, now = several[0][1], self._world.clock.now()
        header = await self._store.read(lambda tx: queue.find_header(tx, outgoing.id))
        if header is None:  # it has left the queue meanwhile
            return
        event = Event(
            outgoing,
            header,
            tuple(Release(row.id) for row, _ in several),
            tuple(_changed(row, change, "", now) for row, _ in several),
            tuple(
                reported(parse_address(row.recipient), Action.FAILED, reply, "", now)
                for row, _ in several
                if reply
            ),
        )
        plan = await self._bounces.plan(event)
        await self._store.apply(plan)
        self._watch.wake(wakes_of(plan).mailboxes)

    async def _change(
        self,
        wanted: Filter,
        change: str,
        detail: str,
        do: Callable[[Tx, list[QueueId]], None],
        concerned: Callable[[Waiting], bool],
    ) -> int:
        """Page by page: find, do, and tell, in one transaction each."""

        def turn(tx: Tx, after: int) -> tuple[int, int]:
            page = queue.find(tx, wanted, SLICE, after)
            found = [(row, outgoing) for row, outgoing in page if concerned(row)]
            do(tx, [row.id for row, _ in found])
            journal.add(tx, _rows(found, change, detail, tx.now))
            return (page[-1][0].id if page else 0), len(found)

        changed = last = 0
        while True:
            last, count = await self._store.write(lambda tx, at=last: turn(tx, at))  # type: ignore[misc]
            if not last:
                break
            changed += count
        self._watch.wake_queue()
        return changed


def _rows(found: list[Found], change: str, detail: str, now: datetime) -> list[JournalRow]:
    """One journal row for each message."""
    rows = []
    for _, several in groupby(found, key=lambda pair: pair[1].id):
        pairs = list(several)
        entries = tuple(_changed(row, change, detail, now) for row, _ in pairs)
        outgoing = pairs[0][1]
        rows.append(JournalRow(outgoing.trace, outgoing.organisation, entries))
    return rows


def _changed(row: Waiting, change: str, detail: str, now: datetime) -> Changed:
    return Changed(at=now, recipient=row.recipient, change=change, detail=detail)


def _not_running(row: Waiting) -> bool:
    return not row.claimed


def _held(row: Waiting) -> bool:
    return row.held


def _not_held(row: Waiting) -> bool:
    return not row.held
