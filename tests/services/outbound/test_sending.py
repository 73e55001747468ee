"""Stories of the queue: what other servers do, and what becomes of the mail."""

import asyncio
import ssl
from datetime import timedelta
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from mailstead.model.entries import HostTried
from mailstead.model.reply import Reply
from mailstead.model.world import Endpoint
from mailstead.net.tls import verifying_context
from mailstead.protocol.smtp import replies
from mailstead.protocol.smtp.server import ServerOptions
from mailstead.server.certificates import ca_file, own_context
from mailstead.services.outbound.queue import Outbound
from mailstead.services.outbound.route import Security, Smarthost
from mailstead.storage.claims import Asked, claim
from mailstead.testing.cast import broken, refuser
from mailstead.testing.cast.greylister import greylister
from mailstead.testing.cast.remote import Remote, Script, Silence
from mailstead.testing.cast.sink import sink
from mailstead.testing.clock import START

BOB = "bob@example.net"
ONE = (10, "mx1.example.net", "192.0.2.1")
TWO = (20, "mx2.example.net", "192.0.2.2")
THREE = (20, "mx3.example.net", "192.0.2.3")


def test_passes_a_message_on(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        remote = stage.listen("192.0.2.1", sink())
        trace = await stage.enqueue(BOB, "carol@example.net", body=b"Hi!\n..dots\r\n.\r\nbye")
        await stage.sleep(minutes=1)
        (received,) = remote.received
        assert str(received.reverse_path) == "alice@example.org"
        assert list(map(str, received.recipients)) == [BOB, "carol@example.net"]
        assert received.content.endswith(b"\r\n\r\nHi!\r\n..dots\r\n.\r\nbye\r\n")
        assert await stage.waiting() == []
        first, second = await stage.attempts(trace)
        assert (
            first.outcome,
            first.route,
            first.attempt,
            first.reply,
        ) == ("relayed", "mx", 1, "250 2.0.0 OK")
        assert second.recipient == "carol@example.net"
        host = HostTried(
            host="mx1.example.net",
            address="192.0.2.1",
            reached="end",
            said="250 2.0.0 OK",
            preference=10,
        )
        assert (host,) == first.hosts

    tell(story)


def test_passes_big_and_split_messages_on(tell) -> None:
    async def story(stage) -> None:
        stage.network.split = 4096
        stage.mx("example.net", ONE)
        remote = stage.listen("192.0.2.1", sink())
        body = b"0123456789" * 70_000 + b"\r\n"
        await stage.enqueue(BOB, body=body)
        await stage.sleep(minutes=1)
        assert remote.received[0].content.endswith(b"\r\n\r\n" + body)

    tell(story)


# ---------------------------------------------------------------------- T2: the next host


@pytest.mark.rfc("5321 section 5.1")
def test_equal_hosts_share_what_a_dead_one_leaves(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE, TWO, THREE)
        two = stage.listen("192.0.2.2", sink())
        three = stage.listen("192.0.2.3", sink())
        traces = []
        for _ in range(100):
            traces.append(await stage.enqueue(BOB))
            await stage.sleep(minutes=1)
        assert len(two.received) + len(three.received) == 100
        assert 30 <= len(two.received) <= 70
        for trace in traces:
            (attempt,) = await stage.attempts(trace)
            first, second = attempt.hosts
            assert (first.host, first.reached) == ("mx1.example.net", "connect")
            assert "Connection refused" in first.said
            assert (second.reached, second.preference) == ("end", 20)

    tell(story)


# ---------------------------------------------------------------------- T3: falling through

SLOW = Reply(421, "4.7.0", "Too many concurrent SMTP connections from you")


@pytest.mark.rfc("5321 section 4.5.4.1")
@pytest.mark.parametrize(
    ("remote", "reached", "said"),
    [
        (lambda: refuser.closed_door(), "greeting", "421 4.3.2 Busy, come back later"),
        (lambda: refuser.closed_door(Reply(554, "5.3.2", "No")), "greeting", "554 5.3.2 No"),
        (lambda: broken.silent(), "greeting", "no answer within 300 s"),
        (lambda: broken.without_tls(), "starttls", ""),
        (lambda: refuser.refuser(reply=refuser.NOT_NOW), "rcpt", "451 4.3.0 Not now"),
        (lambda: Remote(Script(mail=lambda _: refuser.NOT_NOW)), "mail", "451 4.3.0 Not now"),
        (lambda: Remote(Script(data=lambda: refuser.NOT_NOW)), "data", "451 4.3.0 Not now"),
        (lambda: Remote(Script(mail=lambda _: Silence())), "mail", "no answer within 300 s"),
        (lambda: Remote(Script(data=Silence)), "data", "no answer within 120 s"),
        (lambda: refuser.content_refuser(refuser.NOT_NOW), "end", "451 4.3.0 Not now"),
        (lambda: broken.drops_at_data(), "data", "connection reset by peer"),
    ],
)
def test_falls_through_to_the_next_host(tell, remote, reached: str, said: str) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE, TWO)
        stage.listen("192.0.2.1", remote())
        second = stage.listen("192.0.2.2", sink())
        trace = await stage.enqueue(BOB)
        await stage.sleep(minutes=20)
        assert len(second.received) == 1
        (attempt,) = await stage.attempts(trace)
        assert [reached, "end"] == [host.reached for host in attempt.hosts]
        assert said in attempt.hosts[0].said
        assert attempt.outcome == "relayed"

    tell(story)


