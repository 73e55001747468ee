"""Delivery status notifications, read by somebody else's parser."""

import email
import email.policy
from datetime import UTC, datetime

import pytest

from mailstead.message.dsn import Action, Report, ReportedRecipient, compose_dsn
from mailstead.message.header import get
from mailstead.message.mime import scan
from mailstead.model.address import Address, Domain

DATE = datetime(2026, 11, 21, 9, 0, 0, tzinfo=UTC)
ORIGINAL = b"Message-ID: <1@example.org>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\n"


def address(local_part: str, domain: str = "example.net") -> Address:
    return Address(local_part, Domain(domain))


def failed(local_part: str = "bob", **more) -> ReportedRecipient:
    facts = {
        "address": address(local_part),
        "action": Action.FAILED,
        "status": "5.1.1",
        "reply": "550 5.1.1 No such user\nhere",
        "remote_mta": "mx.example.net",
        "last_attempt": DATE,
    }
    return ReportedRecipient(**(facts | more))


def report(*recipients: ReportedRecipient, original: bytes = ORIGINAL) -> Report:
    return Report(
        reporting_mta="mx.example.org",
        sender=address("ann", "example.org"),
        date=DATE,
        message_id="2@mx.example.org",
        recipients=recipients,
        original_header=original,
        arrival=DATE,
        envelope_id="E1",
    )


def read(one: Report):
    header, body = compose_dsn(one)
    assert header.endswith(b"\r\n\r\n")
    assert (header + body).isascii()
    message = email.message_from_bytes(header + body, policy=email.policy.default)
    assert not any(one.defects for one in message.walk())
    return message


@pytest.mark.rfc("6522 section 3")
def test_what_a_dsn_is():
    message = read(report(failed()))
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert [one.get_content_type() for one in message.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]
    assert {name: str(message[name]) for name in message if name != "Content-Type"} == {
        "From": "Mail Delivery System <MAILER-DAEMON@mx.example.org>",
        "To": "ann@example.org",
        "Subject": "Not delivered: Grüße",
        "Date": "Sat, 21 Nov 2026 09:00:00 +0000",
        "Message-ID": "<2@mx.example.org>",
        "Auto-Submitted": "auto-replied",
        "In-Reply-To": "<1@example.org>",
        "References": "<1@example.org>",
        "MIME-Version": "1.0",
    }
    assert list(message.iter_parts())[2].get_payload(decode=True) == ORIGINAL[:-2]


@pytest.mark.rfc("3464 section 2")
def test_what_programs_read():
    waiting = ReportedRecipient(
        address=address("carol"),
        action=Action.DELAYED,
        status="4.4.1",
        reason="No host answered.",
        original_recipient="rfc822;c@example.net",
        will_retry_until=DATE,
    )
    _, status, _ = read(report(failed(), waiting)).iter_parts()
    assert [dict(block.items()) for block in status.get_payload()] == [
        {
            "Original-Envelope-Id": "E1",
            "Reporting-MTA": "dns; mx.example.org",
            "Arrival-Date": "Sat, 21 Nov 2026 09:00:00 +0000",
        },
        {
            "Final-Recipient": "rfc822; bob@example.net",
            "Action": "failed",
            "Status": "5.1.1",
            "Remote-MTA": "dns; mx.example.net",
            "Diagnostic-Code": "smtp; 550 5.1.1 No such user here",
            "Last-Attempt-Date": "Sat, 21 Nov 2026 09:00:00 +0000",
        },
        {
            "Original-Recipient": "rfc822;c@example.net",
            "Final-Recipient": "rfc822; carol@example.net",
            "Action": "delayed",
            "Status": "4.4.1",
            "Will-Retry-Until": "Sat, 21 Nov 2026 09:00:00 +0000",
        },
    ]


@pytest.mark.parametrize(
    ("recipient", "words"),
    [
        (failed(), ["could not be delivered", "550 5.1.1 No such user here", "typing mistake"]),
        (failed(status="5.2.2", reply=""), ["mailbox is full"]),
        (failed(status="5.9.9", reason="Odd."), ["Odd.", "show this message to your postmaster"]),
        (failed(action=Action.DELAYED, will_retry_until=DATE), ["not been delivered yet", "until"]),
        (failed(action=Action.DELIVERED, status="2.0.0"), ["was delivered to"]),
        (failed(action=Action.RELAYED, status="2.0.0"), ["no further notice"]),
        (failed(action=Action.EXPANDED, status="2.0.0"), ["all members of"]),
    ],
)
def test_what_people_read(recipient, words):
    text = next(read(report(recipient)).iter_parts()).get_content()
    assert [
        word for word in ["bob@example.net", "Subject: Grüße", *words] if word not in text
    ] == []


@pytest.mark.rfc("6533 section 3")
def test_an_address_that_is_not_ascii():
    header, body = compose_dsn(report(failed("b\u00fc+b=")))
    assert b"Final-Recipient: utf-8; b\\x{FC}\\x{2B}b\\x{3D}@example.net\r\n" in body
    assert header.isascii()


@pytest.mark.rfc("6533 section 4.3")
@pytest.mark.parametrize(
    ("original", "expected"),
    [
        ("Subject: ü\r\n\r\n".encode(), "global-headers"),
        (b"Subject: \xfc\r\n\r\n", "rfc822-headers"),
        (b"", "rfc822-headers"),
        (b"\0\r\n\xff" * 1000, "rfc822-headers"),
        (b"Subject: " + b"x" * 500_000, "rfc822-headers"),
        (b"X: y\r\n" * 100_000, "rfc822-headers"),
    ],
)
def test_odd_originals(original, expected):
    header, body = compose_dsn(report(failed(), original=original))
    assert scan(header, body).children[2].subtype == expected
    assert len(body) < 150_000
    assert max(map(len, (header + body).split(b"\r\n"))) <= 998


def test_hostile_facts_stay_in_their_fields():
    hostile = failed(
        reply="550 a\r\n\r\nAction: delivered\r\n--x\0\ud800" + "y" * 5000,
        reason="b\r\n.\r\n",
        remote_mta="m\r\nStatus: 2.0.0",
        original_recipient="rfc822;x\r\nAction: delivered",
    )
    one = report(hostile, original=b"Subject: x\r\nMessage-ID: <a\r\n b>\r\n\r\n")
    header, body = compose_dsn(one)
    status = scan(header, body).children[1]
    fields = body[status.body_start : status.body_end].partition(b"\r\n\r\n")[2]
    assert (get(fields, "Action"), get(fields, "Status")) == (b"failed", b"5.1.1")
    assert get(header, "References") is None
