from datetime import UTC, datetime

import pytest

from mailstead.model.flags import DELETED, FLAGGED, SEEN
from mailstead.protocol.imap import commands as c
from mailstead.protocol.imap.appending import parse_append
from mailstead.protocol.imap.commands import Return, Selection, StatusItem, StoreMode
from mailstead.protocol.imap.fetch import Attribute
from mailstead.protocol.imap.lexer import BadSyntax, Enabled
from mailstead.protocol.imap.numset import NumSet
from mailstead.protocol.imap.parser import find_tag, parse_command

UNSEEN_MESSAGES = (StatusItem.UNSEEN, StatusItem.MESSAGES)


def numset(*ranges: tuple[int, int]) -> NumSet:
    return NumSet(ranges)


@pytest.mark.rfc("3501 section 6")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"abcd CAPABILITY", c.Capability(b"abcd")),
        (b"a002 noop", c.Noop(b"a002")),
        (b"A023 LOGOUT", c.Logout(b"A023")),
        (b"a002 StartTLS", c.StartTls(b"a002")),
        (b"a]2 CHECK", c.Check(b"a]2")),
        (b"A341 CLOSE", c.Close(b"A341")),
        (b"A202 EXPUNGE", c.Expunge(b"A202")),
        (b"A202 UNSELECT", c.Unselect(b"A202")),
        (b"A001 NAMESPACE", c.Namespace(b"A001")),
        (b"A002 IDLE", c.Idle(b"A002")),
        (b"a001 LOGIN SMITH SESAME", c.Login(b"a001", "SMITH", "SESAME")),
        (rb'a001 LOGIN "a b" "q\"\\"', c.Login(b"a001", "a b", 'q"\\')),
        (b'a001 LOGIN x ""', c.Login(b"a001", "x", "")),
        (b"a001 LOGIN x p]\xc3\xbc", c.Login(b"a001", "x", "p]ü")),
        (b"a001 AUTHENTICATE GSSAPI", c.Authenticate(b"a001", "GSSAPI", None)),
        (b"a001 AUTHENTICATE external =", c.Authenticate(b"a001", "EXTERNAL", b"")),
        (
            b"a AUTHENTICATE PLAIN dGVzdAB0ZXN0AHRlc3Q=",
            c.Authenticate(b"a", "PLAIN", b"test\0test\0test"),
        ),
        (b"A142 SELECT inbox", c.Select(b"A142", "INBOX")),
        (b'A142 EXAMINE "InBox/Sub"', c.Examine(b"A142", "INBOX/Sub")),
        (b"a SELECT x (condstore)", c.Select(b"a", "x", condstore=True)),
        (b"a EXAMINE x (QRESYNC (7 9))", c.Examine(b"a", "x", resync=c.Resync(7, 9))),
        (
            b"a SELECT x (QRESYNC (7 9 1:5 (1,3 2,4)) CONDSTORE)",
            c.Select(
                b"a",
                "x",
                True,
                c.Resync(7, 9, numset((1, 5)), (numset((1, 1), (3, 3)), numset((2, 2), (4, 4)))),
            ),
        ),
        (b"a ENABLE condstore X-Y", c.Enable(b"a", ("CONDSTORE", "X-Y"))),
        (b"A003 CREATE owatagusiam/", c.Create(b"A003", "owatagusiam")),
        (b"A003 CREATE foo/bar", c.Create(b"A003", "foo/bar")),
        (b"A683 DELETE blurdybloop", c.Delete(b"A683", "blurdybloop")),
        (b"A684 DELETE &U,BTFw-", c.Delete(b"A684", "台北")),
        (b'A684 DELETE "\xe5\x8f\xb0&"', c.Delete(b"A684", "台&")),  # raw UTF-8, as it is
        (b"A682 RENAME blurdybloop sarasoop/", c.Rename(b"A682", "blurdybloop", "sarasoop")),
        (b"A002 SUBSCRIBE #news.comp", c.Subscribe(b"A002", "#news.comp")),
        (b"A002 UNSUBSCRIBE x", c.Unsubscribe(b"A002", "x")),
        (b'A101 LIST "" ""', c.List(b"A101", "", ("",))),
        (b"A202 LIST ~/Mail/ %", c.List(b"A202", "~/Mail/", ("%",))),
        (b'A202 LIST "" *&APw-%', c.List(b"A202", "", ("*ü%",))),
        (b'A002 LSUB "#news." "comp.mail.*"', c.Lsub(b"A002", "#news.", "comp.mail.*")),
        (
            b"A042 STATUS blurdybloop (UNSEEN MESSAGES unseen)",
            c.Status(b"A042", "blurdybloop", UNSEEN_MESSAGES),
        ),
        (
            b"A043 STATUS a (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ"
            b" MAILBOXID DELETED-STORAGE)",
            c.Status(b"A043", "a", tuple(StatusItem)),
        ),
        (b"A FETCH 2:4 FLAGS", c.Fetch(b"A", numset((2, 4)), (Attribute.FLAGS,), False)),
        (
            b"A UID FETCH 1:* FLAGS",
            c.Fetch(b"A", numset((1, 0)), (Attribute.UID, Attribute.FLAGS), True),
        ),
        (
            b"A uid fetch 4827313:4828442 (FLAGS UID)",
            c.Fetch(b"A", numset((4827313, 4828442)), (Attribute.FLAGS, Attribute.UID), True),
        ),
        (
            rb"A003 STORE 2:4 +FLAGS (\Deleted)",
            c.Store(b"A003", numset((2, 4)), StoreMode.ADD, False, DELETED, "", False),
        ),
        (
            rb"A003 UID STORE 5 -flags.silent \Seen \Flagged $Junk \Recent",
            c.Store(b"A003", numset((5, 5)), StoreMode.REMOVE, True, SEEN | FLAGGED, "$Junk", True),
        ),
        (
            b"A003 STORE * FLAGS ()",
            c.Store(b"A003", numset((0, 0)), StoreMode.REPLACE, False, 0, "", False),
        ),
        (b"A003 COPY 2:4 MEETING", c.Copy(b"A003", numset((2, 4)), "MEETING", False)),
        (b"A003 UID COPY 2 inbox", c.Copy(b"A003", numset((2, 2)), "INBOX", True)),
        (b"A003 MOVE 42:69 foo", c.Move(b"A003", numset((42, 69)), "foo", False)),
        (b"A003 UID MOVE 42:69 foo", c.Move(b"A003", numset((42, 69)), "foo", True)),
        (b"A003 UID EXPUNGE 3000:3002", c.UidExpunge(b"A003", numset((3000, 3002)))),
        (b"a023 ID NIL", c.Id(b"a023", ())),
        (b"a023 ID ()", c.Id(b"a023", ())),
        (
            b'a023 ID ("name" "sodr" "Version" NIL)',
            c.Id(b"a023", (("name", "sodr"), ("version", None))),
        ),
    ],
)
def test_commands(text: bytes, expected: c.Command) -> None:
    assert expected == parse_command(text)


