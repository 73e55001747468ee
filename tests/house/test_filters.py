"""Other programs and own code at the door: what they say is done, what they break costs no mail."""

import asyncio
import base64
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from mailstead.message import header as fields
from mailstead.model.address import Domain
from mailstead.model.entries import Filtered, Queued, Scored
from mailstead.model.reply import Reply
from mailstead.model.world import Stream
from mailstead.services import signing
from mailstead.services.filters.asking import UNANSWERED
from mailstead.services.inbound.own_code import HANGS_LIMIT, RUN_LIMIT, OwnCode
from mailstead.spam.score import add_up
from mailstead.storage import filter_engines, switches
from mailstead.storage.filter_engines import Engine
from mailstead.storage.queue import Filter
from mailstead.storage.switches import CODE, EVERYBODY, Switch
from mailstead.testing.cast.scanner import Clamd, HttpScanner, silent
from mailstead.testing.cast.sink import sink
from mailstead.testing.clock import START, InlineOffload
from mailstead.testing.filtering import ALL_RIGHT, evidence
from mailstead.testing.house import SimulatedHouse, SimulatedWorld, compose
from mailstead.testing.smtp import SmtpClient

ALICE, BOB, STRANGER = "alice@example.org", "bob@example.net", "192.0.2.66"
CLAMD, RSPAMD, HOOK = "127.0.0.1:3310", "http://127.0.0.1:11333/checkv2", "http://127.0.0.1:9/h"
T = TypeVar("T")
EICAR = "EICAR-STANDARD-ANTIVIRUS-TEST-FILE"


async def ask(
    house: SimulatedHouse,
    kind: str,
    endpoint: str,
    direction: str = "in",
    failure: str = "open",
    place: int = 100,
) -> None:
    """One more filter."""
    limit = timedelta(seconds=20)
    engine = Engine(f"{kind}{place}", kind, endpoint, direction, failure, limit, place, START)
    await house.house.store.write(lambda tx: filter_engines.add(tx, engine))


async def receive(house: SimulatedHouse, text: str = "Hi!\r\n", *to: str) -> Reply:
    recipients = list(to) or [ALICE]
    message = compose(BOB, recipients, "Hello", text)
    async with SmtpClient(house.world.network, house.address, 25, STRANGER) as client:
        return await client.send_message(BOB, recipients, message)


def told(house: SimulatedHouse) -> list[Filtered]:
    return [one for _, one in house.told if isinstance(one, Filtered)]


def listen(world: SimulatedWorld, answer: Any, port: int = 11333) -> HttpScanner:
    server = HttpScanner(lambda fields, body: answer)
    world.network.listen("127.0.0.1", port, server.serve)
    return server


# ---------------------------------------------------------------------- malware


async def test_malware_is_refused(world: SimulatedWorld) -> None:
    world.network.listen("127.0.0.1", 3310, Clamd().serve)
    house = await world.house("example.org", ["alice"])
    await ask(house, "clamd", CLAMD)
    assert (await receive(house)).ok
    reply = await receive(house, EICAR)
    assert (reply.code, "Eicar-Test" in reply.text) == (550, True)
    assert (await receive(house, EICAR, "postmaster@example.org")).code == 550
    assert len(await house.mailbox(ALICE)) == 1
    assert told(house)[1].malware == "Eicar-Test"


@pytest.mark.parametrize("how", ["nobody is there", "it hangs", "nonsense"])
@pytest.mark.parametrize("failure", ["open", "closed"])
async def test_a_filter_that_is_broken(world: SimulatedWorld, how: str, failure: str) -> None:
    if how == "it hangs":
        world.network.listen("127.0.0.1", 11333, silent)
    elif how == "nonsense":
        listen(world, {"action": 5})
    house = await world.house("example.org", ["alice"])
    await ask(house, "rspamd", RSPAMD, failure=failure)
    began = world.clock.now()
    reply = await receive(house)
    assert reply == UNANSWERED if failure == "closed" else reply.ok
    assert world.clock.now() - began < timedelta(seconds=25)
    began = world.clock.now()
    await receive(house)  # it is left alone for a moment
    assert world.clock.now() - began < timedelta(seconds=5)
    assert [one.failed for one in told(house)] == [True, True]


