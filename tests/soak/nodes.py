"""Two nodes on one PostgreSQL and one bucket; each part is taken away under load. Nothing is lost.

    script/soak nodes [--rounds 20] [--away 60] [--seed 1]

Mail wakes IDLE at the other node, and the queue is shared without a double. Then, in rounds: a
node is killed, PostgreSQL crashes, the object store is away. Holds: every 250 and OK is kept, on
both nodes; no UID ever meant two messages; the invariants hold; servers recover by themselves.
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
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import msgspec
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, ClientError
from kills import PASSWORD, Gone, Line, Server, check_store, message

from mailstead.server.config import NOWHERE, S3, Config, format_toml
from mailstead.server.wiring import open_house

ROOT = Path(__file__).parents[2]
WAKE_LIMIT = 0.2  # seconds from the 250 at one node to the notice at the other
RECOVERY_LIMIT = 15.0  # seconds from the start of what was away until mail is taken again
LOAD = (1.0, 3.0)  # seconds of load before something is taken away
ACCOUNTS = 8
BUGS = re.compile(r"Traceback|Exception ignored|own fault|worker \d+ (died|does not)|giving up")


class Not(Exception):
    """The server said: not now."""


# ---------------------------------------------------------------------- what the nodes stand on


class Postgres:
    """A PostgreSQL that may be broken."""

    def __init__(self, port: int) -> None:
        self._environment = os.environ | {"folder": f"/tmp/soak-postgres.{port}", "port": str(port)}
        self.url = f"postgresql://mailstead@127.0.0.1:{port}/postgres"

    def do(self, what: str) -> None:
        """`url` starts it, `crash` ends it, `stop` deletes it, too."""
        run = [ROOT / "script" / "postgres", what]
        done = subprocess.run(run, capture_output=True, check=False, env=self._environment)
        if done.returncode:
            log = (Path(self._environment["folder"]) / "log").read_text()
            raise AssertionError(f"{done.stderr.decode()}\n{log[-2000:]}")


class Seaweed:
    """An object store that may be away."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._port = folder, port
        self.endpoint = f"http://127.0.0.1:{port}"
        keys = [{"accessKey": "key", "secretKey": "secret"}]
        identity = {
            "name": "mail",
            "credentials": keys,
            "actions": ["Admin", "Read", "Write", "List"],
        }
        folder.mkdir()
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        self._client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
            config=BotoConfig(connect_timeout=1, read_timeout=5, retries={"max_attempts": 0}),
        )

    def start(self) -> None:
        """Start it, and wait until it takes requests."""
        weed = Path(sys.executable).with_name("weed")
        names = ("s3", "master", "volume", "filer")
        ports = [f"-{name}.port={self._port + at}" for at, name in enumerate(names)]
        ports += ["-s3.port.iceberg=0", "-s3.port.lance=0"]  # of others' tests, too, else
        options = [
            f"-s3.config={self._folder}/s3.json",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=50",
        ]
        address = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self._folder}", "-s3"]
        with (self._folder / "log").open("ab") as log:
            program = [weed, "server", *address, *ports, *options]
            self._process = subprocess.Popen(program, stdout=log, stderr=log)
        end = time.monotonic() + 40
        while time.monotonic() < end:
            with suppress(BotoCoreError, ClientError):
                self._client.put_object(Bucket="mail", Key="started", Body=b"x")
                return
            with suppress(BotoCoreError, ClientError):
                self._client.create_bucket(Bucket="mail")
            time.sleep(0.2)
        raise AssertionError("SeaweedFS did not start")

    def kill(self) -> None:
        with suppress(AttributeError):
            self._process.kill()
            self._process.wait()

    def hang(self) -> None:
        """Accept connections, and answer nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Answer again."""
        self._process.send_signal(signal.SIGCONT)

    def count(self) -> int:
        """How many packs there are."""
        return len(
            self._client.list_objects_v2(Bucket="mail", Prefix="bodies/").get("Contents", [])
        )


