"""POP3 sessions beside IMAP and new mail, in any order, against a plain model of the maildrop."""

import random

import pytest

from mailstead.storage.blobs import MemoryBody
from mailstead.testing.house import PASSWORD, SimulatedHouse, SimulatedWorld
from mailstead.testing.imap import ImapClient
from mailstead.testing.pop3 import Pop3Client

ALICE = "alice@example.org"
STEPS = 80
HEADER = b"Subject: model\r\n\r\n"


class Model:
    """What is where, and what the session of the moment believes."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.inbox: dict[int, bytes] = {}  # by UID
        self.trash: list[bytes] = []
        self.uidnext = 1
        self.seen: list[int] = []  # the session's messages, by number
        self.deleted: set[int] = set()  # numbers
        self.unique: dict[int, str] = {}  # what UIDL ever said of a UID

    def any_number(self) -> int:
        """A message number, often one that there is."""
        return self.chance.randint(1, len(self.seen) + 2)

    def find(self, number: int) -> bytes | None:
        """What RETR has to give."""
        if number > len(self.seen) or number in self.deleted:
            return None
        return self.inbox.get(self.seen[number - 1])


class Stage:
    """A house, a model, and at most one session."""

    def __init__(self, world: SimulatedWorld, house: SimulatedHouse, seed: int) -> None:
        self.world, self.house, self.model = world, house, Model(seed)
        self.client: Pop3Client | None = None

    async def deliver(self) -> None:
        """New mail."""
        model, chance = self.model, self.model.chance
        body = b"".join(chance.choice([b".", b"a", b"\r\n", b"\r\n."]) for _ in range(20))
        body += b"x" * chance.choice([0, 10, 3000, 300_000]) + b"\r\n"
        login = await self.house.house.accounts.find_login(ALICE)
        assert login is not None
        inbox = await self.house.house.mailboxes.get(login.account, "INBOX")
        await self.house.house.mailboxes.append(login, inbox.id, HEADER, MemoryBody(body))
        model.inbox[model.uidnext] = HEADER + body
        model.uidnext += 1

    async def expunge(self) -> None:
        """A message goes by IMAP."""
        model = self.model
        if not model.inbox:
            return
        uid = model.chance.choice(list(model.inbox))
        async with ImapClient(self.world.network, self.house.address) as imap:
            await imap.log_in(ALICE, PASSWORD)
            await imap.command(rf"UID STORE {uid} +FLAGS (\Deleted)")
            await imap.command("EXPUNGE")
        del model.inbox[uid]

    async def open(self) -> None:
        """A session, if there is none."""
        if self.client is not None:
            return
        self.client = await Pop3Client(self.world.network, self.house.address).__aenter__()
        self.model.seen, self.model.deleted = list(self.model.inbox), set()
        said = await self.client.log_in(ALICE, PASSWORD)
        assert said.split()[:2] == ["+OK", str(len(self.model.seen))]

    async def retr(self) -> None:
        """One message, or some in a row."""
        first = self.model.any_number()
        for number in range(first, first + self.model.chance.choice([1, 5])):
            expected = self.model.find(number)
            await self.check(f"RETR {number}", expected, expected)

    async def top(self) -> None:
        """Some lines."""
        number, count = self.model.any_number(), self.model.chance.randint(0, 5)
        whole = self.model.find(number)
        lines = (whole or b"")[len(HEADER) :].split(b"\r\n")[:-1]
        wanted = HEADER + b"".join(line + b"\r\n" for line in lines[:count])
        await self.check(f"TOP {number} {count}", whole, wanted)

    async def check(self, command: str, there: bytes | None, expected: bytes | None) -> None:
        """The client gets that, or a refusal."""
        assert self.client is not None
        if there is None:
            assert (await self.client.command(command)).startswith("-ERR")
        else:
            assert await self.client.listing(command) == expected

    async def uidl(self) -> None:
        """All of them, each what it ever was."""
        assert self.client is not None
        model = self.model
        rows = (await self.client.listing("UIDL")).decode().split("\r\n")[:-1]
        told = {int(number): id_ for number, id_ in (row.split() for row in rows)}
        left = [n for n in range(1, len(model.seen) + 1) if n not in model.deleted]
        assert list(told) == left
        for number, id_ in told.items():
            assert model.unique.setdefault(model.seen[number - 1], id_) == id_
        assert len(set(model.unique.values())) == len(model.unique)

    async def dele(self) -> None:
        """One goes, if it is there."""
        assert self.client is not None
        number, model = self.model.any_number(), self.model
        good = number <= len(model.seen) and number not in model.deleted
        assert (await self.client.command(f"DELE {number}")).startswith("+OK") is good
        if good:
            model.deleted.add(number)

    async def rset(self) -> None:
        """None goes."""
        assert self.client is not None
        assert await self.client.command("RSET") == "+OK"
        self.model.deleted.clear()

    async def quit(self) -> None:
        """The end: what was marked, and still is there, lies in Trash."""
        assert self.client is not None
        assert await self.client.command("QUIT") == "+OK Bye"
        model = self.model
        for number in sorted(model.deleted):
            gone = model.inbox.pop(model.seen[number - 1], None)
            model.trash += [gone] if gone is not None else []
        await self.leave()

    async def drop(self) -> None:
        """The end, without a word."""
        await self.leave()

    async def leave(self) -> None:
        """Nobody is there."""
        assert self.client is not None
        await self.client.__aexit__()
        self.client = None
        await self.world.sleep(seconds=1)

    async def compare(self) -> None:
        """The store is as the model says."""
        inbox = await self.house.mailbox(ALICE)
        assert {one.uid: one.header + one.body for one in inbox} == self.model.inbox
        trash = await self.house.mailbox(ALICE, "Trash")
        assert sorted(one.header + one.body for one in trash) == sorted(self.model.trash)


ALONE = ("deliver", "deliver", "deliver", "expunge", "open", "open")
WITHIN = (
    "deliver",
    "expunge",
    "retr",
    "retr",
    "retr",
    "top",
    "uidl",
    "dele",
    "rset",
    "quit",
    "drop",
)


@pytest.mark.parametrize("seed", range(8))
async def test_any_order(world: SimulatedWorld, seed: int) -> None:
    house = await world.house("example.org", accounts=["alice"])
    stage = Stage(world, house, seed)
    for _ in range(STEPS):
        steps = ALONE if stage.client is None else WITHIN
        await getattr(stage, stage.model.chance.choice(steps))()
    if stage.client is not None:
        await stage.quit()
    await stage.compare()
