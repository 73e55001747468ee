"""Many IMAP clients on one mailbox at once, each of which must end with the same view of it.

    script/soak stress [--clients 20] [--seconds 60] [--changes 10000] [--workers 2]

Every client appends, stores flags, copies, moves, expunges, idles and comes back by QRESYNC, in
any order and as fast as it is answered. It believes only what it is told; now and then it asks for
all UIDs, which must be what it believes, or for all in order or as threads. At the end all must
believe the same, flags too.
Then one client comes back after --changes changes: it is sent what changed, and nothing else.
Loopback only, on a localserve of its own. Prints one line of JSON; exit 0 if all was well.
"""

import argparse
import asyncio
import json
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

LOGIN, PASSWORD, IMAP_PORT = "alice@example.test", "secret", 2143
FLAGS = (rb"\Seen", rb"\Flagged", rb"\Answered", rb"\Deleted", b"$Work")
MESSAGE = b"From: a@example.com\r\nSubject: stress\r\n\r\nHi!\r\n"
MESSAGES = (
    MESSAGE,
    b"Message-ID: <1@x>\r\n" + MESSAGE,
    b"In-Reply-To: <1@x>\r\n" + MESSAGE.replace(b": s", b": Re: other s"),
    b"References: <1@x> <2@x>\r\n" + MESSAGE.replace(b": s", b": Other s"),
)
START_LIMIT = 30.0  # seconds
ANSWER_LIMIT = 60.0
OF_ALL = (
    b"SORT (SUBJECT) UTF-8 ALL",
    b"SORT (REVERSE DATE) UTF-8 ALL",
    b"THREAD REFERENCES UTF-8 ALL",
    b"THREAD ORDEREDSUBJECT UTF-8 ALL",
)
MOST = 300  # messages; beyond them less is added
LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")
FETCH = re.compile(rb"\* (\d+) FETCH \((.*)\)\r\n\Z", re.DOTALL)


class Wrong(Exception):
    """What a client was told does not fit."""


