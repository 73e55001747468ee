"""Stories of misfortune: a store that fails, servers that do anything, accounts that go away."""

import asyncio
import random

import pytest

from mailstead.model.errors import TemporaryFailure
from mailstead.model.reply import Reply
from mailstead.model.world import Stream
from mailstead.protocol.smtp import replies
from mailstead.protocol.smtp.server import ServerOptions
from mailstead.services.outbound.queue import Outbound
from mailstead.storage import accounts
from mailstead.storage.plan import Applied, Plan
from mailstead.storage.store import Store
from mailstead.testing.cast import refuser
from mailstead.testing.cast.remote import Answer, HangUp, Remote, Script, Silence
from mailstead.testing.cast.sink import sink

BOB = "bob@example.net"
ONE = (10, "mx1.example.net", "192.0.2.1")
TWO = (20, "mx2.example.net", "192.0.2.2")


class FullStore:
    """A store whose disk is full for the first so many plans."""

    def __init__(self, store: Store, times: int) -> None:
        self._store, self._times = store, times
        self.read, self.write = store.read, store.write
        self.note, self.close = store.note, store.close

    async def apply(self, plan: Plan) -> Applied:
        self._times -= 1
        if self._times >= 0:
            raise TemporaryFailure("the disk is full")
        return await self._store.apply(plan)


def test_an_outcome_waits_for_the_disk(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        remote = stage.listen("192.0.2.1", sink())
        await stage.enqueue(BOB)
        full = FullStore(stage.store, 20)
        outbound = Outbound(full, stage.world, stage.watch, stage.settings)
        stage.task = asyncio.get_running_loop().create_task(outbound.run())
        await stage.sleep(hours=2)
        assert len(remote.received) == 1
        assert await stage.waiting() == []

    tell(story, running=False)


@pytest.mark.rfc("5321 section 4.5.5")
def test_a_dsn_is_filed_even_in_a_full_mailbox(tell) -> None:
    async def story(stage) -> None:
        await stage.store.write(lambda tx: accounts.set_quota(tx, "alice@example.org", 1))
        await stage.enqueue("bob@nowhere.example")
        await stage.enqueue("bob@nowhere.example")
        await stage.sleep(minutes=1)
        assert len(await stage.inbox()) == 2

    tell(story)


def test_a_sender_that_is_gone_is_told_nothing(tell) -> None:
    async def story(stage) -> None:
        trace = await stage.enqueue("bob@nowhere.example", sender="gone@example.org")
        await stage.sleep(minutes=1)
        assert (await stage.waiting(), await stage.notices(trace)) == ([], [])

    tell(story)


@pytest.mark.rfc("5321 section 4.2.1")
def test_a_5yz_greeting_everywhere_defers(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE, TWO)
        for address in ("192.0.2.1", "192.0.2.2"):
            stage.listen(address, refuser.closed_door(Reply(554, "5.3.2", "No service")))
        trace = await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        (attempt,) = await stage.attempts(trace)
        assert (attempt.outcome, attempt.reply) == ("deferred", "554 5.3.2 No service")
        assert len(attempt.hosts) == 2

    tell(story)


@pytest.mark.rfc("1870 section 6.1")
def test_what_is_too_big_fails_without_being_sent(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        options = ServerOptions("sink.example", size_limit=1000)
        remote = stage.listen("192.0.2.1", sink(options=options))
        trace = await stage.enqueue(BOB, body=b"x" * 2000)
        await stage.sleep(minutes=1)
        (attempt,) = await stage.attempts(trace)
        assert (attempt.outcome, attempt.hosts[0].reached) == ("failed", "ehlo")
        assert "Mail" not in remote.commands
        assert b"Remote-MTA" not in (await stage.inbox())[0]

    tell(story)


@pytest.mark.parametrize(
    "babble",
    [b"hello?\r\n", b"\x00" * 100, b"250", b"220-" + b"x" * 100_000, b"220 mx\r\n250 mx\r\n" * 50],
)
def test_babble_defers(tell, babble: bytes) -> None:
    async def story(stage) -> None:
        async def serve(stream: Stream) -> None:
            stream.send(babble)
            await stream.close()

        stage.mx("example.net", ONE)
        stage.network.listen("192.0.2.1", 25, serve)
        trace = await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        assert [one.outcome for one in await stage.attempts(trace)] == ["deferred"]

    tell(story)


def test_a_message_dropped_in_the_middle_of_an_attempt(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        stage.listen("192.0.2.1", Remote(Script(rcpt=lambda _: Silence())))
        await stage.enqueue(BOB)
        await stage.sleep(seconds=1)
        await stage.store.write(lambda tx: tx.run("DELETE FROM queue"))
        await stage.store.write(lambda tx: tx.run("DELETE FROM outgoing"))
        await stage.sleep(hours=1)
        assert await stage.waiting() == []

    tell(story)


# What a server may say to anything; most of it is good, or nothing would ever arrive.
_MOODS: list[Answer | None] = [
    *[None] * 6,
    HangUp(),
    Silence(),
    Reply(450, "4.2.0", "Not now"),
    Reply(421, "4.3.2", "Going down"),
    Reply(452, "4.5.3", "Too many recipients"),
    Reply(421, "4.7.0", "rate limit exceeded"),
]


@pytest.mark.rfc("5321 section 6.1")
@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_whatever_servers_do(tell, seed: int) -> None:
    async def story(stage) -> None:
        chance = random.Random(seed)

        def mood(usual: Reply) -> Answer:
            return chance.choice(_MOODS) or usual

        def remote() -> Remote:
            return Remote(
                Script(
                    greet=lambda: mood(replies.greeting("mx.example")),
                    mail=lambda _: mood(replies.SENDER_OK),
                    rcpt=lambda _: mood(replies.RECIPIENT_OK),
                    data=lambda: mood(replies.START_DATA),
                    end=lambda: mood(replies.OK),
                    garbled_handshake=chance.random() < 0.3,
                )
            )

        stage.mx("example.net", ONE, TWO)
        servers = [stage.listen(address, remote()) for address in ("192.0.2.1", "192.0.2.2")]
        wanted = [f"r{n}@example.net" for n in range(30)]
        traces = [await stage.enqueue(*wanted[at : at + 3]) for at in range(0, 30, 3)]
        await stage.sleep(days=6)
        assert await stage.waiting() == []
        arrived = {
            str(one)
            for server in servers
            for message in server.received
            for one in message.recipients
        }
        failed = {
            attempt.recipient
            for trace in traces
            for attempt in await stage.attempts(trace)
            if attempt.outcome == "failed"
        }
        told = {
            whom for t in traces for _, what, whom in await stage.notices(t) if what == "failed"
        }
        assert failed == told
        assert set(wanted) == arrived | failed

    tell(story, seed=seed)
