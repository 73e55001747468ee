"""Mail that programs fetch by POP3: what they get, what goes when, and whose the maildrop is."""

import asyncio
import logging
import random
from typing import Any

import pytest

from mailstead.model.entries import Retrieved
from mailstead.model.errors import TemporaryFailure
from mailstead.model.world import Stream
from mailstead.services import maildrops as service
from mailstead.services.mailboxes.service import Mailboxes
from mailstead.sessions.pop3 import messages as pop3_messages
from mailstead.sessions.pop3 import session
from mailstead.sessions.pop3.state import Door
from mailstead.storage import accounts, journal, maildrops
from mailstead.storage.blobs import MemoryBody
from mailstead.storage.journal import Story
from mailstead.storage.store import Tx
from mailstead.testing.house import PASSWORD, SimulatedHouse, SimulatedWorld
from mailstead.testing.imap import ImapClient
from mailstead.testing.pop3 import Pop3Client

ALICE = "alice@example.org"


async def open_house(world: SimulatedWorld, *subjects: str) -> SimulatedHouse:
    """A house where Alice has these messages."""
    house = await world.house("example.org", accounts=["alice", "bob"])
    for subject in subjects:
        await file(house, f"Subject: {subject}\r\n\r\n".encode(), b"Hi!\r\n")
    return house


async def file(house: SimulatedHouse, header: bytes, body: bytes) -> None:
    """A message into Alice's INBOX."""
    login = await house.house.accounts.find_login(ALICE)
    assert login is not None
    inbox = await house.house.mailboxes.get(login.account, "INBOX")
    await house.house.mailboxes.append(login, inbox.id, header, MemoryBody(body))


def client(world: SimulatedWorld, house: SimulatedHouse) -> Pop3Client:
    """A connection to port 110."""
    return Pop3Client(world.network, house.address)


async def subjects(house: SimulatedHouse, name: str = "INBOX") -> list[str]:
    """What lies in a mailbox of Alice's."""
    return [one.subject for one in await house.mailbox(ALICE, name)]


def read_journal(tx: Tx) -> list[Story]:
    """What is known of each message."""
    traces = tx.rows("SELECT DISTINCT trace FROM journal")
    return [story for (trace,) in traces if (story := journal.find(tx, trace))]


# ---------------------------------------------------------------------- what goes when


@pytest.mark.rfc("1939 section 6")
async def test_what_is_deleted_goes_to_trash_at_quit(world: SimulatedWorld) -> None:
    """Gone from INBOX after QUIT only; a connection that drops deletes nothing."""
    house = await open_house(world, "one", "two", "three")
    async with client(world, house) as dropped:
        assert await dropped.log_in(ALICE, PASSWORD) == "+OK 3 messages"
        await dropped.listing("RETR 1")
        assert await dropped.command("DELE 1") == "+OK"
        assert await subjects(house) == ["one", "two", "three"]
    await world.sleep(seconds=1)
    assert await subjects(house) == ["one", "two", "three"]
    async with client(world, house) as polite:
        await polite.log_in(ALICE, PASSWORD)
        for number in (1, 3):
            assert await polite.command(f"DELE {number}") == "+OK"
        assert await subjects(house) == ["one", "two", "three"]
        assert await polite.command("QUIT") == "+OK Bye"
    assert await subjects(house) == ["two"]
    assert await subjects(house, "Trash") == ["one", "three"]


async def test_where_there_is_no_trash_one_is_made(world: SimulatedWorld) -> None:
    house = await open_house(world, "one")
    login = await house.house.accounts.find_login(ALICE)
    assert login is not None
    await house.house.mailboxes.delete(login.account, "Trash")
    async with client(world, house) as polite:
        await polite.log_in(ALICE, PASSWORD)
        await polite.command("DELE 1")
        assert await polite.command("QUIT") == "+OK Bye"
    assert await subjects(house, "Trash") == ["one"]


async def test_many_deletions(world: SimulatedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "WRITE_LIMIT", 4)
    house = await open_house(world, *map(str, range(11)))
    async with client(world, house) as polite:
        await polite.log_in(ALICE, PASSWORD)
        for number in range(1, 11):
            await polite.command(f"DELE {number}")
        assert await polite.command("QUIT") == "+OK Bye"
        await world.sleep(seconds=1)
    assert await subjects(house) == ["10"]
    assert len(await subjects(house, "Trash")) == 10
    async with client(world, house) as again:
        assert await again.log_in(ALICE, PASSWORD) == "+OK 1 message"


