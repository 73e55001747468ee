"""`mailstead check reply` and `check bounce`."""

import pytest

from .conftest import Shell

BOUNCE = """\
From: MAILER-DAEMON@mx.example.net
Subject: Undelivered
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

It did not work.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; bob@example.net
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 <bob@example.net>: User unknown

--b--
"""


@pytest.mark.parametrize(
    ("text", "class_", "suppress"),
    [
        (
            "550 5.1.1 <bob@example.net>: Recipient address rejected: User unknown",
            "recipient-gone",
            "now",
        ),
        (
            "452 4.2.2 The email account that you tried to reach is over quota",
            "mailbox-full",
            "never",
        ),
        (
            "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
            "reputation",
            "never",
        ),
    ],
)
def test_a_reply_by_hand(fresh: Shell, text: str, class_: str, suppress: str) -> None:
    found = fresh.bare("check", "reply", text, "--json").json()
    assert (found["class_"], found["suppress"]) == (class_, suppress)
    assert f"about     {class_}" in fresh.bare("check", "reply", text).out


def test_a_bounce_by_hand(fresh: Shell) -> None:
    found = fresh.bare("check", "bounce", "--json", stdin=BOUNCE).json()
    ((address, verdict),) = found["recipients"]
    assert (found["kind"], address, verdict["class_"]) == (
        "report",
        "bob@example.net",
        "recipient-gone",
    )
    assert "bob@example.net" in fresh.bare("check", "bounce", stdin=BOUNCE).out


def test_no_bounce(fresh: Shell) -> None:
    assert fresh.bare("check", "bounce", stdin="From: a@b.example\n\nHi!\n").out == "other\n"
    answer = "From: a@b.example\nAuto-Submitted: auto-replied\n\nAway.\n"
    assert fresh.bare("check", "bounce", stdin=answer).out.startswith("auto-reply: ")
