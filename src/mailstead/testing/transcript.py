"""Dialogues as RFCs print them: what clients say and what the server answers, line by line.

    given: accounts alice, bob          (there is always alice@example.org)
    given: C1 is a stranger             (the greeting is still to come; TLS is not offered)
    given: C1 is on port 25             (or 587, 110, 24 for LMTP: the greeting is still to come)
    given: C1 is alice                  (connected and logged in, nothing left to read)
    given: C1 is alice with INBOX selected
    deliver: alice "Hello" (\\Seen)      (a message of fixed octets, or of the lines with | below)
    wait: 31 minutes
    C1: a1 NOOP                         (C1+ sends without a line end; <NUL>, <CR>, <LF>)
    S1: a1 OK Completed                 (<trace> stands for the id of a message)
    S1: <closed>
At the end nobody may have said anything more.
"""

import asyncio
import re
import shlex
from datetime import UTC, datetime

from mailstead.message import header
from mailstead.model.flags import parse_flags
from mailstead.model.world import Stream
from mailstead.services.accounts import Login
from mailstead.services.mailboxes.service import Mailboxes
from mailstead.sessions.imap.session import serve
from mailstead.sessions.imap.state import Door, Site
from mailstead.storage import accounts
from mailstead.storage.blobs import MemoryBody
from mailstead.testing.house import PASSWORD, SimulatedHouse, SimulatedWorld

PORT = 143
LMTP_PORT = 24
SIZE_LIMIT = 1_000_000
_GIVEN = re.compile(r"(C\d) is (a stranger|\w+)(?: with (\S+) (selected|examined))?\Z")
_ON_PORT = re.compile(r"(C\d) is on port (\d+)\Z")
_OCTETS = {"<NUL>": "\0", "<CR>": "\r", "<LF>": "\n"}
_SAID = re.compile(r"([CS])(\d)([:+]) ?(.*)\Z", re.DOTALL)


