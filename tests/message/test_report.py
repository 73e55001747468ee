"""What comes back: reports as RFC 3464 has them, and the texts that have none of that."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.message.arf import Complaint
from mailstead.message.autoreply import AutoReply, automatic_sign
from mailstead.message.bouncetext import FAILURES_LIMIT, LINES_LIMIT, read_text
from mailstead.message.diagnostic import DIAGNOSTIC_LIMIT, read_reply
from mailstead.message.dsn import Action, ReportedRecipient, compose_dsn
from mailstead.message.dsn import Report as OwnReport
from mailstead.message.header import split
from mailstead.message.original import HEADER_LIMIT, Original
from mailstead.message.report import RECIPIENTS_LIMIT, Report, Reported
from mailstead.message.returned import Other, kind_of
from mailstead.model.address import Address, Domain
from mailstead.model.reply import Reply

DATE = datetime(2026, 11, 21, 9, 0, 0, tzinfo=UTC)


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


def kind(text: str, reverse_path: str | None = None):
    return kind_of(*split(crlf(text)), reverse_path)


def report(text: str) -> Report:
    found = kind(text, "")
    assert isinstance(found, Report)
    return found


def dsn(status: str, returned: str = "", head: str = "") -> str:
    """A multipart/report with this delivery-status part."""
    return f"""\
From: Mail Delivery Subsystem <MAILER-DAEMON@mx.example.net>
{head}Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

It did not work.
--b
Content-Type: message/delivery-status

{status}
--b
{returned or "Content-Type: text/rfc822-headers"}

Message-ID: <1@example.org>
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=

--b--
"""


STATUS = """\
Original-Envelope-Id: 7f3k
Reporting-MTA: dns; mx.example.net
Arrival-Date: Sat, 21 Nov 2026 09:00:00 +0000

Original-Recipient: rfc822;Bob@example.net
Final-Recipient: rfc822; robert@inner.example.net
Action: failed
Status: 5.1.1 (no such user)
Remote-MTA: dns; inner.example.net (192.0.2.7)
Diagnostic-Code: smtp; 550 5.1.1
 <robert@inner.example.net>... User unknown
Last-Attempt-Date: Sat, 21 Nov 2026 09:00:00 +0000