class Sink:
    """A server elsewhere, that counts what it gets, and from which node."""

    def __init__(self, port: int) -> None:
        self.port, self.ids, self.nodes = port, Counter[str](), Counter[str]()
        self.grown = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink.test\r\n")
        node = ""
        while line := await reader.readline():
            word = line[:4].upper()
            if word in (b"EHLO", b"HELO"):
                node = line[5:].decode().strip()
            if word == b"DATA":
                writer.write(b"354 go on\r\n")
                data = await reader.readuntil(b"\r\n.\r\n")
                await asyncio.sleep(0.01)
                found = re.search(rb"X-Id: (\S+)", data)
                assert found
                self.ids[found[1].decode()] += 1
                self.nodes[node] += 1
                async with self.grown:
                    self.grown.notify_all()
            writer.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
            if word == b"QUIT":
                break
        writer.close()


# ---------------------------------------------------------------------- the nodes


class Node(Server):
    """One of the two, in a process group of its own."""

    def __init__(self, folder: Path, name: str, port: int, world: "World") -> None:
        folder.mkdir()
        (folder / "key").write_text("key\nsecret\n")
        self.folder, self.name, self.smtp, self.imap = folder, name, port, port + 1
        self.config = Config(
            hostname=f"{name}.soak.test",
            database=world.postgres.url,
            data=str(folder),
            blobs=f"s3://mail/bodies?endpoint={world.seaweed.endpoint}",
            s3=S3(credentials=str(folder / "key")),
            workers=2,
            listen=msgspec.structs.replace(
                NOWHERE, smtp=(f"127.0.0.1:{port}",), imap=(f"127.0.0.1:{port + 1}",)
            ),
            loopback_clear_text=True,
            relay_from=("127.0.0.0/8",),
            routes={"sink.test": f"127.0.0.1:{world.sink.port}"},
            allowed_targets=("127.0.0.0/8",),
        )
        self.path = folder / "mailstead.toml"
        self.path.write_text(format_toml(self.config))

    def check_log(self) -> None:
        """No bug, no crash loop."""
        text = (self.folder / "log").read_text("utf-8", "replace")
        assert not (found := BUGS.search(text)), text[max(0, found.start() - 2000) :][:6000]


@dataclass
class Sent:
    """What is known of one message by SMTP."""

    acknowledged: bool = False
    doubts: int = 0  # how often the answer to its end was not 250, or not seen


@dataclass
class Ledger:
    """What the nodes have promised. A message is known as (account, UID) in the mailbox Work."""

    sent: dict[str, Sent] = field(default_factory=dict)
    uids: dict[tuple[str, int], str] = field(default_factory=dict)  # never another id
    kept: set[tuple[str, int]] = field(default_factory=set)
    flagged: set[tuple[str, int]] = field(default_factory=set)
    gone: set[tuple[str, int]] = field(default_factory=set)
    done: Counter[str] = field(default_factory=Counter)
    crashed: bool = False  # PostgreSQL was: answers to commits were lost
    doubled: int = 0  # mail that is there once more than is excused, then


@dataclass
class World:
    """All of it."""

    options: argparse.Namespace
    folder: Path
    postgres: Postgres
    seaweed: Seaweed
    sink: Sink
    ledger: Ledger
    chance: random.Random
    nodes: list[Node] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    figures: dict[str, float] = field(default_factory=dict)

    def note(self, name: str, value: float) -> None:
        """The greatest of each."""
        self.figures[name] = round(max(self.figures.get(name, 0), value), 3)


# ---------------------------------------------------------------------- clients


