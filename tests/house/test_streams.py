"""What an organisation sends apart from its people's mail, and what comes back to it."""

import pytest

from mailstead.model.address import Domain, parse_address
from mailstead.model.entries import AnyEntry, CameBack, Refused
from mailstead.model.entries import Suppressed as SuppressedEntry
from mailstead.model.numbers import QueueId
from mailstead.model.reply import Reply
from mailstead.services import return_path
from mailstead.storage import accounts, senders, streams, suppression, thresholds
from mailstead.storage.store import Tx
from mailstead.storage.suppression import Suppression
from mailstead.storage.thresholds import Whose
from mailstead.testing.cast.refuser import refuser
from mailstead.testing.cast.remote import Remote
from mailstead.testing.cast.sink import sink
from mailstead.testing.house import PASSWORD, SimulatedHouse, SimulatedWorld, compose
from mailstead.testing.smtp import SmtpClient

ALICE, BOB, CAROL = "alice@example.org", "bob@example.net", "carol@example.net"


async def house_with_stream(world: SimulatedWorld, server: Remote) -> SimulatedHouse:
    """Alice's house with the stream "news"; the server takes the mail of example.net."""
    world.zone["A", "example.net"] = "198.51.100.1"
    world.network.listen("198.51.100.1", 25, server.serve)
    house = await world.house("example.org", ["alice"])
    await house.house.store.write(lambda tx: streams.add(tx, _first(tx), "news", 20))
    return house


def _first(tx: Tx):  # type: ignore[no-untyped-def]
    return accounts.first_organisation(tx)


async def send(house: SimulatedHouse, *to: str, stream: str = "news", wish: str = "") -> Reply:
    """A message of Alice's in the stream."""
    async with SmtpClient(house.world.network, house.address, 587) as client:
        await client.log_in(ALICE, PASSWORD)
        lines = (f"MAIL FROM:<{ALICE}>", *(f"RCPT TO:<{one}> {wish}".strip() for one in to), "DATA")
        for line in lines:
            reply = await client.command(line)
            if not reply.ok:
                return reply
        header = f"Mailstead-Stream: {stream}\r\n" if stream else ""
        message = compose(ALICE, list(to), "News", "Hi!\r\n")
        client.stream.send(header.encode() + message + b".\r\n")
        return await client.reply()


async def come_back(house: SimulatedHouse, path: str, message: str) -> Reply:
    """A message to the return path, from nobody."""
    async with SmtpClient(house.world.network, house.address, 25) as client:
        octets = message.replace("\n", "\r\n").encode()
        return await client.send_message("", [path], octets)


def told(house: SimulatedHouse, kind: type[AnyEntry]) -> list[AnyEntry]:
    return [entry for _, entry in house.told if isinstance(entry, kind)]


async def suppressed(house: SimulatedHouse) -> list[Suppression]:
    return await house.house.store.read(lambda tx: suppression.page(tx, _first(tx)))


RFC_3464 = """From: MAILER-DAEMON@mx.example.net
Subject: Undelivered
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b

It could not be delivered.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; bob@example.net
Action: {action}
Status: {status}
Diagnostic-Code: smtp; {reply}
--b--
"""

QMAIL = """From: MAILER-DAEMON@example.net
Subject: failure notice

Hi. This is the qmail-send program at example.net.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<bob@example.net>:
Sorry, no mailbox here by that name. (#5.1.1)
"""

EXIM = """From: Mail Delivery System <Mailer-Daemon@example.net>
Subject: Mail delivery failed: returning message to sender
X-Failed-Recipients: bob@example.net
Auto-Submitted: auto-replied

This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  bob@example.net
    Unrouteable address
    550 5.1.1 unknown user
"""

POSTFIX_TEXT = """From: MAILER-DAEMON@example.net (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender

This is the mail system at host mx.example.net.

I'm sorry to have to inform you that your message could not
be delivered to one or more recipients.

<bob@example.net>: host mx.example.net[198.51.100.1] said: 550 5.1.1
    <bob@example.net>: Recipient address rejected: User unknown (in reply to
    RCPT TO command)
"""

