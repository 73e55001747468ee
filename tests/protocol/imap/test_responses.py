from datetime import UTC, datetime, timedelta, timezone

import pytest

from mailstead.protocol.imap import responses
from mailstead.protocol.imap.lexer import LITERAL_MARK, Lexer


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (b"a1 OK done\r\n", responses.ok(b"a1", "done")),
        (b"* OK [UNSEEN 12] first\r\n", responses.ok(b"*", "first", "UNSEEN 12")),
        (b"a1 NO [TRYCREATE] no\r\n", responses.no(b"a1", "no", "TRYCREATE")),
        (b"a1 BAD what\r\n", responses.bad(b"a1", "what")),
        (b"* BAD what\r\n", responses.bad(b"", "what")),
        (b"* BYE bye\r\n", responses.bye("bye")),
        (b"a1 NO a  * BYE ?\r\n", responses.no(b"a1", "a\r\n* BYE ü")),  # nothing breaks the line
        (b"+ OK\r\n", responses.continuation()),
        (b"+ \r\n", responses.continuation(b"")),
        (b"* CAPABILITY IMAP4rev1 IDLE\r\n", responses.capability(["IMAP4rev1", "IDLE"])),
        (b"* 23 EXISTS\r\n", responses.exists(23)),
        (b"* 5 RECENT\r\n", responses.recent(5)),
        (b"* 44 EXPUNGE\r\n", responses.expunge(44)),
        (b"* FLAGS (\\Seen $Junk)\r\n", responses.flags(["\\Seen", "$Junk"])),
        (b"* SEARCH 2 3 6\r\n", responses.search_response([2, 3, 6])),
        (b"* SEARCH\r\n", responses.search_response([])),
        (b'* QUOTA "" (STORAGE 11 512)\r\n', responses.quota(10 * 1024 + 1, 512 * 1024)),
        (b'* QUOTA "" ()\r\n', responses.quota(10, 0)),
        (
            b"* 12 FETCH (UID 7 FLAGS (\\Seen))\r\n",
            responses.fetch(12, [b"UID 7", b"FLAGS (\\Seen)"]),
        ),
    ],
)
@pytest.mark.rfc("3501 section 7")
def test_responses(expected: bytes, actual: bytes) -> None:
    assert expected == actual


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (
            b'* LIST (\\Noselect) "/" "~/Mail/foo"\r\n',
            responses.list_response(["\\Noselect"], "/", "~/Mail/foo"),
        ),
        (b'* LIST (\\Noselect) NIL ""\r\n', responses.list_response(["\\Noselect"], None, "")),
        (b'* LIST () "/" "Q&-A \\"x\\""\r\n', responses.list_response([], "/", 'Q&A "x"')),
        (
            b'* LIST () "/" "Foo" ("CHILDINFO" ("SUBSCRIBED"))\r\n',
            responses.list_response([], "/", "Foo", child_info=True),
        ),
        (b'* LSUB () "/" "&APw-"\r\n', responses.lsub_response([], "/", "ü")),
        (
            b'* STATUS "blurdybloop" (MESSAGES 231 UIDNEXT 44292)\r\n',
            responses.status_response("blurdybloop", [("MESSAGES", 231), ("UIDNEXT", 44292)]),
        ),
        (
            b'* NAMESPACE (("" "/")) (("Other Users/" "/")) NIL\r\n',
            responses.namespace("/", "Other Users"),
        ),
        (b"* ID NIL\r\n", responses.id([])),
        (b'* ID ("name" "Mailstead")\r\n', responses.id([("name", "Mailstead")])),
    ],
)
def test_listings(expected: bytes, actual: bytes) -> None:
    assert expected == actual


@pytest.mark.rfc("9585 section 4")
def test_in_progress() -> None:
    told = b'* OK [INPROGRESS ("A001" 454 1000)] Processed 45% of the messages\r\n'
    assert told == responses.in_progress(b"A001", 454, 1000)
    told = b"* OK [INPROGRESS (NIL 1 3)] Processed 33% of the messages\r\n"
    assert told == responses.in_progress(b"A]", 1, 3)


@pytest.mark.rfc("4315 section 3")
def test_codes() -> None:
    assert responses.appenduid(38505, [3955]) == "APPENDUID 38505 3955"
    assert responses.appenduid(38505, [3955, 3956]) == "APPENDUID 38505 3955:3956"
    copied = responses.copyuid(38505, [304, 319, 320], [3956, 3957, 3958])
    assert copied == "COPYUID 38505 304,319:320 3956:3958"


@pytest.mark.parametrize(
    ("data", "astring", "nstring"),
    [
        (b"", b'""', b'""'),
        (b"atom", b"atom", b'"atom"'),
        (b"nil", b'"nil"', b'"nil"'),
        (b"two words", b'"two words"', b'"two words"'),
        (b'q"\\', b'"q\\"\\\\"', b'"q\\"\\\\"'),
        (b"a]", b'"a]"', b'"a]"'),
        (b"a\r\nb", b"{4}\r\na\r\nb", b"{4}\r\na\r\nb"),
        (b"\xc3\xbc", b"{2}\r\n\xc3\xbc", b"{2}\r\n\xc3\xbc"),
        (b"x" * 1025, b"x" * 1025, b"{1025}\r\n" + b"x" * 1025),
    ],
)
@pytest.mark.rfc("3501 section 4.3")
def test_strings(data: bytes, astring: bytes, nstring: bytes) -> None:
    assert astring == responses.astring(data)
    assert nstring == responses.nstring(data)
    if b"{" not in nstring:
        assert data == Lexer(nstring).string()
        assert data == Lexer(LITERAL_MARK, [data]).string()


def test_nil() -> None:
    assert responses.nstring(None) == b"NIL"


@pytest.mark.rfc("9051 section 9")
@pytest.mark.rfc("3501 section 9")
def test_internal_date() -> None:
    zone = timezone(-timedelta(hours=7))
    moment = datetime(1996, 7, 17, 2, 44, 25, tzinfo=zone)
    assert responses.internal_date(moment) == b'"17-Jul-1996 02:44:25 -0700"'
    early = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert responses.internal_date(early) == b'" 3-Feb-2001 04:05:06 +0000"'
    assert early == Lexer(responses.internal_date(early)).moment()


@pytest.mark.rfc("6858 section 3")
@pytest.mark.parametrize(
    ("rendered", "expected"),
    [
        (b'("a" {3}\r\nb"c NIL)', b'("a" {3}\r\nb"c NIL)'),  # nothing to do
        (b"({2}\r\n\xc3\xa4 {1}\r\n\xff)", b'("=?UTF-8?B?w6Q=?=" {1}\r\n\xff)'),
        (
            b'("{2}" {4}\r\n{1}\xff {3}\r\na\r\n)',
            b'("{2}" {4}\r\n{1}\xff {3}\r\na\r\n)',
        ),
        (b"({8}\r\n{1}\r\n\xc3\xa4\xff)", b"({8}\r\n{1}\r\n\xc3\xa4\xff)"),
    ],
)
def test_in_ascii(rendered: bytes, expected: bytes) -> None:
    assert expected == responses.in_ascii(rendered)


def test_names_in_utf8() -> None:
    assert responses.mailbox_name("Ä&B") == b'"&AMQ-&-B"'
    assert responses.mailbox_name("Ä&B", utf8=True) == '"Ä&B"'.encode()
    assert responses.mailbox_name('a"b', utf8=True) == b'"a\\"b"'
