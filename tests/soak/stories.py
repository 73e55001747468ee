"""Mail through worlds in which remote servers change their minds: nothing is lost or told twice.

    script/soak stories [--seeds 1000] [--first 1] [--replays 3]

Each seed makes a world of its own: domains and hosts in changing moods (moods.py), one behind us
by LMTP, a DNS that fails at times, a house that sends for hours and is restarted. Holds: each
recipient is delivered once, or its sender told once; twice only where the connection broke after
the final dot; what was taken is whole; the journal says what happened; the queue is empty in the
end; no bug in the log. Then the stories of tests/house are told again with other seeds (replays).
"""

import argparse
import asyncio
import email
import email.policy
import logging
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from moods import Host, Taken, subject_of

from mailstead.model.address import parse_domain
from mailstead.model.dns import Status
from mailstead.model.entries import Attempted
from mailstead.model.reply import Reply
from mailstead.storage import accounts, relays, streams
from mailstead.storage.queue import Filter
from mailstead.storage.relays import RelayDomain
from mailstead.storage.store import Tx
from mailstead.testing.clock import simulate
from mailstead.testing.house import PASSWORD, SimulatedHouse, SimulatedWorld, compose
from mailstead.testing.invariants import broken
from mailstead.testing.smtp import SmtpClient

ALICE, BOB, CAROL = "alice@example.org", "bob@example.org", "carol@example.com"
DOMAINS, HOSTS, MESSAGES, RECIPIENTS = 4, 3, 12, 4  # of one world, at most
RELAYED, BEHIND, RELAY_DAYS = "behind.example", "198.51.200.1", 5
NAMES = ("user0", "user1", "gone2", "full3")  # of those behind us
STREAM = "news"
PATIENCE = timedelta(days=6)  # until everything has been given up
SLOW = 30.0  # seconds of real time for one seed that are worth a word
ROOT = Path(__file__).parents[2]
BODY = b"Hi!\r\n..dots\r\n" + b"x" * 70 + b"\r\n\r\n \r\nthe end\r\n"


@dataclass(frozen=True)
class Sent:
    """A recipient that the house took a message for."""

    trace: str
    subject: str
    recipient: str  # where it leads in the end
    wish: str = ""  # NOTIFY
    silent: bool = False  # nobody hears of a failure