Final-Recipient: RFC822; <carol@example.net>
Action: Delayed
Status: 4.4.1
Will-Retry-Until: Sat, 21 Nov 2026 09:00:00 +0000
"""


@pytest.mark.rfc("3464 section 2.1")
@pytest.mark.rfc("3464 section 2.2")
@pytest.mark.rfc("3464 section 2.3")
@pytest.mark.parametrize(
    "returned",
    ["Content-Type: text/rfc822-headers", "Content-Type: message/rfc822"],
)
def test_reads_the_fields(returned: str) -> None:
    found = report(dsn(STATUS, returned))
    bob = Reported(
        final_recipient="robert@inner.example.net",
        final_type="rfc822",
        original_recipient="Bob@example.net",
        original_type="rfc822",
        action="failed",
        status="5.1.1",
        diagnostic="smtp; 550 5.1.1 <robert@inner.example.net>... User unknown",
        remote_mta="inner.example.net",
        last_attempt=DATE,
    )
    carol = Reported(
        final_recipient="carol@example.net",
        final_type="rfc822",
        action="delayed",
        status="4.4.1",
        will_retry_until=DATE,
    )
    assert (bob, carol) == found.recipients
    assert (bob.address, carol.address) == ("Bob@example.net", "carol@example.net")
    assert (
        found.form,
        found.reporting_mta,
        found.envelope_id,
        found.arrival,
    ) == ("rfc3464", "mx.example.net", "7f3k", DATE)
    assert (found.original.message_id, found.original.subject) == ("<1@example.org>", "Grüße")


@pytest.mark.rfc("6533 section 3")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("utf-8; jos\\x{E9}@example.net", "josé@example.net"),
        ("utf-8; josé@example.net", "josé@example.net"),
        ("utf-8; a\\x{D800}@example.net", "a\ufffd@example.net"),
        ("utf-8; a\\x{FFFFFF}@example.net", "a\ufffd@example.net"),
        ("rfc822; a\\x{E9}@example.net", "a\\x{E9}@example.net"),
        ("x400; /S=bob/", "/S=bob/"),
        ("bob@example.net", "bob@example.net"),
    ],
)
def test_reads_addresses_of_every_type(value: str, expected: str) -> None:
    found = report(dsn(f"Reporting-MTA: dns; x\n\nFinal-Recipient: {value}\nAction: failed\n"))
    assert expected == found.recipients[0].final_recipient


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        # One group for everything, as some write it.
        (
            "Reporting-MTA: dns; x\nFinal-Recipient: rfc822; a@x.example\nStatus: 5.0.0",
            "a@x.example",
        ),
        (
            "\n\nReporting-MTA: dns; x\n\n\n \n\nFinal-Recipient: rfc822;a@x.example\n",
            "a@x.example",
        ),
        ("Original-Recipient: rfc822;a@x.example\nAction: exploded", ""),
    ],
)
def test_takes_odd_groups(status: str, expected: str) -> None:
    found = report(dsn(status)).recipients
    assert [(expected, "")] == [(one.final_recipient, one.action) for one in found]


def test_reads_what_we_write_ourselves() -> None:
    recipient = ReportedRecipient(
        address=Address("josé", Domain("example.net")),
        action=Action.FAILED,
        status="5.2.2",
        reply="552 5.2.2 Mailbox full",
        remote_mta="mx.example.net",
    )
    own = OwnReport(
        reporting_mta="mx.example.org",
        sender=Address("ann", Domain("example.org")),
        date=DATE,
        message_id="2@mx.example.org",
        recipients=(recipient,),
        original_header=b"Message-ID: <1@example.org>\r\n\r\n",
        envelope_id="7f3k",
    )
    found = kind_of(*compose_dsn(own))
    assert isinstance(found, Report)
    assert (found.envelope_id, found.original.message_id) == ("7f3k", "<1@example.org>")
    one = found.recipients[0]
    assert (one.address, one.action, one.status) == ("josé@example.net", "failed", "5.2.2")
    assert Reply(552, "5.2.2", "Mailbox full") == read_reply(one.diagnostic)


def test_limits_hold() -> None:
    many = "\n\n".join(f"Final-Recipient: rfc822; {n}@x.example" for n in range(3000))
    assert len(report(dsn(many)).recipients) == RECIPIENTS_LIMIT
    long = f"Final-Recipient: rfc822; a@x.example\nDiagnostic-Code: smtp; {'x' * 20_000}"
    assert len(report(dsn(long)).recipients[0].diagnostic) == DIAGNOSTIC_LIMIT
    large = dsn(STATUS, "Content-Type: text/rfc822-headers\n\n" + "X-A: b\n" * 30_000)
    assert len(report(large).original.header) <= HEADER_LIMIT
    text = "Hi. This is the qmail-send program at x.\n" + "<a@x.example>:\n no\n" * 5000
    found = read_text(text)
    assert found is not None
    assert len(found.failures) == 1
    spread = "\n".join(f"<{n}@x.example>:" for n in range(LINES_LIMIT * 2))
    found = read_text("Hi. This is the qmail-send program at x.\n" + spread)
    assert found is not None
    assert len(found.failures) == FAILURES_LIMIT


# --------------------------------------------------------------- texts without a status part

QMAIL = """\
From: MAILER-DAEMON@mx.example.net
Subject: failure notice

Hi. This is the qmail-send program at mx.example.net.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<bob@example.net>:
192.0.2.7 does not like recipient.
Remote host said: 550 5.1.1 User unknown
Giving up on 192.0.2.7.

<carol@example.net>:
user is over quota

--- Below this line is a copy of the message.

Return-Path: <ann@example.org>
Message-ID: <1@example.org>

Hello
"""
EXIM = """\
X-Failed-Recipients: bob@example.net
From: Mail Delivery System <Mailer-Daemon@mx.example.org>
Subject: Mail delivery failed: returning message to sender

This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  bob@example.net
    host mx.example.net [192.0.2.7]
    SMTP error from remote mail server after RCPT TO:<bob@example.net>:
    550 5.1.1 User unknown