GONE = RFC_3464.format(action="failed", status="5.1.1", reply="550 5.1.1 No such user")


async def test_each_recipient_has_a_return_path_that_is_ours(world: SimulatedWorld) -> None:
    server = sink()
    house = await house_with_stream(world, server)
    assert (await send(house, BOB, CAROL)).ok
    await world.sleep(minutes=1)
    paths = [str(one.reverse_path) for one in server.received]
    assert [len(one.recipients) for one in server.received] == [1, 1]
    assert len(set(paths)) == 2
    assert all(path.startswith("bounces=") and path.endswith("@example.org") for path in paths)
    assert not any(b"Mailstead-Stream" in one.content for one in server.received)


async def test_a_retry_keeps_its_return_path(world: SimulatedWorld) -> None:
    refusing = refuser(reply=Reply(451, "4.7.1", "Greylisted"))
    house = await house_with_stream(world, refusing)
    paths: set[str] = set()
    original = refusing.script.mail
    refusing.script = type(refusing.script)(
        rcpt=refusing.script.rcpt, mail=lambda path: (paths.add(str(path)), original(path))[1]
    )
    assert (await send(house, BOB)).ok
    await world.sleep(days=2)
    assert refusing.sessions > 3
    assert len(paths) == 1


@pytest.mark.rfc("3464 section 2.3.3")
@pytest.mark.parametrize("report", [GONE, QMAIL, EXIM, POSTFIX_TEXT])
async def test_a_bounce_comes_home(world: SimulatedWorld, report: str) -> None:
    server = sink()
    house = await house_with_stream(world, server)
    assert (await send(house, BOB)).ok
    await world.sleep(hours=30)
    path = str(server.received[0].reverse_path)
    assert (await come_back(house, path, report)).ok
    (entry,) = told(house, CameBack)
    assert (entry.form, entry.recipient, entry.kind) == ("bounce", BOB, "recipient-gone")  # type: ignore[attr-defined]
    (one,) = await suppressed(house)
    assert (one.address, one.reason) == (BOB, "gone")
    assert await house.mailbox(ALICE) == []
    reply = await send(house, BOB)
    assert reply.code == 550
    # The story of the message that was sent tells it.
    ((trace, _),) = [(t, e) for t, e in house.told if isinstance(e, CameBack)]
    assert [t for t, e in house.told if isinstance(e, SuppressedEntry)] == [trace]


@pytest.mark.parametrize(
    ("action", "status", "reply", "form"),
    [
        ("failed", "5.2.2", "552 5.2.2 Mailbox full", "bounce"),
        ("failed", "5.7.1", "550 5.7.1 Listed at zen.example", "bounce"),
        ("delayed", "4.4.1", "connection timed out", "delay"),
        ("delivered", "2.0.0", "250 ok", "notice"),
    ],
)
async def test_what_says_nothing_against_the_recipient(
    world: SimulatedWorld, action: str, status: str, reply: str, form: str
) -> None:
    server = sink()
    house = await house_with_stream(world, server)
    assert (await send(house, BOB)).ok
    await world.sleep(minutes=1)
    path = str(server.received[0].reverse_path)
    report = RFC_3464.format(action=action, status=status, reply=reply)
    assert (await come_back(house, path, report)).ok
    assert [entry.form for entry in told(house, CameBack)] == [form]  # type: ignore[attr-defined]
    assert await suppressed(house) == []


@pytest.mark.rfc("3834 section 2")
async def test_out_of_office_is_no_bounce(world: SimulatedWorld) -> None:
    server = sink()
    house = await house_with_stream(world, server)
    assert (await send(house, BOB)).ok
    await world.sleep(minutes=1)
    answer = (
        f"From: {BOB}\nSubject: Out of office\nAuto-Submitted: auto-replied\n\nBack on Monday.\n"
    )
    assert (await come_back(house, str(server.received[0].reverse_path), answer)).ok
    assert [entry.form for entry in told(house, CameBack)] == ["auto-reply"]  # type: ignore[attr-defined]
    assert await suppressed(house) == []
    assert await house.mailbox(ALICE) == []


