"""kill -9 of a whole server at random moments under load, over and over; nothing promised is lost.

    script/soak kills [--rounds 50] [--senders 20] [--clients 10] [--seed 1]

Senders deliver by SMTP and send again what had no 250; IMAP clients append, store, copy, expunge.
After each kill: every 250 and every OK is kept; a message is there twice only if a kill hid its
250; no UID ever meant two messages; the store's invariants hold; the server answered within 5 s.
"""

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from mailstead.model.address import Domain, parse_address
from mailstead.server.config import NOWHERE, Config, format_toml
from mailstead.server.wiring import open_house
from mailstead.services.passwords import hash_password
from mailstead.storage import accounts
from mailstead.storage.store import Tx
from mailstead.testing.invariants import broken

RECOVERY_LIMIT = 5.0  # seconds from the start to the first answer
ROUND = (0.5, 3.0)  # seconds of load before a kill
PATIENCE = 20.0  # seconds that a client waits for an answer before the round is a failure
PASSWORD = "long-secret"


class Gone(Exception):
    """The server went away before it answered."""


class Line:
    """A connection that speaks in lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Line":
        try:
            return cls(*await asyncio.open_connection("127.0.0.1", port))  # noqa: TID251 a client
        except OSError as error:
            raise Gone from error

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def line(self) -> bytes:
        try:
            async with asyncio.timeout(PATIENCE):
                line = await self.reader.readline()
        except (OSError, TimeoutError) as error:
            raise Gone from error
        if not line.endswith(b"\n"):
            raise Gone
        return line

    async def octets(self, count: int) -> bytes:
        try:
            return await self.reader.readexactly(count)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Gone from error

    def close(self) -> None:
        self.writer.close()


@dataclass
class Sent:
    """What is known of one message by SMTP."""

    acknowledged: bool = False
    doubts: int = 0  # how often the answer to its end was not seen


@dataclass
class Ledger:
    """What the server has promised."""

    sent: dict[str, Sent] = field(default_factory=dict)
    uids: dict[tuple[str, int, int], str] = field(default_factory=dict)  # (mailbox, validity, uid)
    kept: dict[str, set[str]] = field(default_factory=dict)  # account -> ids appended for good
    flagged: dict[str, set[str]] = field(default_factory=dict)
    copied: dict[str, set[str]] = field(default_factory=dict)
    expunged: dict[str, set[str]] = field(default_factory=dict)
    doubtful: dict[str, set[str]] = field(default_factory=dict)  # ids whose last command had no OK
    operations: Counter[str] = field(default_factory=Counter)


# ---------------------------------------------------------------------- senders


async def sender(options: argparse.Namespace, number: int, ledger: Ledger, port: int) -> None:
    """Deliver messages until the server goes away; begin with those that had no 250."""
    waiting = [id_ for id_, sent in ledger.sent.items() if owner(id_) == number]
    waiting = [id_ for id_ in waiting if not ledger.sent[id_].acknowledged]
    with suppress(Gone):
        line = await Line.open(port)
        await expect(line, b"220")
        line.send(b"HELO client.test\r\n")
        await expect(line, b"250")
        while True:
            id_ = waiting.pop() if waiting else f"s{number}-{len(ledger.sent)}"
            await deliver(line, id_, ledger.sent.setdefault(id_, Sent()), options)
            ledger.operations["sent"] += 1


def owner(id_: str) -> int:
    return int(id_[1:].split("-")[0])


async def deliver(line: Line, id_: str, sent: Sent, options: argparse.Namespace) -> None:
    recipient = f"user{owner(id_) % options.accounts}@soak.test"
    line.send(f"MAIL FROM:<sender@client.test>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode())
    for code in (b"250", b"250", b"354"):
        await expect(line, code)
    line.send(message(id_) + b".\r\n")
    sent.doubts += 1
    await expect(line, b"250")
    sent.doubts -= 1
    sent.acknowledged = True


async def expect(line: Line, code: bytes) -> None:
    while True:
        said = await line.line()
        if said[:3] != code:
            raise AssertionError(f"expected {code!r}, got {said!r}")
        if said[3:4] != b"-":
            return


def message(id_: str) -> bytes:
    body = (id_ + " ") * (50 + sum(id_.encode()) % 700)
    return f"From: sender@client.test\r\nX-Id: {id_}\r\n\r\n{body}\r\n".encode()


# ---------------------------------------------------------------------- IMAP clients


class Imap:
    """An IMAP client that knows its place in the ledger."""

    def __init__(self, line: Line, account: str, ledger: Ledger) -> None:
        self.line, self.account, self.ledger, self.tag = line, account, ledger, 0

    async def command(self, text: str, literal: bytes = b"") -> list[bytes]:
        self.tag += 1
        tag = b"t%d " % self.tag
        self.line.send(tag + text.encode() + (b"" if not literal else b" {%d+}\r\n" % len(literal)))
        self.line.send(literal + b"\r\n")
        lines = []
        while not (line := await self.whole_line()).startswith(tag):
            lines.append(line)
        if not line[len(tag) :].startswith(b"OK"):
            raise AssertionError(f"{text}: {line!r}")
        return [*lines, line]

    async def whole_line(self) -> bytes:
        line = await self.line.line()
        while found := re.search(rb"\{(\d+)\}\r\n\Z", line):
            line += await self.line.octets(int(found[1]))
            line += await self.line.line()
        return line

    async def enter(self, mailbox: str) -> int:
        """Select; the UIDVALIDITY."""
        lines = await self.command(f"SELECT {mailbox}")
        found = re.search(rb"UIDVALIDITY (\d+)", b"".join(lines))
        assert found
        return int(found[1])

    async def contents(self, mailbox: str) -> dict[int, tuple[str, bytes]]:
        """uid -> (id, flags) of every message; checks that no UID has changed its meaning."""
        validity = await self.enter(mailbox)
        found = {}
        for line in await self.command("UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (X-ID)])"):
            uid = re.search(rb"UID (\d+)", line)
            id_ = re.search(rb"X-Id: (\S+)", line)
            flags = re.search(rb"FLAGS \(([^)]*)\)", line)
            if uid and id_ and flags:
                found[int(uid[1])] = (id_[1].decode(), flags[1])
                self.meet(mailbox, validity, int(uid[1]), id_[1].decode())
        return found

    def meet(self, mailbox: str, validity: int, uid: int, id_: str) -> None:
        known = self.ledger.uids.setdefault((f"{self.account}/{mailbox}", validity, uid), id_)
        assert known == id_, f"UID {uid} of {self.account}/{mailbox} was {known} and is {id_}"


async def connect(port: int, account: str, ledger: Ledger) -> Imap:
    line = await Line.open(port)
    await line.line()
    client = Imap(line, account, ledger)
    await client.command(f"LOGIN {account} {PASSWORD}")
    return client


async def worker(number: int, ledger: Ledger, port: int, chance: random.Random) -> None:
    """Append, flag, copy, expunge until the server goes away."""
    account = f"user{number}@soak.test"
    with suppress(Gone):
        client = await connect(port, account, ledger)
        validity = await client.enter("Work")
        while True:
            id_ = f"a{number}-{chance.getrandbits(60):x}"
            await one_life(client, validity, id_, chance)


async def one_life(client: Imap, validity: int, id_: str, chance: random.Random) -> None:
    """A message is appended, and some of flagged, copied, expunged; each OK is a promise."""
    ledger, account = client.ledger, client.account
    doubtful = ledger.doubtful.setdefault(account, set())
    doubtful.add(id_)
    lines = await client.command("APPEND Work", message(id_))
    found = re.search(rb"APPENDUID \d+ (\d+)", lines[-1])
    assert found
    uid = int(found[1])
    client.meet("Work", validity, uid, id_)
    ledger.kept.setdefault(account, set()).add(id_)
    ledger.operations["append"] += 1
    if chance.random() < 0.7:
        await client.command(f"UID STORE {uid} +FLAGS (\\Flagged)")
        ledger.flagged.setdefault(account, set()).add(id_)
        ledger.operations["store"] += 1
    if chance.random() < 0.5:
        await client.command(f"UID COPY {uid} Copies")
        ledger.copied.setdefault(account, set()).add(id_)
        ledger.operations["copy"] += 1
    if chance.random() < 0.4:
        await client.command(f"UID STORE {uid} +FLAGS.SILENT (\\Deleted)")
        ledger.kept[account].discard(id_)
        await client.command(f"UID EXPUNGE {uid}")
        ledger.expunged.setdefault(account, set()).add(id_)
        ledger.operations["expunge"] += 1
    doubtful.discard(id_)


# ---------------------------------------------------------------------- verification


async def verify(options: argparse.Namespace, ledger: Ledger, port: int) -> None:
    """Everything promised is kept, and nothing else has come about."""
    seen: Counter[str] = Counter()
    for number in range(options.accounts):
        client = await connect(port, f"user{number}@soak.test", ledger)
        seen.update(id_ for id_, _ in (await client.contents("INBOX")).values())
        if number < options.clients:
            await verify_client(client, ledger)
        client.line.close()
    for id_, sent in ledger.sent.items():
        assert not sent.acknowledged or seen[id_], f"{id_} had its 250 and is lost"
        most = sent.doubts + sent.acknowledged
        assert seen[id_] <= most, f"{id_} is there {seen[id_]} times, at most {most} are excused"


async def verify_client(client: Imap, ledger: Ledger) -> None:
    account = client.account
    work = await client.contents("Work")
    copies = Counter(id_ for id_, _ in (await client.contents("Copies")).values())
    here = Counter(id_ for id_, _ in work.values())
    flags = dict(work.values())
    doubtful = ledger.doubtful.get(account, set())
    for id_ in ledger.kept.get(account, set()):
        assert here[id_] == 1, f"{id_} was appended and is there {here[id_]} times"
    for id_ in ledger.expunged.get(account, set()):
        assert not here[id_], f"{id_} was expunged and is back"
    for id_ in ledger.flagged.get(account, set()) & set(flags):
        assert b"\\Flagged" in flags[id_], f"{id_} has lost its flag"
    for id_ in ledger.copied.get(account, set()):
        assert copies[id_] >= 1, f"the copy of {id_} is lost"
    assert all(count == 1 or id_ in doubtful for id_, count in (here + copies).items() if count > 2)


async def check_store(config: Config) -> list[str]:
    async with open_house(config, lambda trace, entries: None) as house:
        return await house.store.read(broken)


# ---------------------------------------------------------------------- the server


class Server:
    """The server under test, in a process group of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.smtp, self.imap = folder, port, port + 1
        self.config = Config(
            hostname="mx.soak.test",
            database=f"sqlite://{folder / 'mailstead.db'}",
            workers=2,
            listen=msgspec.structs.replace(
                NOWHERE, smtp=(f"127.0.0.1:{self.smtp}",), imap=(f"127.0.0.1:{self.imap}",)
            ),
            loopback_clear_text=True,
        )
        self.path = folder / "mailstead.toml"
        self.path.write_text(format_toml(self.config))

    async def populate(self, count: int) -> None:
        hashed = hash_password(PASSWORD)

        def work(tx: Tx) -> None:
            organisation = accounts.create_organisation(tx, "soak")
            accounts.create_domain(tx, organisation, Domain("soak.test"))
            for number in range(count):
                accounts.create_account(tx, parse_address(f"user{number}@soak.test"), hashed)

        async with open_house(self.config, lambda trace, entries: None) as house:
            await house.store.write(work)

    async def start(self) -> float:
        """Seconds from the start until it answers."""
        program = [sys.executable, "-m", "mailstead", "--config", str(self.path), "serve"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(program, stderr=log, start_new_session=True)
        began = time.monotonic()
        while time.monotonic() < began + 30:
            with suppress(Gone):
                client = await Line.open(self.imap)
                await client.line()
                client.close()
                return time.monotonic() - began
            await asyncio.sleep(0.02)
        raise AssertionError(f"the server did not start: {self.tail()}")

    def kill(self) -> None:
        with suppress(ProcessLookupError, AttributeError):  # gone, or never started
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def tail(self) -> str:
        return (self.folder / "log").read_text("utf-8", "replace")[-3000:]


async def load(options: argparse.Namespace, ledger: Ledger, server: Server, seed: int) -> None:
    """All clients at work, until the server is killed."""
    chance = random.Random(seed)
    async with asyncio.TaskGroup() as group:
        for number in range(options.senders):
            group.create_task(sender(options, number, ledger, server.smtp))
        for number in range(options.clients):
            one = random.Random(chance.getrandbits(64))
            group.create_task(worker(number, ledger, server.imap, one))
        await asyncio.sleep(chance.uniform(*ROUND))
        server.kill()


async def prepare(options: argparse.Namespace, ledger: Ledger, server: Server) -> None:
    for number in range(options.clients):
        client = await connect(server.imap, f"user{number}@soak.test", ledger)
        await client.command("CREATE Work")
        await client.command("CREATE Copies")
        client.line.close()


async def soak(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """All rounds; the figures."""
    server = Server(folder, options.port)
    try:
        return await run_rounds(options, server)
    finally:
        server.kill()


async def run_rounds(options: argparse.Namespace, server: Server) -> dict[str, object]:
    """Kill, verify, kill again."""
    ledger = Ledger()
    await server.populate(options.accounts)
    recoveries = [await server.start()]
    await prepare(options, ledger, server)
    for number in range(options.rounds):
        await load(options, ledger, server, options.seed + number)
        recovery = await server.start()
        recoveries.append(recovery)
        assert recovery < RECOVERY_LIMIT, f"recovery took {recovery:.1f} s"
        await verify(options, ledger, server.imap)
        found = await check_store(server.config)
        assert not found, found
        print(
            f"round {number + 1}: {dict(ledger.operations)}, up after {recovery:.2f} s", flush=True
        )
    doubts = sum(sent.doubts > 0 for sent in ledger.sent.values())
    return {
        "rounds": options.rounds,
        **ledger.operations,
        "answers_not_seen": doubts,
        "recovery_max_s": round(max(recoveries[1:], default=0), 2),
    }


def main() -> None:
    """Run, and say what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--senders", type=int, default=20)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--accounts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=12525)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        print(json.dumps(asyncio.run(soak(options, folder))))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
