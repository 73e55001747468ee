"""Four accounts in mailboxes of one of them, in any order, against a plain model of the rights.

The model is the table of RFC 4314 section 4, without anything of how rights are kept.
"""

import random
import re

import pytest

from mailstead.model.address import parse_address, parse_domain
from mailstead.storage import accounts
from mailstead.storage.store import Tx
from mailstead.testing.house import PASSWORD, SimulatedHouse, SimulatedWorld
from mailstead.testing.imap import ImapClient
from mailstead.testing.invariants import broken

STEPS = 300
EVERY = set("lrswipkxtea")
VIRTUAL = {"c": set("kx"), "d": set("te")}
FLAGS = {"\\Seen": "s", "\\Deleted": "t", "\\Flagged": "w", "word": "w"}
ADDRESS = {
    "alice": "alice@example.org",
    "bob": "bob@example.org",
    "carol": "carol@example.org",
    "eve": "eve@elsewhere.example",
    "anyone": "anyone",
}
ACTORS = ("alice", "bob", "carol", "eve")
CAST = ("alice", "bob", "carol", "alice", "bob", "carol", "alice", "eve")


class Box:
    """A mailbox of Alice's."""

    def __init__(self, acl: dict[str, set[str]]) -> None:
        self.acl = {who: set(rights) for who, rights in acl.items()}
        self.messages: dict[int, set[str]] = {}  # flags by UID
        self.uidnext = 1

    def add(self, flags: set[str]) -> None:
        """One more message."""
        self.messages[self.uidnext] = flags
        self.uidnext += 1

    def expunge(self) -> None:
        """Those that are marked."""
        self.messages = {
            uid: flags for uid, flags in self.messages.items() if "\\Deleted" not in flags
        }