@pytest.mark.rfc("5258 section 5")
@pytest.mark.parametrize(
    ("text", "selection", "returns", "patterns", "status"),
    [
        (b'() "" *', set(), set(), ("*",), ()),
        (b'(SUBSCRIBED) "" "*"', {Selection.SUBSCRIBED}, {Return.SUBSCRIBED}, ("*",), ()),
        (b'() "" "%" RETURN (CHILDREN)', set(), {Return.CHILDREN}, ("%",), ()),
        (b'"" (INBOX "Drafts" "Sent/%")', set(), set(), ("INBOX", "Drafts", "Sent/%"), ()),
        (
            b'(REMOTE RECURSIVEMATCH subscribed) "" "%" RETURN (SUBSCRIBED CHILDREN)',
            {Selection.REMOTE, Selection.RECURSIVEMATCH, Selection.SUBSCRIBED},
            {Return.SUBSCRIBED, Return.CHILDREN},
            ("%",),
            (),
        ),
        (b'(SPECIAL-USE) "" *', {Selection.SPECIAL_USE}, {Return.SPECIAL_USE}, ("*",), ()),
        (
            b'"" % RETURN (STATUS (UNSEEN MESSAGES) SPECIAL-USE)',
            set(),
            {Return.STATUS, Return.SPECIAL_USE},
            ("%",),
            UNSEEN_MESSAGES,
        ),
        (b'"" % RETURN ()', set(), set(), ("%",), ()),
    ],
)
def test_extended_list(
    text: bytes,
    selection: set[Selection],
    returns: set[Return],
    patterns: tuple[str, ...],
    status: tuple[StatusItem, ...],
) -> None:
    expected = c.List(
        b"t1", "", patterns, frozenset(selection), frozenset(returns), status, extended=True
    )
    assert expected == parse_command(b"t1 LIST " + text)