------ This is a copy of the message, including all the headers. ------

Message-ID: <1@example.org>
"""
EXIM_COLON = """\
From: Mail Delivery System <mailer-daemon@mx.example.org>

This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of
its recipients. This is a permanent error. The following address(es)
failed:

bob@example.net:
SMTP error from remote server for RCPT TO command, host: mx.example.net
(192.0.2.7) reason: 550 5.1.1 User unknown

--- The header of the original message is following. ---

Message-ID: <1@example.org>
"""
POSTFIX = """\
From: MAILER-DAEMON@mx.example.org (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender

This is the mail system at host mx.example.org.

I'm sorry to have to inform you that your message could not
be delivered to one or more recipients. It's attached below.

                   The mail system

<bob@example.net>: host mx.example.net[192.0.2.7] said: 550 5.1.1
    User unknown (in reply to RCPT TO command)
"""
SENDMAIL = """\
From: Mail Delivery Subsystem <MAILER-DAEMON@mx.example.org>

The original message was received at Sat, 21 Nov 2026 09:00:00 GMT

   ----- The following addresses had permanent fatal errors -----
<bob@example.net>
    (reason: 550 5.1.1 User unknown)

   ----- Transcript of session follows -----
... while talking to mx.example.net.:
"""
GMAIL = """\
From: Mail Delivery Subsystem <mailer-daemon@googlemail.com>

Delivery to the following recipient failed permanently:

     bob@example.net

Technical details of permanent failure:
Google tried to deliver your message, but it was rejected by the recipient domain.
The error that the other server returned was: 550 550 5.1.1 User unknown (state 14).

----- Original message -----

Message-ID: <1@example.org>
"""
EXCHANGE = """\
From: Microsoft Exchange <postmaster@example.net>

Delivery has failed to these recipients or groups:

bob@example.net
The email address you entered couldn't be found.

Diagnostic information for administrators:

Generating server: mx.example.net

bob@example.net
Remote Server returned '550 5.1.1 RESOLVER.ADR.RecipNotFound; not found'

Original message headers:

Message-ID: <1@example.org>
"""
DOMINO = """\
From: Postmaster@example.net

Your message

  Subject: Hello

was not delivered to:

  bob@example.net

because:

  User bob (bob@example.net) not listed in Domino Directory
"""
GROUPWISE = """\
From: Mail Delivery Subsystem <MAILER-DAEMON@example.net>

The message that you sent was undeliverable to the following:
	bob@example.net (user not found)
"""
YAHOO = """\
From: MAILER-DAEMON@yahoo.example

Sorry, we were unable to deliver your message to the following address.

<bob@example.net>:
Remote host said: 550 5.1.1 User unknown [RCPT_TO]

--- Below this line is a copy of the message.

Message-ID: <1@example.org>
"""


@pytest.mark.parametrize(
    ("text", "form", "enhanced", "message_id"),
    [
        (QMAIL, "qmail", "5.1.1", "<1@example.org>"),
        (EXIM, "exim", "5.1.1", "<1@example.org>"),
        (EXIM_COLON, "exim", "5.1.1", "<1@example.org>"),
        (POSTFIX, "postfix", "5.1.1", ""),
        (SENDMAIL, "sendmail", "5.1.1", ""),
        (GMAIL, "gmail", "5.1.1", "<1@example.org>"),
        (EXCHANGE, "exchange", "5.1.1", "<1@example.org>"),
        (DOMINO, "domino", "", ""),
        (GROUPWISE, "groupwise", "", ""),
        (YAHOO, "yahoo", "5.1.1", "<1@example.org>"),
    ],
)
def test_reads_texts(text: str, form: str, enhanced: str, message_id: str) -> None:
    found = kind(text)
    assert isinstance(found, Report)
    one = found.recipients[0]
    assert (form, "bob@example.net", "failed") == (found.form, one.address, one.action)
    assert enhanced == read_reply(one.diagnostic).enhanced
    assert message_id == found.original.message_id


def test_reads_every_recipient_of_a_text() -> None:
    found = report(QMAIL)
    assert [one.address for one in found.recipients] == ["bob@example.net", "carol@example.net"]
    assert found.recipients[1].diagnostic == "user is over quota"


def test_a_warning_is_no_failure() -> None:
    found = report(GMAIL.replace("failed permanently", "has been delayed"))
    assert found.recipients[0].action == "delayed"


def test_the_header_names_them_where_the_text_does_not() -> None:
    text = "X-Failed-Recipients: a@x.example,\n b@x.example\n\nThis message was created\n"
    assert isinstance(kind(text), Other)
    text += "automatically. This message was created automatically by mail delivery software.\n"
    assert [one.address for one in report(text).recipients] == ["a@x.example", "b@x.example"]


def test_people_quote_bounces() -> None:
    question = POSTFIX.partition("\n")[2]
    assert isinstance(kind(question, "ann@example.org"), Other)


# --------------------------------------------------------------- complaints

ARF = """\
From: abuse@example.net
Content-Type: multipart/report; report-type=feedback-report; boundary=b

--b
Content-Type: text/plain

A person did not want this.
--b
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: SomeGenerator/1.0
Version: 1
Original-Envelope-Id: 7f3k
Original-Mail-From: <news+bob@example.org>
Original-Rcpt-To: <bob@example.net>
Original-Rcpt-To: <carol@example.net>
Received-Date: Sat, 21 Nov 2026 09:00:00 +0000
Source-IP: 192.0.2.1
Reporting-MTA: dns; mx.example.net
Reported-Domain: example.org
Incidents: 3

--b
Content-Type: message/rfc822

Message-ID: <1@example.org>

Buy!
--b--
"""


@pytest.mark.rfc("5965 section 3")
def test_reads_a_complaint() -> None:
    expected = Complaint(
        feedback_type="abuse",
        user_agent="SomeGenerator/1.0",
        original_mail_from="news+bob@example.org",
        original_rcpt_to=("bob@example.net", "carol@example.net"),
        envelope_id="7f3k",
        arrival=DATE,
        source_ip="192.0.2.1",
        reporting_mta="mx.example.net",
        reported_domains=("example.org",),
        incidents=3,
        original=Original(b"Message-ID: <1@example.org>\r\n\r\n", "<1@example.org>"),
    )
    assert expected == kind(ARF)
    assert expected.against_us


@pytest.mark.rfc("6591 section 3.1")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("Feedback-Type: auth-failure\nAuth-Failure: dkim", ("auth-failure", "dkim", 1, False)),
        ("Feedback-Type: not-spam", ("not-spam", "", 1, False)),
        ("Feedback-Type: Opt-Out", ("opt-out", "", 1, True)),
        ("Incidents: 99999999999999999999", ("other", "", 1, True)),
        ("Incidents: 0", ("other", "", 1, True)),
        ("Feedback-Type: ,,;", ("other", "", 1, True)),
    ],
)
def test_tells_complaints_from_information(fields: str, expected: tuple) -> None:
    start, end = ARF.index("Feedback-Type"), ARF.index("\n--b\nContent-Type: message/rfc822")
    found = kind(ARF[:start] + fields + "\n" + ARF[end:])
    assert isinstance(found, Complaint)
    assert expected == (
        found.feedback_type,
        found.auth_failure,
        found.incidents,
        found.against_us,
    )


# --------------------------------------------------------------- automatic answers


@pytest.mark.rfc("3834 section 5")
@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Auto-Submitted: auto-replied\nIn-Reply-To: <1@x>", "Auto-Submitted: auto-replied"),
        ('Auto-Submitted: auto-replied; owner-email="a@x"', "Auto-Submitted: auto-replied"),
        ("Auto-Submitted: auto-generated\nIn-Reply-To: <1@x>", "Auto-Submitted: auto-generated"),
        ("Auto-Submitted: auto-generated", ""),  # it answers nothing
        ("Auto-Submitted: no", ""),
        ("Precedence: auto_reply", "Precedence: auto_reply"),
        ("X-Autoreply: yes", "X-Autoreply"),
        ("Subject: Automatic reply: Hello", "subject"),
        ("Subject: =?utf-8?q?R=C3=A9ponse_automatique_=3A_Hello?=", "subject"),
        ("Subject: Abwesenheitsnotiz: Hallo", "subject"),
        ("Subject: Re: Out of Office: Hello", "subject"),
        ("Subject: The office is out of coffee", ""),
        ("Subject: I saw your automatic reply", ""),
        (
            "Content-Type: multipart/report; report-type=disposition-notification; boundary=b",
            "disposition-notification",
        ),
        ("List-Id: <a.example.org>\nPrecedence: list", ""),
    ],
)
def test_hears_automatic_answers(header: str, expected: str) -> None:
    found = kind(f"{header}\n\nI am away.\n", "bob@example.net")
    assert expected == (found.sign if isinstance(found, AutoReply) else "")


@pytest.mark.rfc("3834 section 2")
@pytest.mark.parametrize(
    ("header", "reverse_path", "expected"),
    [
        ("Subject: Hello", "bob@example.net", ""),
        ("Subject: Hello", "", "null reverse-path"),
        ("Auto-Submitted: auto-generated", "bob@example.net", "Auto-Submitted"),
        ("Precedence: Bulk", "bob@example.net", "Precedence"),
        ("List-Unsubscribe: <mailto:a@x>", "bob@example.net", "List-Unsubscribe"),
        ("X-Auto-Response-Suppress: DR, OOF, AutoReply", "b@x", "X-Auto-Response-Suppress"),
        ("X-Auto-Response-Suppress: DR", "b@x", ""),
    ],
)
def test_knows_what_not_to_answer(header: str, reverse_path: str, expected: str) -> None:
    assert expected == automatic_sign(crlf(header + "\n\n"), reverse_path)


def test_a_null_reverse_path_is_no_person() -> None:
    assert AutoReply("null reverse-path", "<1@x>") == kind("In-Reply-To: <1@x>\n\nHm.\n", "")
    assert Other() == kind("In-Reply-To: <1@x>\n\nHm.\n")


# --------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        ("smtp; 550 5.1.1 No", "", Reply(550, "5.1.1", "No")),
        ("SMTP;550-5.7.1 a 550-5.7.1 b 550 5.7.1 c", "", Reply(550, "5.7.1", "a b c")),
        (
            "X-Postfix; host mx[192.0.2.7] said: 421 4.7.0 no (in reply to EHLO command)",
            "",
            Reply(421, "4.7.0", "no"),
        ),
        ("552 552 5.3.4 too big", "", Reply(552, "5.3.4", "too big")),
        ("5.2.2 Mailbox full", "", Reply(550, "5.2.2", "Mailbox full")),
        ("#550 5.1.1 no ##", "", Reply(550, "5.1.1", "no ##")),
        ("user unknown", "5.1.1", Reply(550, "5.1.1", "user unknown")),
        ("user unknown", "5.0.0", Reply(550, "", "user unknown")),
        ("user unknown", "", Reply(0, "", "user unknown")),
        ("smtp; 450 later", "4.2.0", Reply(450, "4.2.0", "later")),
        ("550", "", Reply(550, "", "")),
        ("", "", Reply(0, "", "")),
        ("5501 Main Street", "", Reply(0, "", "5501 Main Street")),
    ],
)
def test_reads_replies_back(words: str, status: str, expected: Reply) -> None:
    assert expected == read_reply(words, status)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=400), st.binary(max_size=2000), st.sampled_from([None, "", "a@x"]))
def test_never_raises(header: bytes, body: bytes, reverse_path: str | None) -> None:
    kind_of(header, body, reverse_path)
    status = b"--b\r\nContent-Type: message/delivery-status\r\n\r\n" + body + b"\r\n--b--\r\n"
    kind_of(b"Content-Type: multipart/report; boundary=b\r\n\r\n", status, reverse_path)
    feedback = status.replace(b"delivery-status", b"feedback-report")
    kind_of(b"Content-Type: multipart/report; boundary=b\r\n\r\n", feedback, reverse_path)


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=2000))
def test_never_raises_for_text(text: str) -> None:
    read_text("This is the mail system at host x\n" + text)
    read_reply(text)