def test_a_dark_host_costs_thirty_seconds(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE, TWO)
        stage.network.dark.add("192.0.2.1")
        second = stage.listen("192.0.2.2", sink())
        await stage.enqueue(BOB)
        await stage.sleep(seconds=29)
        assert second.received == []
        await stage.sleep(seconds=2)
        assert len(second.received) == 1

    tell(story)


def test_a_dark_host_is_passed_over_by_the_next_message(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE, TWO)
        stage.network.dark.add("192.0.2.1")
        second = stage.listen("192.0.2.2", sink())
        await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        trace = await stage.enqueue(BOB)
        await stage.sleep(seconds=1)
        assert len(second.received) == 2
        (attempt,) = await stage.attempts(trace)
        dead, good = attempt.hosts
        assert (dead.address, dead.reached, good.reached) == ("192.0.2.1", "connect", "end")
        assert dead.said.startswith("passed over: did not answer at ")
        # It gets its chance, and then it is asked first again.
        stage.network.dark.clear()
        first = stage.listen("192.0.2.1", sink())
        await stage.sleep(minutes=3)
        for _ in range(2):
            await stage.enqueue(BOB)
            await stage.sleep(seconds=10)
        assert (len(first.received), len(second.received)) == (2, 2)

    tell(story)


def test_dead_hosts_are_tried_where_there_is_nobody_else(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE, TWO)
        await stage.enqueue("nobody@example.net")
        await stage.sleep(seconds=10)
        second = stage.listen("192.0.2.2", sink())
        trace = await stage.enqueue(BOB)
        await stage.sleep(seconds=10)
        assert len(second.received) == 1
        (attempt,) = await stage.attempts(trace)
        assert [host.reached for host in attempt.hosts] == ["connect", "end"]
        assert attempt.hosts[0].said == "Connection refused"

    tell(story)


def test_without_a_route_for_ipv6_nobody_waits_for_it(tell) -> None:
    async def story(stage) -> None:
        stage.zone["MX", "example.net"] = ["10 mx1.example.net"]
        stage.zone["A", "mx1.example.net"] = "192.0.2.1"
        remote = stage.listen("192.0.2.1", sink())
        for number in range(10):
            stage.zone["AAAA", "mx1.example.net"] = f"2001:db8::{number}"
            trace = await stage.enqueue(BOB)
            await stage.sleep(seconds=10)
        assert len(remote.received) == 10
        (attempt,) = await stage.attempts(trace)
        assert attempt.hosts[0].said.startswith("passed over: IPv6 did not answer at ")
        six = [dial.address for dial in stage.network.dials if ":" in dial.address]
        assert 4 <= len(six) <= 5

    tell(story)