@pytest.mark.rfc("3501 section 4.3")
def test_literals_stand_where_their_marks_are() -> None:
    login = parse_command(b"a LOGIN \0 \0", [b"two words", b'q"\r\n{5}'])
    assert c.Login(b"a", "two words", 'q"\r\n{5}') == login
    assert c.Select(b"a", "INBOX") == parse_command(b"a SELECT \0", [b"inbox"])


@pytest.mark.rfc("3501 section 6.3.11")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            rb"A003 APPEND saved-messages (\Seen) ",
            c.Append(b"A003", "saved-messages", c.NewMessage(SEEN, "", None, 310)),
        ),
        (b"A003 append inbox ", c.Append(b"A003", "INBOX", c.NewMessage(0, "", None, 310))),
        (b"A003 APPEND x ~", c.Append(b"A003", "x", c.NewMessage(0, "", None, 310, binary=True))),
        (b"A003 APPEND \0 () ", c.Append(b"A003", "in a literal", c.NewMessage(0, "", None, 310))),
        (
            b'A003 APPEND x ($Work) " 7-Jul-1996 23:44:25 -0700" ',
            c.Append(
                b"A003",
                "x",
                c.NewMessage(0, "$Work", datetime(1996, 7, 8, 6, 44, 25, tzinfo=UTC), 310),
            ),
        ),
        (
            b'A003 APPEND x "17-jul-1996 02:44:60 +0000" ',  # a leap second
            c.Append(
                b"A003", "x", c.NewMessage(0, "", datetime(1996, 7, 17, 2, 44, 59, tzinfo=UTC), 310)
            ),
        ),
    ],
)
def test_append(text: bytes, expected: c.Append) -> None:
    assert expected == parse_append(text, [b"in a literal"], 310)


@pytest.mark.parametrize(
    "arguments",
    [
        b"INBOX",
        b"INBOX  ",
        b"INBOX (",
        b"INBOX (\\Seen ",
        b"INBOX ( \\Seen) ",
        b"INBOX (\\Unheard) ",
        b"INBOX ~x",
        b'INBOX "17-Jul-1996 02:44:25" ',
        b'INBOX "31-Feb-1996 02:44:25 +0000" ',
        b'INBOX "17-Jux-1996 02:44:25 +0000" ',
        b'INBOX "17-Jul-1996 25:44:25 +0000" ',
        b'INBOX "17-Jul-1996 02:44:25 +9900" ',
        b'INBOX "01-Jan-0001 00:00:00 +0100" ',
        b'INBOX "31-Dec-9999 23:59:59 -0100" ',
        b'INBOX "00-Jul-0000 02:44:25 +0000" ',
    ],
)
def test_what_is_no_append(arguments: bytes) -> None:
    with pytest.raises(BadSyntax):
        parse_append(b"a APPEND " + arguments, [], 3)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"a",
        b"a ",
        b"a  NOOP",
        b" NOOP",
        b"+ NOOP",
        b"a+ NOOP",
        b"* NOOP",
        b"a( NOOP",
        b"\xff NOOP",
        b"a NOOP ",
        b"a NOOP x",
        b"a NOOP\r",
        b"a FROBNICATE",
        b"a UID",
        b"a UID NOOP",
        b"a UID UID FETCH 1 FLAGS",
        b"a LOGIN",
        b"a LOGIN x",
        b"a LOGIN x ",
        b"a LOGIN  x y",
        b"a LOGIN x y z",
        b'a LOGIN "x y',
        b'a LOGIN "x" "y\\',
        b'a LOGIN "x" "y\\n"',
        b'a LOGIN "x"y z',
        b"a LOGIN \xff y",
        b"a LOGIN x(y z",
        b"a LOGIN {5} x",
        b"a AUTHENTICATE",
        b"a AUTHENTICATE PLAIN ",
        b"a AUTHENTICATE PLAIN x",
        b"a AUTHENTICATE PLAIN ==",
        b"a AUTHENTICATE PLAIN eA==x",
        b"a SELECT",
        b"a SELECT ",
        b'a SELECT ""',
        b"a SELECT a&b",
        b"a SELECT &AAA-",  # NUL
        b"a SELECT &AA0ACg-",  # CR LF
        b"a SELECT &ICg-",  # a line separator
        b"a SELECT \xff",
        b'a SELECT "\xff"',
        b'a LOGIN x "\xe4"',
        b'a SEARCH CHARSET ISO-8859-1 SUBJECT "\xe4"',  # as a literal it may be Latin-1
        b"a SELECT \xed\xa0\x80",  # a surrogate in UTF-8
        b"a SELECT " + b"x" * 513,
        b"a CREATE /",
        b"a CREATE ///",
        b"a RENAME x",
        b'a LIST ""',
        b'a LIST "" () ',
        b'a LIST "" ()',
        b'a LIST (RECURSIVEMATCH) "" *',
        b'a LIST (RECURSIVEMATCH REMOTE) "" *',
        b'a LIST (FROBNICATE) "" *',
        b'a LIST "" * RETURN',
        b'a LIST "" * RETURN (X)',
        b'a LIST "" * RETURN (STATUS)',
        b'a LIST "" * RETURN (STATUS ())',
        b'a LIST "" * (CHILDREN)',
        b'a LIST "" (' + b"* " * 100 + b"*)",
        b"a STATUS x",
        b"a STATUS x ()",
        b"a STATUS x (MESSAGES",
        b"a STATUS x (MESSAGES )",
        b"a STATUS x (FROBNICATE)",
        b"a APPEND INBOX",
        b"a APPEND INBOX x",
        b"a STORE 1 FLAGS",
        b"a STORE 1 FLAGS (\\Seen",
        b"a STORE 1 FLAGS \\Frobnicate",
        b"a STORE 1 FLAGS (\\Seen) x",
        b"a STORE 1 *FLAGS (\\Seen)",
        b"a STORE 1 FLAGS.LOUD (\\Seen)",
        b"a STORE 0 FLAGS (\\Seen)",
        b"a STORE 1 FLAGS (" + b"k" * 101 + b")",
        b"a COPY 1",
        b"a COPY x y",
        b"a COPY 4294967296 y",
        b"a UID EXPUNGE",
        b"a EXPUNGE 1",
        b"a FETCH 1",
        b"a SEARCH",
        b"a ID",
        b"a ID (",
        b'a ID ("x")',
        b'a ID ("x" "y"',
        b'a ID ("' + b"x" * 31 + b'" "y")',
        b'a ID ("x" "' + b"y" * 1025 + b'")',
        b"a ID (" + b" ".join(b'"%d" "y"' % n for n in range(31)) + b")",
        b"x" * 256 + b" NOOP",
    ],
)
def test_what_is_no_command(text: bytes) -> None:
    with pytest.raises(BadSyntax):
        parse_command(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a1 x", b"a1"),
        (b"a1", b"a1"),
        (b"", b""),
        (b"*", b""),
        (b"* x", b""),
        (b"a+b x", b""),
        (b"\xff x", b""),
        (b"a\r x", b""),
        (b"x" * 256, b""),
    ],
)
def test_find_tag(text: bytes, expected: bytes) -> None:
    assert expected == find_tag(text)