# ---------------------------------------------------------------------- Rspamd


@pytest.mark.parametrize(
    ("action", "code", "inbox", "junk"),
    [
        ("no action", 250, 1, 0),
        ("greylist", 250, 1, 0),
        ("add header", 250, 0, 1),
        ("rewrite subject", 250, 0, 1),
        ("soft reject", 451, 0, 0),
        ("reject", 550, 0, 0),
        ("quarantine", 250, 0, 0),
    ],
)
async def test_what_rspamd_wants(
    world: SimulatedWorld, action: str, code: int, inbox: int, junk: int
) -> None:
    answer = {
        "action": action,
        "score": 7.5,
        "required_score": 15,
        "symbols": {"BAYES_SPAM": {"score": 5.1}, "R_SPF_FAIL": {"score": 1.0}},
        "milter": {"add_headers": {"X-Rspamd-Server": {"value": "here", "order": 0}}},
    }
    server = listen(world, answer)
    house = await world.house("example.org", ["alice"])
    await ask(house, "rspamd", RSPAMD)
    assert (await receive(house)).code == code
    assert len(await house.mailbox(ALICE)) == inbox
    assert len(await house.mailbox(ALICE, "Junk")) == junk
    ((line, said, body),) = server.asked
    assert line == "POST /checkv2 HTTP/1.1"
    assert (said["ip"], said["from"], said["rcpt"]) == (STRANGER, BOB, ALICE)
    assert body.startswith(b"From: bob@example.net")
    assert "BAYES_SPAM 5.1" in told(house)[0].reason
    if inbox:
        (filed,) = await house.mailbox(ALICE)
        assert fields.get(filed.header, "X-Rspamd-Server") == b"here"


async def test_what_is_kept_back_is_released(world: SimulatedWorld) -> None:
    listen(world, {"action": "quarantine"})
    house = await world.house("example.org", ["alice"])
    await ask(house, "rspamd", RSPAMD)
    assert (await receive(house)).ok
    await world.sleep(days=1)
    assert await house.mailbox(ALICE) == []
    (queued,) = [one for _, one in house.told if isinstance(one, Queued)]
    assert queued.held
    assert await house.house.operators.release(Filter(recipient=ALICE)) == 1
    await world.sleep(minutes=1)
    assert len(await house.mailbox(ALICE)) == 1


# ---------------------------------------------------------------------- the hook


async def test_the_hook(world: SimulatedWorld) -> None:
    answer = {
        "action": "junk",
        "reason": "it smells",
        "headers": [{"name": "X-Hook", "value": "yes\r\nX-Smuggled: yes"}],
    }
    server = listen(world, answer, 9)
    house = await world.house("example.org", ["alice"])
    await ask(house, "http", HOOK)
    assert (await receive(house)).ok
    (filed,) = await house.mailbox(ALICE, "Junk")
    assert (fields.get(filed.header, "X-Hook") or b"").startswith(b"yes")
    assert fields.get(filed.header, "X-Smuggled") is None
    question = json.loads(server.asked[0][2])
    assert (question["version"], question["direction"]) == (1, "in")
    assert question["client"]["address"] == STRANGER
    assert (question["sender"], question["recipients"]) == (BOB, [ALICE])
    assert base64.b64decode(question["message"]).endswith(b"Hi!\r\n")
    assert ["Subject", "Hello"] in question["header"]


async def test_the_score_of_a_hook_adds_up(world: SimulatedWorld) -> None:
    listen(world, {"action": "accept", "score": 40, "reason": "a clone"}, 9)
    house = await world.house("example.org", ["alice"])
    await ask(house, "http", HOOK)
    assert (await receive(house)).code == 550


# ---------------------------------------------------------------------- our own people