@pytest.mark.parametrize(
    "remote",
    [
        lambda: refuser.refuser(),
        lambda: Remote(Script(mail=lambda _: refuser.UNKNOWN)),
        lambda: Remote(Script(data=lambda: refuser.UNKNOWN)),
        lambda: refuser.content_refuser(refuser.UNKNOWN),
    ],
)
def test_a_refusal_is_final_and_bounces_at_once(tell, remote) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE, TWO)
        stage.listen("192.0.2.1", remote())
        second = stage.listen("192.0.2.2", sink())
        trace = await stage.enqueue(BOB)
        await stage.sleep(seconds=5)
        assert second.sessions == 0
        assert await stage.waiting() == []
        (attempt,) = await stage.attempts(trace)
        assert (attempt.outcome, attempt.reply) == ("failed", "550 5.1.1 No such user")
        (dsn,) = await stage.inbox()
        assert b"550 5.1.1 No such user" in dsn

    tell(story)


def test_only_the_recipients_put_off_go_to_the_next_host(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE, TWO)
        first = stage.listen("192.0.2.1", refuser.refuser([BOB], refuser.NOT_NOW))
        second = stage.listen("192.0.2.2", sink())
        await stage.enqueue(BOB, "carol@example.net")
        await stage.sleep(minutes=1)
        assert [[*map(str, one.recipients)] for one in first.received] == [["carol@example.net"]]
        assert [[*map(str, one.recipients)] for one in second.received] == [[BOB]]

    tell(story)


@pytest.mark.parametrize(
    "remote",
    [
        lambda: refuser.closed_door(SLOW),
        lambda: refuser.refuser(reply=Reply(421, "4.7.28", "unusual rate of mail")),
        lambda: Remote(Script(mail=lambda _: Reply(450, "4.7.1", "you are blocklisted"))),
    ],
)
def test_rates_and_blocks_pause_the_lane(tell, remote) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE, TWO)
        first = stage.listen("192.0.2.1", remote())
        second = stage.listen("192.0.2.2", sink())
        await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        await stage.enqueue("carol@example.net")
        await stage.sleep(minutes=2)
        assert (first.sessions, second.sessions) == (1, 0)
        await stage.sleep(minutes=30)
        assert first.sessions > 2
        assert second.sessions == 0

    tell(story)


def test_the_rate_of_one_mailbox_is_no_reason_to_pause_the_lane(tell) -> None:
    """What Gmail says of a mailbox that gets too much, from whomever."""
    busy = Reply(450, "4.2.1", "The user you are trying to contact is receiving mail too quickly")

    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        remote = stage.listen("192.0.2.1", refuser.refuser([BOB], busy))
        trace = await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        await stage.enqueue("carol@example.net")
        await stage.sleep(seconds=1)
        assert [one.recipients[0].local_part for one in remote.received] == ["carol"]
        await stage.sleep(minutes=90)
        attempts = await stage.attempts(trace)
        assert {one.kind for one in attempts} == {"rate-limit"}
        assert len(attempts) == 5  # at once, then after 5, 10, 20 and 40 minutes

    tell(story)


