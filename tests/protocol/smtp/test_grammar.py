"""Arguments of SMTP commands, as tables."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstead.model.address import Address, Domain
from mailstead.model.envelope import BodyType, Release, Wish
from mailstead.model.reply import Reply
from mailstead.protocol.smtp import replies
from mailstead.protocol.smtp.events import Mail, Rcpt, Xclient
from mailstead.protocol.smtp.grammar import (
    BAD_PARAMETER,
    BAD_RECIPIENT,
    BAD_SENDER,
    MAIL_SYNTAX,
    RCPT_SYNTAX,
    UNKNOWN_PARAMETER,
    decode_xtext,
    encode_xtext,
    parse_bdat,
    parse_mail,
    parse_rcpt,
    parse_xclient,
)


def address(local_part: str, domain: str) -> Address:
    return Address(local_part, Domain(domain))


EVERYTHING = frozenset(("SMTPUTF8", "DSN", "REQUIRETLS", "FUTURERELEASE"))
CHRISTMAS = datetime(2026, 12, 24, 18, tzinfo=UTC)
LONG = timedelta(seconds=999_999_999)
BOB = address("bob", "example.net")
JUERGEN = address("jürgen", "example.net")


@pytest.mark.rfc("5321 section 4.1.2")
@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("TO:<bob@example.net>", BOB),
        ("to:<bob@Example.NET>", BOB),
        ("TO: <bob@example.net>", BOB),
        ("TO:<bob@example.net> ", BOB),
        ("TO:<b.o+b@example.net>", address("b.o+b", "example.net")),
        ('TO:<"bob"@example.net>', BOB),
        (r'TO:<"Joe\,Smith"@example.net>', address("Joe,Smith", "example.net")),
        ('TO:<"a> b"@example.net>', address("a> b", "example.net")),
        ('TO:<"a@b"@example.net>', address("a@b", "example.net")),
        (r'TO:<"a\"b\\"@example.net>', address('a"b\\', "example.net")),
        ("TO:<bob@[192.0.2.1]>", address("bob", "[192.0.2.1]")),
        ("TO:<bob@[IPv6:2001:db8::1]>", address("bob", "[IPv6:2001:db8::1]")),
        ("TO:<@a.example,@b.example:bob@example.net>", BOB),
        ("TO:<@a.example:bob@example.net>", BOB),
        ("TO:<postmaster>", address("postmaster", "")),
        ("TO:<PostMaster>", address("PostMaster", "")),
        ("TO:<bob>", BAD_RECIPIENT),
        ("TO:<>", BAD_RECIPIENT),
        ("TO:", BAD_RECIPIENT),
        ("TO:bob@example.net", BAD_RECIPIENT),
        ("TO:<bob@example.net", BAD_RECIPIENT),
        ("TO:bob@example.net>", BAD_RECIPIENT),
        ("TO:<<bob@example.net>>", BAD_RECIPIENT),
        ("TO:<bob@example.net><eve@example.net>", BAD_RECIPIENT),
        ("TO:<bob@example.net>NOTIFY=NEVER", BAD_RECIPIENT),
        ("TO:<bob @example.net>", BAD_RECIPIENT),
        ("TO:<bob@exa mple.net>", BAD_RECIPIENT),
        ("TO:<bob@@example.net>", BAD_RECIPIENT),
        ("TO:<.bob@example.net>", BAD_RECIPIENT),
        ("TO:<bob@example..net>", BAD_RECIPIENT),
        ("TO:<bob@>", BAD_RECIPIENT),
        ("TO:<@example.net>", BAD_RECIPIENT),
        ('TO:<"bob@example.net>', BAD_RECIPIENT),
        ("TO:<@a.example>", BAD_RECIPIENT),
        ("TO:<b\0b@example.net>", BAD_RECIPIENT),
        ('TO:<"b\0b"@example.net>', BAD_RECIPIENT),
        ("TO:<b\rb@example.net>", BAD_RECIPIENT),
        ("TO:<bob@example.net\n>", BAD_RECIPIENT),
        ("TO:<" + "x" * 65 + "@example.net>", BAD_RECIPIENT),
        ("TO:<bob@" + "x." * 128 + "net>", BAD_RECIPIENT),
        ("TO <bob@example.net>", RCPT_SYNTAX),
        ("FROM:<bob@example.net>", RCPT_SYNTAX),
        ("", RCPT_SYNTAX),
        ("TO:<jürgen@example.net>", replies.NON_ASCII_ADDRESS),
        ("TO:<bob@bücher.example>", replies.NON_ASCII_ADDRESS),
        ("TO:<bob@example.net> NOTIFY=NEVER", UNKNOWN_PARAMETER),
    ],
)
def test_rcpt(argument, expected):
    parsed = parse_rcpt(argument, smtputf8=False)
    assert expected == (parsed.recipient if isinstance(parsed, Rcpt) else parsed)


@pytest.mark.rfc("6531 section 3.3")
@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("TO:<jürgen@example.net>", address("jürgen", "example.net")),
        ('TO:<"jür gen"@example.net>', address("jür gen", "example.net")),
        ("TO:<bob@bücher.example>", address("bob", "xn--bcher-kva.example")),
        ("TO:<" + "ü" * 33 + "@example.net>", BAD_RECIPIENT),
        ("TO:<b\ud800b@example.net", BAD_RECIPIENT),
    ],
)
def test_rcpt_with_smtputf8(argument, expected):
    parsed = parse_rcpt(argument, smtputf8=True)
    assert expected == (parsed.recipient if isinstance(parsed, Rcpt) else parsed)


@pytest.mark.rfc("5321 section 4.1.1.2")
@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("FROM:<>", Mail(None)),
        ("from: <>", Mail(None)),
        ("FROM:<@a.example:bob@example.net>", Mail(BOB)),
        ("FROM:<postmaster>", BAD_SENDER),
        ("FROM:bob@example.net", BAD_SENDER),
        ("FROM:", BAD_SENDER),
        ("FROM", MAIL_SYNTAX),
        ("TO:<>", MAIL_SYNTAX),
        ("FROM:<bob@example.net> SIZE=0", Mail(BOB, 0)),
        ("FROM:<bob@example.net>  size=12345   BODY=7BIT", Mail(BOB, 12345)),
        ("FROM:<> SIZE=99999999999999999999", Mail(None, 99999999999999999999)),
        ("FROM:<> SIZE=100000000000000000000", BAD_PARAMETER),
        ("FROM:<> SIZE=-1", BAD_PARAMETER),
        ("FROM:<> SIZE=١", BAD_PARAMETER),
        ("FROM:<> SIZE=", BAD_PARAMETER),
        ("FROM:<> SIZE", BAD_PARAMETER),
        ("FROM:<> SIZE=1 SIZE=1", BAD_PARAMETER),
        ("FROM:<> SIZE=1 size=2", BAD_PARAMETER),
        ("FROM:<> BODY=8BITMIME", Mail(None, None, BodyType.EIGHT_BIT_MIME)),
        ("FROM:<> BODY=9BIT", BAD_PARAMETER),
        ("FROM:<> BODY", BAD_PARAMETER),
        ("FROM:<> BODY=BINARYMIME", UNKNOWN_PARAMETER),
        ("FROM:<> AUTH=<>", Mail(None)),
        ("FROM:<bob@example.net> AUTH=e+3Dmc2@example.com", Mail(BOB)),
        ("FROM:<> AUTH=e+3", BAD_PARAMETER),
        ("FROM:<> RET=FULL", UNKNOWN_PARAMETER),
        ("FROM:<> =", BAD_PARAMETER),
        ("FROM:<> A=B=C", BAD_PARAMETER),
        ("FROM:<> SMTPUTF8", Mail(None, smtputf8=True)),
        ("FROM:<> SMTPUTF8=1", BAD_PARAMETER),
        ("FROM:<jürgen@example.net> SMTPUTF8", Mail(JUERGEN, smtputf8=True)),
        ("FROM:<jürgen@example.net>", replies.NON_ASCII_ADDRESS),
        ("FROM:<jürgen@example.net> SIZE=1", replies.NON_ASCII_ADDRESS),
        ("FROM:<> " + " ".join(f"X{n}" for n in range(21)), BAD_PARAMETER),
    ],
)
def test_mail(argument, expected):
    assert expected == parse_mail(argument, frozenset(("SMTPUTF8",)))


@pytest.mark.rfc("3461 section 4.3")
@pytest.mark.rfc("3461 section 4.4")
@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("FROM:<> RET=FULL", Mail(None, ret="FULL")),
        ("FROM:<bob@example.net> ret=hdrs ENVID=QQ314159", Mail(BOB, envid="QQ314159", ret="HDRS")),
        ("FROM:<> ENVID=a+2Bb SIZE=1", Mail(None, 1, envid="a+2Bb")),
        ("FROM:<> ENVID=" + "x" * 100, Mail(None, envid="x" * 100)),
        ("FROM:<> ENVID=" + "x" * 101, BAD_PARAMETER),
        ("FROM:<> ENVID=a+2", BAD_PARAMETER),
        ("FROM:<> ENVID", BAD_PARAMETER),
        ("FROM:<> RET=BOTH", BAD_PARAMETER),
        ("FROM:<> RET", BAD_PARAMETER),
        ("FROM:<> NOTIFY=NEVER", UNKNOWN_PARAMETER),
    ],
)
def test_mail_with_wishes(argument, expected):
    assert expected == parse_mail(argument, frozenset(("SMTPUTF8", "DSN")))


@pytest.mark.rfc("8689 section 2")
@pytest.mark.rfc("4865 section 3")
@pytest.mark.rfc("4865 section 4.2")
@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("FROM:<bob@example.net> REQUIRETLS", Mail(BOB, require_tls=True)),
        ("FROM:<> requiretls SIZE=1", Mail(None, 1, require_tls=True)),
        ("FROM:<> REQUIRETLS=yes", BAD_PARAMETER),
        ("FROM:<> REQUIRETLS REQUIRETLS", BAD_PARAMETER),
        ("FROM:<> HOLDFOR=3600", Mail(None, release=Release("for;3600", timedelta(hours=1)))),
        ("FROM:<> HOLDFOR=999999999", Mail(None, release=Release("for;999999999", LONG))),
        ("FROM:<> HOLDFOR=0", BAD_PARAMETER),
        ("FROM:<> HOLDFOR=1000000000", BAD_PARAMETER),
        ("FROM:<> HOLDFOR=1.5", BAD_PARAMETER),
        ("FROM:<> HOLDFOR", BAD_PARAMETER),
        (
            "FROM:<> HOLDUNTIL=2026-12-24T18:00:00Z",
            Mail(None, release=Release("until;2026-12-24T18:00:00Z", at=CHRISTMAS)),
        ),
        (
            "FROM:<> holduntil=2026-12-24t18:00:00.0+00:00",
            Mail(None, release=Release("until;2026-12-24t18:00:00.0+00:00", at=CHRISTMAS)),
        ),
        ("FROM:<> HOLDUNTIL=2026-12-24T18:00:00+01:00", BAD_PARAMETER),
        ("FROM:<> HOLDUNTIL=2026-13-24T18:00:00Z", BAD_PARAMETER),
        ("FROM:<> HOLDUNTIL=2026-12-24", BAD_PARAMETER),
        ("FROM:<> HOLDFOR=1 HOLDUNTIL=2026-12-24T18:00:00Z", BAD_PARAMETER),
    ],
)
def test_mail_with_tls_and_release(argument, expected):
    assert expected == parse_mail(argument, EVERYTHING)


def test_what_is_not_offered_is_not_known():
    for parameter in ("REQUIRETLS", "HOLDFOR=1", "HOLDUNTIL=2026-12-24T18:00:00Z", "RET=FULL"):
        assert parse_mail(f"FROM:<> {parameter}", frozenset()) == UNKNOWN_PARAMETER


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("ADDR=192.0.2.1", Xclient("192.0.2.1")),
        ("NAME=x.example ADDR=192.0.2.1 PORT=4711", Xclient("192.0.2.1", 4711)),
        ("addr=IPV6:2001:DB8::1 PROTO=ESMTP", Xclient("2001:db8::1")),
        ("ADDR=[UNAVAILABLE] NAME=[TEMPUNAVAIL] HELO=x.example", Xclient(helo="x.example")),
        ("LOGIN=alice+40example.org", Xclient(login="alice@example.org")),
        ("DESTADDR=192.0.2.2 DESTPORT=25", Xclient()),
        ("ADDR=192.0.2.1 ADDR=192.0.2.1", BAD_PARAMETER),
        ("ADDR=192.0.2", BAD_PARAMETER),
        ("ADDR=", BAD_PARAMETER),
        ("ADDR", BAD_PARAMETER),
        ("PORT=x", BAD_PARAMETER),
        ("PORT=70000", BAD_PARAMETER),
        ("HELO=+00", BAD_PARAMETER),
        ("SHOESIZE=45", BAD_PARAMETER),
        ("", BAD_PARAMETER),
    ],
)
def test_xclient(argument, expected):
    assert expected == parse_xclient(argument)


@pytest.mark.rfc("3461 section 4.1")
@pytest.mark.rfc("3461 section 4.2")
@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("NOTIFY=NEVER", Wish("NEVER")),
        ("notify=success,failure,delay", Wish("SUCCESS,FAILURE,DELAY")),
        ("NOTIFY=DELAY ORCPT=rfc822;Bob@Example.NET", Wish("DELAY", "rfc822;Bob@Example.NET")),
        ("ORCPT=rfc822;a+2Bb@example.net", Wish("", "rfc822;a+2Bb@example.net")),
        ("ORCPT=utf-8;b\\x{FC}b@example.net", Wish("", "utf-8;b\\x{FC}b@example.net")),
        ("NOTIFY=NEVER,SUCCESS", BAD_PARAMETER),
        ("NOTIFY=SUCCESS,SUCCESS", BAD_PARAMETER),
        ("NOTIFY=SOMETIMES", BAD_PARAMETER),
        ("NOTIFY=,", BAD_PARAMETER),
        ("NOTIFY", BAD_PARAMETER),
        ("ORCPT=bob@example.net", BAD_PARAMETER),
        ("ORCPT=rfc822;a+2", BAD_PARAMETER),
        ("ORCPT=rfc822;" + "x" * 500, BAD_PARAMETER),
        ("ORCPT=utf-8;b\N{LATIN SMALL LETTER U WITH DIAERESIS}b@example.net", BAD_PARAMETER),
        ("ORCPT=;x", BAD_PARAMETER),
        ("NOTIFY=NEVER NOTIFY=NEVER", BAD_PARAMETER),
        ("RET=FULL", UNKNOWN_PARAMETER),
    ],
)
def test_rcpt_with_wishes(parameters, expected):
    parsed = parse_rcpt(f"TO:<bob@example.net> {parameters}", smtputf8=False, dsn_offered=True)
    assert expected == (parsed.wish if isinstance(parsed, Rcpt) else parsed)


@pytest.mark.rfc("6533 section 3")
def test_an_original_recipient_in_utf8():
    orcpt = "utf-8;b\N{LATIN SMALL LETTER U WITH DIAERESIS}b@example.net"
    parsed = parse_rcpt(f"TO:<bob@example.net> ORCPT={orcpt}", smtputf8=True, dsn_offered=True)
    assert isinstance(parsed, Rcpt)
    assert parsed.wish == Wish("", orcpt)


@pytest.mark.rfc("3461 section 4.1")
@pytest.mark.parametrize(
    ("notify", "expected"),
    [
        ("", ["FAILURE", "DELAY"]),
        ("NEVER", []),
        ("SUCCESS", ["SUCCESS"]),
        ("SUCCESS,FAILURE,DELAY", ["SUCCESS", "FAILURE", "DELAY"]),
    ],
)
def test_what_a_wish_wants(notify, expected):
    events = ("SUCCESS", "FAILURE", "DELAY")
    assert expected == [event for event in events if Wish(notify).wants(event)]


@pytest.mark.rfc("6531 section 3.4")
def test_smtputf8_where_it_is_not_offered():
    assert parse_mail("FROM:<> SMTPUTF8", frozenset()) == UNKNOWN_PARAMETER


@pytest.mark.rfc("3030 section 2")
@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("0", (0, False)),
        ("86 LAST", (86, True)),
        ("86  last ", (86, True)),
        ("", None),
        ("LAST", None),
        ("-1", None),
        ("1 FIRST", None),
        ("1LAST", None),
        ("1 LAST LAST", None),
        ("0x10", None),
        ("१", None),
        ("9" * 21, None),
    ],
)
def test_bdat(argument, expected):
    assert expected == parse_bdat(argument)


@pytest.mark.rfc("3461 section 4")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("e+3Dmc2@example.com", "e=mc2@example.com"),
        ("a+2Bb", "a+b"),
        ("a+2b", None),
        ("a+", None),
        ("a=b", None),
        ("a b", None),
        ("ä", None),
    ],
)
def test_xtext(text, expected):
    assert expected == decode_xtext(text)


@given(st.text(st.characters(max_codepoint=255)))
def test_xtext_goes_both_ways(text):
    assert decode_xtext(encode_xtext(text)) == text


@given(st.text(st.sampled_from('<>@:",. \\a\u0080ü[]=+0\0\r\n\ud800')) | st.text())
def test_any_argument_is_answered(text):
    assert isinstance(parse_rcpt(f"TO:{text}", smtputf8=True), Rcpt | Reply)
    assert isinstance(parse_mail(f"FROM:{text}", EVERYTHING), Mail | Reply)


def test_hostile_arguments_take_linear_time():
    for text in (
        '"' * 2000,
        '"\\' * 1000,
        "@:" * 1000,
        "<" * 2000,
        '""' * 1000,
        "<a@b> " + " " * 2000,
    ):
        assert isinstance(parse_rcpt(f"TO:<{text}", smtputf8=True), Reply)