class Client:
    """One connection, and what it believes: UIDs in order (0: not known yet), and their flags."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self.port, self.chance = port, chance
        self.uids: list[int] = []
        self.flags: dict[int, frozenset[bytes]] = {}
        self.modseq, self.validity, self.commands, self.octets = 0, b"", 0, 0

    async def connect(self, qresync: bool = False) -> None:
        """Log in and select, with what is still known or anew."""
        where = "127.0.0.1", self.port
        streams = await asyncio.open_connection(*where, limit=2**20)  # noqa: TID251 a client
        self.reader, self.writer = streams
        await self.reader.readline()
        await self.command(b"LOGIN %b %b" % (LOGIN.encode(), PASSWORD.encode()))
        await self.command(b"ENABLE QRESYNC")
        if 0 in self.uids:  # what was counted, but not asked for: nobody can tell that it is gone
            del self.uids[self.uids.index(0) :]
        if qresync and self.validity:
            self.octets = 0
            known = b"%b %d" % (self.validity, self.modseq)
            await self.command(b"SELECT INBOX (QRESYNC (%b))" % known, select=True)
        else:
            self.uids, self.flags = [], {}
            await self.command(b"SELECT INBOX", select=True)
        await self.look()

    async def close(self) -> None:
        """Hang up without a word."""
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    async def command(self, command: bytes, literal: bytes = b"", select: bool = False) -> None:
        """Send it, believe all that is said until its OK (or a NO of what is gone)."""
        self.commands += 1
        if literal:
            command += b" {%d+}\r\n%b" % (len(literal), literal)
        self.writer.write(b"t " + command + b"\r\n")
        async with asyncio.timeout(ANSWER_LIMIT):
            while not (line := await self.line()).startswith(b"t "):
                self.believe(line, select)
        if line.startswith(b"t BAD"):
            raise Wrong(f"{command[:200]!r}: {line!r}")
        if found := re.search(rb"HIGHESTMODSEQ (\d+)", line):
            self.modseq = max(self.modseq, int(found[1]))

    async def line(self) -> bytes:
        """A line of the server, with its literals."""
        line = await self.reader.readline()
        while found := LITERAL.search(line):
            line += await self.reader.readexactly(int(found[1])) + await self.reader.readline()
        if not line:
            raise Wrong("the server hung up")
        self.octets += len(line)
        return line

    def believe(self, line: bytes, select: bool = False) -> None:
        """Something untagged."""
        words = line.split()
        if words[2:3] == [b"EXISTS"]:
            self._exists(int(words[1]), select)
        elif words[2:3] == [b"EXPUNGE"]:
            raise Wrong(f"EXPUNGE after ENABLE QRESYNC: {line!r}")
        elif words[1:2] in ([b"SORT"], [b"THREAD"]):
            self._sorted([int(number) for number in re.findall(rb"\d+", line)])
        elif words[1:2] == [b"VANISHED"]:
            self._vanished(words[-1], early=words[2] == b"(EARLIER)")
        elif found := FETCH.match(line):
            self._fetched(int(found[1]), found[2])
        elif found := re.search(rb"\[UIDVALIDITY (\d+)\]", line):
            self.validity = found[1]
        elif found := re.search(rb"\[HIGHESTMODSEQ (\d+)\]", line):
            self.modseq = max(self.modseq, int(found[1]))

    def _exists(self, count: int, select: bool) -> None:
        if count < len(self.uids) and not select:
            raise Wrong(f"{count} EXISTS with {len(self.uids)} messages, and none vanished")
        # What vanished meanwhile is told after the count (RFC 7162 section 3.2.5.1).
        self.uids += [0] * (count - len(self.uids))
        self.exists = count

    def _sorted(self, numbers: list[int]) -> None:
        if sorted(numbers) != list(range(1, len(self.uids) + 1)):
            raise Wrong(f"{len(numbers)} numbers of {len(self.uids)} messages: {numbers!r}")

    def _vanished(self, text: bytes, early: bool) -> None:
        gone = {
            uid
            for one in text.split(b",")
            for uid in range(int(one.split(b":")[0]), int(one.split(b":")[-1]) + 1)
        }
        if not early:
            for uid in sorted(gone - set(self.uids)):
                self._vanished_before_seen(uid)
        self.uids = [uid for uid in self.uids if uid not in gone]
        for uid in gone:
            self.flags.pop(uid, None)
        if early:  # the count that was told is without them
            self.uids += [0] * (self.exists - len(self.uids))

    def _vanished_before_seen(self, uid: int) -> None:
        """One of those that were counted, but whose UIDs were not asked for yet."""
        for place, known in enumerate(self.uids):
            if known > uid:
                break
            if known == 0 and all(later > uid or later == 0 for later in self.uids[place:]):
                del self.uids[place]
                return
        raise Wrong(f"{uid} has vanished, but was never there")

    def _fetched(self, number: int, items: bytes) -> None:
        uid = re.search(rb"\bUID (\d+)", items)
        if uid is None or not 1 <= number <= len(self.uids):
            raise Wrong(f"a FETCH of {number} in {len(self.uids)}: {items!r}")
        if self.uids[number - 1] not in (0, int(uid[1])):
            raise Wrong(f"{number} is {self.uids[number - 1]} and {int(uid[1])}")
        self.uids[number - 1] = int(uid[1])
        if found := re.search(rb"FLAGS \(([^)]*)\)", items):
            self.flags[int(uid[1])] = frozenset(found[1].split()) - {rb"\Recent"}
        if found := re.search(rb"MODSEQ \((\d+)\)", items):
            self.modseq = max(self.modseq, int(found[1]))

    # ------------------------------------------------------------------ what it does

    async def look(self) -> None:
        """Learn what new messages are."""
        if 0 in self.uids:
            first = self.uids.index(0) + 1
            await self.command(b"FETCH %d:* (UID FLAGS)" % first)

    async def check(self, quiet: bool = False) -> None:
        """Each message must be where it is believed to be; when all are quiet, with its flags."""
        await self.command(b"NOOP")
        await self.look()
        believed = list(self.uids), dict(self.flags)
        if self.uids:
            await self.command(b"UID FETCH 1:* (FLAGS)")
        if quiet and (self.uids, self.flags) != believed:
            raise Wrong("what is there is not what was believed")
        await self.look()

    async def step(self) -> None:
        """One thing, of those that clients do."""
        some = self.chance.sample(self.uids, min(len(self.uids), self.chance.randint(1, 8)))
        uids = b",".join(b"%d" % uid for uid in some if uid)
        full = len(self.uids) > MOST
        often = [1 if full else 6, 8, 2, 2, 3 if full else 1, 1, 1, 2, 2]
        match self.chance.choices(range(len(often)), often)[0]:
            case 0:
                await self.command(b"APPEND INBOX", self.chance.choice(MESSAGES))
            case 1 if uids:
                sign = self.chance.choice([b"+", b"-", b""])
                flags = b" ".join(self.chance.sample(FLAGS, self.chance.randint(1, 3)))
                await self.command(b"UID STORE %b %bFLAGS (%b)" % (uids, sign, flags))
            case 2 if uids and not full:
                await self.command(b"UID COPY %b INBOX" % uids)
            case 3 if uids:
                await self.command(b"UID MOVE %b INBOX" % uids)
            case 4 if uids:
                await self.command(b"UID STORE %b +FLAGS (\\Deleted)" % uids)
                await self.command(b"UID EXPUNGE %b" % uids)
            case 5:
                await self.idle()
            case 6:
                await self.close()
                await self.connect(qresync=True)
            case 7:
                await self.command(self.chance.choice(OF_ALL))
            case _:
                await self.check()
        await self.look()

    async def idle(self) -> None:
        """For a moment, or until something is told."""
        self.writer.write(b"t IDLE\r\n")
        told = await self.line()
        while not told.startswith(b"+"):
            self.believe(told)
            told = await self.line()
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                self.believe(await self.line())
        self.writer.write(b"DONE\r\n")
        async with asyncio.timeout(ANSWER_LIMIT):
            while not (line := await self.line()).startswith(b"t "):
                self.believe(line)


# ---------------------------------------------------------------------- the whole


async def crowd(options: argparse.Namespace, port: int) -> dict[str, object]:
    """All clients for the time; then what they believe, which must be one and the same."""
    seed = options.seed or random.randrange(2**32)
    print(f"seed {seed}", file=sys.stderr)
    clients = [Client(port, random.Random(seed + n)) for n in range(options.clients)]
    for one in clients:
        await one.connect()
    end = asyncio.get_running_loop().time() + options.seconds

    async def work(client: Client) -> None:
        while asyncio.get_running_loop().time() < end:
            await client.step()

    async with asyncio.TaskGroup() as group:
        for one in clients:
            group.create_task(work(one))
    for one in clients:
        await one.check()
    for one in clients:
        await one.check(quiet=True)
    for one in clients[1:]:
        if (one.uids, one.flags) != (clients[0].uids, clients[0].flags):
            raise Wrong("two clients believe different things at the end")
    count = sum(one.commands for one in clients)
    for one in clients:
        await one.close()
    return {"commands": count, "messages": len(clients[0].uids)}


async def come_back(options: argparse.Namespace, port: int) -> dict[str, object]:
    """What is sent to who comes back after so many changes of a few messages."""
    gone, busy = Client(port, random.Random(1)), Client(port, random.Random(2))
    await busy.connect()
    while len(busy.uids) < MOST:
        await busy.command(b"APPEND INBOX", MESSAGE)
        await busy.look()
    await gone.connect()
    await gone.close()
    touched = busy.uids[:: max(1, MOST // 100)]
    changes = 0
    while changes < options.changes:
        sign = b"+" if (changes // len(touched)) % 2 == 0 else b"-"
        uids = b",".join(b"%d" % uid for uid in touched)
        await busy.command(b"UID STORE %b %bFLAGS (\\Flagged)" % (uids, sign))
        changes += len(touched)
    await busy.command(b"UID STORE %d +FLAGS (\\Deleted)" % touched[0])
    await busy.command(b"UID EXPUNGE %d" % touched[0])
    await gone.connect(qresync=True)
    octets = gone.octets
    await gone.check(quiet=True)
    await busy.check(quiet=True)
    if (gone.uids, gone.flags) != (busy.uids, busy.flags):
        raise Wrong("who came back believes something else")
    if octets > 120 * len(touched):
        raise Wrong(f"{octets} octets to come back after {changes} changes of {len(touched)}")
    return {"changes": changes, "changed": len(touched), "octets_back": octets}


async def run(options: argparse.Namespace) -> dict[str, object]:
    """Both parts, on a server."""
    async with server(options) as port:
        figures = await crowd(options, port)
        return figures | await come_back(options, port)


@asynccontextmanager
async def server(options: argparse.Namespace) -> AsyncIterator[int]:
    """A localserve, for as long as the block lasts; its port."""
    folder, port = tempfile.mkdtemp(prefix="soak-"), IMAP_PORT + options.port_offset
    command = [sys.executable, "-m", "mailstead", "localserve", "--quiet", "--data", folder]
    command += ["--port-offset", str(options.port_offset), "--workers", str(options.workers)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        await asyncio.to_thread(_wait_for, port)
        yield port
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(Path(folder), ignore_errors=True)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise Wrong("the server did not start")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--changes", type=int, default=10_000, help="before one comes back")
    parser.add_argument("--workers", type=int, default=2, help="processes of the server")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--port-offset", type=int, default=3000, help="added to every port")
    return parser.parse_args()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(parse_arguments()))))
