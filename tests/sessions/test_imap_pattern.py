import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.sessions.imap.pattern import Pattern


@pytest.mark.rfc("3501 section 6.3.8")
@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*", "INBOX", True),
        ("*", "a/b/c", True),
        ("%", "a", True),
        ("%", "a/b", False),
        ("%/b", "a/b", True),
        ("a/%", "a/b/c", False),
        ("a/%", "a", False),
        ("a*c", "a/b/c", True),
        ("a%c", "abbc", True),
        ("a%c", "a/c", False),
        ("*%", "a/b", True),
        ("%*%", "a/b", True),
        ("%%", "a/b", False),
        ("a*a*a", "aa", False),
        ("inbox", "INBOX", True),
        ("iN%x", "INBOX", True),
        ("inbox/*", "INBOX/a", False),  # the parser puts INBOX in capitals where it is a level
        ("sent", "Sent", False),
        ("", "", True),
        ("", "a", False),
        ("ü%", "üb", True),
    ],
)
def test_pattern(pattern: str, name: str, expected: bool) -> None:
    assert expected == Pattern(pattern).matches(name)


@given(st.text("ab/*%", max_size=8), st.text("ab/", max_size=8))
@settings(deadline=None)
def test_pattern_means_what_an_expression_means(pattern: str, name: str) -> None:
    expression = re.escape(pattern).replace(r"\*", ".*").replace("%", "[^/]*")
    assert bool(re.fullmatch(expression, name)) == Pattern(pattern).matches(name)


def test_a_hostile_pattern_costs_no_more_than_any_other() -> None:
    """Tried one after the other, the places of these wildcards would take longer than the sun."""
    assert not Pattern("*a%" * 170 + "b").matches("a" * 512)