class Stage:
    """A house, a connection for each of the four, and what there has to be."""

    def __init__(self, house: SimulatedHouse, clients: dict[str, ImapClient], seed: int) -> None:
        self.house, self.clients, self.chance = house, clients, random.Random(seed)
        self.boxes = {"Box": Box({})}

    # ------------------------------------------------------------------ the model

    def rights(self, actor: str, name: str) -> set[str]:
        """What the actor may do there; nothing if it is not there."""
        box = self.boxes.get(name)
        if box is None or actor == "eve":
            return set()
        if actor == "alice":
            return EVERY
        return box.acl.get(actor, set()) | box.acl.get("anyone", set())

    def refusal(self, actor: str, name: str, one_of: str) -> str:
        """What is answered for want of a right; nothing if it is there."""
        rights = self.rights(actor, name)
        if rights & set(one_of):
            return ""
        return "NOPERM" if "l" in rights else "NONEXISTENT"

    def settable(self, actor: str, name: str) -> set[str]:
        """The flags that the actor may change there."""
        rights = self.rights(actor, name)
        return {flag for flag, right in FLAGS.items() if right in rights}

    # ------------------------------------------------------------------ what is said

    async def say(self, actor: str, text: str) -> list[str]:
        """The responses."""
        return [line.decode() for line in await self.clients[actor].command(text)]

    async def expect(self, actor: str, text: str, refusal: str) -> list[str]:
        """The responses, after looking whether it was refused as it has to be."""
        told = await self.say(actor, text)
        expected = rf"NO \[{refusal}\] " if refusal else "OK "
        assert re.match(expected, told[-1]), (actor, text, told[-1], refusal, self.boxes.keys())
        return told

    def name_for(self, actor: str, name: str) -> str:
        """What the actor calls the mailbox."""
        return f'"{name}"' if actor == "alice" else f'"Other Users/alice@example.org/{name}"'

    def some_flags(self) -> set[str]:
        """Some of the flags."""
        return {flag for flag in FLAGS if self.chance.random() < 0.4}

    async def enter(self, actor: str, name: str) -> bool:
        """Select the mailbox, if that may be."""
        refusal = self.refusal(actor, name, "r")
        told = await self.expect(actor, f"SELECT {self.name_for(actor, name)}", refusal)
        if not refusal:
            writable = bool(self.rights(actor, name) & set("ieswt"))
            assert ("[READ-WRITE]" in told[-1]) == writable
            (permanent,) = [line for line in told if "PERMANENTFLAGS" in line]
            shown = set(re.search(r"PERMANENTFLAGS \((.*)\)\]", permanent)[1].split())  # type: ignore[index]
            assert shown & set(list(FLAGS)[:3]) == self.settable(actor, name) - {"word"}
            assert ("\\*" in shown) == ("w" in self.rights(actor, name))
        return not refusal

    def missing(self, actor: str, name: str, all_of: str) -> str:
        """What is answered in a selected mailbox for want of one of the rights."""
        rights = self.rights(actor, name)
        if set(all_of) <= rights:
            return ""
        return "NOPERM" if rights & set("ieswt") else "READ-ONLY"

    # ------------------------------------------------------------------ steps

    async def setacl(self, actor: str, name: str) -> None:
        """Rights change, if the actor may do that, and for whom."""
        chance, who = self.chance, self.chance.choice(list(ADDRESS))
        letters = "".join(chance.sample("lrswipkxteacd", chance.randint(0, 11)))
        change = chance.choice(["", "+", "+", "-"])
        meant = set().union(*(VIRTUAL.get(letter, {letter}) for letter in letters))
        refusal = self.refusal(actor, name, "a")
        if not refusal:
            before = EVERY if who == "alice" else self.boxes[name].acl.get(who, set())
            after = {"": meant, "+": before | meant, "-": before - meant}[change]
            if who == "eve":
                refusal = "NONEXISTENT"
            elif who == "alice":
                refusal = "" if after == EVERY else "CANNOT"
            else:
                self.boxes[name].acl[who] = after
        text = f'SETACL {self.name_for(actor, name)} {ADDRESS[who]} "{change}{letters}"'
        await self.expect(actor, text, refusal)

    async def getacl(self, actor: str, name: str) -> None:
        """The list is as it has to be."""
        refusal = self.refusal(actor, name, "a")
        told = await self.expect(actor, f"GETACL {self.name_for(actor, name)}", refusal)
        if not refusal:
            words = told[0].rpartition('" ')[2].split()
            listed = {who: set(rights) for who, rights in zip(words[::2], words[1::2], strict=True)}
            acl = {"alice": EVERY, **self.boxes[name].acl}
            assert listed == {ADDRESS[who]: shown(rights) for who, rights in acl.items() if rights}

    async def myrights(self, actor: str, name: str) -> None:
        """One's own rights."""
        refusal = self.refusal(actor, name, "lrikxa")
        told = await self.expect(actor, f"MYRIGHTS {self.name_for(actor, name)}", refusal)
        if not refusal:
            assert set(told[0].split()[-1]) == shown(self.rights(actor, name))

    async def list_(self, actor: str, name: str) -> None:
        """Who sees which mailboxes."""
        prefix = "" if actor == "alice" else "Other Users/alice@example.org/"
        told = await self.say(actor, f'LIST "" "{prefix}Box*"')
        listed = {line.rpartition(' "')[2].rstrip('"') for line in told[:-1]}
        visible = {one for one in self.boxes if "l" in self.rights(actor, one)}
        assert {one.removeprefix(prefix) for one in listed} == visible

    async def status(self, actor: str, name: str) -> None:
        """How many messages there are."""
        refusal = self.refusal(actor, name, "r")
        text = f"STATUS {self.name_for(actor, name)} (MESSAGES)"
        told = await self.expect(actor, text, refusal)
        if not refusal:
            assert told[0].endswith(f"(MESSAGES {len(self.boxes[name].messages)})")

    async def store(self, actor: str, name: str) -> None:
        """Flags change, those that may."""
        if not await self.enter(actor, name) or not self.boxes[name].messages:
            return
        uid, named = self.chance.choice(list(self.boxes[name].messages)), self.some_flags()
        mode, settable = self.chance.choice(["", "+", "-"]), self.settable(actor, name)
        refusal = ""
        if not self.rights(actor, name) & set("ieswt"):
            refusal = "READ-ONLY"
        elif not (settable & named if named else settable):
            refusal = "NOPERM"
        flags, can = self.boxes[name].messages[uid], settable
        if not refusal:
            after = {
                "": (flags - can) | (named & can),
                "+": flags | (named & can),
                "-": flags - (named & can),
            }
            self.boxes[name].messages[uid] = after[mode]
        await self.expect(actor, f"UID STORE {uid} {mode}FLAGS ({' '.join(named)})", refusal)

    async def read(self, actor: str, name: str) -> None:
        """What is read is marked so only by who may."""
        if not await self.enter(actor, name) or not self.boxes[name].messages:
            return
        uid = self.chance.choice(list(self.boxes[name].messages))
        if "s" in self.rights(actor, name):
            self.boxes[name].messages[uid].add("\\Seen")
        await self.expect(actor, f"UID FETCH {uid} BODY[]", "")

    async def expunge(self, actor: str, name: str) -> None:
        """What is marked goes."""
        if not await self.enter(actor, name):
            return
        closing = self.chance.random() < 0.5
        missing = self.missing(actor, name, "e")
        if not missing:
            self.boxes[name].expunge()
        await self.expect(actor, "CLOSE" if closing else "EXPUNGE", "" if closing else missing)

    async def move(self, actor: str, name: str) -> None:
        """Out of the mailbox, into one's own."""
        if not await self.enter(actor, name) or not self.boxes[name].messages:
            return
        uid = self.chance.choice(list(self.boxes[name].messages))
        missing = self.missing(actor, name, "te")
        if not missing:
            del self.boxes[name].messages[uid]
        await self.expect(actor, f"UID MOVE {uid} Trash", missing)

    async def bring(self, actor: str, name: str) -> None:
        """Into the mailbox, by APPEND or COPY; flags that may not be set stay away."""
        flags, refusal = self.some_flags(), self.refusal(actor, name, "i")
        if not refusal:
            self.boxes[name].add(flags & self.settable(actor, name))
        refusal = "TRYCREATE" if refusal == "NONEXISTENT" else refusal
        target, words = self.name_for(actor, name), " ".join(flags)
        if self.chance.random() < 0.5:
            await self.expect(actor, f"APPEND {target} ({words}) {{5+}}\r\nA: b\n", refusal)
            return
        await self.say(actor, "SELECT INBOX")
        await self.say(actor, f"STORE 1 FLAGS ({words})")
        await self.expect(actor, f"COPY 1 {target}", refusal)

    async def create(self, actor: str, name: str) -> None:
        """A mailbox below, shared as the one above it."""
        below = f"{name}/{self.chance.choice('12')}"
        rights = self.rights(actor, name)
        if name not in self.boxes or below.count("/") > 2:
            return
        refusal = "" if "k" in rights else "NOPERM"
        if not refusal and below in self.boxes:
            refusal = "ALREADYEXISTS"
        if not refusal:
            self.boxes[below] = Box(self.boxes[name].acl)
        await self.expect(actor, f"CREATE {self.name_for(actor, below)}", refusal)

    async def delete(self, actor: str, name: str) -> None:
        """A mailbox goes, with its rights; never the first one."""
        if name == "Box":
            return
        refusal = self.refusal(actor, name, "x")
        if not refusal and any(one.startswith(name + "/") for one in self.boxes):
            refusal = "HASCHILDREN"
        if not refusal:
            del self.boxes[name]
        await self.expect(actor, f"DELETE {self.name_for(actor, name)}", refusal)

    async def rename(self, actor: str, name: str) -> None:
        """A mailbox moves below the first one; rights stay."""
        new = f"Box/{self.chance.choice('34')}"
        if name == "Box" or new.startswith(name):
            return
        refusal = self.refusal(actor, name, "x")
        if not refusal and "k" not in self.rights(actor, "Box"):
            refusal = "NOPERM"
        if not refusal and new in self.boxes:
            refusal = "ALREADYEXISTS"
        if not refusal:
            self.boxes = {
                new + one[len(name) :] if (one + "/").startswith(name + "/") else one: box
                for one, box in self.boxes.items()
            }
        old, text = self.name_for(actor, name), self.name_for(actor, new)
        await self.expect(actor, f"RENAME {old} {text}", refusal)

    async def compare(self) -> None:
        """Alice finds what there has to be, and nothing else."""
        for name, box in self.boxes.items():
            told = await self.say("alice", f'EXAMINE "{name}"')
            assert f"* {len(box.messages)} EXISTS" in told
            found = {}
            if box.messages:
                for line in (await self.say("alice", "UID FETCH 1:* FLAGS"))[:-1]:
                    uid, words = re.search(r"UID (\d+) FLAGS \((.*)\)\)", line).groups()  # type: ignore[union-attr]
                    found[int(uid)] = set(words.split()) - {"\\Recent"}
            assert found == box.messages, name
        for client in self.clients.values():
            await client.command("EXAMINE Nowhere")  # nothing is selected any more


