"""Stories in sentences: every entry has one, and operators learn what they can do."""

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from mailstead.model.entries import (
    Accepted,
    AnyEntry,
    Attempted,
    Authenticated,
    CameBack,
    Changed,
    Completed,
    Connected,
    Delivered,
    Departed,
    Filtered,
    HostTried,
    Incident,
    LoggedIn,
    LoginFailed,
    Notified,
    Queued,
    Refused,
    Resolved,
    Retrieved,
    Scored,
    ScoredPart,
    Suppressed,
)
from mailstead.services.delivery import relaying
from mailstead.services.explain import Line, explain, explain_entry, outcome
from mailstead.services.outbound.classify import advice
from mailstead.storage import journal
from mailstead.testing.house import SimulatedWorld

AT = datetime(2026, 11, 21, 20, 40, 11, tzinfo=UTC)
LATER = AT + timedelta(minutes=5)
BOB = "bob@example.net"
HOST = HostTried(
    host="mx.example.net",
    address="192.0.2.25",
    reached="rcpt",
    said="450 4.2.1 busy",
    tls="TLSv1.3 TLS_AES_256_GCM_SHA384",
    preference=10,
)

SENTENCES: list[tuple[AnyEntry, Line]] = [
    (
        Scored(
            at=AT,
            total=6.5,
            parts=(
                ScoredPart("no-date", 1.5),
                ScoredPart("link-number", 2.0, "192.0.2.7"),
                ScoredPart("helo.ours", 3.0, "it calls itself mx, which is our name"),
            ),
            recipients=("alice@example.org", "carol@example.org"),
            action="junk",
            reason="the score is 6.5",
        ),
        Line(
            AT,
            "The filter gives it 6.5 points, Junk from 5 on. It goes to the Junk of"
            " alice@example.org, carol@example.org (the score is 6.5).",
            (
                "+1.50 no-date: it has no Date",
                "+2.00 link-number: it has a link to a bare address (192.0.2.7)",
                "+3.00 helo.ours: it calls itself mx, which is our name",
            ),
        ),
    ),
    (
        Connected(at=AT, peer="192.0.2.7:40312", role="mx", helo="mx.example.net"),
        Line(
            AT,
            "Another server connected from 192.0.2.7:40312.",
            ("it called itself mx.example.net", "in the clear, without TLS"),
        ),
    ),
    (
        Connected(
            at=AT, peer="192.0.2.7:1", role="submission", tls="TLSv1.3 X", login="a@b.example"
        ),
        Line(
            AT,
            "A mail program connected from 192.0.2.7:1.",
            ("encrypted: TLSv1.3 X", "logged in as a@b.example"),
        ),
    ),
    (
        Accepted(at=AT, reverse_path="", recipients=(BOB,), size=12, message_id="<1@x>"),
        Line(
            AT,
            "The message was accepted: it is on our disk, and ours.",
            ("from <> (a notice, not a person)", f"to {BOB}", "12 octets", "Message-ID <1@x>"),
        ),
    ),
    (
        Refused(at=AT, stage="rcpt", reply="550 5.1.1 No such mailbox", recipient="x@example.org"),
        Line(
            AT,
            "The recipient x@example.org was refused.",
            ("told the peer: 550 5.1.1 No such mailbox",),
            "mailstead account add x@example.org",
        ),
    ),
    (
        Refused(at=AT, stage="rcpt", reply=str(relaying.UNKNOWN), recipient="x@example.net"),
        Line(
            AT,
            "The recipient x@example.net was refused.",
            (f"told the peer: {relaying.UNKNOWN}",),
            "mailstead relay recipients example.net add x@example.net",
        ),
    ),
    (
        Refused(
            at=AT,
            stage="rcpt",
            reply="452 4.2.2 Mailbox full",
            recipient="x@example.org",
            reverse_path="y@example.net",
        ),
        Line(
            AT,
            "The recipient x@example.org was put off: the other side should try again.",
            ("told the peer: 452 4.2.2 Mailbox full", "from <y@example.net>"),
            "mailstead account quota x@example.org SIZE",
        ),
    ),
    (
        Refused(
            at=AT, stage="data", reply="554 5.4.6 Loop", reason="it came round", recipient="r@x"
        ),
        Line(
            AT,
            "The message was refused.",
            ("told the peer: 554 5.4.6 Loop", "because it came round", "recipient r@x"),
        ),
    ),
    (
        Resolved(at=AT, recipient="sales@example.org", rule="alias", targets=("a@x", "b@x")),
        Line(AT, "sales@example.org is an alias.", ("goes to a@x", "goes to b@x")),
    ),
    (
        Completed(at=AT, changes=("Date added",)),
        Line(
            AT,
            "The message was made ready to send (RFC 6409 section 8).",
            ("Date added",),
        ),
    ),
    (
        Delivered(at=AT, recipient="a@x.example", account="a@x.example", mailbox="INBOX", uid=412),
        Line(
            AT,
            "Delivered to a@x.example: it lies in the mailbox INBOX as UID 412.",
            ("account a@x.example",),
        ),
    ),
    (
        Queued(at=AT, recipient=BOB, queue_id=7, lane="example.net"),
        Line(AT, f"{BOB} waits in the queue as #7.", ("lane example.net",)),
    ),
    (
        Queued(at=AT, recipient=BOB, queue_id=7, held=True),
        Line(AT, f"{BOB} is held in the queue as #7."),
    ),
    (
        Attempted(
            at=AT,
            recipient=BOB,
            attempt=1,
            outcome="deferred",
            reply="450 4.2.1 busy",
            hosts=(HOST,),
            route="mx",
            due=LATER,
        ),
        Line(
            AT,
            f"Attempt 1 for {BOB}: not yet; the next attempt is at 2026-11-21 20:45:11 UTC.",
            (
                "way: the hosts of the domain's MX records",
                "mx.example.net [192.0.2.25], preference 10, encrypted: "
                "TLSv1.3 TLS_AES_256_GCM_SHA384: refused the recipient: 450 4.2.1 busy",
            ),
        ),
    ),
    (
        Attempted(at=AT, recipient=BOB, attempt=2, outcome="relayed", reply="250 2.0.0 OK"),
        Line(
            AT,
            f"Attempt 2 for {BOB}: the other server took it; from here on it is theirs.",
            ("outcome: 250 2.0.0 OK",),
        ),
    ),
    (
        Attempted(at=AT, recipient=BOB, attempt=3, outcome="failed", reply="550 5.1.1 Nobody"),
        Line(AT, f"Attempt 3 for {BOB}: failed for good.", ("outcome: 550 5.1.1 Nobody",)),
    ),
    (
        Attempted(at=AT, recipient=BOB, attempt=61, outcome="failed", reply="451 4.4.1 No answer"),
        Line(
            AT,
            f"Attempt 61 for {BOB}: given up: it has waited too long.",
            ("outcome: 451 4.4.1 No answer",),
        ),
    ),
    (
        Notified(at=AT, recipient=BOB, action="failed", sent_to="a@x.example", trace="7f3k"),
        Line(
            AT,
            f"a@x.example was told that {BOB} could not be delivered (DSN, RFC 3464).",
            ("the notice is 7f3k",),
            "mailstead message explain 7f3k",
        ),
    ),
    (
        Notified(at=AT, recipient=BOB, action="delayed", sent_to=""),
        Line(AT, f"Nobody was told that {BOB} is late: there is no one to tell."),
    ),
    (
        Notified(at=AT, recipient=BOB, action="relayed", sent_to="a@x.example"),
        Line(AT, f"a@x.example was told that {BOB} was passed on (DSN, RFC 3464)."),
    ),
    (
        Departed(at=AT, source="b", helo="b.example.org", instead="The source a is new"),
        Line(
            AT,
            "The next attempt left from the source b, as b.example.org.",
            ("The source a is new",),
        ),
    ),
    (
        Suppressed(at=AT, recipient=BOB, reason="gone", evidence="550 5.1.1 no such user"),
        Line(
            AT,
            f"The organisation writes to {BOB} no more, for 90 days.",
            ("550 5.1.1 no such user",),
            f"mailstead suppression remove {BOB}",
        ),
    ),
    (
        Suppressed(at=AT, recipient=BOB, reason="suspect", evidence="550 5.1.2 no such host"),
        Line(
            AT,
            f"If {BOB} fails again after a day, it is written to no more.",
            ("550 5.1.2 no such host",),
        ),
    ),
    (
        Suppressed(at=AT, recipient=BOB, reason="complaint", evidence="abuse"),
        Line(
            AT,
            f"The organisation writes to {BOB} no more.",
            ("abuse",),
            f"mailstead suppression remove {BOB}",
        ),
    ),
    (
        CameBack(
            at=AT,
            recipient=BOB,
            form="bounce",
            by="mx.example.net",
            said="smtp; 550 5.1.1 no such user",
            kind="recipient-gone",
        ),
        Line(
            AT,
            f"mx.example.net took the mail for {BOB}, and then said that it cannot be delivered.",
            ("smtp; 550 5.1.1 no such user", "about: recipient-gone"),
            advice("recipient-gone", ""),
        ),
    ),
    (
        CameBack(at=AT, recipient=BOB, form="auto-reply", said="Auto-Submitted: auto-replied"),
        Line(
            AT,
            f"An automatic answer of {BOB} came back; it is no bounce.",
            ("Auto-Submitted: auto-replied",),
        ),
    ),
    (
        CameBack(at=AT, recipient=BOB, form="complaint", by="fbl.example.net", said="abuse"),
        Line(AT, f"{BOB} complained of the message, says fbl.example.net.", ("abuse",)),
    ),
    (
        Filtered(
            at=AT, filter="clamav", advice="refuse", reason="it is malware: Eicar", malware="Eicar"
        ),
        Line(
            AT,
            "The filter clamav refuses it.",
            ("it is malware: Eicar", "malware: Eicar"),
        ),
    ),
    (
        Filtered(at=AT, filter="mine", advice="nothing", changes=("InsertHeader X-Mine",)),
        Line(
            AT,
            "The filter mine has nothing against the message.",
            ("it changed: InsertHeader X-Mine",),
        ),
    ),
    (
        Filtered(at=AT, filter="mine", advice="defer", reason="no answer", failed=True),
        Line(
            AT,
            "The filter mine did not answer, so it was put off.",
            ("no answer",),
            "mailstead filter test mine",
        ),
    ),
    (
        Authenticated(
            at=AT,
            spf="fail",
            spf_domain="example.net",
            dkim=("example.net fail: the body was changed",),
            dmarc="fail",
            domain="example.net",
            policy="quarantine",
            action="junk",
            reason="DMARC fails, and example.net asks for quarantine",
        ),
        Line(
            AT,
            "The message goes to Junk: DMARC fails, and example.net asks for quarantine.",
            (
                "SPF fail (example.net)",
                "DKIM example.net fail: the body was changed",
                "DMARC fail (example.net, policy quarantine)",
            ),
        ),
    ),
    (
        Authenticated(at=AT, spf="none", spf_domain="x.example", dkim=(), dmarc=""),
        Line(AT, "The message is taken for what it says it is.", ("SPF none (x.example)",)),
    ),
    (
        Incident(
            at=AT,
            state="opened",
            site="example.net",
            source="one",
            kind="reputation",
            number=7,
            said="mx.example.net: 550 5.7.1 blocked",
        ),
        Line(
            AT,
            "example.net refuses mail from one because of us: incident #7.",
            ("about: reputation", "mx.example.net: 550 5.7.1 blocked"),
            "mailstead incident list",
        ),
    ),
    (
        Incident(at=AT, state="closed", site="example.net", source="", kind="reputation", number=7),
        Line(AT, "example.net takes mail again: incident #7 is over."),
    ),
    (
        Changed(at=AT, recipient=BOB, change="rerouted", detail="mx.example.com:25"),
        Line(AT, f"An operator sent {BOB} by another way.", ("mx.example.com:25",)),
    ),
    (
        Retrieved(
            at=AT, account="a@x.example", protocol="imap", mailbox="INBOX", uid=3, client="K9"
        ),
        Line(
            AT,
            "a@x.example fetched it for the first time by IMAP.",
            ("mailbox INBOX, UID 3", "with K9"),
        ),
    ),
    (
        LoggedIn(at=AT, account="a@x.example", protocol="imap", mechanism="PLAIN", peer="[::1]:9"),
        Line(AT, "a@x.example logged in by IMAP from [::1]:9.", ("mechanism: PLAIN",)),
    ),
    (
        LoginFailed(
            at=AT,
            login="a@x; ls",
            protocol="smtp",
            mechanism="PLAIN",
            peer="p",
            reason="no account",
        ),
        Line(
            AT,
            "A log-in as a@x; ls by SMTP failed: no account.",
            ("from p", "mechanism: PLAIN"),
            "mailstead account password 'a@x; ls'",
        ),
    ),
]