async def test_mail_goes_some_days_after_it_was_fetched(world: SimulatedWorld) -> None:
    house = await open_house(world, "fetched", "seen by IMAP alone")
    store = house.house.store
    await store.write(lambda tx: maildrops.set_days(tx, ALICE, 14))
    async with client(world, house) as leaving:
        await leaving.log_in(ALICE, PASSWORD)
        assert "EXPIRE 14" in (await leaving.listing("CAPA")).decode().split("\r\n")
        await leaving.listing("RETR 1")
        await leaving.command("QUIT")
    await world.sleep(days=13)
    async with client(world, house) as again:  # fetched again, it does not begin anew
        await again.log_in(ALICE, PASSWORD)
        await again.listing("RETR 1")
        await again.command("QUIT")
    await house.house.housekeeping.tidy()
    assert len(await subjects(house)) == 2
    await world.sleep(days=2)
    await house.house.housekeeping.tidy()
    assert await subjects(house) == ["seen by IMAP alone"]
    assert await subjects(house, "Trash") == ["fetched"]
    await store.write(lambda tx: maildrops.set_days(tx, ALICE, None))
    await house.house.housekeeping.tidy()
    assert await store.read(lambda tx: tx.value("SELECT count(*) FROM retrieved")) == 0


# ---------------------------------------------------------------------- what they get


