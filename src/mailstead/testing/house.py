"""A whole house in one process: the real `build`, in a world where nothing is left to chance.

async with SimulatedWorld(folder) as world:
    house = await world.house("example.org", accounts=["alice"])
    world.zone["MX", "example.net"] = "10 mx.example.net"
    await house.submit("alice@example.org", to="bob@example.net")
    await world.sleep(days=6)
    print((await house.newest("alice@example.org")).text)
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec

from mailstead.message import header as fields
from mailstead.message.dates import format_date
from mailstead.model.address import Address, parse_address, parse_domain
from mailstead.model.entries import AnyEntry
from mailstead.model.mailbox import INBOX
from mailstead.model.numbers import TraceId
from mailstead.model.reply import Reply
from mailstead.model.world import World
from mailstead.server.config import Config, Limits, Listen
from mailstead.server.listeners import Serve, behind_proxies
from mailstead.server.wiring import House, build, open_packs, open_store
from mailstead.services.inbound.site import Role
from mailstead.services.limits import parse_networks
from mailstead.services.passwords import store_password
from mailstead.sessions import smtp
from mailstead.sessions.imap import session as imap_session
from mailstead.sessions.imap import state as imap_state
from mailstead.sessions.pop3 import session as pop3_session
from mailstead.sessions.pop3 import state as pop3_state
from mailstead.storage import accounts, blobs, mailboxes, messages
from mailstead.storage.plan import StoredBody
from mailstead.storage.sqlite import SqliteStore
from mailstead.storage.store import Store, Tx
from mailstead.testing.clock import (
    START,
    InlineOffload,
    LocalBus,
    SeededRandom,
    SimulatedClock,
)
from mailstead.testing.network import SimulatedNetwork
from mailstead.testing.smtp import SmtpClient
from mailstead.testing.zone import Zone

PASSWORD = "secret"
_STORED = store_password(PASSWORD, b"salt of everyone")


class Filed(msgspec.Struct, frozen=True):
    """A message as it lies in a mailbox."""

    uid: int
    header: bytes
    body: bytes
    trace: TraceId

    @property
    def text(self) -> str:
        """All of it, as text."""
        return (self.header + self.body).decode("utf-8", "replace")

    @property
    def subject(self) -> str:
        """The decoded Subject."""
        return fields.decode(fields.get(self.header, "Subject") or b"")


class SimulatedWorld:
    """Clock, chance, DNS and network of a simulation, and the houses in it."""

    def __init__(
        self, folder: Path, seed: int = 1, database: Callable[[str], str] = lambda domain: ""
    ) -> None:
        self.folder, self.database = folder, database  # URL for a domain's house; "": a file
        self.zone = Zone()
        self.network = SimulatedNetwork()
        self.clock = SimulatedClock(asyncio.get_running_loop())
        self.random = SeededRandom(seed)
        self.houses: list[SimulatedHouse] = []

    async def __aenter__(self) -> "SimulatedWorld":
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.network.close()  # sessions end first: they may have something to give back
        finally:
            for house in self.houses:
                await house.stop()

    async def sleep(
        self, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> None:
        """Let time pass."""
        await self.clock.sleep(timedelta(days, seconds, hours=hours, minutes=minutes))

    async def house(
        self,
        domain: str,
        accounts: Sequence[str] = (),
        address: str = "203.0.113.25",
        aliases: dict[str, list[str]] | None = None,
        config: Config | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> "SimulatedHouse":
        """A running server for the domain, reachable at the address and found through MX."""
        house = SimulatedHouse(self, domain, address, config, tls=tls)
        await house.start()
        await house.populate(accounts, aliases or {})
        self.zone["MX", domain] = f"10 mx.{domain}"
        self.zone["A", f"mx.{domain}"] = address
        self.houses.append(house)
        return house


class SimulatedHouse:
    """One server in the simulated world."""

    def __init__(
        self,
        world: SimulatedWorld,
        domain: str,
        address: str,
        config: Config | None = None,
        vfs: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.world, self.domain, self.address, self.vfs = world, domain, address, vfs
        self.folder = world.folder / domain
        self.folder.mkdir(exist_ok=True)
        self.config = config or Config(
            hostname=f"mx.{domain}",
            database=world.database(domain) or f"sqlite://{self.folder / 'mailstead.db'}",
            data=str(self.folder),
            listen=Listen(),
        )
        if self.config.limits == Limits():  # stories pack much into a minute
            limits = Limits(connections_per_minute=1_000_000)
            self.config = msgspec.structs.replace(self.config, limits=limits)
        self.told: list[tuple[TraceId, AnyEntry]] = []
        self.tls = tls

    async def start(self) -> None:
        """Open the store and the ports."""
        world = World(
            clock=self.world.clock,
            random=self.world.random,
            resolver=self.world.zone,
            network=self.world.network,
            bus=LocalBus(),
            offload=InlineOffload(),
        )
        self.house: House = build(self.config, world, self._open_store(), self._tell)
        self.sending = asyncio.get_running_loop().create_task(self.house.outbound.run())
        mx = smtp.Door(Role.MX, self.tls)
        submission = smtp.Door(Role.SUBMISSION, self.tls, clear_text_login=True)
        self._listen(25, mx)
        self._listen(587, submission)
        self._listen(24, smtp.Door(Role.LMTP))
        door = imap_state.Door(clear_text_login=True)
        self._open(143, lambda stream: imap_session.serve(stream, self.house.imap, door))
        drop = pop3_state.Door(clear_text_login=True)
        self._open(110, lambda stream: pop3_session.serve(stream, self.house.pop3, drop))

    def _open_store(self) -> Store:
        """The configured one; an SQLite one may lie on a disk of the test's making."""
        path, clock = self.config.sqlite_path, self.world.clock
        if path is not None and self.vfs:
            return SqliteStore(path, clock, False, self.vfs)
        return open_store(self.config, clock, open_packs(self.config), threads=False)

    def _listen(self, port: int, door: smtp.Door) -> None:
        self._open(port, lambda stream: smtp.serve(stream, self.house.site, door))

    def _open(self, port: int, serve: Serve) -> None:
        served = behind_proxies(serve, parse_networks(self.config.proxies))
        self.world.network.listen(self.address, port, served)

    async def stop(self) -> None:
        """Close the ports and the store."""
        for port in (24, 25, 110, 143, 587):
            self.world.network.unlisten(self.address, port)
        self.sending.cancel()
        await asyncio.gather(self.sending, return_exceptions=True)
        await self.house.store.close()

    def _tell(self, trace: TraceId, entries: Sequence[AnyEntry]) -> None:
        self.told += [(trace, entry) for entry in entries]

    async def populate(self, names: Sequence[str], aliases: dict[str, list[str]]) -> None:
        """The domain, its accounts (password: PASSWORD) and aliases."""

        def work(tx: Tx) -> None:
            organisation = accounts.create_organisation(tx, self.domain)
            accounts.create_domain(tx, organisation, parse_domain(self.domain))
            for name in names:
                accounts.create_account(
                    tx, self.address_of(name), _STORED.password, scram=_STORED.scram
                )
            for alias, targets in aliases.items():
                to = [self.address_of(target) for target in targets]
                accounts.create_alias(tx, self.address_of(alias), to)

        await self.house.store.write(work)

    def address_of(self, name: str) -> Address:
        """The address that a name without a domain stands for."""
        return parse_address(name if "@" in name else f"{name}@{self.domain}")

    # ------------------------------------------------------------------ mail

    async def submit(
        self, sender: str, to: str | Sequence[str], subject: str = "Hello", text: str = "Hi!\r\n"
    ) -> Reply:
        """Send a message as a mail program would; the reply to its end."""
        recipients = [to] if isinstance(to, str) else list(to)
        message = compose(sender, recipients, subject, text)
        async with SmtpClient(self.world.network, self.address, 587) as client:
            await client.log_in(sender, PASSWORD)
            return await client.send_message(sender, recipients, message)

    async def receive(
        self, sender: str, to: str | Sequence[str], subject: str = "Hello", text: str = "Hi!\r\n"
    ) -> Reply:
        """Let another server deliver a message to port 25; the first reply that refuses, or OK."""
        recipients = [to] if isinstance(to, str) else list(to)
        author = sender or "mailer-daemon@remote.example"
        message = compose_elsewhere(author, recipients, subject, text)
        async with SmtpClient(self.world.network, self.address, 25) as client:
            return await client.send_message(sender, recipients, message)

    async def mailbox(self, login: str, name: str = INBOX) -> list[Filed]:
        """Everything in a mailbox, oldest first."""
        return await self.house.store.read(lambda tx: _read_mailbox(tx, login, name))

    async def newest(self, login: str, name: str = INBOX) -> Filed:
        """The last message of a mailbox."""
        return (await self.mailbox(login, name))[-1]