def shown(rights: set[str]) -> set[str]:
    """As clients see them."""
    return rights | {letter for letter, meaning in VIRTUAL.items() if rights & meaning}


def add_tenant(tx: Tx) -> None:
    """Eve, of another organisation."""
    password = accounts.get_account(tx, ADDRESS["alice"]).password
    other = accounts.create_organisation(tx, "elsewhere")
    accounts.create_domain(tx, other, parse_domain("elsewhere.example"))
    accounts.create_account(tx, parse_address(ADDRESS["eve"]), password)


@pytest.mark.rfc("4314 section 4")
@pytest.mark.parametrize("seed", range(6))
async def test_rights_are_as_in_the_model(world: SimulatedWorld, seed: int) -> None:
    house = await world.house("example.org", accounts=["alice", "bob", "carol"])
    await house.house.store.write(add_tenant)
    await house.receive("x@example.net", to=[ADDRESS[actor] for actor in ACTORS])
    clients = {}
    for actor in ACTORS:
        clients[actor] = await ImapClient(world.network, house.address).__aenter__()
        await clients[actor].log_in(ADDRESS[actor], PASSWORD)
    stage = Stage(house, clients, seed)
    await stage.say("alice", "CREATE Box")
    steps = [
        *[stage.setacl] * 5, stage.getacl, stage.myrights, stage.list_, stage.status, stage.read,
        *[stage.store] * 3, *[stage.expunge, stage.move] * 2, *[stage.bring] * 4, stage.create,
        stage.delete, stage.rename,
    ]  # fmt: skip
    for number in range(STEPS):
        step = stage.chance.choice(steps)
        actor = "alice" if number < 10 else stage.chance.choice(CAST)
        name = stage.chance.choice([*stage.boxes, *stage.boxes, "Box/nowhere"])
        await step(actor, name)
        await stage.compare()
    assert await house.house.store.read(broken) == []
    for client in clients.values():
        await client.__aexit__()
