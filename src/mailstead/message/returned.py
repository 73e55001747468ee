"""What a message is that came back to an address we sent from: a report, a complaint, an answer.

The order matters: a bounce carries all the signs of an automatic answer, and a complaint those of a
report. Pure. Holds: never raises, whatever the message.
"""

import msgspec

from mailstead.message.arf import Complaint, parse_complaint
from mailstead.message.autoreply import AutoReply, find_autoreply
from mailstead.message.mime import Buffer, scan
from mailstead.message.report import Report, parse_report


class Other(msgspec.Struct, frozen=True):
    """None of these: a person, or a program that does not say so."""


Returned = Report | Complaint | AutoReply | Other


def kind_of(header: bytes, body: Buffer, reverse_path: str | None = None) -> Returned:
    """What came back; `reverse_path` is "" for the null one, None where it is not known."""
    part = scan(header, body)
    if complaint := parse_complaint(part, body):
        return complaint
    if report := parse_report(header, part, body, reverse_path):
        return report
    return find_autoreply(header, reverse_path) or Other()