async def test_what_comes_back_is_not_refused_as_spam(world: SimulatedWorld) -> None:
    server = sink()
    house = await house_with_stream(world, server)
    await house.house.store.write(lambda tx: thresholds.put(tx, Whose(), "refuse", 0.1))
    assert (await send(house, BOB)).ok
    await world.sleep(minutes=1)
    answer = "Subject: PILLS!!\nAuto-Submitted: auto-replied\n\nviagra http://192.0.2.7/\n"
    assert (await come_back(house, str(server.received[0].reverse_path), answer)).ok
    assert [entry.form for entry in told(house, CameBack)] == ["auto-reply"]  # type: ignore[attr-defined]


async def test_what_nobody_understands_goes_to_the_sender(world: SimulatedWorld) -> None:
    server = sink()
    house = await house_with_stream(world, server)
    assert (await send(house, BOB)).ok
    await world.sleep(minutes=1)
    words = f"From: {BOB}\nSubject: Who are you?\n\nI do not know you.\n"
    assert (await come_back(house, str(server.received[0].reverse_path), words)).ok
    assert (await house.newest(ALICE)).subject == "Who are you?"


async def test_forged_and_old_return_paths(world: SimulatedWorld) -> None:
    server = sink()
    house = await house_with_stream(world, server)
    assert (await send(house, BOB)).ok
    await world.sleep(minutes=1)
    path = str(server.received[0].reverse_path)
    forged = return_path.sign(QueueId(1), Domain("example.org"), b"x" * 32, world.clock.now())
    assert (await come_back(house, str(forged), GONE)).code == 550
    assert (await come_back(house, path.replace("bounces=", "bounces=a"), GONE)).code == 550
    assert (await come_back(house, "bounces=@example.org", GONE)).code == 550
    message = compose(BOB, [path], "Hello", "Hi!\r\n")
    async with SmtpClient(world.network, house.address, 25) as client:  # with a sender: no bounce
        assert (await client.send_message(BOB, [path], message)).code == 550
    await world.sleep(days=31)
    assert (await come_back(house, path, GONE)).code == 550
    assert await suppressed(house) == []


FEEDBACK = """From: Feedback <fbl@example.net>
Date: Sat, 21 Nov 2026 12:00:00 +0000
Message-ID: <1@example.net>
Subject: complaint
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary=b

--b

A user complained.
--b
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: fbl.example.net
Version: 1
Original-Mail-From: <{path}>
--b
Content-Type: text/rfc822-headers

From: alice@example.org
--b--
"""


@pytest.mark.rfc("5965 section 2")
async def test_a_complaint_suppresses_for_its_stream_and_for_good(world: SimulatedWorld) -> None:
    server = sink()
    house = await house_with_stream(world, server)
    assert (await send(house, BOB)).ok
    await world.sleep(minutes=1)
    # Types and their parameters may be in any case (RFC 2045 section 5.1).
    feedback = (
        FEEDBACK.replace("type=feedback-report", "Type=Feedback-Report")
        .format(path=server.received[0].reverse_path)
        .replace("\n", "\r\n")
    )
    async with SmtpClient(world.network, house.address, 25) as client:
        sent = await client.send_message("fbl@example.net", [ALICE], feedback.encode())
    assert sent.ok
    assert len(await house.mailbox(ALICE)) == 1  # it is a message to her all the same
    (one,) = await suppressed(house)
    assert (one.address, one.reason, one.stream, one.expires) == (BOB, "complaint", "news", None)
    assert (await send(house, BOB)).code == 550
    assert (await send(house, BOB, CAROL)).ok  # the others get it
    refused = told(house, Refused)[-1]
    assert (refused.recipient, refused.stage) == (BOB, "data")  # type: ignore[attr-defined]
    assert (await send(house, BOB, stream="")).ok  # a person still may write


async def test_a_stream_sends_no_dsns_unless_asked(world: SimulatedWorld) -> None:
    house = await house_with_stream(world, refuser())
    assert (await send(house, BOB)).ok
    await world.sleep(minutes=1)
    assert await house.mailbox(ALICE) == []
    assert [one.address for one in await suppressed(house)] == [BOB]  # but it counts
    assert (await send(house, CAROL, wish="NOTIFY=FAILURE")).ok
    await world.sleep(minutes=1)
    assert len(await house.mailbox(ALICE)) == 1


