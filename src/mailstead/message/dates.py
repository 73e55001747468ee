"""Dates of header fields (RFC 5322 section 3.3).

Holds: every datetime here is aware, and can be turned into UTC.
"""

import re
from datetime import UTC, datetime, timedelta, timezone

from mailstead.message.header import strip_comments

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTH_OF = {month.lower().encode(): number for number, month in enumerate(_MONTHS, 1)}

# RFC 5322 section 4.3; military letters and unknown names mean -0000.
_ZONES = {
    b"edt": -4,
    b"est": -5,
    b"cdt": -5,
    b"cst": -6,
    b"mdt": -6,
    b"mst": -7,
    b"pdt": -7,
    b"pst": -8,
}

_DATE_LIMIT = 200  # octets of a date field that are looked at
_YEARS = range(1900, 9999)  # RFC 5322 section 3.3; in 9999 a zone could lead out of the calendar

# The day of the week may be missing or wrong, seconds and zone may be missing, hyphens and
# another order of words ("Nov 21 12:00:00 2026", as ctime prints it) are seen.
_DATE = re.compile(
    rb"[ \t]*(?:[A-Za-z]+[ \t]*,?[ \t]*)?(\d{1,2})[ \t-]+([A-Za-z]{3})[A-Za-z]*\.?,?[ \t-]+"
    rb"(\d{2,4})[ \t,]+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?"
    rb"(?:[ \t]*([+-]\d{4})|[ \t]+\"?([A-Za-z]+))?"
)
_CTIME = re.compile(
    rb"[ \t]*[A-Za-z]{3},?[ \t]+([A-Za-z]{3})[ \t]+(\d{1,2})[ \t]+(\d{1,2}):(\d{2}):(\d{2})"
    rb"(?:[ \t]+([A-Za-z]{1,5}))?[ \t]+(\d{4})"
)


def parse_date(value: bytes) -> datetime | None:
    """The time that a Date field tells, in its own zone; None if it tells none."""
    plain = strip_comments(value[:_DATE_LIMIT].replace(b"\r\n", b""))
    if match := _DATE.match(plain):
        day, month, year, hour, minute, second, offset, name = match.groups()
        zone = _offset(offset) if offset else _named_zone(name)
        return _datetime(_full_year(year), month, day, (hour, minute, second or b"0"), zone)
    if match := _CTIME.match(plain):
        month, day, hour, minute, second, name, year = match.groups()
        return _datetime(int(year), month, day, (hour, minute, second), _named_zone(name))
    return None


def format_utc(moment: datetime) -> str:
    """The time in UTC as `2026-12-24T18:00:00Z`, without fractions."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_date(moment: datetime) -> str:
    """The date-time for a header field, as `Fri, 21 Nov 1997 09:55:06 -0600`."""
    day, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
    return (
        f"{day}, {moment.day} {month} {moment.year:04} "
        f"{moment.hour:02}:{moment.minute:02}:{moment.second:02} {_format_offset(moment)}"
    )


def _datetime(
    year: int, month: bytes, day: bytes, clock: tuple[bytes, ...], zone: timezone | None
) -> datetime | None:
    number = _MONTH_OF.get(month.lower())
    if number is None or zone is None or year not in _YEARS:
        return None
    hour, minute, second = map(int, clock)
    try:
        # A leap second (RFC 5322 section 3.3 allows 60) has no place in a datetime.
        return datetime(year, number, int(day), hour, minute, min(second, 59), tzinfo=zone)
    except ValueError:
        return None


def _full_year(digits: bytes) -> int:
    """RFC 5322 section 4.3: two digits below 50 are of this century, three count from 1900."""
    year = int(digits)
    if len(digits) == 2:
        return year + (2000 if year < 50 else 1900)
    return year + 1900 if len(digits) == 3 else year


def _named_zone(name: bytes | None) -> timezone:
    hours = _ZONES.get((name or b"").lower())
    return UTC if hours is None else timezone(timedelta(hours=hours))


def _offset(text: bytes) -> timezone | None:
    hours, minutes = int(text[1:3]), int(text[3:5])
    if hours > 23 or minutes > 59:
        return None
    offset = timedelta(hours=hours, minutes=minutes)
    if not offset:
        return UTC
    return timezone(-offset if text.startswith(b"-") else offset)


def _format_offset(moment: datetime) -> str:
    minutes = int((moment.utcoffset() or timedelta()).total_seconds()) // 60
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"
