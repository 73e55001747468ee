from datetime import date
from encodings.aliases import aliases

import pytest

from mailstead.model.flags import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN
from mailstead.protocol.imap.lexer import BadSyntax, Lexer, Unacceptable
from mailstead.protocol.imap.numset import NumSet
from mailstead.protocol.imap.search import (
    DEPTH_LIMIT,
    KEYS_LIMIT,
    All,
    And,
    BodyHas,
    Dated,
    Fuzzy,
    HasFlag,
    HasKeyword,
    HeaderHas,
    IsRecent,
    Key,
    Larger,
    Not,
    Numbers,
    Or,
    Relation,
    Smaller,
    TextHas,
    parse_program,
)

DAY = date(1994, 2, 1)


@pytest.mark.rfc("3501 section 6.4.4")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"ALL", All()),
        (b"2,282", Numbers(NumSet(((2, 2), (282, 282))), False)),
        (b"*", Numbers(NumSet(((0, 0),)), False)),
        (b"UID 1:*", Numbers(NumSet(((1, 0),)), True)),
        (b"ANSWERED", HasFlag(ANSWERED)),
        (b"deleted", HasFlag(DELETED)),
        (b"DRAFT", HasFlag(DRAFT)),
        (b"FLAGGED", HasFlag(FLAGGED)),
        (b"SEEN", HasFlag(SEEN)),
        (b"UNANSWERED", Not(HasFlag(ANSWERED))),
        (b"UNDELETED", Not(HasFlag(DELETED))),
        (b"UNDRAFT", Not(HasFlag(DRAFT))),
        (b"UNFLAGGED", Not(HasFlag(FLAGGED))),
        (b"UNSEEN", Not(HasFlag(SEEN))),
        (b"RECENT", IsRecent()),
        (b"OLD", Not(IsRecent())),
        (b"NEW", And((IsRecent(), Not(HasFlag(SEEN))))),
        (b"KEYWORD $Junk", HasKeyword("$Junk")),
        (b"UNKEYWORD work", Not(HasKeyword("work"))),
        (b"BEFORE 1-Feb-1994", Dated(False, Relation.BEFORE, DAY)),
        (b'ON "01-feb-1994"', Dated(False, Relation.ON, DAY)),
        (b"SINCE 1-Feb-1994", Dated(False, Relation.SINCE, DAY)),
        (b"SENTBEFORE 1-Feb-1994", Dated(True, Relation.BEFORE, DAY)),
        (b"SENTON 1-Feb-1994", Dated(True, Relation.ON, DAY)),
        (b"SENTSINCE 1-Feb-1994", Dated(True, Relation.SINCE, DAY)),
        (b"LARGER 0", Larger(0)),
        (b"SMALLER 4294967295", Smaller(4294967295)),
        (b"BCC x", HeaderHas("bcc", "x")),
        (b"CC x", HeaderHas("cc", "x")),
        (b'FROM "Smith"', HeaderHas("from", "smith")),
        (b"SUBJECT STRASSE", HeaderHas("subject", "strasse")),
        (b"TO x", HeaderHas("to", "x")),
        (b'HEADER Message-ID ""', HeaderHas("message-id", "")),
        (b"BODY x", BodyHas("x")),
        (b'TEXT "string not in mailbox"', TextHas("string not in mailbox")),
        (b"NOT SEEN", Not(HasFlag(SEEN))),
        (b"NOT NOT SEEN", Not(Not(HasFlag(SEEN)))),
        (b"OR SEEN OR DRAFT ALL", Or(HasFlag(SEEN), Or(HasFlag(DRAFT), All()))),
        (b"FUZZY TEXT x", Fuzzy(TextHas("x"))),
        (b"FUZZY (SEEN NOT BODY x)", Fuzzy(And((HasFlag(SEEN), Not(BodyHas("x")))))),
        (b"(SEEN)", HasFlag(SEEN)),
        (b"(SEEN DRAFT) ALL", And((And((HasFlag(SEEN), HasFlag(DRAFT))), All()))),
        (
            b'FLAGGED SINCE 1-Feb-1994 NOT FROM "Smith"',
            And(
                (
                    HasFlag(FLAGGED),
                    Dated(False, Relation.SINCE, DAY),
                    Not(HeaderHas("from", "smith")),
                )
            ),
        ),
        (b"CHARSET US-ASCII ALL", All()),
        (b"charset utf-8 TEXT \xc3\x9cBER", TextHas("über")),
        (b"CHARSET ISO-8859-1 TEXT \xdcBER", TextHas("über")),
        (b'CHARSET "KOI8-R" BODY \xe1', BodyHas("а")),
        (b"TEXT \xc3\x9cBER", TextHas("über")),  # undeclared, but UTF-8
        (b"SUBJECT Stra\xc3\x9fe", HeaderHas("subject", "strasse")),
    ],
)
def test_keys(text: bytes, expected: Key) -> None:
    lexer = Lexer(text)
    assert expected == parse_program(lexer)
    assert lexer.at_end()