async def test_a_stream_that_is_none(world: SimulatedWorld) -> None:
    house = await house_with_stream(world, sink())
    assert (await send(house, BOB, stream="nonsense")).code == 550


async def test_the_stream_of_an_account(world: SimulatedWorld) -> None:
    server = sink()
    house = await house_with_stream(world, server)

    def work(tx: Tx) -> None:
        senders.set_stream(tx, accounts.get_account(tx, ALICE).id, "news")

    await house.house.store.write(work)
    assert (await send(house, BOB, stream="")).ok
    await world.sleep(minutes=1)
    assert str(server.received[0].reverse_path).startswith("bounces=")


# ---------------------------------------------------------------------- stolen accounts


async def limit(house: SimulatedHouse, recipients: int | None, strangers: int | None) -> None:
    def work(tx: Tx) -> None:
        senders.set_limits(tx, accounts.get_account(tx, ALICE).id, recipients, strangers)

    await house.house.store.write(work)


async def test_an_account_writes_to_so_many_a_day(world: SimulatedWorld) -> None:
    house = await house_with_stream(world, sink())
    await limit(house, 3, None)
    assert (await send(house, BOB, stream="")).ok
    assert (await send(house, BOB, CAROL, "dan@example.net", stream="")).code == 451
    assert (await send(house, BOB, CAROL, stream="")).ok  # what was refused does not count
    refused = await send(house, BOB, stream="")
    assert (refused.code, refused.enhanced) == (451, "4.7.1")
    assert "3 recipients" in refused.text
    assert (await send(house, ALICE, stream="")).ok  # who is here does not count
    await world.sleep(days=1)
    assert (await send(house, BOB, stream="")).ok


async def test_so_many_that_it_never_wrote_to(world: SimulatedWorld) -> None:
    house = await house_with_stream(world, sink())
    await limit(house, None, 1)
    assert (await send(house, BOB, stream="")).ok
    assert "new recipients" in (await send(house, CAROL, stream="")).text
    assert (await send(house, "Bob@Example.Net", stream="")).ok
    await limit(house, None, -1)
    assert (await send(house, CAROL, stream="")).ok


async def test_nobody_is_remembered_for_ever(world: SimulatedWorld) -> None:
    house = await house_with_stream(world, sink())
    assert (await send(house, BOB, stream="")).ok
    long = senders.CORRESPONDENTS_KEPT.days + 1
    await house.house.store.write(
        lambda tx: tx.run(f"UPDATE correspondent SET last = last - {long}")
    )
    await house.house.store.write(lambda tx: tx.run(f"UPDATE account_day SET day = day - {long}"))
    await house.house.housekeeping.tidy()
    for table in ("correspondent", "account_day"):
        count = f"SELECT count(*) FROM {table}"
        assert await house.house.store.read(lambda tx, sql=count: tx.value(sql)) == 0  # type: ignore[misc]


# ---------------------------------------------------------------------- send as


async def test_an_account_may_write_as_others(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice", "carol"])

    async def mail_from(address: str) -> int:
        async with SmtpClient(world.network, house.address, 587) as client:
            await client.log_in(ALICE, PASSWORD)
            return (await client.command(f"MAIL FROM:<{address}>")).code

    assert await mail_from("sales@example.org") == 553
    await house.house.store.write(lambda tx: senders.allow_send_as(tx, ALICE, "sales@example.org"))
    assert await mail_from("Sales@example.org") == 250
    assert await mail_from("carol@example.org") == 553
    await house.house.store.write(lambda tx: senders.allow_send_as(tx, ALICE, "@example.org"))
    assert await mail_from("carol@example.org") == 250

    def move_away(tx: Tx) -> None:
        other = accounts.create_organisation(tx, "other")
        tx.run("UPDATE domain SET organisation = :other", other=other)

    await house.house.store.write(move_away)
    assert await mail_from("sales@example.org") == 553
    assert parse_address(ALICE)
