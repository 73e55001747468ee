"""Complaints: feedback reports in the Abuse Reporting Format (RFC 5965, RFC 6650). Pure.

Also its report of failed authentication (RFC 6591), which is no complaint. Values are what the
other side wrote; many providers blank the recipient out, so the returned header has to do.
Holds: never raises; linear in FEEDBACK_LIMIT.
"""

import re
from datetime import datetime

import msgspec

from mailstead.message.dates import parse_date
from mailstead.message.header import decode, get, get_all
from mailstead.message.mime import Buffer, Part, decode_body
from mailstead.message.original import Original, find_original, find_part

FEEDBACK_LIMIT = 64 * 1024  # octets of the feedback-report part that are looked at
VALUE_LIMIT = 1000  # characters of a field
VALUES_LIMIT = 100  # fields of one name
INCIDENTS_LIMIT = 2**32 - 1  # RFC 5965 section 3.2

_TYPES = frozenset(["feedback-report"])
_TOKEN = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# RFC 5965 section 7.3, RFC 6430, RFC 6591: these say nothing against the message.
NO_COMPLAINTS = frozenset(["not-spam", "auth-failure"])


class Complaint(msgspec.Struct, frozen=True, kw_only=True):
    """A feedback report; empty: it does not say."""

    feedback_type: str  # "abuse", "fraud", "virus", "other", "not-spam", "auth-failure", ...
    user_agent: str = ""
    original_mail_from: str = ""
    original_rcpt_to: tuple[str, ...] = ()
    envelope_id: str = ""
    arrival: datetime | None = None
    source_ip: str = ""
    reporting_mta: str = ""
    reported_domains: tuple[str, ...] = ()
    incidents: int = 1
    auth_failure: str = ""  # "dkim", "spf", "dmarc" (RFC 6591 section 3.2.1)
    delivery_result: str = ""  # "delivered", "spam", "policy", "reject", "other"
    original: Original = Original()

    @property
    def against_us(self) -> bool:
        """Whether somebody complains; else it only informs."""
        return self.feedback_type not in NO_COMPLAINTS


def parse_complaint(part: Part, body: Buffer) -> Complaint | None:
    """The feedback report in a message; None if there is none."""
    found = find_part(part, _TYPES)
    if found is None:
        return None
    fields = decode_body(found, body, FEEDBACK_LIMIT).lstrip(b"\r\n") + b"\r\n"
    return Complaint(
        feedback_type=_token(fields, "Feedback-Type") or "other",
        user_agent=_value(fields, "User-Agent"),
        original_mail_from=_value(fields, "Original-Mail-From").strip("<> "),
        original_rcpt_to=_values(fields, "Original-Rcpt-To"),
        envelope_id=_value(fields, "Original-Envelope-Id"),
        # The historic field counts like the current one (RFC 5965 section 3.2).
        arrival=_date(fields, "Arrival-Date") or _date(fields, "Received-Date"),
        source_ip=_value(fields, "Source-IP").strip("[]").removeprefix("IPv6:"),
        reporting_mta=_value(fields, "Reporting-MTA").rpartition(";")[2].strip(),
        reported_domains=_values(fields, "Reported-Domain"),
        incidents=_incidents(_value(fields, "Incidents")),
        auth_failure=_token(fields, "Auth-Failure"),
        delivery_result=_token(fields, "Delivery-Result"),
        original=find_original(part, body),
    )


def _value(fields: bytes, name: str) -> str:
    return _text(get(fields, name) or b"")


def _values(fields: bytes, name: str) -> tuple[str, ...]:
    values = [_text(one).strip("<> ") for one in get_all(fields, name)[:VALUES_LIMIT]]
    return tuple(one for one in values if one)


def _text(value: bytes) -> str:
    return " ".join(decode(value[: 4 * VALUE_LIMIT])[:VALUE_LIMIT].split())


def _token(fields: bytes, name: str) -> str:
    match = _TOKEN.match(_value(fields, name))
    return match[0].lower() if match else ""


def _date(fields: bytes, name: str) -> datetime | None:
    value = get(fields, name)
    return parse_date(value) if value else None


def _incidents(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", value):
        return 1
    return min(max(int(value), 1), INCIDENTS_LIMIT)
