import pytest

from mailstead.model.flags import DELETED, SEEN, format_flags, has_keyword, parse_flags


@pytest.mark.rfc("9051 section 2.3.2")
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], (0, "")),
        (["\\Seen", "\\DELETED"], (SEEN | DELETED, "")),
        (["\\Recent"], (0, "")),  # a session's, never stored
        (["zebra", "$Junk", "apple"], (0, "$Junk apple zebra")),
        (["Work", "work", "WORK"], (0, "WORK")),  # keywords are case-insensitive
    ],
)
def test_parse_flags(names: list[str], expected: tuple[int, str]) -> None:
    assert expected == parse_flags(names)


@pytest.mark.parametrize("name", ["\\Frobnicate", "two words", "", "a(b", "ü", "x" * 101, 'q"'])
def test_what_is_no_flag(name: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        parse_flags([name])


def test_format_flags() -> None:
    assert format_flags(SEEN, "$Junk work", recent=True) == "\\Seen $Junk work \\Recent"
    assert has_keyword("$Junk work", "$junk")
    assert not has_keyword("$Junk work", "wor")