async def test_spam_of_a_stolen_account_is_held(world: SimulatedWorld) -> None:
    """T14: before fifty leave; who and why is told."""
    away = sink()
    world.zone["MX", "example.net"] = "10 mx.example.net"
    world.zone["A", "mx.example.net"] = "192.0.2.25"
    world.network.listen("192.0.2.25", 25, away.serve)
    server = HttpScanner(
        lambda said, body: {"action": "add header" if b"pills" in body else "no action"}
    )
    world.network.listen("127.0.0.1", 11333, server.serve)
    house = await world.house("example.org", ["alice"])
    await ask(house, "rspamd", RSPAMD, direction="out")
    assert (await house.submit(ALICE, to=BOB)).ok
    for number in range(60):
        reply = await house.submit(ALICE, to=f"b{number}@example.net", text="pills\r\n")
        assert reply.ok
    await world.sleep(minutes=10)
    assert len(away.received) == 1
    assert server.asked[0][1]["user"] == ALICE
    held = [one for _, one in house.told if isinstance(one, Queued) and one.held]
    assert len(held) == 60
    assert {one.advice for one in told(house)} == {"nothing", "junk"}


async def test_malware_does_not_leave(world: SimulatedWorld) -> None:
    world.network.listen("127.0.0.1", 3310, Clamd().serve)
    house = await world.house("example.org", ["alice"])
    await ask(house, "clamd", CLAMD, direction="both")
    assert (await house.submit(ALICE, to=BOB, text=EICAR)).code == 550
    assert await house.house.operators.count() == 0


# ---------------------------------------------------------------------- own code

CODE_FILE = """
from mailstead.services.inbound.policy import Action, Verdict


def judge(evidence, verdict, recipient):
    if evidence.client.reverse_path == "boom@example.net":
        raise RuntimeError("oh")
    if evidence.client.reverse_path == "none@example.net":
        return None
    if evidence.client.helo == "client.example" and recipient.startswith("carol@"):
        return Verdict(Action.JUNK, "Carol wants no mail from there")
    rules = [part.rule for part in evidence.score.parts]
    if recipient.startswith("dora@") and "nameless" in rules:
        return Verdict(Action.JUNK, f"{evidence.score.total} points are enough for Dora")
    return verdict
"""


async def test_own_code_sees_the_score(world: SimulatedWorld, tmp_path: Path) -> None:
    path = tmp_path / "filter.py"
    path.write_text(CODE_FILE)
    house = await world.house("example.org", ["alice", "dora"])
    switch = Switch(EVERYBODY, "", str(path))
    await house.house.store.write(lambda tx: switches.put(tx, CODE, switch))
    assert (await receive(house, "Hi!\r\n", ALICE, "dora@example.org")).ok
    told = {one.recipients: one for _, one in house.told if isinstance(one, Scored)}
    dora = told["dora@example.org",]
    assert dora.reason == f"{dora.total:g} points are enough for Dora"
    assert len(await house.mailbox("dora@example.org", "Junk")) == 1
    assert len(await house.mailbox(ALICE)) == 1


async def test_own_code_changes_the_verdict(world: SimulatedWorld, tmp_path: Path) -> None:
    path = tmp_path / "filter.py"
    path.write_text(CODE_FILE)
    house = await world.house("example.org", ["alice", "carol"])
    switch = Switch(EVERYBODY, "", str(path))
    await house.house.store.write(lambda tx: switches.put(tx, CODE, switch))
    assert (await receive(house, "Hi!\r\n", ALICE, "carol@example.org")).ok
    assert len(await house.mailbox(ALICE)) == 1
    assert len(await house.mailbox("carol@example.org", "Junk")) == 1


@pytest.mark.parametrize(
    "code",
    [
        "def judge(evidence, verdict, recipient):\n    raise RuntimeError\n",
        "def judge(evidence, verdict, recipient):\n    return None\n",
        "def judge(evidence, verdict):\n    return verdict\n",
        "def judge(",
        "1 / 0",
        "judge = 5",
        "",
    ],
)
async def test_broken_code_loses_nothing(world: SimulatedWorld, tmp_path: Path, code: str) -> None:
    path = tmp_path / "filter.py"
    path.write_text(code)
    house = await world.house("example.org", ["alice"])
    switch = Switch(EVERYBODY, "", str(path))
    await house.house.store.write(lambda tx: switches.put(tx, CODE, switch))
    assert (await receive(house)).ok
    path.unlink()
    assert (await receive(house)).ok
    path.write_text(CODE_FILE)
    assert (await receive(house)).ok
    assert len(await house.mailbox(ALICE)) == 3


