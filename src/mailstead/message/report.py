"""Delivery reports that come back: whom they are about, and what was said (RFC 3464, RFC 6522).

Reads message/delivery-status and its form for addresses in UTF-8 (RFC 6533); where a report has
none, its text (bouncetext). Values are what the other side wrote: nobody has proved them.
Not here: what a diagnostic means (services.outbound.classify), and whose message it was.
Holds: never raises; linear in what the limits let through.
"""

import re
from datetime import datetime

import msgspec

from mailstead.message.bouncetext import read_text
from mailstead.message.dates import parse_date
from mailstead.message.diagnostic import DIAGNOSTIC_LIMIT
from mailstead.message.header import decode, get
from mailstead.message.mime import Buffer, Part, decode_body
from mailstead.message.original import Original, find_original, find_part, first_text, original_of

STATUS_LIMIT = 256 * 1024  # octets of the delivery-status part that are looked at
RECIPIENTS_LIMIT = 1000  # of one report
VALUE_LIMIT = 1000  # characters of a field other than the diagnostic

_STATUS_TYPES = frozenset(["delivery-status", "global-delivery-status"])
_GROUP_END = re.compile(rb"\r?\n(?:[ \t]*\r?\n)+")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_BY = ("From", "Sender", "Return-Path")
_MAILER = re.compile(
    rb"mailer-?daemon|postmaster@|mail delivery (?:sub)?system|system administrator|<>|mmdf@"
    rb"|microsoftexchange[0-9a-f]{1,40}@",
    re.I,
)
ACTIONS = frozenset(["failed", "delayed", "delivered", "relayed", "expanded"])


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """What a report says of one recipient (RFC 3464 section 2.3); empty: it does not say."""

    final_recipient: str = ""  # the address without its type
    final_type: str = ""  # "rfc822", "utf-8", "x400"
    original_recipient: str = ""  # as we gave it in ORCPT, if we did
    original_type: str = ""
    action: str = ""  # one of ACTIONS
    status: str = ""  # "5.1.1"
    diagnostic: str = ""  # the words of the server that refused, with its type: "smtp; 550 ..."
    remote_mta: str = ""
    last_attempt: datetime | None = None
    will_retry_until: datetime | None = None

    @property
    def address(self) -> str:
        """The address we sent to, as far as can be told."""
        return self.original_recipient or self.final_recipient


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery report."""

    recipients: tuple[Reported, ...]
    form: str  # "rfc3464", or which kind of text: "qmail", "exim", ...
    reporting_mta: str = ""
    envelope_id: str = ""  # our ENVID (RFC 3461 section 4.4)
    arrival: datetime | None = None
    original: Original = Original()


def parse_report(
    header: bytes, part: Part, body: Buffer, reverse_path: str | None = None
) -> Report | None:
    """The report in a message; None if there is none.

    A text alone is believed only of a mail system: people quote bounces when they ask about them.
    """
    status = find_part(part, _STATUS_TYPES)
    if status is not None:
        report = _report(decode_body(status, body, STATUS_LIMIT), find_original(part, body))
        if report is not None:
            return report
    return _from_text(header, part, body) if _by_a_mailer(header, reverse_path) else None


def _report(data: bytes, original: Original) -> Report | None:
    groups = [group + b"\r\n" for group in _GROUP_END.split(data.strip(b"\r\n\t ")) if group]
    about = groups[0] if groups else b""
    recipients = tuple(_reported(one) for one in groups[:RECIPIENTS_LIMIT] if _names_somebody(one))
    if not recipients:
        return None
    return Report(
        recipients=recipients,
        form="rfc3464",
        reporting_mta=_typed(about, "Reporting-MTA")[1],
        envelope_id=_value(about, "Original-Envelope-Id"),
        arrival=_date(about, "Arrival-Date"),
        original=original,
    )


def _names_somebody(group: bytes) -> bool:
    return any(get(group, name) for name in ("Final-Recipient", "Original-Recipient"))


def _reported(group: bytes) -> Reported:
    final_type, final = _address(group, "Final-Recipient")
    original_type, original = _address(group, "Original-Recipient")
    action = _value(group, "Action").partition(" ")[0].lower()
    status = _STATUS.search(_value(group, "Status"))
    return Reported(
        final_recipient=final,
        final_type=final_type,
        original_recipient=original,
        original_type=original_type,
        action=action if action in ACTIONS else "",
        status=status[0] if status else "",
        diagnostic=_value(group, "Diagnostic-Code", DIAGNOSTIC_LIMIT),
        remote_mta=_typed(group, "Remote-MTA")[1].partition(" ")[0],
        last_attempt=_date(group, "Last-Attempt-Date"),
        will_retry_until=_date(group, "Will-Retry-Until"),
    )


def _value(group: bytes, name: str, limit: int = VALUE_LIMIT) -> str:
    value = get(group, name) or b""
    return " ".join(decode(value[: 4 * limit])[:limit].split())


def _typed(group: bytes, name: str) -> tuple[str, str]:
    """Type and value of "dns; mx.example.net"; without a type, all is value."""
    value = _value(group, name)
    kind, semicolon, rest = value.partition(";")
    return (kind.strip().lower(), rest.strip()) if semicolon else ("", value)


def _address(group: bytes, name: str) -> tuple[str, str]:
    kind, value = _typed(group, name)
    if kind == "utf-8":
        value = _EMBEDDED.sub(_character, value)  # utf-8-addr-xtext (RFC 6533 section 3)
    return kind, value.strip("<> ")


def _character(match: "re.Match[str]") -> str:
    number = int(match[1], 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"


def _date(group: bytes, name: str) -> datetime | None:
    value = get(group, name)
    return parse_date(value) if value else None


def _from_text(header: bytes, part: Part, body: Buffer) -> Report | None:
    text = read_text(first_text(part, body))
    if text is None:
        return None
    original = find_original(part, body)
    return Report(
        recipients=tuple(
            Reported(
                final_recipient=one.address,
                action="delayed" if text.delayed else "failed",
                diagnostic=one.reason,
            )
            for one in text.failures[:RECIPIENTS_LIMIT]
        )
        or _failed_recipients(header, text.delayed),
        form=text.form,
        original=original if original.header else original_of(text.returned.encode("utf-8")),
    )


def _by_a_mailer(header: bytes, reverse_path: str | None) -> bool:
    if reverse_path == "" or get(header, "X-Failed-Recipients") is not None:
        return True
    return any(_MAILER.search((get(header, name) or b"")[:VALUE_LIMIT]) for name in _BY)


def _failed_recipients(header: bytes, delayed: bool) -> tuple[Reported, ...]:
    """Those that the header names, as Exim and Gmail do, where the text names none."""
    value = decode((get(header, "X-Failed-Recipients") or b"")[: 4 * VALUE_LIMIT])
    action = "delayed" if delayed else "failed"
    addresses = [one.strip() for one in value.split(",") if "@" in one]
    return tuple(Reported(final_recipient=one, action=action) for one in addresses)
