"""What is kept of a message in memory is bounded, whatever its header holds."""

import pytest

from mailstead.services.mailboxes.reading import (
    ANCESTORS_LIMIT,
    TEXT_LIMIT,
    Page,
    columns_of,
)


def nothing(*_: object) -> bytes:
    return b""


@pytest.mark.parametrize(("length", "kept"), [(TEXT_LIMIT, True), (TEXT_LIMIT + 1, False)])
def test_a_long_text_is_not_kept(length, kept):
    header = b"Subject: " + b"x" * length + b"\r\n"
    page = Page({"uid": [1], "header": [header]}, nothing)
    expected = "x" * length if kept else None
    assert columns_of(["text:subject"], page) == {"text:subject": [expected]}


def test_of_many_ancestors_the_first_and_the_last_are_kept():
    many = [f"{number}@{'x' * 90}" for number in range(100)]
    page = Page({"uid": [1, 2], "ancestors": [" ".join(many), "1@a 2@a"]}, nothing)
    shortened, few = columns_of(["ancestors"], page)["ancestors"]
    kept = shortened.split(" ")
    assert few == "1@a 2@a"
    assert kept[0] == many[0]
    assert kept[1:] == many[-len(kept) + 1 :]
    assert len(kept) > 5
    assert len(shortened) <= ANCESTORS_LIMIT
