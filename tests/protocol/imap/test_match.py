from datetime import date

import msgspec
import pytest

from mailstead.model.flags import SEEN
from mailstead.protocol.imap.lexer import Lexer
from mailstead.protocol.imap.match import Need, SearchMessage, bind, matches, needs
from mailstead.protocol.imap.search import Key, parse_program

FIELDS = {
    "subject": ["grüsse"],
    "to": ["fred@example.org", "bob <bob@example.org>"],
    "x-empty": [""],
}


def never() -> str:
    raise AssertionError("nobody asked for this text")


MESSAGE = SearchMessage(
    seqnum=3,
    uid=30,
    system=SEEN,
    keywords="$Junk work",
    recent=True,
    modseq=7,
    columns={"internal_date": 5, "saved": 6, "content": 2},
    size=100,
    received=date(1994, 2, 1),
    sent=date(1994, 1, 31),
    fields=lambda name: FIELDS.get(name, []),
    header=lambda: "subject: grüsse\r\n",
    body=lambda: "hello world",
)


def program(text: str) -> Key:
    return bind(parse_program(Lexer(text.encode())), count=5, last_uid=50)


@pytest.mark.rfc("3501 section 6.4.4")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ALL", True),
        ("SEEN", True),
        ("UNSEEN", False),
        ("NEW", False),
        ("RECENT", True),
        ("OLD", False),
        ("KEYWORD WORK", True),
        ("UNKEYWORD $junk", False),
        ("KEYWORD wor", False),
        ("1:3", True),
        ("*", False),
        ("4:*", False),
        ("UID 30", True),
        ("UID 60:31", False),
        ("UID 20:*", True),
        ("UID 1:9,29:31,40", True),
        ("UID 1:9,31:40", False),
        ("BEFORE 1-Feb-1994", False),
        ("ON 1-Feb-1994", True),
        ("SINCE 1-Feb-1994", True),
        ("SINCE 2-Feb-1994", False),
        ("SENTBEFORE 1-Feb-1994", True),
        ("SENTON 1-Feb-1994", False),
        ("SENTSINCE 31-Jan-1994", True),
        ("LARGER 100", False),
        ("LARGER 99", True),
        ("SMALLER 100", False),
        ("SMALLER 101", True),
        ("SUBJECT GRÜSS", True),
        ("SUBJECT Grüße", True),  # case-folded on both sides
        ("TO bob@", True),
        ("CC bob@", False),
        ('HEADER X-Empty ""', True),  # the field is there, whatever it says
        ('HEADER X-Other ""', False),
        ("BODY WORLD", True),
        ("BODY subject", False),
        ("TEXT subject:", True),
        ("TEXT world", True),
        ("NOT SEEN", False),
        ("OR UNSEEN DELETED", False),
        ("OR UNSEEN SEEN", True),
        ("SEEN UNSEEN", False),
        ("(SEEN RECENT) NOT (SEEN DELETED)", True),
    ],
)
def test_matches(text: str, expected: bool) -> None:
    assert expected == matches(program(text), MESSAGE)


def test_a_message_without_a_date_was_sent_on_no_day() -> None:
    undated = msgspec.structs.replace(MESSAGE, sent=None)
    for key in ("SENTBEFORE", "SENTON", "SENTSINCE"):
        assert not matches(program(f"{key} 1-Feb-1994"), undated)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ALL", Need.NOTHING),
        ("1:* UID 3", Need.NOTHING),
        ("UNSEEN", Need.FLAGS),
        ("KEYWORD x", Need.FLAGS),
        ("NEW SINCE 1-Feb-1994", Need.FLAGS | Need.COLUMNS),
        ("SENTON 1-Feb-1994 LARGER 3", Need.COLUMNS),
        ("NOT FROM x", Need.HEADER),
        ("OR BODY x SEEN", Need.BODY | Need.FLAGS),
        ("TEXT x", Need.HEADER | Need.BODY),
    ],
)
def test_needs(text: str, expected: Need) -> None:
    assert expected == needs(program(text))


@pytest.mark.parametrize("text", ["TEXT x UNSEEN", "BODY x LARGER 1000", "FROM x (BODY y) UID 4"])
def test_text_is_not_fetched_where_flags_decide(text: str) -> None:
    lazy = msgspec.structs.replace(MESSAGE, header=never, body=never, fields=lambda name: [never()])
    assert not matches(program(text), lazy)
    assert matches(program(f"OR {text.split(' ', 2)[0]} x SEEN"), lazy)


@pytest.mark.rfc("7377 section 2")
def test_a_sequence_number_beyond_the_last_message() -> None:
    assert not matches(program("6"), MESSAGE)
    assert not matches(program("6:9"), MESSAGE)
    assert matches(program("NOT 6"), MESSAGE)
    assert matches(program("1:6"), MESSAGE)
    assert not matches(program("UID 51"), MESSAGE)