async def test_messages_of_any_size_arrive_as_they_were(world: SimulatedWorld) -> None:
    house = await open_house(world)
    chance = random.Random(7)
    header = b"Subject: big\r\n\r\n"
    bodies = []
    for size in (0, 1, 1000, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 700_000):
        words = [chance.choice([b"\r\n.", b"\r\n..", b"x" * 70, b"."]) for _ in range(size // 16)]
        body = (b"." + b"".join(words) + b"y" * size)[: max(0, size - 2)] + b"\r\n" * (size > 1)
        bodies.append(body)
        await file(house, header, body)
    async with client(world, house) as reader:
        await reader.log_in(ALICE, PASSWORD)
        sizes = [int(line.split()[1]) for line in (await reader.listing("LIST")).splitlines()]
        for number, body in enumerate(bodies, 1):
            assert await reader.listing(f"RETR {number}") == header + body
            assert sizes[number - 1] == len(header + body)
        lines = bodies[-1].split(b"\r\n")
        for count in (0, 1, len(lines) // 2, len(lines) - 1):
            wanted = header + b"".join(line + b"\r\n" for line in lines[:count])
            assert await reader.listing(f"TOP {len(bodies)} {count}") == wanted


@pytest.mark.parametrize("order", ["forwards", "backwards", "any"])
async def test_many_small_messages(world: SimulatedWorld, order: str) -> None:
    """Those that are read ahead are the right ones, whatever is asked for next."""
    house = await open_house(world, *map(str, range(1, 201)))
    numbers = list(range(1, 201))
    if order == "backwards":
        numbers.reverse()
    elif order == "any":
        random.Random(3).shuffle(numbers)
    async with client(world, house) as reader:
        await reader.log_in(ALICE, PASSWORD)
        for number in numbers:
            found = await reader.listing(f"RETR {number}")
            assert found == f"Subject: {number}\r\n\r\nHi!\r\n".encode()
            if number % 7 == 0:
                assert await reader.command(f"DELE {number}") == "+OK"
                assert await reader.command(f"RETR {number}") == "-ERR No such message"
        assert len((await reader.listing("UIDL")).splitlines()) == 200 - 200 // 7


async def test_a_message_that_imap_took_away(world: SimulatedWorld) -> None:
    house = await open_house(world, "one", "two", "three")
    async with client(world, house) as reader, ImapClient(world.network, house.address) as imap:
        assert await reader.log_in(ALICE, PASSWORD) == "+OK 3 messages"
        await imap.log_in(ALICE, PASSWORD)
        await imap.command(r"STORE 2 +FLAGS (\Deleted)")
        await imap.command("EXPUNGE")
        assert await reader.command("RETR 2") == "-ERR No such message"
        assert b"three" in await reader.listing("RETR 3")
        assert await reader.command("DELE 2") == "+OK"
        assert await reader.command("QUIT") == "+OK Bye"
    assert await subjects(house) == ["one", "three"]
    assert await subjects(house, "Trash") == []


async def test_a_message_that_is_damaged(
    world: SimulatedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await open_house(world, "one", "two")

    async def page(*_: object) -> object:
        return ({}, 1), []

    async with client(world, house) as reader:
        await reader.log_in(ALICE, PASSWORD)
        monkeypatch.setattr(Mailboxes, "page", page)
        refused = "-ERR [SYS/PERM] The message is damaged; the server's log says more"
        assert await reader.command("RETR 1") == refused
        assert await reader.command("NOOP") == "+OK"


async def test_the_journal_knows_who_fetched_what(
    world: SimulatedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pop3_messages, "NOTED_AT_ONCE", 2)
    house = await world.house("example.org", accounts=["alice"])
    for number in range(3):
        await house.receive("x@example.net", to=ALICE, subject=str(number))
    async with client(world, house) as reader:
        await reader.log_in(ALICE, PASSWORD)
        for number in (1, 2, 3, 3):
            await reader.listing(f"RETR {number}")
    await world.sleep(seconds=1)
    stories = await house.house.store.read(read_journal)
    entries = [entry for story in stories for entry in story.entries]
    found = sorted((one for one in entries if isinstance(one, Retrieved)), key=lambda one: one.uid)
    assert [(entry.protocol, entry.uid) for entry in found] == [
        ("pop3", 1),
        ("pop3", 2),
        ("pop3", 3),
    ]


# ---------------------------------------------------------------------- whose it is


async def test_a_maildrop_whose_session_died_is_free_after_a_while(world: SimulatedWorld) -> None:
    house = await open_house(world)
    account = await house.house.store.read(lambda tx: accounts.get_account(tx, ALICE).id)
    await house.house.store.write(lambda tx: maildrops.lock(tx, account, "a node that is gone"))
    async with client(world, house) as reader:
        refused = "-ERR [IN-USE] Another session has the maildrop"
        assert await reader.log_in(ALICE, PASSWORD) == refused
        await world.sleep(minutes=2, seconds=1)
        assert await reader.log_in(ALICE, PASSWORD) == "+OK 0 messages"


async def test_who_lost_the_maildrop_deletes_nothing(world: SimulatedWorld) -> None:
    house = await open_house(world, "one")
    store = house.house.store
    async with client(world, house) as reader:
        await reader.log_in(ALICE, PASSWORD)
        await reader.command("DELE 1")
        await store.write(lambda tx: tx.run("UPDATE maildrop_lock SET holder = 'another'"))
        text = "-ERR [SYS/TEMP] The maildrop is another session's by now; nothing was deleted"
        assert await reader.command("QUIT") == text
    assert await subjects(house) == ["one"]
    async with client(world, house) as reader:
        await world.sleep(minutes=3)
    async with client(world, house) as reader:
        await reader.log_in(ALICE, PASSWORD)
        await store.write(lambda tx: tx.run("UPDATE maildrop_lock SET holder = 'another'"))
        await world.sleep(minutes=1)
        assert await reader.line() == "-ERR [IN-USE] Another session has the maildrop by now"
    assert await store.read(lambda tx: tx.value("SELECT holder FROM maildrop_lock")) == "another"


class SlowStream:
    """A connection whose other end takes nothing while `stuck`."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.moving = stream, asyncio.Event()
        self.moving.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    @property
    def congested(self) -> bool:
        """Whether `flush` would have to wait."""
        return not self.moving.is_set()

    async def flush(self) -> None:
        """Wait until it moves."""
        await self.moving.wait()


async def test_who_takes_long_keeps_the_maildrop_for_a_while(world: SimulatedWorld) -> None:
    house = await open_house(world, "one")
    streams: list[SlowStream] = []

    async def serve(stream: Stream) -> None:
        streams.append(SlowStream(stream))
        await session.serve(streams[-1], house.house.pop3, Door(clear_text_login=True))

    world.network.listen(house.address, 111, serve)
    refused = "-ERR [IN-USE] Another session has the maildrop"
    async with Pop3Client(world.network, house.address, 111) as slow:
        await slow.log_in(ALICE, PASSWORD)
        streams[0].moving.clear()
        slow.stream.send(b"RETR 1\r\n")
        await world.sleep(minutes=4, seconds=30)
        async with client(world, house) as other:
            assert await other.log_in(ALICE, PASSWORD) == refused
        streams[0].moving.set()
        assert await slow.line() == "+OK"
        streams[0].moving.clear()
        slow.stream.send(b"RETR 1\r\n")
        await world.sleep(minutes=6)
        async with client(world, house) as other:  # it was given up
            assert await other.log_in(ALICE, PASSWORD) == "+OK 1 message"


async def test_somebody_who_thinks_keeps_the_maildrop(world: SimulatedWorld) -> None:
    house = await open_house(world, "one")
    async with client(world, house) as thinker:
        await thinker.log_in(ALICE, PASSWORD)
        for _ in range(4):
            await world.sleep(minutes=9)
            assert await thinker.command("NOOP") == "+OK"
        async with client(world, house) as other:
            refused = "-ERR [IN-USE] Another session has the maildrop"
            assert await other.log_in(ALICE, PASSWORD) == refused
        await world.sleep(minutes=11)
        assert await thinker.line() == "-ERR [SYS/TEMP] Idle for too long"


async def test_who_dribbles_is_sent_away(world: SimulatedWorld) -> None:
    house = await open_house(world)
    async with client(world, house) as slow:
        await slow.log_in(ALICE, PASSWORD)
        for _ in range(4):
            slow.stream.send(b"N")
            await world.sleep(minutes=3)
        assert await slow.line() == "-ERR [SYS/TEMP] Idle for too long"


async def test_a_full_disk_loses_nothing(
    world: SimulatedWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    house = await open_house(world, "one")
    async with client(world, house) as reader:
        await reader.log_in(ALICE, PASSWORD)
        await reader.command("DELE 1")

        async def full(*_: object) -> None:
            raise TemporaryFailure("the disk is full")

        with monkeypatch.context() as patch, caplog.at_level(logging.CRITICAL):
            patch.setattr(service.Maildrops, "update", full)
            assert await reader.command("QUIT") == "-ERR [SYS/TEMP] Not all of it was deleted"
    assert await subjects(house) == ["one"]
