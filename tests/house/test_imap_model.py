"""Several IMAP clients on two mailboxes, in any order, against a plain model of the RFCs.

The model says what lies where with which flags (RFC 3501), in which order things changed (RFC
7162), and what each client may believe by what it was told (RFC 2180). `script/soak imap` looks
longer.
"""

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from mailstead.model.flags import format_flags
from mailstead.testing.clock import SimulatedLoop
from mailstead.testing.house import PASSWORD, SimulatedHouse, SimulatedWorld
from mailstead.testing.imap import ImapClient

ALICE = "alice@example.org"
BOXES = ("INBOX", "Second")
FLAGS = (r"\Seen", r"\Deleted", r"\Flagged", "$Work")
MESSAGE = "Subject: model\r\n\r\nHi!\r\n"
EXAMPLES = int(os.environ.get("MAILSTEAD_MODEL_EXAMPLES", "0"))  # of a long run
FETCH = re.compile(rb"\* (\d+) FETCH \((.*)\)\Z", re.DOTALL)
ITEMS = {
    "uid": re.compile(rb"\bUID (\d+)"),
    "flags": re.compile(rb"\bFLAGS \(([^)]*)\)"),
    "modseq": re.compile(rb"\bMODSEQ \((\d+)\)"),
}
# What may not come with an expunge (RFC 3501 section 7.4.1).
FIRM = re.compile(r"(FETCH|STORE|SEARCH)")


class Message:
    """What the server has to know of a message."""

    def __init__(self, flags: Iterable[str]) -> None:
        self.flags, self.modseq = frozenset(flags), 0
        self.touched = True

    def set(self, flags: frozenset[str]) -> None:
        """Its flags from now on."""
        self.touched = self.touched or flags != self.flags
        self.flags = flags


class Box:
    """A mailbox as it has to be, and every state that a message of it ever had."""

    def __init__(self) -> None:
        self.messages: dict[int, Message] = {}
        self.uidnext, self.highest = 1, 0
        self.shrunk = self.skipped = False
        self.history: dict[tuple[int, int], frozenset[str]] = {}  # by UID and modseq

    def add(self, flags: Iterable[str]) -> int:
        """A new message's UID."""
        self.messages[self.uidnext] = Message(flags)
        self.uidnext += 1
        return self.uidnext - 1

    def remove(self, uids: Iterable[int]) -> None:
        """They are expunged."""
        for uid in uids:
            del self.messages[uid]
            self.shrunk = True

    def take(self, found: dict[int, tuple[frozenset[str], int]], highest: int) -> None:
        """What the store says, which has to be this; mod-sequences are its to choose."""
        assert {uid: one.flags for uid, one in self.messages.items()} == {
            uid: flags for uid, (flags, _) in found.items()
        }
        assert list(found) == sorted(found)
        before = self.highest
        for uid, message in self.messages.items():
            modseq = found[uid][1]
            if message.touched:
                assert before < modseq <= highest, (uid, before, modseq)
            else:
                assert modseq == message.modseq, (uid, modseq, message.modseq)
            message.modseq, message.touched = modseq, False
            self.history[uid, modseq] = message.flags
        assert highest > before if self.shrunk else highest >= before
        self.highest, self.shrunk = highest, False


class Belief:
    """What a client was told of one message."""

    def __init__(self, uid: int | None = None, flags: frozenset[str] | None = None) -> None:
        self.uid, self.flags = uid, flags