class Client:
    """An IMAP client."""

    def __init__(self, line: Line) -> None:
        self.line, self._tag = line, 0

    @classmethod
    async def log_in(cls, node: Node, account: str) -> "Client":
        client = cls(await Line.open(node.imap))
        await client.line.line()
        await client.command(f"LOGIN {account} {PASSWORD}".encode())
        return client

    async def command(self, text: bytes) -> bytes:
        """All that is said to the command; Not if it was not done."""
        self._tag += 1
        tag = b"t%d " % self._tag
        self.line.send(tag + text + b"\r\n")
        said = b""
        while True:
            line = await self.whole_line()
            said += line
            if line.startswith(b"* BYE"):
                raise Gone
            if line.startswith(tag):
                if line[len(tag) :].startswith(b"OK"):
                    return said
                raise Not(f"{text[:60]!r}: {line!r}")

    async def whole_line(self) -> bytes:
        line = await self.line.line()
        while found := re.search(rb"\{(\d+)\}\r\n\Z", line):
            line += await self.line.octets(int(found[1])) + await self.line.line()
        return line

    async def hear(self, wanted: bytes) -> None:
        """Wait until something like this is said."""
        while wanted not in await self.line.line():
            pass


async def say(line: Line, text: str, code: bytes = b"250") -> None:
    """A command by SMTP, and its answer; Not if it is 4xx."""
    line.send(text.encode())
    while (said := await line.line())[3:4] == b"-":
        pass
    if said[:3] == b"421":
        raise Gone
    if said[:1] == b"4":
        raise Not(said)
    assert said[:3] == code, f"{text[:40]!r}: {said!r}"


async def open_smtp(node: Node) -> Line:
    line = await Line.open(node.smtp)
    await say(line, "", b"220")
    await say(line, "HELO client.test\r\n")
    return line


async def deliver(line: Line, id_: str, recipient: str, sent: Sent) -> None:
    await say(line, f"MAIL FROM:<{account_of(0)}>\r\n")
    await say(line, f"RCPT TO:<{recipient}>\r\n")
    await say(line, "DATA\r\n", b"354")
    sent.doubts += 1
    await say(line, message(id_).decode() + ".\r\n")
    sent.doubts -= 1
    sent.acknowledged = True


def account_of(number: int) -> str:
    return f"user{number % ACCOUNTS}@soak.test"


async def send(world: World, number: int, node: Node) -> None:
    """Deliver, and send again what had no 250."""
    ledger = world.ledger
    while True:
        with suppress(Gone):
            line = await open_smtp(node)
            waiting = [
                i
                for i, s in ledger.sent.items()
                if i[1:].startswith(f"{number}-") and not s.acknowledged
            ]
            while True:
                id_ = waiting.pop() if waiting else f"s{number}-{len(ledger.sent)}"
                with suppress(Not):
                    await deliver(
                        line, id_, account_of(number), ledger.sent.setdefault(id_, Sent())
                    )
                    ledger.done["sent"] += 1
                    continue
                ledger.done["4xx"] += 1
                line.send(b"RSET\r\n")
                await line.line()
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.1)


async def work(world: World, number: int, node: Node) -> None:
    """Append, flag, expunge, read; each OK is a promise."""
    chance, account = random.Random(world.chance.random()), account_of(number)
    while True:
        with suppress(Gone, Not):
            client = await Client.log_in(node, account)
            await client.command(b"SELECT Work")
            while True:
                await one_life(
                    world.ledger, client, account, f"a{number}-{chance.getrandbits(60):x}", chance
                )
        world.ledger.done["begun again"] += 1
        await asyncio.sleep(0.1)


async def one_life(
    ledger: Ledger, client: Client, account: str, id_: str, chance: random.Random
) -> None:
    octets = message(id_)
    said = await client.command(b"APPEND Work {%d+}\r\n%s" % (len(octets), octets))
    found = re.search(rb"APPENDUID \d+ (\d+)", said)
    assert found
    key = (account, int(found[1]))
    assert ledger.uids.setdefault(key, id_) == id_, f"{key} is two messages"
    ledger.kept.add(key)
    ledger.done["append"] += 1
    if chance.random() < 0.7:
        await client.command(b"UID STORE %d +FLAGS (\\Flagged)" % key[1])
        ledger.flagged.add(key)
        ledger.done["store"] += 1
    if chance.random() < 0.4:
        ledger.kept.discard(key)
        await client.command(b"UID STORE %d +FLAGS.SILENT (\\Deleted)" % key[1])
        await client.command(b"UID EXPUNGE %d" % key[1])
        ledger.gone.add(key)
        ledger.done["expunge"] += 1


