"""What FILTER stands for (RFC 5466)."""

import pytest

from mailstead.model.errors import Refusal
from mailstead.protocol.imap import commands, filters
from mailstead.protocol.imap.filters import NESTING_LIMIT, expand, parse_filter
from mailstead.protocol.imap.lexer import BadSyntax
from mailstead.protocol.imap.parser import parse_command
from mailstead.protocol.imap.search import KEYS_LIMIT, Key, Named


def program(text: str) -> Key:
    command = parse_command(f"a SEARCH {text}".encode())
    assert isinstance(command, commands.Search)
    return command.program


def expanded(text: str, known: dict[str, str]) -> Key:
    """The program, with the filters that are known."""
    expansion = expand(program(text))
    try:
        name = next(expansion)
        while True:
            value = known.get(name)
            name = expansion.send(None if value is None else value.encode())
    except StopIteration as end:
        result: Key = end.value
        return result


KNOWN = {
    "small": 'OR SMALLER 5000 FROM "boss@example.com"',
    "new": "FILTER Small UNSEEN",
    "newer": "NOT FILTER new",
    "umlaut": "SUBJECT Grüße",
    "loop": "OR ALL FILTER loop2",
    "loop2": "FILTER loop",
    "half": "OR SMALLER",
    "empty": "",
    "more": "ALL\r\n",
    "nul": "SUBJECT \0",
    "charset": "CHARSET UTF-8 ALL",
    **{f"chain{n}": f"FILTER chain{n + 1}" for n in range(NESTING_LIMIT)},
    f"chain{NESTING_LIMIT}": "ALL",
    **{f"bomb{n}": f"FILTER bomb{n + 1} FILTER bomb{n + 1}" for n in range(9)},
    "bomb9": "ALL",
    "deep": "NOT " * 40 + "FILTER deeper",
    "deeper": "NOT " * 40 + "ALL",
    **{f"well{n}": "NOT " * 49 + f"FILTER well{n + 1}" for n in range(NESTING_LIMIT)},
    f"well{NESTING_LIMIT}": "OR " * 49 + "ALL" + " ALL" * 49,
}


@pytest.mark.rfc("5466 section 3.1")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'UID 300:900 FILTER small SINCE "3-Dec-2002"',
            'UID 300:900 (OR SMALLER 5000 FROM "boss@example.com") SINCE "3-Dec-2002"',
        ),
        ("FILTER NEW", '(OR SMALLER 5000 FROM "boss@example.com") UNSEEN'),
        ("OR FILTER newer 1", 'OR NOT ((OR SMALLER 5000 FROM "boss@example.com") UNSEEN) 1'),
        ("FILTER umlaut", "SUBJECT Grüße"),
        ("FUZZY FILTER umlaut", "FUZZY SUBJECT Grüße"),
        ("FILTER chain1", "ALL"),
        ("ALL", "ALL"),
    ],
)
def test_filters_in_the_place_of_their_names(text: str, expected: str) -> None:
    assert program(expected) == expanded(text, KNOWN)


@pytest.mark.rfc("5466 section 3.1")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("FILTER nothing", "UNDEFINED-FILTER nothing"),
        ("OR ALL FILTER loop", "UNDEFINED-FILTER loop"),
        ("FILTER half", "UNDEFINED-FILTER half"),
        ("FILTER empty", "UNDEFINED-FILTER empty"),
        ("FILTER more", "UNDEFINED-FILTER more"),
        ("FILTER nul", "UNDEFINED-FILTER nul"),
        ("FILTER charset", "UNDEFINED-FILTER charset"),
        ("FILTER chain0", f"UNDEFINED-FILTER chain{NESTING_LIMIT}"),
        ("FILTER bomb0", "LIMIT"),
        ("FILTER deep", "LIMIT"),
        ("FILTER well1", "LIMIT"),
        ("NOT (NOT (NOT FILTER well1))", "LIMIT"),
    ],
)
def test_what_is_undefined(text: str, code: str) -> None:
    with pytest.raises(Refusal) as refusal:
        expanded(text, KNOWN)
    assert refusal.value.code == code


def test_keys_are_counted_over_all_filters() -> None:
    known = {"many": " ".join(["ALL"] * (KEYS_LIMIT - 2))}
    expanded("FILTER many", known)
    with pytest.raises(Refusal, match="more than"):
        expanded("FILTER many FILTER many", known)


@pytest.mark.rfc("5466 section 3.1")
def test_filters_are_utf8() -> None:
    for charset in ("UTF-8", "US-ASCII", "utf8"):
        assert program(f"CHARSET {charset} FILTER x") == Named("x")
    with pytest.raises(BadSyntax) as error:
        program("CHARSET ISO-8859-1 FILTER x")
    assert error.value.code.startswith("BADCHARSET")
    for name in ("a/b", '"a"', "a]", ""):
        with pytest.raises(BadSyntax):
            program(f"FILTER {name}")


def test_what_can_be_kept() -> None:
    assert parse_filter(b"FILTER x") == Named("x")
    for value in (b"", b"ALL ", b"SUBJECT \xff", b"a {3}\r\nb", b"x" * 100):
        with pytest.raises(ValueError, match=r"."):
            parse_filter(value)
    assert filters.VALUES[0].startswith("/private/")