class Person:
    """A client: what it has enabled and selected, and what it believes."""

    def __init__(self, kind: str) -> None:
        self.kind, self.condstore = kind, kind != "plain"
        self.client: ImapClient
        self.box = ""
        self.idle = False
        self.messages: list[Belief] = []
        self.told: list[tuple[str, int, int, frozenset[str]]] = []  # to be compared with history
        self.uidvalidity = self.highest = self.heard = 0
        self.kept: dict[str, tuple[int, int, dict[int, frozenset[str]]]] = {}

    @property
    def qresync(self) -> bool:
        """Whether it is told of UIDs that vanished."""
        return self.kind == "qresync"

    # ------------------------------------------------------------------ learning

    def learn(self, response: bytes, firm: bool = False) -> None:
        """One untagged response; `firm`: nothing may go away now."""
        if match := re.match(rb"\* (\d+) EXISTS\Z", response):
            count = int(match[1])
            assert count >= len(self.messages), "EXISTS shrank"
            self.messages += [Belief() for _ in range(count - len(self.messages))]
        elif match := re.match(rb"\* (\d+) EXPUNGE\Z", response):
            assert not firm, "RFC 3501 section 7.4.1"
            assert not self.qresync, "RFC 7162 section 3.2.10"
            del self.messages[int(match[1]) - 1]
        elif match := re.match(rb"\* VANISHED ([0-9:,]+)\Z", response):
            assert not firm, "RFC 7162 section 3.2.10.2"
            assert self.qresync
            self.forget(match[1])
        elif match := FETCH.match(response):
            self.learn_fetch(int(match[1]), match[2])
        elif match := re.search(rb"\[HIGHESTMODSEQ (\d+)\]", response):
            assert int(match[1]) >= self.highest
            self.highest = int(match[1])

    def forget(self, numset: bytes) -> None:
        """Messages that vanished; one whose UID it was not told is a new one."""
        for uid in numbers(numset):
            place = next(
                (i for i, one in enumerate(self.messages) if one.uid == uid),
                next((i for i, one in enumerate(self.messages) if one.uid is None), None),
            )
            assert place is not None, f"{uid} was never there"
            del self.messages[place]

    def learn_fetch(self, number: int, items: bytes) -> None:
        """A FETCH response."""
        assert 1 <= number <= len(self.messages)
        one = self.messages[number - 1]
        found = {name: match[1] for name, how in ITEMS.items() if (match := how.search(items))}
        if "uid" in found:
            assert one.uid in (None, int(found["uid"])), "the UID of a message changed"
            one.uid = int(found["uid"])
        if "flags" in found:
            one.flags = frozenset(found["flags"].decode().split()) - {r"\Recent"}
        assert not self.condstore or "flags" not in found or "modseq" in found, "RFC 7162 3.1"
        assert not self.qresync or "uid" in found, "RFC 7162 section 3.2.4"
        if "modseq" in found:
            self.heard = max(self.heard, int(found["modseq"]))
            if one.uid is not None and one.flags is not None and "flags" in found:
                self.told.append((self.box, one.uid, int(found["modseq"]), one.flags))

    # ------------------------------------------------------------------ choosing

    def choose(self, first: int, count: int, by_uid: bool) -> tuple[str, list[int]]:
        """A set of messages as a command names it, and the UIDs that it means."""
        start = first % len(self.messages)
        some = self.messages[start : start + count]
        uids = [one.uid for one in some if one.uid is not None]
        assert len(uids) == len(some), "it has asked for the UIDs of all"
        if by_uid:
            return ",".join(map(str, uids)), uids
        return f"{start + 1}:{start + len(some)}", uids


def numbers(numset: bytes) -> list[int]:
    """The numbers of a set without `*`."""
    found: list[int] = []
    for part in numset.decode().split(","):
        first, _, last = part.partition(":")
        low, high = sorted((int(first), int(last or first)))
        found += range(low, high + 1)
    return found


def apply(sign: str, before: frozenset[str], flags: frozenset[str]) -> frozenset[str]:
    """The flags after a STORE."""
    return {"+": before | flags, "-": before - flags, "": flags}[sign]