class Story:
    """One world, and what was sent in it."""

    def __init__(self, world: SimulatedWorld, seed: int) -> None:
        self.world, self.chance = world, random.Random(seed)
        self.hosts: list[Host] = []
        self.domains: list[str] = []
        self.aliases: dict[str, list[str]] = {}
        self.sent: list[Sent] = []
        self.up = asyncio.Lock()  # held by who needs the house to stay
        self.house: SimulatedHouse

    async def tell(self) -> None:
        """From the first message to the last outcome."""
        chance, world = self.chance, self.world
        world.network.split = chance.choice((0, 0, 1, 7, 100))
        for number in range(chance.randint(1, DOMAINS)):
            self._publish(number)
        self.house = await world.house("example.org", ["alice", "bob"], aliases=self.aliases)
        await self.house.house.store.write(self._settle)
        self.hosts.append(Host(world, BEHIND, random.Random(chance.random()), lmtp=True))
        async with asyncio.TaskGroup() as group:
            for host in self.hosts:
                group.create_task(host.live())
            group.create_task(self._disturb_dns())
            group.create_task(self._restart())
            await world.sleep(seconds=1)
            for number in range(chance.randint(3, MESSAGES)):
                await self._send(f"story {number}")
                await world.sleep(seconds=chance.choice((0, 1, 60, 3600)))
        await world.clock.sleep(PATIENCE)

    def _settle(self, tx: Tx) -> None:
        """A domain that we relay for, and a stream."""
        owner, domain = accounts.first_organisation(tx), parse_domain(RELAYED)
        assert owner is not None
        relay = RelayDomain(domain, owner, f"{BEHIND}:24", "lmtp", "list", RELAY_DAYS, tx.now)
        relays.add(tx, relay)
        relays.add_recipients(tx, domain, NAMES)
        streams.add(tx, owner, STREAM, 20)

    def _publish(self, number: int) -> None:
        """A domain, its hosts, and an alias of ours that leads there."""
        chance, domain, hosts = self.chance, f"d{number}.example", []
        for index in range(chance.randint(1, HOSTS)):
            name, address = f"mx{index}.{domain}", f"198.51.{number}.{index + 1}"
            self.world.zone["A", name] = address
            hosts.append(f"{chance.choice((10, 10, 20, 30))} {name}")
            self.hosts.append(Host(self.world, address, random.Random(chance.random())))
        kind = chance.choices(("mx", "a", "null", "none"), (17, 1, 1, 1))[0]
        if kind in ("mx", "null"):
            self.world.zone["MX", domain] = hosts if kind == "mx" else ["0 ."]
        elif kind == "a":
            self.world.zone["A", domain] = f"198.51.{number}.1"
        self.domains.append(domain)
        self.aliases[f"away{number}"] = [f"user@{domain}"]

    async def _disturb_dns(self) -> None:
        """Now and then a name cannot be looked up."""
        for _ in range(self.chance.randint(0, 6)):
            await self.world.sleep(hours=self.chance.uniform(0, 6))
            name = self.chance.choice((*self.domains, f"mx0.{self.domains[0]}"))
            self.world.zone.fail(name, self.chance.choice((Status.SERVFAIL, Status.TIMEOUT)))
            await self.world.sleep(hours=self.chance.choice((0.1, 1, 8)))
            self.world.zone.heal(name)

    async def _restart(self) -> None:
        """A new process over the same store, or an operator who cannot wait."""
        for _ in range(self.chance.randint(0, 4)):
            await self.world.sleep(hours=self.chance.choice((0.001, 0.1, 1, 10)))
            async with self.up:
                if self.chance.random() < 0.5:
                    await self.house.house.operators.retry(Filter())
                    continue
                await self.house.stop()
                await self.house.start()

    async def _send(self, subject: str) -> None:
        async with self.up:
            way = self.chance.random()
            if way < 0.2:
                await self._forward(subject)
            elif way < 0.4:
                await self._relay(subject)
            else:
                await self._submit(subject)

    async def _forward(self, subject: str) -> None:
        alias, (target,) = self.chance.choice(list(self.aliases.items()))
        to = f"{alias}@example.org"
        async with SmtpClient(self.world.network, self.house.address, 25) as client:
            message = compose(CAROL, [to], subject, "") + BODY
            reply = await client.send_message(CAROL, [to], message)
        self.sent.append(Sent(trace_of(reply), subject, target, silent=True))

    async def _relay(self, subject: str) -> None:
        """From outside, for the domain behind us."""
        to = [f"{name}@{RELAYED}" for name in NAMES[: self.chance.randint(1, len(NAMES))]]
        async with SmtpClient(self.world.network, self.house.address, 25) as client:
            message = compose(CAROL, to, subject, "") + BODY
            trace = trace_of(await client.send_message(CAROL, to, message))
        self.sent += [Sent(trace, subject, one, silent=True) for one in to]

    async def _submit(self, subject: str) -> None:
        chance, taken = self.chance, dict[str, str]()
        stream = chance.random() < 0.2  # which tells of nothing unless it is asked to
        async with SmtpClient(self.world.network, self.house.address, 587) as client:
            await client.log_in(ALICE, PASSWORD)
            assert (await client.command(f"MAIL FROM:<{ALICE}>")).ok
            for to in self._some():
                wish = chance.choice(("", "", "NEVER", "SUCCESS,FAILURE", "FAILURE"))
                wished = f" NOTIFY={wish}" if wish else ""
                reply = await client.command(f"RCPT TO:<{to}>{wished}")
                assert reply.ok or "5.1.1" in reply.text or reply.code == 550, reply  # suppressed
                taken |= {to: wish} if reply.ok else {}
            if taken:
                await client.command("DATA")
                client.stream.send(f"Mailstead-Stream: {STREAM}\r\n".encode() if stream else b"")
                client.stream.send(compose(ALICE, ["all@example.net"], subject, ""))
                client.stream.send(BODY.replace(b"\r\n.", b"\r\n..") + b".\r\n")
                trace = trace_of(await client.reply())
        for to, wish in taken.items():
            self.sent.append(Sent(trace, subject, to, wish, silent=stream and not wish))

    def _some(self) -> list[str]:
        """Recipients, most of them there, in any order."""
        chance, found = self.chance, [BOB]
        for number in range(chance.randint(1, RECIPIENTS)):
            kind = chance.choices(("user", "gone", "full"), (10, 1, 1))[0]
            found.append(f"{kind}{number}@{chance.choice(self.domains)}")
        chance.shuffle(found)
        return found


def trace_of(reply: Reply) -> str:
    """The id that the message is kept as."""
    assert reply.ok, reply
    return reply.text.split()[-1]


# ---------------------------------------------------------------------- what holds


async def judge(story: Story) -> list[str]:
    """What is wrong in the end."""
    house = story.house
    left = await house.house.operators.find(Filter())
    wrong = [f"still waits: {row.recipient}" for row, _ in left]
    wrong += await house.house.store.read(broken)
    told = await notices(house)
    taken = [one for host in story.hosts for one in host.taken]
    wrong += [f"not whole: {one}" for one in taken if not one.content.endswith(BODY)]
    for sent in story.sent:
        if sent.recipient == BOB:
            count = sum(one.subject == sent.subject for one in await house.mailbox(BOB))
            wrong += [] if count == 1 else [f"{sent}: filed {count} times"]
        else:
            copies = [
                one
                for one in taken
                if (one.subject, one.recipient) == (sent.subject, sent.recipient)
            ]
            wrong += [f"{sent}: {what}" for what in faults(sent, copies, told)]
            ends = outcomes(house, sent)
            relayed = sum(one.heard for one in copies)
            if (ends["relayed"], ends["failed"]) != (relayed, 1 - relayed):
                wrong.append(f"{sent}: heard={relayed}, but the journal has {dict(ends)}")
    known = {(sent.subject, sent.recipient) for sent in story.sent}
    wrong += [f"nobody sent {one}" for one in taken if (one.subject, one.recipient) not in known]
    return wrong