class _Hanging:
    """Threads that never come back."""

    def __init__(self) -> None:
        self.tried = 0

    async def run(self, work: Callable[[], T]) -> T:
        self.tried += 1
        await asyncio.Event().wait()
        return work()


async def test_code_that_hangs_is_left_out(world: SimulatedWorld, tmp_path: Path) -> None:
    path = tmp_path / "filter.py"
    path.write_text(CODE_FILE)
    house = await world.house("example.org", ["alice"])
    store, hanging = house.house.store, _Hanging()
    switch = Switch(EVERYBODY, "", str(path))
    await store.write(lambda tx: switches.put(tx, CODE, switch))
    code = OwnCode(store, msgspec.structs.replace(house.house.world, offload=hanging))
    began = world.clock.now()
    for _ in range(5):
        assert await code.review(evidence(), ALL_RIGHT, ALICE, add_up(())) == ALL_RIGHT
    assert hanging.tried == HANGS_LIMIT
    assert world.clock.now() - began == HANGS_LIMIT * RUN_LIMIT


# ---------------------------------------------------------------------- three messages


async def test_three_messages(world: SimulatedWorld) -> None:
    """T13: a clean one, one that a filter thinks is spam, one with malware."""
    world.network.listen("127.0.0.1", 3310, Clamd().serve)
    server = HttpScanner(
        lambda said, body: {"action": "add header" if b"pills" in body else "no action"}
    )
    world.network.listen("127.0.0.1", 11333, server.serve)
    house = await world.house("example.org", ["alice"])
    await ask(house, "clamd", CLAMD, place=1)
    await ask(house, "rspamd", RSPAMD, place=2)
    replies = [await receive(house, text) for text in ("Hi!\r\n", "Buy pills\r\n", EICAR)]
    assert [reply.code for reply in replies] == [250, 250, 550]
    assert len(server.asked) == 2  # malware needs no second opinion
    assert len(await house.mailbox(ALICE)) == 1
    assert len(await house.mailbox(ALICE, "Junk")) == 1


@pytest.mark.parametrize("answer", [{"action": "accept", "headers": "x" * 100_000}, [], "junk", 5])
async def test_an_answer_that_is_none(world: SimulatedWorld, answer: Any) -> None:
    listen(world, answer, 9)
    house = await world.house("example.org", ["alice"])
    await ask(house, "http", HOOK)
    assert (await receive(house)).ok
    assert [one.failed for one in told(house)] == [True]


async def test_who_answers_too_early_is_heard(world: SimulatedWorld) -> None:
    """clamd hangs up on a message that is too big for it."""

    async def serve(stream: Stream) -> None:
        await stream.receive()
        stream.send(b"INSTREAM size limit exceeded. ERROR\0")
        await stream.close()

    world.network.listen("127.0.0.1", 3310, serve)
    house = await world.house("example.org", ["alice"])
    await ask(house, "clamd", CLAMD, failure="closed")
    assert (await receive(house, "x" * 70 + "\r\n" + "y\r\n" * 100_000)).ok
    assert "too big" in told(house)[0].reason


# ---------------------------------------------------------------------- changes


async def test_a_signature_is_made_after_the_changes(world: SimulatedWorld) -> None:
    away = sink()
    world.zone["MX", "example.net"] = "10 mx.example.net"
    world.zone["A", "mx.example.net"] = "192.0.2.25"
    world.network.listen("192.0.2.25", 25, away.serve)
    listen(world, {"action": "accept", "headers": [{"name": "X-Hook", "value": "v"}]}, 9)
    house = await world.house("example.org", ["alice"])
    await signing.ensure_key(house.house.store, InlineOffload(), Domain("example.org"))
    await ask(house, "http", HOOK, direction="out")
    assert (await house.submit(ALICE, to=BOB)).ok
    await world.sleep(minutes=1)
    (received,) = away.received
    names = [one.name for one in fields.fields(received.content)]
    assert names.index("DKIM-Signature") < names.index("X-Hook")