class Stage:
    """A house, the model, and the clients."""

    def __init__(self, world: SimulatedWorld, house: SimulatedHouse) -> None:
        self.world, self.house = world, house
        self.boxes = {name: Box() for name in BOXES}
        self.people = [Person("plain"), Person("condstore"), Person("qresync"), Person("plain")]

    async def open(self) -> None:
        """Everybody is there, and has INBOX."""
        for person in self.people:
            await self.connect(person)
        await self.say(self.people[0], "CREATE Second")
        for flags in ((), FLAGS[:1], FLAGS[1:2], FLAGS[2:], ()):
            await self.append(self.people[0], "INBOX", frozenset(flags))
        await self.compare()
        for person in self.people:
            await self.select(person, "INBOX")

    async def connect(self, person: Person) -> None:
        """Log in and enable what it knows."""
        person.client = await ImapClient(self.world.network, self.house.address).__aenter__()
        await person.client.command(f"LOGIN {ALICE} {PASSWORD}")
        if person.kind != "plain":
            await person.client.command(f"ENABLE {person.kind.upper()}")
        person.condstore = person.kind != "plain"

    # ------------------------------------------------------------------ talking

    async def say(self, person: Person, text: str) -> str:
        """A command: the client learns from the answer; its tagged response."""
        await self.wake(person)
        firm = bool(FIRM.match(text))
        async with asyncio.timeout(60):
            *untagged, last = await person.client.command(text)
        for response in untagged:
            person.learn(response, firm)
        if match := re.search(rb"\[HIGHESTMODSEQ (\d+)\]", last):
            person.highest = max(person.highest, int(match[1]))
        return last.decode()

    async def ok(self, person: Person, text: str) -> str:
        """The same of a command that has to be taken."""
        said = await self.say(person, text)
        assert said.startswith("OK"), f"{text}: {said}"
        return said

    async def wake(self, person: Person) -> None:
        """Out of IDLE."""
        if not person.idle:
            return
        person.idle = False
        person.client.stream.send(b"DONE\r\n")
        async with asyncio.timeout(60):
            while not (response := await person.client.response()).startswith(b"a"):
                person.learn(response)
        assert b" OK " in response

    async def hear(self, person: Person) -> None:
        """What is told in IDLE without being asked."""
        while True:
            try:
                async with asyncio.timeout(1):
                    person.learn(await person.client.response())
            except TimeoutError:
                return

    async def know_uids(self, person: Person) -> None:
        """Ask for what it does not know of new messages."""
        while not person.idle:
            unknown = [n for n, one in enumerate(person.messages, 1) if one.uid is None]
            if not unknown:
                return
            modseq = " MODSEQ" * person.condstore
            await self.ok(person, f"FETCH {unknown[0]}:{unknown[-1]} (UID FLAGS{modseq})")

    # ------------------------------------------------------------------ comparing

    async def compare(self) -> None:
        """The store is as the model says, and nobody was told what is not so."""
        mailboxes = self.house.house.mailboxes
        login = await self.house.house.accounts.find_login(ALICE)
        assert login is not None
        for name, box in self.boxes.items():
            opened = await mailboxes.open(login.account, name)
            contents = opened.contents
            if box.skipped:
                assert opened.mailbox.uidnext >= box.uidnext
                box.uidnext, box.skipped = opened.mailbox.uidnext, False
            flags = [
                frozenset(format_flags(bits, words).split())
                for bits, words in zip(contents.flags, contents.keywords, strict=True)
            ]
            rows = zip(contents.uids, flags, contents.modseqs, strict=True)
            box.take({uid: (words, modseq) for uid, words, modseq in rows}, contents.modseq)
        for person in self.people:
            if person.idle:
                await self.hear(person)
                self.check(person)
            for box_name, uid, modseq, words in person.told:
                assert self.boxes[box_name].history.get((uid, modseq)) == words, (uid, modseq)
            person.told.clear()

    def check(self, person: Person) -> None:
        """It believes what is so."""
        truth = self.boxes[person.box].messages
        assert len(person.messages) == len(truth)
        for belief, (uid, message) in zip(person.messages, truth.items(), strict=True):
            assert belief.uid in (None, uid)
            assert belief.flags in (None, message.flags), uid

    # ------------------------------------------------------------------ what happens

    async def select(self, person: Person, name: str) -> None:
        """Another mailbox, and all that it has to know of it; QRESYNC, if it was there before."""
        await self.wake(person)
        if person.qresync and person.box:
            await self.noop(person)
            person.kept[person.box] = self.memory(person)
        kept = person.kept.get(name) if person.qresync else None
        if kept is not None:
            await self.resynchronise(person, name, kept)
            return
        person.box, person.messages, person.highest, person.heard = name, [], 0, 0
        async with asyncio.timeout(60):
            *untagged, last = await person.client.command(f"SELECT {name}")
        assert last.startswith(b"OK")
        self.enter(person, untagged)
        await self.know_uids(person)
        self.check(person)

    def enter(self, person: Person, responses: list[bytes]) -> None:
        """What SELECT says."""
        for response in responses:
            if match := re.search(rb"\[UIDVALIDITY (\d+)\]", response):
                person.uidvalidity = int(match[1])
            elif match := re.search(rb"\[UIDNEXT (\d+)\]", response):
                assert int(match[1]) == self.boxes[person.box].uidnext
            else:
                person.learn(response)
        assert person.highest == self.boxes[person.box].highest

    def memory(self, person: Person) -> tuple[int, int, dict[int, frozenset[str]]]:
        """What it remembers of the mailbox that it has just been told all about."""
        known = {one.uid: one.flags for one in person.messages if one.uid and one.flags is not None}
        assert len(known) == len(person.messages)
        return person.uidvalidity, max(person.highest, person.heard), known

    async def resynchronise(
        self, person: Person, name: str, kept: tuple[int, int, dict[int, frozenset[str]]]
    ) -> None:
        """RFC 7162 section 3.2.5: with what it is told it knows everything."""
        uidvalidity, highest, known = kept
        person.box, person.messages, person.highest, person.heard = name, [], 0, 0
        uids = f" {','.join(map(str, known))}" if known and len(known) % 2 else ""
        text = f"SELECT {name} (QRESYNC ({uidvalidity} {highest or 1}{uids}))"
        async with asyncio.timeout(60):
            *untagged, last = await person.client.command(text)
        assert last.startswith(b"OK"), last
        left = dict(known)
        for response in untagged:
            if match := re.match(rb"\* VANISHED \(EARLIER\) (.*)\Z", response):
                for uid in numbers(match[1]):
                    left.pop(uid, None)
        fetched = [response for response in untagged if FETCH.match(response)]
        self.enter(person, [one for one in untagged if one not in fetched])
        truth = self.boxes[name].messages
        if not uids:
            for response in fetched:
                match = ITEMS["uid"].search(response)
                assert match is not None
                left.setdefault(int(match[1]), frozenset())
            assert sorted(left) == list(truth)
        else:  # of new ones it is told by EXISTS alone
            assert sorted(left) == [uid for uid in truth if uid in known]
        for belief, uid in zip(person.messages, sorted(left), strict=False):
            belief.uid, belief.flags = uid, left[uid]
        for response in fetched:
            person.learn(response)
        await self.know_uids(person)
        self.check(person)

    async def reconnect(self, person: Person) -> None:
        """The connection breaks, and is made again."""
        box = person.box
        if person.qresync:
            await self.wake(person)
            await self.noop(person)
            person.kept[box] = self.memory(person)
        person.client.stream.abort()
        person.idle, person.box = False, ""
        await self.connect(person)

    async def noop(self, person: Person) -> None:
        """Afterwards it believes what is so."""
        await self.ok(person, "NOOP")
        await self.know_uids(person)
        self.check(person)

    async def append(self, person: Person, name: str, flags: frozenset[str]) -> None:
        """A message of its own."""
        await self.wake(person)
        uid = self.boxes[name].add(flags)
        text = f"APPEND {name} ({' '.join(sorted(flags))}) {{{len(MESSAGE)}+}}\r\n{MESSAGE}"
        said = await self.ok(person, text)
        assert re.search(rf"\[APPENDUID \d+ {uid}\]", said), said
        if person.box == name:
            assert len(person.messages) >= len(self.boxes[name].messages)

    async def deliver(self) -> None:
        """Mail from elsewhere."""
        self.boxes["INBOX"].add(())
        assert (await self.house.receive("bob@example.net", to=ALICE)).code == 250

    async def store(
        self, person: Person, chosen: tuple[str, list[int]], by_uid: bool, sign: str,
        flags: frozenset[str], silent: bool, condition: int | None,
    ) -> None:  # fmt: skip
        """Flags of some messages; of none that changed after the condition (RFC 7162 3.1.3)."""
        numset, uids = chosen
        box = self.boxes[person.box]
        there = [uid for uid in uids if uid in box.messages]
        failed = [u for u in there if condition is not None and box.messages[u].modseq > condition]
        for uid in set(there) - set(failed):
            box.messages[uid].set(apply(sign, box.messages[uid].flags, flags))
        if silent:  # what it then believes, unless it is told otherwise
            for one in person.messages:
                if one.uid in uids and one.uid not in failed and one.flags is not None:
                    one.flags = apply(sign, one.flags, flags)
        places = {one.uid: n for n, one in enumerate(person.messages, 1)}
        if condition is not None:
            person.condstore = True
        said = await self.say(
            person,
            f"{'UID ' * by_uid}STORE {numset}"
            f"{f' (UNCHANGEDSINCE {condition})' if condition is not None else ''}"
            f" {sign}FLAGS{'.SILENT' * silent} ({' '.join(sorted(flags))})",
        )
        if len(there) == len(uids) or by_uid:
            assert said.startswith("OK"), said
        match = re.search(r"\[MODIFIED ([0-9,:]+)\]", said)
        told = set(numbers(match[1].encode())) if match else set()
        expected = set(failed) if by_uid else {places[uid] for uid in failed}
        gone = {uid if by_uid else places[uid] for uid in uids if uid not in there}
        assert expected <= told <= expected | gone, said
        if silent and by_uid:  # told nothing, it knows by itself
            await self.noop(person)

    async def fetch(self, person: Person, chosen: tuple[str, list[int]], by_uid: bool) -> None:
        """Reading sets \\Seen."""
        box = self.boxes[person.box]
        for uid in chosen[1]:
            if message := box.messages.get(uid):
                message.set(message.flags | {r"\Seen"})
        await self.say(person, f"{'UID ' * by_uid}FETCH {chosen[0]} (UID BODY[TEXT])")

    async def changed_since(self, person: Person, modseq: int) -> None:
        """All that changed after it, and nothing else (RFC 7162 section 3.1.4.1)."""
        await self.noop(person)
        if not person.messages:
            return
        person.condstore = True
        async with asyncio.timeout(60):
            *untagged, last = await person.client.command(
                f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {modseq})"
            )
        assert last.startswith(b"OK")
        told = {int(match[1]) for one in untagged if (match := ITEMS["uid"].search(one))}
        truth = self.boxes[person.box].messages
        assert told == {uid for uid, message in truth.items() if message.modseq > modseq}
        for response in untagged:
            person.learn(response)

    async def search(self, person: Person, flag: str) -> None:
        """Who has the flag."""
        await self.noop(person)
        key = flag.lstrip("\\") if flag.startswith("\\") else f"KEYWORD {flag}"
        async with asyncio.timeout(60):
            *untagged, last = await person.client.command(f"UID SEARCH {key}")
        assert last.startswith(b"OK")
        found = [one for one in untagged if one.startswith(b"* SEARCH")]
        truth = self.boxes[person.box].messages
        assert [int(n) for n in found[0].split()[2:]] == [
            uid for uid, message in truth.items() if flag in message.flags
        ]

    async def copy(
        self, person: Person, chosen: tuple[str, list[int]], by_uid: bool, name: str, move: bool
    ) -> None:
        """Of what is there still; a COPY by sequence number is of all or of none."""
        box, target = self.boxes[person.box], self.boxes[name]
        numset, uids = chosen
        there = sorted(uid for uid in uids if uid in box.messages)
        done = there if move or by_uid or len(there) == len(uids) else []
        pairs = [(uid, target.add(box.messages[uid].flags)) for uid in done]
        if move:
            box.remove(done)
        word = "MOVE" if move else "COPY"
        await self.wake(person)
        async with asyncio.timeout(60):
            *untagged, last = await person.client.command(
                f"{'UID ' * by_uid}{word} {numset} {name}"
            )
        for response in untagged:
            person.learn(response)
        refused = not (done or by_uid or move)
        assert last.startswith(b"NO" if refused else b"OK"), last
        target.skipped = refused  # copies that were taken back had UIDs
        codes = [re.search(rb"\[COPYUID \d+ (\S+) (\S+)\]", one) for one in [*untagged, last]]
        told = [
            pair
            for code in codes
            if code
            for pair in zip(numbers(code[1]), numbers(code[2]), strict=True)
        ]
        assert told == pairs

    async def expunge(self, person: Person, uids: list[int] | None) -> None:
        """What carries \\Deleted goes, all or of these."""
        box = self.boxes[person.box]
        marked = [uid for uid, one in box.messages.items() if r"\Deleted" in one.flags]
        box.remove([uid for uid in marked if uids is None or uid in uids])
        text = "EXPUNGE" if uids is None else f"UID EXPUNGE {','.join(map(str, uids))}"
        await self.ok(person, text)

    async def idle(self, person: Person) -> None:
        """From here on it is told at once."""
        if person.idle:
            return
        await self.know_uids(person)
        *untagged, last = await person.client.command("IDLE")
        assert last.startswith(b"+")
        for response in untagged:
            person.learn(response)
        person.idle = True