@pytest.mark.parametrize(("entry", "expected"), SENTENCES, ids=lambda value: type(value).__name__)
def test_sentence(entry: AnyEntry, expected: Line) -> None:
    assert expected == explain_entry(entry)


def test_every_entry_is_in_the_table() -> None:
    assert set(get_args(AnyEntry)) == {type(entry) for entry, _ in SENTENCES}


def attempt(outcome: str) -> Attempted:
    return Attempted(at=AT, recipient=BOB, attempt=1, outcome=outcome, reply="4", queue_id=7)


WAITS = Queued(at=AT, recipient=BOB, queue_id=7)


def changed(change: str) -> Changed:
    return Changed(at=AT, recipient=BOB, change=change)


@pytest.mark.parametrize(
    ("entries", "commands"),
    [
        ([WAITS], ["mailstead queue show --id 7"]),
        ([WAITS, attempt("deferred")], ["", "mailstead queue retry --id 7"]),
        (
            [WAITS, attempt("deferred"), attempt("deferred")],
            ["", "", "mailstead queue retry --id 7"],
        ),
        ([WAITS, attempt("deferred"), attempt("relayed")], ["", "", ""]),
        ([WAITS, changed("held")], ["", "mailstead queue release --id 7"]),
        ([WAITS, changed("held"), changed("dropped")], ["", "", ""]),
        (
            [Queued(at=AT, recipient="$(reboot)@x.example", held=True)],
            ["mailstead queue release --to '$(reboot)@x.example'"],
        ),
    ],
)
def test_the_last_entry_of_a_recipient_says_what_to_do(
    entries: list[AnyEntry], commands: list[str]
) -> None:
    assert commands == [line.next for line in explain(entries)]