# ---------------------------------------------------------------------- verification


async def contents(client: Client, mailbox: bytes, what: bytes) -> dict[int, tuple[str, bytes]]:
    """uid -> (id, all that is said of the message)."""
    await client.command(b"SELECT " + mailbox)
    said = await client.command(b"UID FETCH 1:* (FLAGS BODY.PEEK[%s])" % what)
    found = {}
    for part in said.split(b" FETCH (")[1:]:
        uid, id_ = re.search(rb"UID (\d+)", part), re.search(rb"X-Id: (\S+)", part)
        assert uid
        assert id_
        found[int(uid[1])] = (id_[1].decode(), part)
    return found


async def verify(world: World) -> None:
    """Every promise is kept, and nothing else has come about; both nodes say so."""
    for node in world.nodes:
        await insist(lambda node=node: verify_at(world, node))  # type: ignore[misc]
        node.check_log()
    found = await check_store(world.nodes[0].config)
    assert not found, found


async def insist(work: Callable[[], Awaitable[None]]) -> float:
    """Do it until nothing of it is refused for now; seconds that it took."""
    began = time.monotonic()
    while True:
        try:
            await work()
        except Not:
            assert time.monotonic() < began + RECOVERY_LIMIT, "a node does not recover"
            await asyncio.sleep(0.2)
        else:
            return time.monotonic() - began


async def verify_at(world: World, node: Node) -> None:
    ledger, seen = world.ledger, Counter[str]()
    for number in range(ACCOUNTS):
        account = account_of(number)
        client = await Client.log_in(node, account)
        seen.update(i for i, _ in (await contents(client, b"INBOX", b"HEADER")).values())
        there = await contents(client, b"Work", b"HEADER")
        for uid, (id_, _) in there.items():
            known = ledger.uids.setdefault((account, uid), id_)
            assert known == id_, f"UID {uid} of {account} was {known} and is {id_}"
        for uid in (uid for owner, uid in ledger.kept if owner == account):
            assert uid in there, f"UID {uid} of {account} is lost at {node.name}"
        for uid in (uid for owner, uid in ledger.gone if owner == account):
            assert uid not in there, f"UID {uid} of {account} is back at {node.name}"
        for uid in (uid for owner, uid in ledger.flagged if owner == account and uid in there):
            assert b"\\Flagged" in there[uid][1], f"UID {uid} of {account} has lost its flag"
        client.line.close()
    doubled = 0
    for id_, sent in ledger.sent.items():
        if id_.startswith("s"):
            assert not sent.acknowledged or seen[id_], f"{id_} had its 250 and is lost"
            doubled += max(0, seen[id_] - sent.doubts - sent.acknowledged)
    assert ledger.crashed or not doubled, (
        f"{doubled} messages are there twice, and nothing excuses it"
    )
    ledger.doubled = doubled


async def verify_bodies(world: World) -> None:
    """Every octet of every message, wherever it lies."""
    for node in world.nodes:
        for number in range(ACCOUNTS):
            client = await Client.log_in(node, account_of(number))
            for id_, said in (await contents(client, b"INBOX", b"")).values():
                assert message(id_) in said, f"{id_} is not what was sent"
            client.line.close()


# ---------------------------------------------------------------------- the parts of a soak