def test_greylisting_is_over_in_minutes(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        stage.listen("192.0.2.1", greylister(stage.clock, timedelta(minutes=5)))
        trace = await stage.enqueue(BOB)
        await stage.sleep(minutes=10)
        attempts = await stage.attempts(trace)
        assert [one.kind for one in attempts] == ["greylisted", "greylisted", ""]
        assert attempts[-1].outcome == "relayed"

    tell(story)


def test_who_is_too_fast_goes_on_as_soon_as_the_lane_does(tell) -> None:
    """A message waits as long as its lane, whose pauses get longer, and no longer."""

    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        door = stage.listen("192.0.2.1", refuser.closed_door(SLOW))
        trace = await stage.enqueue(BOB)
        await stage.sleep(minutes=20)
        assert door.sessions == 3
        remote = stage.listen("192.0.2.1", sink())
        await stage.sleep(minutes=25)
        assert len(remote.received) == 1
        assert (await stage.attempts(trace))[0].kind == "rate-limit"

    tell(story)


def test_an_attempt_tries_five_addresses(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        stage.zone["A", "mx1.example.net"] = [f"192.0.2.{n}" for n in range(1, 9)]
        trace = await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        (attempt,) = await stage.attempts(trace)
        assert 5 == len(attempt.hosts) == len(stage.network.dials)
        assert attempt.outcome == "deferred"
        assert "No connection to mx1.example.net [192.0.2.5]" in attempt.reply

    tell(story)


def test_an_attempt_has_two_sessions(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE, TWO, (30, "mx4.example.net", "192.0.2.4"))
        for n in (1, 2, 4):
            stage.listen(f"192.0.2.{n}", refuser.refuser(reply=refuser.NOT_NOW))
        trace = await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        (attempt,) = await stage.attempts(trace)
        assert [host.address for host in attempt.hosts] == ["192.0.2.1", "192.0.2.2"]

    tell(story)


@pytest.mark.rfc("7435 section 3")
def test_goes_on_in_clear_from_the_second_attempt(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        remote = stage.listen("192.0.2.1", broken.without_tls())
        trace = await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        assert remote.received == []
        await stage.sleep(minutes=10)
        assert len(remote.received) == 1
        first, second = await stage.attempts(trace)
        assert [host.reached for host in first.hosts] == ["starttls"]
        assert [host.reached for host in second.hosts] == ["starttls", "end"]

    tell(story)


@pytest.mark.rfc("3207 section 4")
def test_uses_tls_where_it_is_offered(tell, tmp_path: Path) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        context = own_context(tmp_path / "tls", ["whatever.example"], stage.clock.now())
        remote = stage.listen("192.0.2.1", sink(context))
        trace = await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        assert remote.received[0].tls.startswith("TLSv1.3")
        (attempt,) = await stage.attempts(trace)
        assert attempt.hosts[0].tls.startswith("TLSv1.3")

    tell(story)


@pytest.mark.rfc("5321 section 4.5.3.1.10")
def test_too_many_recipients_go_in_further_transactions(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        options = ServerOptions("sink.example", recipients_limit=2)
        remote = stage.listen("192.0.2.1", sink(options=options))
        await stage.enqueue(*(f"{name}@example.net" for name in "abcde"))
        await stage.sleep(seconds=30)
        assert [len(one.recipients) for one in remote.received] == [2, 2, 1]
        assert remote.sessions == 1

    tell(story)


def test_552_for_too_many_recipients_is_not_final(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        taken: list[str] = []

        def rcpt(recipient) -> Reply:
            if len(taken) % 2:
                taken.append("")
                return Reply(552, "5.5.3", "Too many recipients")
            taken.append(str(recipient))
            return replies.RECIPIENT_OK

        remote = stage.listen("192.0.2.1", Remote(Script(rcpt=rcpt)))
        await stage.enqueue("a@example.net", "b@example.net")
        await stage.sleep(seconds=30)
        assert len(remote.received) == 2
        assert await stage.inbox() == []

    tell(story)


def test_a_connection_carries_what_the_provider_is_known_to_take(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", (10, "mta5.am0.yahoodns.net", "192.0.2.1"))
        remote = stage.listen("192.0.2.1", sink())
        for number in range(45):
            await stage.enqueue(f"user{number}@example.net")
        await stage.sleep(seconds=30)
        assert (len(remote.received), remote.sessions) == (45, 3)

    tell(story, lane_connections=1)


@pytest.mark.rfc("9422 section 4.1")
def test_a_connection_carries_no_more_than_the_server_says(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        remote = stage.listen("192.0.2.1", sink(options=ServerOptions("mx.example", mail_limit=5)))
        for number in range(12):
            await stage.enqueue(f"user{number}@example.net")
        await stage.sleep(seconds=30)
        assert (len(remote.received), remote.sessions) == (12, 3)
        assert {"Declined", "Malformed"}.isdisjoint(remote.commands)  # never asked for more

    tell(story, lane_connections=1)


# ---------------------------------------------------------------------- T4: what the DNS says


@pytest.mark.parametrize(
    ("records", "status"),
    [({("MX", "example.net"): "0 ."}, "5.1.10"), ({}, "5.1.2")],
)
def test_a_domain_that_takes_no_mail_bounces(tell, records, status: str) -> None:
    async def story(stage) -> None:
        for key, value in records.items():
            stage.zone[key] = value
        trace = await stage.enqueue(BOB)
        await stage.sleep(seconds=5)
        (attempt,) = await stage.attempts(trace)
        assert (attempt.outcome, attempt.hosts) == ("failed", ())
        (dsn,) = await stage.inbox()
        assert b"Status: " + status.encode() + b"\r\n" in dsn

    tell(story)


def test_servfail_is_retried(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        stage.zone.fail("example.net")
        remote = stage.listen("192.0.2.1", sink())
        trace = await stage.enqueue(BOB)
        await stage.sleep(minutes=2)
        stage.zone.heal("example.net")
        await stage.sleep(minutes=10)
        assert len(remote.received) == 1
        assert [one.outcome for one in await stage.attempts(trace)] == ["deferred", "relayed"]

    tell(story)


def test_delivers_without_mx(tell) -> None:
    async def story(stage) -> None:
        stage.zone["A", "example.net"] = "192.0.2.1"
        remote = stage.listen("192.0.2.1", sink())
        trace = await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        assert len(remote.received) == 1
        assert (await stage.attempts(trace))[0].route == "implicit mx"

    tell(story)


# ---------------------------------------------------------------------- T7: waiting


def test_greylisting_is_outwaited(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        remote = stage.listen("192.0.2.1", greylister(stage.clock, timedelta(minutes=5)))
        trace = await stage.enqueue(BOB)
        await stage.sleep(minutes=20)
        assert len(remote.received) == 1
        outcomes = [one.outcome for one in await stage.attempts(trace)]
        assert outcomes[-1] == "relayed"
        assert len(outcomes) <= 3
        assert await stage.notices(trace) == []

    tell(story)


@pytest.mark.rfc("3464 section 2")
def test_tells_of_delay_once_and_gives_up_after_five_days(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        trace = await stage.enqueue(BOB, "carol@example.net")
        await stage.sleep(hours=3, minutes=59)
        assert await stage.inbox() == []
        await stage.sleep(hours=2)
        (delay,) = await stage.inbox()
        await stage.sleep(days=4)
        assert len(await stage.inbox()) == 1
        assert len(await stage.waiting()) == 2
        await stage.sleep(days=1)
        _, failure = await stage.inbox()
        assert await stage.waiting() == []
        assert parse_dsn(delay) == [("delayed", "4.4.1")] * 2
        assert parse_dsn(failure) == [("failed", "4.4.1")] * 2
        attempts = await stage.attempts(trace)
        assert timedelta(0) <= attempts[-1].at - START - timedelta(days=5) < timedelta(seconds=1)
        notices = await stage.notices(trace)
        assert [what for _, what, _ in notices] == ["delayed", "delayed", "failed", "failed"]
        assert notices[0][0] >= START + timedelta(hours=4)

    tell(story)


def parse_dsn(octets: bytes) -> list[tuple[str, str]]:
    """Action and status of each recipient, as Python's parser sees the report."""
    message = message_from_bytes(octets, policy=policy.default)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert message["Return-Path"] == "<>"
    explanation, status, original = message.iter_parts()
    assert explanation.get_content_type() == "text/plain"
    assert status.get_content_type() == "message/delivery-status"
    assert original.get_content_type() == "text/rfc822-headers"
    about, *recipients = status.get_payload()
    assert about["Reporting-MTA"] == "dns; mx.example.org"
    assert all("rfc822;" in one["Final-Recipient"] for one in recipients)
    return [(str(one["Action"]), str(one["Status"])) for one in recipients]


def test_null_reverse_path_is_given_up_after_two_days_in_silence(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        trace = await stage.enqueue(BOB, sender="")
        await stage.sleep(days=2, minutes=1)
        assert await stage.waiting() == []
        assert (await stage.attempts(trace))[-1].outcome == "failed"
        assert (await stage.notices(trace), await stage.inbox()) == ([], [])

    tell(story)


def test_forwards_fail_in_silence(tell) -> None:
    async def story(stage) -> None:
        trace = await stage.enqueue("bob@nowhere.example", notify=False)
        await stage.sleep(minutes=1)
        assert await stage.waiting() == []
        assert (await stage.notices(trace), await stage.inbox()) == ([], [])

    tell(story)


@pytest.mark.rfc("5321 section 4.5.5")
def test_a_dsn_to_elsewhere_has_a_null_reverse_path(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.com", ONE)
        remote = stage.listen("192.0.2.1", sink())
        trace = await stage.enqueue(BOB, sender="dan@example.com")
        await stage.sleep(minutes=1)
        (dsn,) = remote.received
        assert None is dsn.reverse_path
        assert list(map(str, dsn.recipients)) == ["dan@example.com"]
        ((_, what, whom),) = await stage.notices(trace)
        assert (what, whom) == ("failed", BOB)

    tell(story)


def test_a_job_that_fails_and_delays_tells_both(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        no = {BOB: refuser.NOT_NOW, "carol@example.net": refuser.NOT_NOW}
        script = Script(rcpt=lambda recipient: no[str(recipient)])
        stage.listen("192.0.2.1", Remote(script))
        trace = await stage.enqueue(*no)
        await stage.sleep(hours=3, minutes=50)
        no[BOB] = refuser.UNKNOWN
        await stage.sleep(hours=2)
        told = {(what, whom) for _, what, whom in await stage.notices(trace)}
        assert {("failed", BOB), ("delayed", "carol@example.net")} == told
        assert {"failed", "delayed"} == {parse_dsn(one)[0][0] for one in await stage.inbox()}

    tell(story)


# ---------------------------------------------------------------------- connections


def test_connections_are_used_again(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        remote = stage.listen("192.0.2.1", sink())
        for _ in range(30):
            await stage.enqueue(BOB)
            await stage.sleep(seconds=1)
        assert (len(remote.received), remote.sessions) == (30, 1)
        await stage.sleep(seconds=10)
        assert remote.commands[-1] == "Quit"
        await stage.enqueue(BOB)
        await stage.sleep(seconds=1)
        assert remote.sessions == 2

    tell(story)


@pytest.mark.parametrize("how", ["421", "closed"])
def test_a_connection_that_died_idle_is_replaced(tell, how: str) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        remote = broken.one_message_a_session() if how == "421" else sink()
        stage.listen("192.0.2.1", remote)
        traces = []
        for _ in range(5):
            traces.append(await stage.enqueue(BOB))
            await stage.sleep(seconds=1)
            if how == "closed":
                await stage.network.close()
        assert (len(remote.received), remote.sessions) == (5, 5)
        for trace in traces:
            (attempt,) = await stage.attempts(trace)
            assert [host.reached for host in attempt.hosts] == ["end"]

    tell(story)


def test_a_host_asked_over_an_old_connection_is_not_asked_again(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE, TWO)
        first = stage.listen("192.0.2.1", refuser.refuser([BOB], refuser.NOT_NOW))
        second = stage.listen("192.0.2.2", sink())
        await stage.enqueue("carol@example.net")
        await stage.sleep(seconds=1)
        trace = await stage.enqueue(BOB)
        await stage.sleep(seconds=1)
        assert (first.sessions, len(second.received)) == (1, 1)
        (attempt,) = await stage.attempts(trace)
        assert [host.reached for host in attempt.hosts] == ["rcpt", "end"]

    tell(story)


def test_a_lane_has_its_limit(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        stage.mx("example.com", TWO)
        slow = stage.listen("192.0.2.1", Remote(Script(mail=lambda _: Silence())))
        quick = stage.listen("192.0.2.2", sink())
        for _ in range(300):
            await stage.enqueue(BOB)
        await stage.enqueue("dan@example.com")
        await stage.sleep(seconds=5)
        assert (slow.sessions, len(quick.received)) == (3, 1)

    tell(story, lane_connections=3)


def test_a_backlog_is_worked_off(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        remote = stage.listen("192.0.2.1", sink())
        for _ in range(1200):
            await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        assert len(remote.received) == 1200
        assert await stage.waiting() == []
        assert remote.sessions <= 40

    tell(story)


# ---------------------------------------------------------------------- smarthosts


def smarthost(security: Security) -> Smarthost:
    return Smarthost(Endpoint("relay.example", 587), security, "us", "pencil")


def relay(context: ssl.SSLContext | None, mechanism: str, implicit: bool = False) -> Remote:
    right = ("us", "pencil")
    return Remote(
        Script(
            log_in=lambda *both: replies.AUTH_OK if both == right else replies.AUTH_FAILED,
            tls=context,
            implicit_tls=implicit,
            options=ServerOptions(
                "relay.example", auth_mechanisms=(mechanism,), auth_needs_tls=False
            ),
        )
    )


@pytest.mark.rfc("4954 section 4")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("security", [Security.IMPLICIT, Security.STARTTLS])
def test_a_smarthost_takes_everything(
    tell, tmp_path: Path, mechanism: str, security: Security
) -> None:
    async def story(stage) -> None:
        context = own_context(tmp_path / "tls", ["relay.example"], START)
        verifying = verifying_context(str(ca_file(tmp_path / "tls")))
        stage.zone["A", "relay.example"] = "10.0.0.5"
        remote = relay(context, mechanism, security is Security.IMPLICIT)
        stage.listen("10.0.0.5", remote, 587)
        start_with(stage, verifying)
        trace = await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        (received,) = remote.received
        assert received.login == "us"
        assert (await stage.attempts(trace))[0].route == "smarthost"

    tell(story, running=False, smarthost=smarthost(security))


def start_with(stage, verifying: ssl.SSLContext) -> None:
    outbound = Outbound(stage.store, stage.world, stage.watch, stage.settings, verifying)
    stage.task = asyncio.get_running_loop().create_task(outbound.run())


@pytest.mark.parametrize(
    ("names", "offered"), [(["other.example"], True), ([], False)], ids=["wrong name", "no TLS"]
)
def test_a_password_goes_nowhere_unverified(
    tell, tmp_path: Path, names: list[str], offered: bool
) -> None:
    async def story(stage) -> None:
        context = own_context(tmp_path / "tls", names, START) if offered else None
        own_context(tmp_path / "tls", names or ["x.example"], START)
        stage.zone["A", "relay.example"] = "10.0.0.5"
        remote = stage.listen("10.0.0.5", relay(context, "PLAIN"), 587)
        start_with(stage, verifying_context(str(ca_file(tmp_path / "tls"))))
        trace = await stage.enqueue(BOB)
        await stage.sleep(hours=1)
        assert remote.received == []
        assert "Auth" not in remote.commands
        for attempt in await stage.attempts(trace):
            assert [host.reached for host in attempt.hosts] == ["starttls"]

    tell(story, running=False, smarthost=smarthost(Security.STARTTLS))


# ---------------------------------------------------------------------- crashes


@pytest.mark.rfc("5321 section 4.5.4.2")
def test_loss_after_the_final_dot_waits_ten_minutes(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE, TWO)
        remote = stage.listen("192.0.2.1", broken.drops_after_final_dot(1))
        second = stage.listen("192.0.2.2", sink())
        trace = await stage.enqueue(BOB)
        await stage.sleep(minutes=9, seconds=58)
        assert len(remote.received) == 1
        await stage.sleep(minutes=1)
        assert (len(remote.received), second.sessions) == (2, 0)
        first, last = await stage.attempts(trace)
        assert (first.outcome, first.hosts[0].reached) == ("deferred", "end")
        assert last.outcome == "relayed"

    tell(story)


def test_a_claimed_row_is_retried_after_its_lease(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        remote = stage.listen("192.0.2.1", sink())
        await stage.enqueue(BOB)
        lease = timedelta(minutes=30)
        await stage.store.write(lambda tx: claim(tx, Asked(lease, 10, 10)))  # and dies
        stage.start()
        await stage.sleep(minutes=29)
        assert remote.received == []
        await stage.sleep(minutes=2)
        assert len(remote.received) == 1

    tell(story, running=False)


def test_a_long_attempt_keeps_its_lease(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        stage.listen("192.0.2.1", Remote(Script(rcpt=lambda _: Silence())))
        await stage.enqueue(*(f"{n}@example.net" for n in range(10)))
        await stage.sleep(minutes=4)
        claimed = await stage.store.write(
            lambda tx: claim(tx, Asked(timedelta(minutes=1), 100, 100))
        )
        assert claimed.jobs == []

    tell(story)


def test_a_shutdown_lets_attempts_end(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        stage.mx("example.com", TWO)
        remote = stage.listen("192.0.2.1", sink())
        stage.listen("192.0.2.2", broken.silent())
        await stage.enqueue(BOB)
        for _ in range(20):
            await stage.enqueue("dan@example.com")
        await stage.sleep(seconds=0.002)
        before = stage.clock.now()
        await stage.stop()
        assert len(remote.received) == 1
        rows = await stage.waiting()
        assert len(rows) == 20
        assert not any(row.claimed for row, _ in rows)
        assert sum(row.attempts for row, _ in rows) == 10  # broken off; the others were given back
        assert stage.clock.now() - before <= timedelta(seconds=11)

    tell(story)


@pytest.mark.rfc("5321 section 6.1")
def test_what_was_taken_before_a_shutdown_is_not_sent_again(tell) -> None:
    """The first transaction took one recipient, the second is under way."""

    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        answers = iter([replies.SENDER_OK])
        remote = Remote(
            Script(
                mail=lambda _: next(answers, Silence()),
                options=ServerOptions("mx1.example.net", recipients_limit=1),
            )
        )
        stage.listen("192.0.2.1", remote)
        trace = await stage.enqueue(BOB, "carol@example.net")
        await stage.sleep(seconds=1)
        assert len(remote.received) == 1
        await stage.stop()
        assert [one.outcome for one in await stage.attempts(trace)] == ["relayed", "deferred"]
        ((row, _),) = await stage.waiting()
        assert (row.recipient, row.claimed) == ("carol@example.net", False)
        assert "stopped" in row.last_reply

    tell(story)


def test_a_job_that_fails_by_our_fault_stops_nothing(tell, caplog) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        remote = stage.listen("192.0.2.1", sink())
        await stage.enqueue(BOB, sender="not an address")
        await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        assert len(remote.received) == 1
        ((row, _),) = await stage.waiting()
        assert row.claimed

    tell(story)
    assert "an attempt of ours failed" in caplog.text