@pytest.mark.rfc("6855 section 3")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a SELECT "Entwürfe"', c.Select(b"a", "Entwürfe")),
        ("a SELECT Entwürfe", c.Select(b"a", "Entwürfe")),
        ("a SELECT A&B", c.Select(b"a", "A&B")),
        ("a SELECT Entw&APw-rfe", c.Select(b"a", "Entw&APw-rfe")),
        ("a COPY 1 &", c.Copy(b"a", NumSet(((1, 1),)), "&", uid=False)),
        ('a LIST "Ä&/" ("Ö%")', c.List(b"a", "Ä&/", ("Ö%",), extended=True)),
        ('a LSUB "Ä&/" "&*"', c.Lsub(b"a", "Ä&/", "&*")),
    ],
)
def test_names_where_utf8_is_enabled(text: str, expected: c.Command) -> None:
    assert expected == parse_command(text.encode(), enabled=Enabled(utf8=True, charset=False))


@pytest.mark.rfc("6855 section 3")
@pytest.mark.parametrize(
    "text", [b"a SELECT \xff", b'a SELECT "\xe4"', b"a SEARCH CHARSET UTF-8 ALL"]
)
def test_what_utf8_forbids(text: bytes) -> None:
    with pytest.raises(BadSyntax):
        parse_command(text, enabled=Enabled(utf8=True, charset=False))


@pytest.mark.rfc("6855 section 4")
@pytest.mark.parametrize(
    "arguments", [b"UTF8 ", b"UTF8 (", b"UTF8 ~", b"UTF8 () (~", b"(~", b"UTF8(~"]
)
def test_no_utf8_literal(arguments: bytes) -> None:
    with pytest.raises(BadSyntax):
        parse_append(b"a APPEND x " + arguments, [], 3)
