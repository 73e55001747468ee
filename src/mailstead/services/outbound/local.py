"""Recipients here that had to wait, as in a message that was submitted for later (RFC 4865).

Where they lead is looked up when the time has come: a mailbox, an alias, an address elsewhere, or
nowhere any more. Holds: filing and leaving the queue are one transaction.
"""

from collections.abc import AsyncIterator

import msgspec

from mailstead.model.address import Address, parse_address
from mailstead.model.entries import Accepted
from mailstead.model.errors import Refusal
from mailstead.model.reply import Reply
from mailstead.model.world import World
from mailstead.protocol.smtp import replies
from mailstead.services.delivery import recipients, success
from mailstead.services.delivery.plan import LOCAL, Message, compose_plan, mailboxes_of
from mailstead.services.delivery.recipients import Catch, Found
from mailstead.services.outbound.attempt import Attempt
from mailstead.services.outbound.octets import Loaded, pieces
from mailstead.services.outbound.retry import Deferred, Failed, Outcome
from mailstead.services.return_path import ReturnPaths
from mailstead.services.tracing import message_id, new_trace
from mailstead.services.watch import Watch
from mailstead.storage.blobs import MemoryBody
from mailstead.storage.plan import Enqueue, Release
from mailstead.storage.queue import Waiting
from mailstead.storage.store import Store


class Local:
    """Files what has waited long enough."""

    def __init__(
        self,
        store: Store,
        world: World,
        watch: Watch,
        return_paths: ReturnPaths,
        hostname: str,
        catch: Catch | None,
    ) -> None:
        self._store, self._world, self._watch = store, world, watch
        self._return_paths, self._hostname, self._catch = return_paths, hostname, catch

    async def deliver(self, loaded: Loaded) -> tuple[Loaded, Attempt]:
        """Those that could not be kept, and why; the others have left the queue."""
        outcomes: dict[Address, Outcome] = {}
        left = []
        for row in loaded.job.recipients:
            if outcome := await self._deliver(loaded, row):
                outcomes[parse_address(row.recipient)] = outcome
                left.append(row)
        job = msgspec.structs.replace(loaded.job, recipients=tuple(left))
        rest = msgspec.structs.replace(loaded, job=job)
        return rest, Attempt(outcomes, route=LOCAL)

    async def _deliver(self, loaded: Loaded, row: Waiting) -> Outcome | None:
        address = parse_address(row.recipient)
        bounce = not loaded.job.outgoing.reverse_path
        found = await self._store.look_up(
            lambda tx: recipients.find(tx, address, self._catch, bounce)
        )
        if isinstance(found, recipients.NotHere):  # the domain has moved away meanwhile
            found = recipients.leave(address, loaded.job.outgoing.organisation)
        if isinstance(found, Reply):
            return Failed(found) if found.permanent else Deferred(found)
        try:
            await self._keep(loaded, row, found)
        except Refusal:  # the account or mailbox went away at this moment
            return Deferred(replies.LOCAL_ERROR)
        return None

    async def _keep(self, loaded: Loaded, row: Waiting, found: Found) -> None:
        octets = b"".join([piece async for piece in _body(self._store, loaded)])
        now, outgoing = self._world.clock.now(), loaded.job.outgoing
        message = Message(
            outgoing.trace,
            parse_address(outgoing.reverse_path) if outgoing.reverse_path else None,
            loaded.header,
            MemoryBody(octets),
            outgoing.body_type,
            outgoing.smtputf8,
            outgoing.account,
            message_id(loaded.header),
            envid=outgoing.envid,
            tls=outgoing.tls,
        )
        plan = compose_plan(message, [found], [], now, await self._return_paths.key())
        journal = tuple(one for one in plan.journal if not isinstance(one, Accepted))
        plan = msgspec.structs.replace(
            plan,
            steps=(*plan.steps, Release(row.id)),
            organisation=outgoing.organisation,
            body=outgoing.body,
            journal=journal,
            arrival=False,
        )
        await self._store.apply(plan)
        self._watch.wake(mailboxes_of(plan))
        if any(isinstance(step, Enqueue) for step in plan.steps):
            self._watch.wake_queue()
        if asked := success.wanted([msgspec.structs.replace(found, wish=row.wish)]):
            origin = success.Origin(self._hostname, new_trace(self._world), now)
            await success.tell(self._store, self._watch, message, asked, origin)


async def _body(store: Store, loaded: Loaded) -> AsyncIterator[bytes]:
    """The octets behind the header."""
    skipped = len(loaded.header)
    async for piece in pieces(store, loaded):
        if more := piece[skipped:]:
            yield more
        skipped = max(0, skipped - len(piece))