def faults(sent: Sent, copies: list[Taken], told: Counter[tuple[str, str, str]]) -> list[str]:
    """What went wrong for one recipient elsewhere."""
    heard = [one for one in copies if one.heard]
    failed, relayed, delayed = (
        told[sent.subject, sent.recipient, action] for action in ("failed", "relayed", "delayed")
    )
    expected = (0 if heard or sent.silent or sent.wish == "NEVER" else 1, 0)
    if heard and "SUCCESS" in sent.wish and not heard[0].tells:
        expected = (0, 1)
    found = []
    if len(heard) > 1:
        found.append(f"delivered {len(heard)} times, and told us so each time")
    if (failed, relayed) != expected:
        found.append(f"heard={len(heard)}: told of failure and relay {failed, relayed}")
    if delayed > (sent.wish == "" and not sent.silent):
        found.append(f"told {delayed} times of a delay")
    return found


async def notices(house: SimulatedHouse) -> Counter[tuple[str, str, str]]:
    """How often Alice was told what of which recipient of which message."""
    found: Counter[tuple[str, str, str]] = Counter()
    for filed in await house.mailbox(ALICE):
        parsed = email.message_from_bytes(filed.header + filed.body, policy=email.policy.default)
        _, status, returned = parsed.iter_parts()
        subject = subject_of(
            returned.get_payload(0).as_bytes()
            if returned.is_multipart()
            else returned.get_content().encode()
        )
        for one in status.get_payload()[1:]:
            recipient = one["Final-Recipient"].partition(";")[2].strip()
            found[subject, recipient, one["Action"]] += 1
    return found


def outcomes(house: SimulatedHouse, sent: Sent | None = None) -> Counter[str]:
    """What the journal says of attempts: all, or for one recipient."""
    attempts = [(trace, one) for trace, one in house.told if isinstance(one, Attempted)]
    return Counter(
        one.outcome
        for trace, one in attempts
        if sent is None or (trace, one.recipient) == (sent.trace, sent.recipient)
    )


# ---------------------------------------------------------------------- many of them


class _Bugs(logging.Handler):
    """What the log says of faults of our own."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(logging.Formatter().format(record))


def play(seed: int) -> tuple[int, list[str], Counter[str], float]:
    """One seed: what is wrong, what came of attempts, how long it took."""
    began, bugs, counts = time.perf_counter(), _Bugs(), Counter[str]()
    logging.getLogger().addHandler(bugs)
    logging.getLogger("mailstead").setLevel(logging.ERROR)

    async def story(folder: Path) -> list[str]:
        async with SimulatedWorld(folder, seed) as world:
            story = Story(world, seed)
            await story.tell()
            counts.update(outcomes(story.house))
            return await judge(story)

    with tempfile.TemporaryDirectory(prefix="stories-") as name:
        try:
            wrong = simulate(lambda: story(Path(name)))
        except Exception:  # noqa: BLE001 whatever it is, it is a finding
            wrong = [traceback.format_exc()]
    logging.getLogger().removeHandler(bugs)
    return seed, wrong + bugs.found, counts, time.perf_counter() - began


def replay(seed: int) -> str:
    """The stories of tests/house with another seed; what pytest says if one fails."""
    options = ["-q", "-m", "not postgres and not loopback", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/house", *options],
        cwd=ROOT,
        env=os.environ | {"MAILSTEAD_SEED": str(seed)},
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout


def main() -> None:
    """All seeds, on all cores; ends with 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--replays", type=int, default=3)
    options = parser.parse_args()
    failed, counts = 0, Counter[str]()
    seeds = range(options.first, options.first + options.seeds)
    with multiprocessing.Pool() as pool:
        for seed, wrong, found, took in pool.imap_unordered(play, seeds):
            counts += found
            failed += bool(wrong)
            if wrong or took > SLOW:
                print_(f"seed {seed}, {took:.0f} s: {len(wrong)} wrong", *wrong)
    for seed in range(options.first + 1, options.first + 1 + options.replays):
        if said := replay(seed):
            failed += 1
            print_(f"tests/house with seed {seed}:", said)
    print_(f"{options.seeds} seeds, {options.replays} replays, {failed} failed; {dict(counts)}")
    sys.exit(1 if failed else 0)


def print_(*lines: str) -> None:
    """To whoever watches."""
    sys.stdout.write("\n  ".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