WHO = st.integers(0, 3)
WHICH = st.tuples(st.integers(0, 20), st.integers(1, 4), st.booleans())
WORDS = st.frozensets(st.sampled_from(FLAGS))
NAMES = st.sampled_from(BOXES)


def machine(database: Callable[[str], str]) -> type[RuleBasedStateMachine]:
    """The rules, on houses with this database."""
    counter = iter(range(10**9))

    class Imap(RuleBasedStateMachine):
        """Each step is one thing that somebody does."""

        def __init__(self) -> None:
            super().__init__()
            self.folder = Path(tempfile.mkdtemp())
            self.runner = asyncio.Runner(loop_factory=SimulatedLoop)
            self.run(self.begin())

        def run(self, doing: Coroutine[Any, Any, None]) -> None:
            self.runner.run(doing)

        async def begin(self) -> None:
            name = f"e{next(counter)}"
            self.world = SimulatedWorld(self.folder, database=lambda domain: database(name))
            house = await self.world.house("example.org", accounts=["alice"])
            self.stage = Stage(self.world, house)
            await self.stage.open()

        def teardown(self) -> None:
            async def end() -> None:
                for person in self.stage.people:
                    person.client.stream.abort()
                await self.world.__aexit__()

            try:
                if hasattr(self, "stage"):
                    self.run(end())
            finally:
                self.runner.close()
                shutil.rmtree(self.folder, ignore_errors=True)

        def act(self, who: int, doing: Callable[[Person], Coroutine[Any, Any, None]]) -> None:
            """One who has a mailbox does it; then everything is compared."""

            async def step() -> None:
                person = self.stage.people[who]
                if not person.box:
                    await self.stage.select(person, "INBOX")
                await doing(person)
                await self.stage.compare()

            self.run(step())

        def act_on(
            self,
            who: int,
            which: tuple[int, int, bool],
            doing: Callable[[Person, tuple[str, list[int]]], Coroutine[Any, Any, None]],
        ) -> None:
            """The same with some messages, if it knows of any."""

            async def step(person: Person) -> None:
                await self.stage.wake(person)
                await self.stage.know_uids(person)
                if person.messages:
                    await doing(person, person.choose(*which))

            self.act(who, step)

        @rule(who=WHO, name=NAMES, flags=WORDS)
        def append(self, who: int, name: str, flags: frozenset[str]) -> None:
            self.act(who, lambda person: self.stage.append(person, name, flags))

        @rule()
        def deliver(self) -> None:
            self.act(0, lambda person: self.stage.deliver())

        @rule(
            who=WHO, which=WHICH, sign=st.sampled_from(["+", "-", ""]), flags=WORDS,
            silent=st.booleans(), back=st.none() | st.integers(0, 5),
        )  # fmt: skip
        def store(
            self, who: int, which: tuple[int, int, bool], sign: str,
            flags: frozenset[str], silent: bool, back: int | None,
        ) -> None:  # fmt: skip
            def doing(person: Person, chosen: tuple[str, list[int]]) -> Coroutine[Any, Any, None]:
                highest = self.stage.boxes[person.box].highest
                condition = None if back is None else max(0, highest - back)
                return self.stage.store(person, chosen, which[2], sign, flags, silent, condition)

            self.act_on(who, which, doing)

        @rule(who=WHO, which=WHICH)
        def fetch(self, who: int, which: tuple[int, int, bool]) -> None:
            self.act_on(who, which, lambda one, chosen: self.stage.fetch(one, chosen, which[2]))

        @rule(who=WHO, back=st.integers(0, 8))
        def changed_since(self, who: int, back: int) -> None:
            self.act(
                who,
                lambda person: self.stage.changed_since(
                    person, max(1, self.stage.boxes[person.box].highest - back)
                ),
            )

        @rule(who=WHO, flag=st.sampled_from(FLAGS))
        def search(self, who: int, flag: str) -> None:
            self.act(who, lambda person: self.stage.search(person, flag))

        @rule(who=WHO, which=WHICH, name=NAMES, move=st.booleans())
        def copy(self, who: int, which: tuple[int, int, bool], name: str, move: bool) -> None:
            self.act_on(
                who,
                which,
                lambda one, chosen: self.stage.copy(one, chosen, which[2], name, move),
            )

        @rule(who=WHO)
        def expunge(self, who: int) -> None:
            self.act(who, lambda person: self.stage.expunge(person, None))

        @rule(who=WHO, which=WHICH)
        def uid_expunge(self, who: int, which: tuple[int, int, bool]) -> None:
            self.act_on(who, which, lambda one, chosen: self.stage.expunge(one, chosen[1]))

        @rule(who=WHO, which=WHICH)
        def delete(self, who: int, which: tuple[int, int, bool]) -> None:
            async def doing(person: Person, chosen: tuple[str, list[int]]) -> None:
                marked = frozenset({r"\Deleted"})
                await self.stage.store(person, chosen, which[2], "+", marked, True, None)
                await self.stage.compare()
                await self.stage.expunge(person, None)

            self.act_on(who, which, doing)

        @rule(who=WHO)
        def noop(self, who: int) -> None:
            self.act(who, self.stage.noop)

        @rule(who=WHO)
        def idle(self, who: int) -> None:
            self.act(who, self.stage.idle)

        @rule(who=WHO, name=NAMES)
        def select(self, who: int, name: str) -> None:
            self.act(who, lambda person: self.stage.select(person, name))

        @rule(who=WHO)
        def reconnect(self, who: int) -> None:
            self.act(who, self.stage.reconnect)

        @rule(seconds=st.sampled_from([1, 20]))
        def wait(self, seconds: int) -> None:
            self.act(0, lambda person: self.world.sleep(seconds=seconds))

    return Imap


@pytest.mark.rfc("2180 section 4")
@pytest.mark.rfc("7162 section 3.1")
@pytest.mark.timeout(0 if EXAMPLES else 120)
def test_any_order(world: Callable[[str], str]) -> None:
    few = 15 if world("e0") else 60  # a schema takes a second
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine(world),
        settings=settings(
            max_examples=EXAMPLES or few,
            stateful_step_count=40,
            derandomize=not EXAMPLES,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
