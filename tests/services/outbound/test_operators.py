"""What operators do with the queue, and what the journal keeps of it."""

import pytest

from mailstead.model.entries import Changed
from mailstead.model.errors import Refusal
from mailstead.model.numbers import QueueId
from mailstead.storage.queue import Filter
from mailstead.testing.cast import broken
from mailstead.testing.cast.sink import sink

BOB = "bob@example.net"
ONE = (10, "mx1.example.net", "192.0.2.1")


async def changes(stage, trace) -> list[tuple[str, str, str]]:
    story = await stage.story(trace)
    return [(one.change, one.recipient, one.detail) for one in story if isinstance(one, Changed)]


def test_retries_now(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        trace = await stage.enqueue(BOB)
        await stage.sleep(hours=10)
        remote = stage.listen("192.0.2.1", sink())
        await stage.sleep(minutes=1)
        assert remote.received == []
        assert await stage.operators.retry(Filter(recipient="@example.net")) == 1
        await stage.sleep(seconds=1)
        assert len(remote.received) == 1
        assert await changes(stage, trace) == [("retried", BOB, "")]

    tell(story)


def test_holds_and_releases(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        remote = stage.listen("192.0.2.1", sink())
        stage.zone.fail("example.net")
        trace = await stage.enqueue(BOB, "carol@example.net")
        await stage.sleep(minutes=1)
        stage.zone.heal("example.net")
        assert await stage.operators.hold(Filter(recipient=BOB)) == 1
        assert await stage.operators.hold(Filter(recipient=BOB)) == 0
        await stage.sleep(days=1)
        assert [[*map(str, one.recipients)] for one in remote.received] == [["carol@example.net"]]
        assert await stage.operators.release(Filter()) == 1
        await stage.sleep(seconds=1)
        assert len(remote.received) == 2
        assert await changes(stage, trace) == [("held", BOB, ""), ("released", BOB, "")]

    tell(story)


def test_reroutes(tell) -> None:
    async def story(stage) -> None:
        trace = await stage.enqueue(BOB, hold=True)
        remote = stage.listen("10.0.0.7", sink(), 2525)
        assert await stage.operators.reroute(Filter(trace=trace), "10.0.0.7:2525") == 1
        await stage.operators.release(Filter())
        await stage.sleep(seconds=1)
        assert len(remote.received) == 1
        assert (await changes(stage, trace))[0] == ("rerouted", BOB, "10.0.0.7:2525")

    tell(story)


def test_refuses_a_route_that_is_none(tell) -> None:
    async def story(stage) -> None:
        with pytest.raises(Refusal, match="host:port"):
            await stage.operators.reroute(Filter(), "nowhere")

    tell(story)


@pytest.mark.parametrize("notify", [False, True])
def test_drops(tell, notify: bool) -> None:
    async def story(stage) -> None:
        trace = await stage.enqueue(BOB, "carol@example.net", hold=True)
        other = await stage.enqueue("dan@example.com", hold=True)
        assert await stage.operators.drop(Filter(trace=trace), notify) == 2
        assert [row.recipient for row, _ in await stage.waiting()] == ["dan@example.com"]
        assert await changes(stage, trace) == [
            ("dropped", BOB, ""),
            ("dropped", "carol@example.net", ""),
        ]
        assert await changes(stage, other) == []
        dsns = await stage.inbox()
        assert notify == (len(dsns) == 1)
        assert all(b"An operator took the message out" in one for one in dsns)

    tell(story)


def test_dropping_leaves_no_octets_behind(tell) -> None:
    async def story(stage) -> None:
        await stage.enqueue(BOB, hold=True)
        await stage.operators.drop(Filter())
        for table in ("queue", "outgoing", "blob"):
            sql = f"SELECT count(*) FROM {table}"
            assert await stage.store.read(lambda tx, sql=sql: tx.value(sql)) == 0

    tell(story)


def test_leaves_a_running_attempt_alone(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        remote = stage.listen("192.0.2.1", broken.silent())
        await stage.enqueue(BOB)
        await stage.sleep(seconds=1)
        assert await stage.operators.retry(Filter()) == 0
        assert await stage.operators.reroute(Filter(), "10.0.0.7:25") == 0
        await stage.sleep(seconds=1)
        assert remote.sessions == 1

    tell(story)


def test_many_are_changed_in_slices(tell) -> None:
    async def story(stage) -> None:
        recipients = [f"r{n}@example.net" for n in range(100)]
        for _ in range(13):
            await stage.enqueue(*recipients, hold=True)
        assert await stage.operators.count() == 1300
        assert await stage.operators.release(Filter(held=True)) == 1300
        assert await stage.operators.drop(Filter()) == 1300
        assert await stage.operators.count() == 0

    tell(story, running=False)


def test_shows(tell) -> None:
    async def story(stage) -> None:
        trace = await stage.enqueue(BOB, "carol@example.net", hold=True)
        first, second = await stage.operators.find(Filter())
        assert (BOB, trace) == (first[0].recipient, first[1].trace)
        assert [second] == await stage.operators.find(Filter(), after=first[0].id)
        assert [first] == await stage.operators.find(Filter(), limit=1)
        assert first == await stage.operators.show(first[0].id)
        header = await stage.operators.show_header(first[0].id)
        assert header is not None
        assert header.startswith(b"From: alice@example.org\r\n")
        assert None is await stage.operators.show(QueueId(99))
        assert None is await stage.operators.show_header(QueueId(99))

    tell(story)