class Client:
    """One client: its stream, and what it has not read yet."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.unread = stream, b""

    def send(self, data: bytes) -> None:
        """Say it."""
        self.stream.send(data)

    async def line(self) -> str:
        """The next line; "<closed>" at the end."""
        while b"\r\n" not in self.unread:
            async with asyncio.timeout(5):
                data = await self.stream.receive()
            if not data:
                return "<closed>"
            self.unread += data
        line, _, self.unread = self.unread.partition(b"\r\n")
        return line.decode("utf-8", "surrogateescape")

    async def command(self, text: str) -> list[str]:
        """Say it and read up to the tagged response."""
        self.send(text.encode() + b"\r\n")
        lines = [await self.line()]
        while not lines[-1].startswith(text.split(" ")[0] + " ") and lines[-1] != "<closed>":
            lines.append(await self.line())
        return lines

    async def leftover(self) -> bytes:
        """What was said that nobody has read."""
        try:
            async with asyncio.timeout(1):
                while data := await self.stream.receive():
                    self.unread += data
        except (TimeoutError, ConnectionError):
            pass
        return self.unread


class ImapHouse:
    """A simulated house with an IMAP port."""

    def __init__(self, house: SimulatedHouse, door: Door) -> None:
        self.house = house.house
        self.world, self.address = house.world, house.address
        self.mailboxes = Mailboxes(
            self.house.store, self.house.world, self.house.watch, house.folder
        )
        site = Site(
            "mx.example.org",
            SIZE_LIMIT,
            self.house.world,
            self.house.watch,
            self.house.accounts,
            self.mailboxes,
            self.house.doorkeeper,
        )

        async def serve_one(stream: Stream) -> None:
            await serve(stream, site, door)

        self.world.network.listen(self.address, PORT, serve_one)

    async def connect(self, port: int = PORT) -> Client:
        """A client that has not even read the greeting."""
        source = "127.0.0.1" if port == LMTP_PORT else None  # others are turned away there
        return Client(await self.world.network.connect(self.address, port, source))

    async def log_in(self, name: str) -> Client:
        """A client that has logged in."""
        client = await self.connect()
        await client.line()
        await client.command(f"x0 LOGIN {name}@example.org {PASSWORD}")
        return client

    async def deliver(
        self, name: str, message: bytes, flags: str = "", mailbox: str = "INBOX"
    ) -> None:
        """File a message for the account."""
        found = await self.house.store.read(
            lambda tx: accounts.get_account(tx, f"{name}@example.org")
        )
        login = Login(found.id, found.organisation, found.login)
        system, keywords = parse_flags(flags.split())
        head, body = header.split(message)
        target = await self.mailboxes.get(found.id, mailbox)
        await self.mailboxes.append(
            login, target.id, head, MemoryBody(body), system, keywords, DATE
        )


DATE = datetime(2026, 11, 20, 10, 30, tzinfo=UTC)


async def open_house(world: SimulatedWorld, door: Door | None = None) -> ImapHouse:
    """A house with the accounts alice and bob."""
    house = await world.house("example.org", accounts=["alice", "bob"])
    return ImapHouse(house, door or Door(clear_text_login=True))


def compose(subject: str) -> bytes:
    """A message of fixed octets."""
    return (
        f"Date: Fri, 20 Nov 2026 10:30:00 +0000\r\nFrom: Bob <bob@example.net>\r\n"
        f"To: alice@example.org\r\nSubject: {subject}\r\nMessage-ID: <1@example.net>\r\n"
        "\r\nHi!\r\n"
    ).encode()


async def play(world: SimulatedWorld, script: str) -> None:
    """Play the dialogue; AssertionError where the server says something else."""
    lines = script.splitlines()
    stage = _Stage(await open_house(world, _door(lines)))
    for number, line in enumerate(lines, 1):
        if line.startswith(("|", "#")) or not line:
            continue
        message = [each[2:] for each in _following(lines, number)]
        try:
            await stage.act(line, message)
        except AssertionError as error:
            raise AssertionError(f"line {number}: {line}{error}") from None
    for name, client in stage.clients.items():
        left = await client.leftover()
        assert left == b"", f"{name} was told more: {left!r}"


def _door(lines: list[str]) -> Door:
    return Door(clear_text_login="given: no log-in in clear text" not in lines)


def _following(lines: list[str], number: int) -> list[str]:
    found = []
    for line in lines[number:]:
        if not line.startswith("|"):
            break
        found.append(line)
    return found


class _Stage:
    def __init__(self, house: ImapHouse) -> None:
        self.house = house
        self.clients: dict[str, Client] = {}

    async def act(self, line: str, message: list[str]) -> None:
        """One line of the script."""
        word, _, rest = line.partition(": ")
        if word == "given" and (on_port := _ON_PORT.match(rest)):
            self.clients[on_port[1]] = await self.house.connect(int(on_port[2]))
        elif word == "given" and (given := _GIVEN.match(rest)):
            await self._enter(*given.groups())
        elif word == "deliver":
            await self._deliver(rest, message)
        elif word == "wait":
            amount, unit = rest.split()
            await self.house.world.sleep(**{unit: float(amount)})
        elif said := _SAID.match(line):
            await self._say(*said.groups())
        else:
            assert rest == "no log-in in clear text", f"what is {line!r}?"

    async def _enter(self, name: str, who: str, mailbox: str | None, how: str | None) -> None:
        if who == "a stranger":
            self.clients[name] = await self.house.connect()
            return
        self.clients[name] = await self.house.log_in(who)
        if mailbox:
            verb = "SELECT" if how == "selected" else "EXAMINE"
            await self.clients[name].command(f"x1 {verb} {mailbox}")

    async def _deliver(self, rest: str, message: list[str]) -> None:
        what, _, flags = rest.partition(" (")
        name, *subject = shlex.split(what)
        octets = compose(subject[0]) if subject else "\r\n".join([*message, ""]).encode()
        await self.house.deliver(name, octets, flags.rstrip(")"))

    async def _say(self, side: str, number: str, mark: str, text: str) -> None:
        client = self.clients[f"C{number}"]
        for name, octet in _OCTETS.items():
            text = text.replace(name, octet)
        if side == "C":
            client.send(text.encode("utf-8") + (b"" if mark == "+" else b"\r\n"))
            return
        try:
            actual = await client.line()
        except TimeoutError:
            actual = "<nothing>"
        expected = re.escape(text).replace("<trace>", "[0-9a-z]{12}")
        assert re.fullmatch(expected, actual, re.DOTALL), (
            f"\n  expected {text}\n  but got  {actual}"
        )