def test_a_connection_is_told_once() -> None:
    first = Connected(at=AT, peer="192.0.2.7:1", role="mx")
    again = Connected(at=LATER, peer="192.0.2.7:1", role="mx")
    other = Connected(at=LATER, peer="192.0.2.8:1", role="mx")
    assert [first.at, other.at] == [line.at for line in explain([first, again, other])]
    assert explain([]) == []


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], "unfinished"),
        ([Refused(at=AT, stage="mail", reply="552 5.3.4 Too big")], "refused"),
        ([Refused(at=AT, stage="mail", reply="451 4.3.0 Later")], "put off"),
        ([WAITS], "queued"),
        ([WAITS, changed("held")], "held"),
        ([WAITS, changed("held"), changed("released")], "queued"),
        ([WAITS, attempt("deferred")], "deferred"),
        ([WAITS, attempt("deferred"), changed("dropped")], "dropped"),
        (
            [Delivered(at=AT, recipient="a@x", account="a@x", mailbox="INBOX"), attempt("relayed")],
            "delivered, relayed",
        ),
    ],
)
def test_outcome(entries: list[AnyEntry], expected: str) -> None:
    assert expected == outcome(entries)


async def test_the_story_of_a_message_that_came_in(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"], aliases={"sales": ["alice"]})
    await house.receive(BOB, to="sales@example.org")
    trace = (await house.newest("alice@example.org")).trace
    story = await house.house.store.read(lambda tx: journal.find(tx, trace))
    assert story is not None
    starts = [
        "Another server connected from 192.0.2.",
        "The message is taken for what it says it is.",
        "The filter gives it ",
        "The message was accepted",
        "sales@example.org is an alias",
        "Delivered to sales@example.org",
    ]
    texts = [line.text for line in explain(story.entries)]
    assert starts == [text[: len(start)] for text, start in zip(texts, starts, strict=True)]