@pytest.mark.rfc("3501 section 6.4.4")
@pytest.mark.parametrize(
    "charset",
    [
        b"X-UNKNOWN",
        b"base64",
        b"zlib",
        b"rot13",
        b"hex",
        b"idna",
        b"punycode",
        b"unicode_escape",
        b"undefined",
        b"mbcs",
        b"../utf-8",
        b"\xff",
        b'""',
        b"x" * 5000,
    ],
)
def test_unknown_charsets(charset: bytes) -> None:
    with pytest.raises(Unacceptable) as caught:
        parse_program(Lexer(b"CHARSET " + charset + b" ALL"))
    assert caught.value.code == "BADCHARSET (UTF-8 US-ASCII)"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"FROBNICATE",
        b"SEEN ",
        b"SEEN  DRAFT",
        b"()",
        b"(SEEN",
        b"(SEEN DRAFT ",
        b"NOT",
        b"NOT ",
        b"OR SEEN",
        b"OR SEEN ",
        b"FUZZY",
        b"FUZZY ",
        b"FUZZY x",
        b"0",
        b"1:",
        b"UID",
        b"UID x",
        b"UID 0",
        b"KEYWORD",
        b"KEYWORD (",
        b"BEFORE 31-Feb-1994",
        b"BEFORE 1-Feb-94",
        b'BEFORE "1-Feb-1994',
        b"BEFORE 1-Feb-0000",
        b"BEFORE yesterday",
        b"LARGER -1",
        b"LARGER 9223372036854775808",
        b"SMALLER x",
        b"HEADER x",
        b"TEXT",
        b'TEXT "x',
        b"TEXT \xff",
        b"CHARSET US-ASCII TEXT \xc3\xbc",
        b"CHARSET UTF-8",
        b"CHARSET",
    ],
)
def test_what_is_no_program(text: bytes) -> None:
    with pytest.raises(BadSyntax):
        _whole(text)


def _whole(text: bytes) -> None:
    lexer = Lexer(text)
    parse_program(lexer)
    lexer.end()


@pytest.mark.parametrize(("opening", "closing"), [(b"NOT ", b""), (b"(", b")"), (b"OR ALL ", b"")])
def test_depth_is_limited(opening: bytes, closing: bytes) -> None:
    _whole(opening * DEPTH_LIMIT + b"ALL" + closing * DEPTH_LIMIT)
    for depth in (DEPTH_LIMIT + 1, 10_000):
        with pytest.raises(BadSyntax, match="deep"):
            _whole(opening * depth + b"ALL" + closing * depth)


def test_breadth_is_no_depth() -> None:
    _whole(b" ".join([b"(ALL)", b"NOT ALL", b"OR ALL ALL"] * DEPTH_LIMIT))


def test_keys_are_limited() -> None:
    _whole(b" ".join([b"ALL"] * KEYS_LIMIT))
    with pytest.raises(BadSyntax, match="search keys"):
        _whole(b" ".join([b"ALL"] * (KEYS_LIMIT + 1)))


def test_every_charset_decodes_or_refuses() -> None:
    octets = bytes(range(0x80, 0x100)) + b"a"
    for charset in sorted({*aliases, *aliases.values()}):
        try:
            parse_program(Lexer(f"CHARSET {charset} TEXT ".encode() + octets))
        except (BadSyntax, Unacceptable):
            continue
