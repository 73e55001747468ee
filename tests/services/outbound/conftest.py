"""A queue, a store and an Internet in simulated time, for stories about outgoing mail."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from mailstead.model.address import Domain, parse_address
from mailstead.model.entries import AnyEntry, Attempted, Notified
from mailstead.model.envelope import BodyType
from mailstead.model.numbers import OrganisationId, TraceId
from mailstead.model.world import World
from mailstead.services.outbound.operators import Operators
from mailstead.services.outbound.queue import Outbound, Settings
from mailstead.services.tracing import new_trace
from mailstead.services.watch import Watch
from mailstead.storage import accounts, blobs, journal, mailboxes, queue
from mailstead.storage.blobs import MemoryBody
from mailstead.storage.plan import Enqueue, Plan, QueuedRecipient
from mailstead.storage.queue import Filter, Outgoing, Waiting
from mailstead.storage.sqlite import SqliteStore
from mailstead.storage.store import Tx
from mailstead.testing.cast.remote import Remote
from mailstead.testing.clock import (
    InlineOffload,
    LocalBus,
    SeededRandom,
    SimulatedClock,
    simulate,
)
from mailstead.testing.network import SimulatedNetwork
from mailstead.testing.zone import Zone

HEADER = b"From: alice@example.org\r\nSubject: Hello\r\nMessage-ID: <1@example.org>\r\n\r\n"


class Stage:
    """mx.example.org with the account alice; example.net is elsewhere."""

    def __init__(
        self, folder: Path, settings: Settings, seed: int, verifying: ssl.SSLContext | None
    ) -> None:
        self.verifying = verifying
        self.zone, self.network = Zone(), SimulatedNetwork()
        self.clock = SimulatedClock(asyncio.get_running_loop())
        self.world = World(
            clock=self.clock,
            random=SeededRandom(seed),
            resolver=self.zone,
            network=self.network,
            bus=LocalBus(),
            offload=InlineOffload(),
        )
        self.store = SqliteStore(folder / f"queue{seed}.db", self.clock, threads=False)
        self.watch = Watch(self.world.bus)
        self.settings = settings
        self.operators = Operators(self.store, self.world, self.watch, settings.hostname)
        self.task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Make the account; start the service."""

        def populate(tx: Tx) -> OrganisationId:
            organisation = accounts.create_organisation(tx, "Example")
            accounts.create_domain(tx, organisation, Domain("example.org"))
            accounts.create_account(tx, parse_address("alice@example.org"), "")
            return organisation

        self.organisation = await self.store.write(populate)
        self.start()

    def start(self) -> None:
        """Start the service."""
        self.outbound = Outbound(self.store, self.world, self.watch, self.settings, self.verifying)
        self.task = asyncio.get_running_loop().create_task(self.outbound.run())

    async def stop(self) -> None:
        """End the service as a shutdown does."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None

    async def end(self) -> None:
        """Close everything."""
        await self.stop()
        await self.network.close()
        await self.store.close()

    def mx(self, domain: str, *hosts: tuple[int, str, str]) -> None:
        """Publish MX hosts: preference, name, address."""
        self.zone["MX", domain] = [f"{preference} {name}" for preference, name, _ in hosts]
        for _, name, address in hosts:
            self.zone["A", name] = address

    def listen(self, address: str, remote: Remote, port: int = 25) -> Remote:
        """Let the server listen there."""
        self.network.listen(address, port, remote.serve)
        return remote

    async def enqueue(
        self,
        *recipients: str,
        sender: str = "alice@example.org",
        body: bytes = b"Hi!\r\n",
        header: bytes = HEADER,
        notify: bool = True,
        hold: bool = False,
        route: str = "",
        body_type: BodyType = BodyType.SEVEN_BIT,
    ) -> TraceId:
        """Put a message into the queue and wake it."""
        trace = new_trace(self.world)
        queued = tuple(
            QueuedRecipient(
                one, "smtp", parse_address(one).domain, self.clock.now(), hold=hold, route=route
            )
            for one in recipients
        )
        step = Enqueue(header, sender, queued, notify=notify, body_type=body_type)
        await self.store.apply(Plan((step,), trace, self.organisation, MemoryBody(body)))
        self.watch.wake_queue()
        return trace

    async def sleep(self, **duration: float) -> None:
        """Let time pass."""
        await self.clock.sleep(timedelta(**duration))

    async def story(self, trace: TraceId) -> tuple[AnyEntry, ...]:
        """What the journal says."""
        story = await self.store.read(lambda tx: journal.find(tx, trace))
        return () if story is None else story.entries

    async def attempts(self, trace: TraceId) -> list[Attempted]:
        """The attempts of a message."""
        return [one for one in await self.story(trace) if isinstance(one, Attempted)]

    async def notices(self, trace: TraceId) -> list[tuple[datetime, str, str]]:
        """Which DSNs went out: when, of what, for whom."""
        story = await self.story(trace)
        return [(n.at, n.action, n.recipient) for n in story if isinstance(n, Notified)]

    async def waiting(self) -> list[tuple[Waiting, Outgoing]]:
        """All rows."""
        return await self.store.read(lambda tx: queue.find(tx, Filter(), 1000))

    async def inbox(self) -> list[bytes]:
        """Messages in alice's INBOX, whole."""

        def read(tx: Tx) -> list[bytes]:
            account = accounts.get_account(tx, "alice@example.org")
            inbox = mailboxes.find(tx, account.id, "INBOX")
            assert inbox is not None
            rows = tx.rows(
                "SELECT header, blob, body_size FROM placement JOIN content"
                " ON content.id = placement.content WHERE mailbox = :id ORDER BY uid",
                id=inbox.id,
            )
            return [
                header + blobs.read(tx, queue.StoredBody(blob, size)) for header, blob, size in rows
            ]

        return await self.store.read(read)


Story = Callable[[Stage], Awaitable[None]]
SETTINGS = Settings("mx.example.org", own_addresses=frozenset({"203.0.113.25"}))


@pytest.fixture
def tell(tmp_path: Path) -> Callable[..., None]:
    """Tell a story on a stage; keyword arguments change the settings."""

    def tell(
        story: Story,
        seed: int = 1,
        running: bool = True,
        verifying: ssl.SSLContext | None = None,
        **changes: object,
    ) -> None:
        async def whole() -> None:
            settings = msgspec.structs.replace(SETTINGS, **changes)
            stage = Stage(tmp_path, settings, seed, verifying)
            await stage.begin()
            if not running:
                await stage.stop()
            try:
                await story(stage)
            finally:
                await stage.end()

        simulate(whole)

    return tell
