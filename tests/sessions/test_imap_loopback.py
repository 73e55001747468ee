"""A client of somebody else's (Python's imaplib) over real sockets, threads and clock."""

import asyncio
import imaplib
from collections.abc import Callable
from pathlib import Path

import pytest

from mailstead.model.address import parse_address, parse_domain
from mailstead.model.dns import Answer, Question, Status
from mailstead.model.world import Stream, World
from mailstead.net.clock import SystemClock, SystemRandom, ThreadOffload
from mailstead.net.shared import SharedCounters
from mailstead.net.stream import SocketNetwork, bind
from mailstead.services.accounts import Accounts
from mailstead.services.doorkeeper import Doorkeeper, Settings
from mailstead.services.mailboxes.service import Mailboxes
from mailstead.services.metering import NO_METER
from mailstead.services.passwords import hash_password
from mailstead.services.watch import Watch
from mailstead.sessions.imap.session import serve
from mailstead.sessions.imap.state import Door, Site
from mailstead.storage import accounts
from mailstead.storage.sqlite import SqliteStore
from mailstead.storage.store import Tx
from mailstead.testing.clock import LocalBus

MESSAGE = b"Subject: Hello\r\nFrom: bob@example.net\r\n\r\nHow are you?\r\n"


class NoResolver:
    """There is no DNS here."""

    async def ask(self, question: Question) -> Answer:
        """Nothing."""
        return Answer(Status.SERVFAIL)


async def run(folder: Path, client: Callable[[int], None]) -> None:
    """client(port) on a thread, against a server that lives as long."""
    clock, network, offload = SystemClock(), SocketNetwork(), ThreadOffload()
    store = SqliteStore(folder / "mailstead.db", clock)
    world = World(clock, SystemRandom(), NoResolver(), network, LocalBus(), offload)
    await store.write(populate)
    watch = Watch(world.bus)
    mailboxes = Mailboxes(store, world, watch, folder)
    doorkeeper = Doorkeeper(SharedCounters(), Settings(), clock, store.note, NO_METER)
    people = Accounts(store, world, doorkeeper)
    site = Site("localhost", 10_000_000, world, watch, people, mailboxes, doorkeeper)
    async with asyncio.TaskGroup() as sessions:

        def accept(stream: Stream) -> None:
            sessions.create_task(serve(stream, site, Door(clear_text_login=True)))

        sock = bind("127.0.0.1", 0)
        port = sock.getsockname()[1]
        server = await network.listen(sock, accept)
        try:
            await asyncio.to_thread(client, port)
        finally:
            server.close()
    await store.close()
    offload.close()


def populate(tx: Tx) -> None:
    """One account."""
    organisation = accounts.create_organisation(tx, "example.org")
    accounts.create_domain(tx, organisation, parse_domain("example.org"))
    accounts.create_account(tx, parse_address("alice@example.org"), hash_password("secret"))


def read_and_change(port: int) -> None:
    """What a program does with imaplib."""
    with imaplib.IMAP4("127.0.0.1", port) as client:
        assert client.login("alice@example.org", "secret")[0] == "OK"
        assert "UIDPLUS" in client.capability()[1][0].decode()
        assert client.create("Projects/2026")[0] == "OK"
        date = imaplib.Time2Internaldate(1_700_000_000)
        for _ in range(3):
            assert client.append("Projects/2026", r"(\Flagged)", date, MESSAGE)[0] == "OK"
        assert client.select('"Projects/2026"') == ("OK", [b"3"])
        assert client.search(None, "SUBJECT", "hello") == ("OK", [b"1 2 3"])
        status, found = client.fetch("1:2", "(RFC822.SIZE BODY[])")
        assert status == "OK"
        assert [part[1] for part in found if isinstance(part, tuple)] == [MESSAGE, MESSAGE]
        assert client.uid("COPY", "1:2", "Archive")[0] == "OK"
        assert client.store("1", "+FLAGS", r"(\Deleted)")[1] == [
            rb"1 (FLAGS (\Seen \Flagged \Deleted \Recent))"
        ]
        assert client.expunge() == ("OK", [b"1"])
        assert client.close()[0] == "OK"
        status, listed = client.list('""', "*")
        assert rb'(\HasNoChildren) "/" "Projects/2026"' in listed


@pytest.mark.loopback
async def test_imaplib(tmp_path: Path) -> None:
    await run(tmp_path, read_and_change)


def log_in_many_times(port: int) -> None:
    """Many connections, each idle or busy, one after the other and at the same time."""
    clients = [imaplib.IMAP4("127.0.0.1", port) for _ in range(20)]
    for client in clients:
        client.login("alice@example.org", "secret")
        client.select("INBOX")
    for number, client in enumerate(clients, 1):
        assert client.append("INBOX", "", "", MESSAGE)[0] == "OK"
        assert client.noop()[0] == "OK"
        assert client.uid("SEARCH", "ALL")[1][0].split()[-1] == b"%d" % number
    for client in clients:
        client.logout()


@pytest.mark.loopback
async def test_many_clients(tmp_path: Path) -> None:
    await run(tmp_path, log_in_many_times)