def compose(sender: str, recipients: Sequence[str], subject: str, text: str) -> bytes:
    """A plain message, as bytes."""
    header = f"From: {sender}\r\nTo: {', '.join(recipients)}\r\nSubject: {subject}\r\n\r\n"
    return (header + text).encode()


def compose_elsewhere(sender: str, recipients: Sequence[str], subject: str, text: str) -> bytes:
    """The same as another server passes it on: with a name, a Date and a Message-ID."""
    local_part, _, domain = sender.rpartition("@")
    received = f"Received: from [192.0.2.9] by mx.{domain}; {format_date(START)}\r\n"
    fields_ = f"Date: {format_date(START)}\r\nMessage-ID: <1.{local_part}@{domain}>\r\n"
    author = f"{local_part.title()} <{sender}>"
    return (received + fields_).encode() + compose(author, recipients, subject, text)


def _read_mailbox(tx: Tx, login: str, name: str) -> list[Filed]:
    account = accounts.get_account(tx, login)
    mailbox = mailboxes.get(tx, account.id, name)
    rows = messages.page(
        tx, mailbox.id, 1, 2**32, 10_000, ("uid", "header", "blob", "body_size", "email")
    )
    return [
        Filed(
            uid,
            header,
            blobs.read(tx, StoredBody(blob, size)),
            tx.value("SELECT trace FROM email WHERE id = :id", id=email),
        )
        for uid, header, blob, size, email in rows
    ]
