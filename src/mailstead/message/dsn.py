"""Delivery status notifications: what became of a message, for people and for programs.

A multipart/report (RFC 6522) of an explanation, a message/delivery-status (RFC 3464; addresses
that are not ASCII as in RFC 6533) and the header of the message, or all of it. Pure: the caller
brings date, Message-ID and facts. Not here: whether a DSN is due, and its null reverse-path.
"""

import enum
import re
from datetime import datetime

import msgspec

from mailstead.message.compose import (
    compose_header,
    message_part,
    multipart,
    part,
    text_part,
)
from mailstead.message.dates import format_date
from mailstead.message.header import decode, fold, get, split
from mailstead.model.address import Address

RETURNED_HEADER_LIMIT = 32 * 1024  # octets of the original header that go back
REPLY_LIMIT = 1000  # characters of the remote's words that are repeated
SUBJECT_LIMIT = 200  # characters of the original subject that are repeated


class Action(enum.StrEnum):
    """What happened to a recipient (RFC 3464 section 2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


class ReportedRecipient(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient and what came of it."""

    address: Address
    action: Action
    status: str  # "5.1.1" (RFC 3463)
    reply: str = ""  # the remote's reply word for word, if it came to one
    reason: str = ""  # a sentence for people, where there is no reply: "no answer from any host"
    remote_mta: str = ""  # the host that replied
    original_recipient: str = ""  # ORCPT as it came, decoded: "rfc822;bob@example.net"
    last_attempt: datetime | None = None
    will_retry_until: datetime | None = None  # for a delayed one


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that a DSN says."""

    reporting_mta: str  # our host name
    sender: Address  # whom it goes to
    date: datetime
    message_id: str  # of the DSN, without angle brackets
    recipients: tuple[ReportedRecipient, ...]
    original_header: bytes
    original_body: bytes | None = None  # if it goes back too (RFC 3461 section 4.3)
    arrival: datetime | None = None  # when the message came to us
    release: str = ""  # as HOLDFOR or HOLDUNTIL asked for it (RFC 4865 section 5.1.2)
    envelope_id: str = ""  # ENVID as it came, decoded (RFC 3461 section 4.4)


def compose_dsn(report: Report) -> tuple[bytes, bytes]:
    """Header and body of the notification."""
    parts = [
        text_part(_explanation(report)),
        part("message/delivery-status", _status(report), "Delivery report"),
        _returned(report),
    ]
    body = multipart("report; report-type=delivery-status", parts)
    return split(compose_header(_fields(report)) + body)


def _fields(report: Report) -> list[tuple[str, str]]:
    subject = decode(get(report.original_header, "Subject") or b"")[:SUBJECT_LIMIT]
    fields = [
        ("From", f"Mail Delivery System <MAILER-DAEMON@{report.reporting_mta}>"),
        ("To", str(report.sender)),
        ("Subject", f"{_headline(report)}: {subject or '(no subject)'}"),
        ("Date", format_date(report.date)),
        ("Message-ID", f"<{report.message_id}>"),
        ("Auto-Submitted", "auto-replied"),  # RFC 3834 section 5
    ]
    original = _MESSAGE_ID.search(get(report.original_header, "Message-ID") or b"")
    if original:
        identifier = original[0].decode("ascii")
        fields += [("In-Reply-To", identifier), ("References", identifier)]
    return fields


_MESSAGE_ID = re.compile(rb"<[!-;=?-~]{1,900}>")

# The worst of the actions gives the subject and the opening sentence.
_HEADLINES = {
    Action.FAILED: ("Not delivered", "Your message could not be delivered to:"),
    Action.DELAYED: (
        "Delayed",
        "Your message has not been delivered yet. This is only a warning, you need not send it\n"
        "again: it will be tried further. It waits for:",
    ),
    Action.DELIVERED: ("Delivered", "Your message was delivered to:"),
    Action.RELAYED: (
        "Passed on",
        "Your message was passed on to a server that gives no further notice, for:",
    ),
    Action.EXPANDED: ("Passed on", "Your message was passed on to all members of:"),
}


def _worst(report: Report) -> Action:
    actions = {recipient.action for recipient in report.recipients}
    return next((action for action in _HEADLINES if action in actions), Action.FAILED)


def _headline(report: Report) -> str:
    return _HEADLINES[_worst(report)][0]


def _explanation(report: Report) -> str:
    lines = [f"This is the mail server {report.reporting_mta}."]
    for action, (_, opening) in _HEADLINES.items():
        concerned = [one for one in report.recipients if one.action == action]
        if concerned:
            lines += ["", opening]
        for one in concerned:
            lines += ["", *_story(one)]
    lines += ["", *_about_the_message(report.original_header)]
    what = "header of the message" if report.original_body is None else "message itself"
    lines += ["", f"The details for your postmaster and the {what} follow.", ""]
    return "\n".join(lines)


def _story(one: ReportedRecipient) -> list[str]:
    lines = [f"  {one.address}"]
    if one.reply:
        who = f"The server {one.remote_mta}" if one.remote_mta else "The server"
        lines += [f"    {who} said:", f"    {_one_line(one.reply)}"]
    if one.reason:
        lines.append(f"    {_one_line(one.reason)}")
    if one.will_retry_until is not None:
        lines.append(f"    It will be tried again until {format_date(one.will_retry_until)}.")
    if one.action == Action.FAILED:
        lines.append(f"    {_advice(one.status)}")
    return lines


# By subject and detail of the status code (RFC 3463 section 3), the longest match counts.
_ADVICE = {
    "1.1": "There is no such address. Please look for a typing mistake in it.",
    "1.2": "There is no such domain. Please look for a typing mistake behind the @.",
    "1.3": "The address is not written as addresses are. Please look for a typing mistake.",
    "1.10": "The domain takes no mail at all. Please ask the recipient for another address.",
    "1": "Please look for a typing mistake in the address.",
    "2.1": "The mailbox is closed. Please reach the recipient in another way.",
    "2.2": "The mailbox is full. Please try again later, or reach the recipient in another way.",
    "2.3": "The message is too large for the recipient. Please send a smaller one.",
    "3.4": "The message is too large for the recipient's server. Please send a smaller one.",
    "4": "The recipient's server could not be reached. Please try again later; if that does not\n"
    "    help, the recipient's postmaster has to mend it.",
    "6": "The recipient's server cannot take a message of this kind.",
    "7": "The recipient's server does not want this message. Its words above may say why; your\n"
    "    postmaster can help.",
}
_NO_ADVICE = "Please reach the recipient in another way, or show this message to your postmaster."


def _advice(status: str) -> str:
    _, _, rest = status.partition(".")
    return _ADVICE.get(rest) or _ADVICE.get(rest.partition(".")[0], _NO_ADVICE)


def _about_the_message(header: bytes) -> list[str]:
    lines = ["The message was:", ""]
    for name in ("Subject", "To", "Date"):
        value = get(header, name)
        if value:
            lines.append(f"  {name}: {_one_line(decode(value))[:SUBJECT_LIMIT]}")
    return lines if len(lines) > 2 else []


def _one_line(text: str) -> str:
    return " ".join(text[:REPLY_LIMIT].split())


def _status(report: Report) -> bytes:
    """The fields for the message, then those for each recipient (RFC 3464 section 2)."""
    groups = [_fold_all(_message_fields(report))]
    groups += [_fold_all(_recipient_fields(one)) for one in report.recipients]
    return b"\r\n".join(groups)


def _fold_all(fields: list[tuple[str, str]]) -> bytes:
    return b"".join([fold(name, _ascii(value)) for name, value in fields if value])


def _message_fields(report: Report) -> list[tuple[str, str]]:
    return [
        ("Original-Envelope-Id", report.envelope_id),
        ("Reporting-MTA", f"dns; {report.reporting_mta}"),
        ("Arrival-Date", _date(report.arrival)),
        ("Future-Release-Request", report.release),
    ]


def _recipient_fields(one: ReportedRecipient) -> list[tuple[str, str]]:
    reply = _one_line(one.reply)
    return [
        ("Original-Recipient", one.original_recipient),
        ("Final-Recipient", _typed_address(one.address)),
        ("Action", one.action.value),
        ("Status", one.status),
        ("Remote-MTA", f"dns; {one.remote_mta}" if one.remote_mta else ""),
        ("Diagnostic-Code", f"smtp; {reply}" if reply else ""),
        ("Last-Attempt-Date", _date(one.last_attempt)),
        ("Will-Retry-Until", _date(one.will_retry_until)),
    ]


def _date(moment: datetime | None) -> str:
    return "" if moment is None else format_date(moment)


def _ascii(value: str) -> str:
    return value.encode("ascii", "replace").decode("ascii")


def _typed_address(address: Address) -> str:
    """`rfc822; address`, or in the ASCII form of RFC 6533 section 3 (utf-8-addr-xtext)."""
    text = str(address)
    if text.isascii():
        return f"rfc822; {text}"
    return "utf-8; " + _NOT_QCHAR.sub(lambda match: f"\\x{{{ord(match[0]):02X}}}", text)


_NOT_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")


def _returned(report: Report) -> bytes:
    if report.original_body is not None:
        return message_part(report.original_header + report.original_body, "The message")
    header = _returned_header(report.original_header)
    return part(_kind_of(header), header, "Header of the message")


def _kind_of(header: bytes) -> str:
    """A header in UTF-8 has a type of its own (RFC 6533 section 6.3)."""
    if header.isascii():
        return "text/rfc822-headers"
    try:
        header.decode("utf-8")
    except UnicodeDecodeError:
        return "text/rfc822-headers"
    return "message/global-headers"


def _returned_header(header: bytes) -> bytes:
    """The original header, cut after a line if it is very long, without its empty line."""
    if len(header) > RETURNED_HEADER_LIMIT:
        end = header.rfind(b"\n", 0, RETURNED_HEADER_LIMIT) + 1
        header = header[: end or RETURNED_HEADER_LIMIT]
    return header[:-2] if header.endswith(b"\r\n\r\n") else header