async def wake(world: World) -> None:
    """IDLE at one node hears of mail and flags at the other in time."""
    a, b = world.nodes
    watcher, other = [await Client.log_in(node, account_of(0)) for node in (b, a)]
    for client in (watcher, other):
        await client.command(b"SELECT INBOX")
    watcher.line.send(b"i IDLE\r\n")
    await watcher.hear(b"+ ")
    line, took = await open_smtp(a), list[tuple[str, float]]()
    for number in range(20):
        id_ = f"s{8 * 1000}-{number}"
        await deliver(line, id_, account_of(0), world.ledger.sent.setdefault(id_, Sent()))
        began = time.monotonic()
        await watcher.hear(b" EXISTS")
        took.append(("mail_noticed", time.monotonic() - began))
        await other.command(b"NOOP")
        flag = b"+" if number % 2 == 0 else b"-"
        await other.command(b"STORE 1 %sFLAGS.SILENT (\\Flagged)" % flag)
        began = time.monotonic()
        await watcher.hear(b" FETCH ")
        took.append(("flag_noticed", time.monotonic() - began))
    for name, seconds in took:
        world.note(f"{name}_max_s", seconds)
        assert seconds < WAKE_LIMIT, f"{name} after {seconds:.3f} s"
    for client in (watcher, other):
        client.line.close()


async def share_queue(world: World) -> None:
    """Mail for elsewhere comes in at both, and leaves from both, once."""
    count = world.options.queued

    async def submit(node: Node, numbers: range) -> None:
        line = await open_smtp(node)
        for number in numbers:
            await deliver(line, f"q{number}", f"r{number}@sink.test", Sent())

    async with asyncio.TaskGroup() as group:
        for at, node in enumerate(world.nodes):
            for part in range(4):
                group.create_task(submit(node, range(at * 4 + part, count, 8)))
    async with asyncio.timeout(60), world.sink.grown:
        await world.sink.grown.wait_for(lambda: len(world.sink.ids) == count)
    await asyncio.sleep(1)  # a second one would come now
    twice = [id_ for id_, times in world.sink.ids.items() if times != 1]
    assert not twice, f"sent twice: {twice}"
    assert len(world.sink.nodes) == 2, f"only {world.sink.nodes} sent"
    world.figures["relayed"] = count
    world.figures["relayed_by_the_lesser"] = min(world.sink.nodes.values())


