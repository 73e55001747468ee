"""Policies of MTA-STS: tables of records, files and hosts."""

from datetime import timedelta

import pytest

from mailstead.model.dns import Answer, Question, Status
from mailstead.msgauth import mtasts
from mailstead.msgauth.mtasts import Invalid, Mode, Policy

WEEK = timedelta(seconds=604800)
ENFORCE = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmax_age: 604800\r\n"


@pytest.mark.rfc("8461 section 3.1")
@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["v=STSv1;id=1"], "1"),
        (["v=STSv1; extra=x-y; id=1 ;"], "1"),
        (["v=STSv1; id=1; id=2"], "1"),
        (["v=spf1 -all", "v=STSv1; id=1"], "1"),
        (["v=STSv1; id=1", "v=STSv1; id=2"], None),
        (["v=STSv1; id=1", "v=STSv1; id=1"], None),
        ([], None),
        (["v=STSv1;"], None),
        (["v=STSv1"], None),
        (["v=STSv1; id=;"], None),
        (["v=STSv1; id=has-hyphen;"], None),
        (["v=STSv1; id=" + "1" * 32], "1" * 32),
        (["v=STSv1; id=" + "1" * 33], None),
        (["v=STSv1; id=1; nonsense"], None),
        (["v=STSv1; id=1;;"], None),
        (["id=1; v=STSv1"], None),
        (["v=stsv1; id=1"], None),
        (["v=STSv2; id=1"], None),
    ],
)
def test_record(texts: list[str], expected: str | None) -> None:
    assert expected == mtasts.parse_record(texts)


@pytest.mark.rfc("8461 section 3.1")
def test_the_id_is_asked_for_by_a_txt_question() -> None:
    lookup = mtasts.find_id("example.com")
    assert next(lookup) == Question("TXT", "_mta-sts.example.com")
    with pytest.raises(StopIteration) as end:
        lookup.send(Answer(Status.SERVFAIL))
    assert end.value.value is None


@pytest.mark.rfc("8461 section 3.2")
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (ENFORCE, Policy(Mode.ENFORCE, ("mail.example.com",), WEEK)),
        (ENFORCE.replace(b"\r\n", b"\n"), Policy(Mode.ENFORCE, ("mail.example.com",), WEEK)),
        (ENFORCE.removesuffix(b"\r\n"), Policy(Mode.ENFORCE, ("mail.example.com",), WEEK)),
        (
            b"mx:a.example\nmx: \t*.B.example  \nmode:testing\nversion:STSv1\nmax_age:0\n",
            Policy(Mode.TESTING, ("a.example", "*.b.example"), timedelta()),
        ),
        (b"version: STSv1\nmode: none\nmax_age: 60\n", Policy(Mode.NONE, (), timedelta(minutes=1))),
        (
            b"version: STSv1\nmode: none\nmode: enforce\nmax_age: 60\nmax_age: 9\nx-y: \xc3\xa4\n",
            Policy(Mode.NONE, (), timedelta(minutes=1)),
        ),
        (
            ENFORCE.replace(b"604800", b"9999999999"),
            Policy(Mode.ENFORCE, ("mail.example.com",), timedelta(seconds=31_557_600)),
        ),
    ],
)
def test_policy(body: bytes, expected: Policy) -> None:
    assert expected == mtasts.parse_policy(body)


@pytest.mark.rfc("8461 section 3.2")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "its version is not STSv1"),
        (ENFORCE.replace(b"STSv1", b"STSv2"), "its version is not STSv1"),
        (ENFORCE.replace(b"enforce", b"Enforce"), "it names no mode that is known"),
        (ENFORCE.replace(b"mode: enforce\r\n", b""), "it names no mode that is known"),
        (ENFORCE.replace(b"604800", b"-1"), "it has no max_age, or one that is no number"),
        (ENFORCE.replace(b"604800", b"12345678901"), "it has no max_age, or one that is no number"),
        (ENFORCE.replace(b"604800", "٤".encode()), "it has no max_age, or one that is no number"),
        (ENFORCE.replace(b"mx: mail.example.com\r\n", b""), "it names no mx"),
        (ENFORCE.replace(b"mail.", b"mail*."), "'mail*.example.com' is no domain name"),
        (
            ENFORCE.replace(b"mail.example.com", b"[192.0.2.1]"),
            "an mx field is no domain name in A-labels",
        ),
        (ENFORCE + b"\r\n", "line 5 is no field with a value"),
        (b"<html>\n" + ENFORCE, "line 1 is no field with a value"),
        (ENFORCE + b"x:\r\n", "line 5 is no field with a value"),
        (ENFORCE + b"x: \x00\r\n", "line 5 is no field with a value"),
        (ENFORCE + b"x: " + b"y" * 65536, "it is longer than 65536 octets"),
    ],
)
def test_no_policy(body: bytes, reason: str) -> None:
    assert Invalid(reason) == mtasts.parse_policy(body)


def test_octets_that_are_no_text() -> None:
    assert isinstance(mtasts.parse_policy(ENFORCE + b"x: \xff"), Invalid)


@pytest.mark.rfc("8461 section 4.1")
@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("mail.example.com", "mail.example.com", True),
        ("mail.example.com", "MAIL.Example.com", True),
        ("mail.example.com", "mail.example.com.evil.example", False),
        ("*.example.com", "mail.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "foo.bar.example.com", False),
        ("*.example.com", "mailexample.com", False),
        ("example.com", "mail.example.com", False),
    ],
)
def test_hosts(pattern: str, host: str, expected: bool) -> None:
    assert expected == mtasts.allows(("other.example", pattern), host)


@pytest.mark.rfc("8461 section 3.2")
def test_what_we_write_is_read_again() -> None:
    mx = ("mx1.example.org", "*.example.net")
    text = mtasts.policy_text(mx, Mode.TESTING, WEEK)
    assert text == (
        "version: STSv1\r\nmode: testing\r\nmx: mx1.example.org\r\nmx: *.example.net\r\n"
        "max_age: 604800\r\n"
    )
    assert mtasts.parse_policy(text.encode()) == Policy(Mode.TESTING, mx, WEEK)


def test_our_record() -> None:
    assert mtasts.record_text("20261122T1") == "v=STSv1; id=20261122T1;"
    for wrong in ("", "1" * 33, "2026-11-22", "1; id=2"):
        with pytest.raises(ValueError, match="letters and digits"):
            mtasts.record_text(wrong)
