"""Dates of header fields and of IMAP."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.message.dates import (
    format_date,
    parse_date,
)


def at(*parts: int, zone: float = 0) -> datetime:
    return datetime(*parts, tzinfo=timezone(timedelta(hours=zone)))


@pytest.mark.rfc("5322 section 4.3")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"Fri, 21 Nov 1997 09:55:06 -0600", at(1997, 11, 21, 9, 55, 6, zone=-6)),
        (b"21 Nov 1997 09:55 +0530", at(1997, 11, 21, 9, 55, zone=5.5)),
        (b" Fri , 1 nov 97 9:55:06 GMT", at(1997, 11, 1, 9, 55, 6)),
        (b"1 Nov 49 09:55:06 EDT", at(2049, 11, 1, 9, 55, 6, zone=-4)),
        (b"1 Nov 50 09:55:06 PST", at(1950, 11, 1, 9, 55, 6, zone=-8)),
        (b"1 Nov 103 09:55:06 Z", at(2003, 11, 1, 9, 55, 6)),
        (b"1 Nov 2003 09:55:06 A", at(2003, 11, 1, 9, 55, 6)),  # military: -0000
        (b"1 Nov 2003 09:55:06", at(2003, 11, 1, 9, 55, 6)),
        (b"1 Nov 2003 09:55:60 +0000", at(2003, 11, 1, 9, 55, 59)),
        (b"Thu,\r\n  13 (x) Feb 1969\r\n 23:32:05 -0330 (Newfoundland (Time))", None),
        (b"Fri, 21-Nov-97 09:55:06 -0000 (UTC)", at(1997, 11, 21, 9, 55, 6)),
        (b"Fri Nov 21 09:55:06 1997", at(1997, 11, 21, 9, 55, 6)),
        (b"Fri Nov  1 09:55:06 EST 1997", at(1997, 11, 1, 9, 55, 6, zone=-5)),
    ],
)
def test_dates(value, expected):
    expected = expected or at(1969, 2, 13, 23, 32, 5, zone=-3.5)
    parsed = parse_date(value)
    assert parsed == expected
    assert parsed.utcoffset() == expected.utcoffset()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"yesterday",
        b"31 Feb 2003 09:55:06 +0000",
        b"1 Nov 2003 24:00:00 +0000",
        b"1 Nov 2003 09:60:00 +0000",
        b"1 Foo 2003 09:55:06 +0000",
        b"1 Nov 2003 09:55:06 +2400",
        b"1 Nov 2003 09:55:06 +0060",
        b"1 Nov 9999 09:55:06 -2359",
        b"1 Nov 0001 09:55:06 +2359",
        b"1 Nov 1899 09:55:06 +0000",
        b"\0\xff1 Nov 2003",
        b"(" * 1000,
        b"1" * 100_000,
        "١ Nov 2003 09:55:06 +0000".encode(),
    ],
)
def test_no_dates(value):
    assert parse_date(value) is None


@pytest.mark.rfc("5322 section 3.3")
def test_format_date():
    moment = at(1997, 11, 1, 9, 5, 6, zone=-3.5)
    assert format_date(moment) == "Sat, 1 Nov 1997 09:05:06 -0330"
    assert format_date(datetime(2026, 3, 8, tzinfo=UTC)) == "Sun, 8 Mar 2026 00:00:00 +0000"


MOMENTS = st.datetimes(
    min_value=datetime(1900, 1, 2),
    max_value=datetime(9998, 12, 30),
    timezones=st.builds(timezone, st.integers(-1439, 1439).map(lambda m: timedelta(minutes=m))),
).map(lambda moment: moment.replace(microsecond=0))


@given(MOMENTS)
@settings(deadline=None)
def test_what_is_formatted_is_parsed(moment):
    assert parse_date(format_date(moment).encode()) == moment
    assert moment.astimezone(UTC) == moment


@given(st.binary(max_size=80))
@settings(deadline=None)
def test_any_octets_are_a_date_or_none(value):
    moment = parse_date(value)
    assert moment is None or moment.astimezone(UTC) == moment