async def under_load(world: World, trouble: Callable[[], Awaitable[None]]) -> None:
    """All clients at work before, while, and after."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(client(world, number, world.nodes[number % 2]))
            for client in (send, work)
            for number in range(world.options.clients)
        ]
        await asyncio.sleep(world.chance.uniform(*LOAD))
        await trouble()
        await asyncio.sleep(0.5)
        for task in tasks:
            task.cancel()
    await verify(world)


async def kill_node(world: World, node: Node) -> None:
    before = world.ledger.done["sent"]
    node.kill()
    await asyncio.sleep(world.chance.uniform(0.2, 1))
    assert world.ledger.done["sent"] > before, "the other node stood still"
    world.note("node_up_s", await node.start())


async def crash_postgres(world: World) -> None:
    world.ledger.crashed = True
    await asyncio.to_thread(world.postgres.do, "crash")
    await asyncio.sleep(world.chance.uniform(0.5, 3))
    await asyncio.to_thread(world.postgres.do, "url")
    await both_take_mail(world, "postgres_recovery_s")


async def both_take_mail(world: World, figure: str) -> None:
    began = time.monotonic()
    for number, node in enumerate(world.nodes):
        id_ = f"s{8 * 2000 + number}-{len(world.ledger.sent)}"
        sent = world.ledger.sent.setdefault(id_, Sent())
        while not sent.acknowledged:
            assert time.monotonic() < began + RECOVERY_LIMIT, f"{node.name} does not recover"
            with suppress(Gone, Not):
                await deliver(await open_smtp(node), id_, account_of(number), sent)
            await asyncio.sleep(0.05)
    world.note(figure, time.monotonic() - began)


async def pack(world: World) -> None:
    """All bodies into the bucket, as if they were old."""
    async with open_house(world.nodes[0].config, lambda trace, entries: None) as house:
        await house.packing.pack_all()


async def lose_objects(world: World, node: Node, hanging: bool) -> None:
    """Mail is taken meanwhile, also by a node that starts; what lies there is read again."""
    stop, start = world.seaweed.kill, world.seaweed.start
    if hanging:
        stop, start = world.seaweed.hang, world.seaweed.go_on
    await asyncio.to_thread(stop)
    before = world.ledger.done["sent"]
    await asyncio.sleep(world.options.away)
    refused = 0
    for node in world.nodes:
        client = await Client.log_in(node, account_of(0))
        began = time.monotonic()
        try:
            await contents(client, b"INBOX", b"TEXT")
        except (Gone, Not):  # a store that hangs takes longer to give up than we do
            refused += 1
        world.note("refusal_s", time.monotonic() - began)
        client.line.close()
    world.figures["reads_refused"] = world.figures.get("reads_refused", 0) + refused
    world.figures["sent_meanwhile"] = world.ledger.done["sent"] - before
    assert world.ledger.done["sent"] > before, "no mail was taken without the object store"
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(start))
        group.create_task(kill_node(world, node))
    world.note("object_store_start_s", time.monotonic() - began)
    world.note("bodies_back_s", await insist(lambda: verify_bodies(world)))


# ---------------------------------------------------------------------- all together


async def prepare(world: World) -> None:
    for name, at in (("a", 10), ("b", 20)):
        folder = world.folder / name
        world.nodes.append(Node(folder, f"mx-{name}", world.options.port + at, world))
    await world.nodes[0].populate(ACCOUNTS)
    for node in world.nodes:
        await node.start()
    for number in range(ACCOUNTS):
        client = await Client.log_in(world.nodes[0], account_of(number))
        await client.command(b"CREATE Work")
        client.line.close()


async def soak(world: World) -> None:
    """All parts, then rounds of trouble."""
    sink = await asyncio.start_server(world.sink.serve, "127.0.0.1", world.sink.port)
    await prepare(world)
    say_so("two nodes are up", world)
    await wake(world)
    say_so("mail and flags are noticed in time", world)
    await share_queue(world)
    say_so("the queue is shared", world)
    for number in range(world.options.rounds):
        one, other = (world.nodes[(number + at) % 2] for at in (0, 1))
        await under_load(world, lambda node=one: kill_node(world, node))  # type: ignore[misc]
        say_so(f"round {number + 1}: {one.name} was killed", world)
        await pack(world)
        await under_load(
            world,
            lambda node=other, at=number: lose_objects(world, node, hanging=at % 2 == 1),  # type: ignore[misc]
        )
        say_so(f"round {number + 1}: the object store was away, {other.name} was killed", world)
        await under_load(world, lambda: crash_postgres(world))
        say_so(f"round {number + 1}: PostgreSQL crashed", world)
    await pack(world)
    await verify_bodies(world)
    world.figures["packs"] = world.seaweed.count()
    assert world.figures["packs"]
    sink.close()


def say_so(what: str, world: World) -> None:
    took = time.monotonic() - world.began
    print(f"{took:5.1f} s {what}: {dict(world.ledger.done)}", file=sys.stderr, flush=True)


def main() -> None:
    """Run, and say what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--away", type=float, default=60, help="seconds without the object store")
    parser.add_argument("--clients", type=int, default=16, help="of each kind")
    parser.add_argument("--queued", type=int, default=2000, help="messages for elsewhere")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=14000, help="the first of 30")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    postgres = Postgres(options.port + 9)
    seaweed = Seaweed(folder / "weed", options.port)
    sink, chance = Sink(options.port + 8), random.Random(options.seed)
    world = World(options, folder, postgres, seaweed, sink, Ledger(), chance)
    try:
        postgres.do("url")
        seaweed.start()
        asyncio.run(soak(world))
        print(
            json.dumps(
                {
                    "rounds": options.rounds,
                    **world.ledger.done,
                    "doubled": world.ledger.doubled,
                    **world.figures,
                }
            )
        )
    finally:
        for node in world.nodes:
            node.kill()
        seaweed.kill()
        postgres.do("stop")
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
