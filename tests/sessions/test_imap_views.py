"""Clients that believe only what they are told know the mailbox as it is (RFC 3501 5.2)."""

import random
import re

import pytest

from mailstead.testing.house import SimulatedWorld
from mailstead.testing.transcript import Client, ImapHouse, compose, open_house

FLAGS = (r"\Seen", r"\Deleted", r"\Flagged", "$Work", "$Later")
_RESPONSE = re.compile(
    r"\* (\d+) (EXISTS|EXPUNGE|FETCH)(?: \((?:UID (\d+) ?)?(?:FLAGS \((.*)\))?\))?"
)


class Believer:
    """A client's picture of the mailbox: UID and flags by sequence number, None if not told."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.messages: list[tuple[int | None, set[str] | None]] = []

    async def say(self, text: str) -> list[str]:
        """Say it, and learn from the answer."""
        lines = await self.client.command(text)
        for line in lines:
            self.learn(line)
        return lines

    def learn(self, line: str) -> None:
        """One untagged response."""
        match = _RESPONSE.match(line)
        if match is None:
            return
        number, kind = int(match[1]), match[2]
        if kind == "EXISTS":
            assert number >= len(self.messages), "EXISTS may not shrink (RFC 3501 section 7.3.1)"
            self.messages += [(None, None)] * (number - len(self.messages))
        elif kind == "EXPUNGE":
            del self.messages[number - 1]
        else:
            uid, flags = self.messages[number - 1]
            told = None if match[4] is None else set(match[4].split()) - {r"\Recent"}
            self.messages[number - 1] = (int(match[3] or 0) or uid, flags if told is None else told)


async def step(house: ImapHouse, believers: list[Believer], chance: random.Random) -> None:
    """One thing that happens."""
    one = chance.choice(believers)
    count = len(one.messages)
    number = chance.randint(1, max(count, 1))
    sign = chance.choice(["", "+", "-"])
    flag = chance.choice(FLAGS)
    silent = chance.choice(["", ".SILENT"])
    uid = chance.choice(["", "UID "])
    commands = [
        "a NOOP",
        f"a {uid}STORE {number}:* {sign}FLAGS{silent} ({flag})",
        f"a {uid}FETCH {number} (UID FLAGS)",
        f"a {uid}FETCH {number} (UID BODY[TEXT])",
        f"a {uid}SEARCH {flag.replace('$', 'KEYWORD $').lstrip(chr(92))}",
        "a SORT (SUBJECT) UTF-8 ALL",
        "a THREAD REFERENCES UTF-8 ALL",
        "a EXPUNGE",
        f"a {uid}COPY {number} INBOX",
        f"a {uid}MOVE {number} INBOX",
        "a CHECK",
    ]
    choice = chance.randrange(len(commands) + 3)
    if choice >= len(commands):
        await house.deliver("alice", compose("more"), chance.choice(["", r"\Seen", "$Work"]))
        return
    before = len(one.messages)
    lines = await one.say(commands[choice])
    if re.match(r"a (SORT|THREAD)", commands[choice]):
        numbers = [int(number) for number in re.findall(r"\d+", lines[0])]
        assert sorted(numbers) == list(range(1, before + 1)), "it knows of no others"
    if re.match(r"a (STORE|FETCH|SEARCH|SORT|THREAD)", commands[choice]):
        assert not any(line.endswith(" EXPUNGE") for line in lines), "RFC 3501 section 7.4.1"
        assert len(one.messages) >= before
    if ".SILENT" in commands[choice] and lines[-1].startswith("a OK"):
        await one.say("b FETCH 1:* (UID FLAGS)")  # told nothing, a client would know by itself


@pytest.mark.rfc("3501 section 5.2")
@pytest.mark.parametrize("seed", range(4))
async def test_nobody_is_misled(world: SimulatedWorld, seed: int) -> None:
    house = await open_house(world)
    chance = random.Random(seed)
    believers = [Believer(await house.log_in("alice")) for _ in range(3)]
    for one in believers:
        await one.say("s SELECT INBOX")
    for _ in range(400):
        await step(house, believers, chance)
    for one in believers:
        await one.say("n NOOP")
        told = list(one.messages)
        await one.say("f UID FETCH 1:* (UID FLAGS)")
        assert len(told) == len(one.messages)
        for before, now in zip(told, one.messages, strict=True):
            assert before[0] in (None, now[0])
            assert before[1] is None or before[1] == now[1]
    assert believers[0].messages == believers[1].messages == believers[2].messages
