"""The index of words: what it takes for the same word, what counts how much, what is left."""

from pathlib import Path

import pytest

from mailstead.model.numbers import AccountId
from mailstead.storage import words
from mailstead.storage.texts import Text, TextFiles

ALICE = AccountId(1)
LETTERS = [
    Text(1, "from: zoé <zoe@example.net>\r\nsubject: the hello\r\nx-spam: needle", "nothing"),
    Text(2, "subject: none\r\nto: anna\r\ncc: bert\r\nbcc: carla", "a hello, and helpers"),
    Text(3, "subject: othello\r\nsubject: second", "grüße und straßen"),
    Text(4, "", "\ud83d lone \0 nul 你好世界"),
]


@pytest.fixture
def files(tmp_path: Path) -> TextFiles:
    files = TextFiles(tmp_path / "texts")
    files.keep(ALICE, LETTERS)
    assert files.index_next(ALICE) == 4
    assert files.index_next(ALICE) is None
    return files


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("hello", words.ANYWHERE, {1: 1.0, 2: 0.5}),
        ("HÉLLÖ!", words.ANYWHERE, {1: 1.0, 2: 0.5}),
        ("hello", ["subject"], {1: 1.0}),
        ("hello", ["body"], {2: 0.5}),
        ("help", ["body"], {2: 0.35}),
        ("he", ["body"], {}),
        ("zoe", ["author"], {1: 0.8}),
        ("anna", ["recipient"], {2: 0.8}),
        ("bert", ["copied"], {2: 0.8}),
        ("carla", ["blind"], {2: 0.8}),
        ("anna", ["author"], {}),
        ("second", ["subject"], {3: 1.0}),
        ("needle", words.ANYWHERE, {}),  # of a field whose words are not taken in
        ("hello the", ["subject"], {1: 1.0}),
        ("hello hello hello", ["subject"], {1: 1.0}),
        ("hello absent", words.ANYWHERE, {}),
        ("helo", words.ANYWHERE, {1: 0.4, 2: 0.2}),
        ("helllo", ["subject"], {1: 0.4}),
        ("hlelo", ["subject"], {1: 0.4}),
        ("hxllo", ["subject"], {1: 0.4}),
        ("hxlxo", ["subject"], {}),
        ("gruße", ["body"], {3: 0.5}),
        ("grüße", ["subject"], {}),
        ("lone", ["body"], {4: 0.5}),
        ("你好", ["body"], {}),
        ("", words.ANYWHERE, {}),
        ("*", words.ANYWHERE, {}),
        ('"', words.ANYWHERE, {}),
        ("OR NOT AND", words.ANYWHERE, {}),
        ("\0", words.ANYWHERE, {}),
        ("hello", ["no such"], {}),
        ("x" * 100_000, words.ANYWHERE, {}),
        (" ".join(f"w{n}" for n in range(10_000)), words.ANYWHERE, {}),
    ],
)
def test_rank(files: TextFiles, text: str, columns: list[str], expected: dict[int, float]) -> None:
    found = files.rank(ALICE, range(10), text, columns)
    assert expected == {key: round(weight, 3) for key, weight in found.items()}


def test_only_the_wanted_are_ranked(files: TextFiles) -> None:
    assert files.rank(ALICE, {2}, "hello", words.ANYWHERE) == {2: 0.5}
    assert files.rank(ALICE, {3}, "hello", words.ANYWHERE) == {}


def test_an_account_without_texts_has_no_words(tmp_path: Path) -> None:
    files = TextFiles(tmp_path)
    assert files.index_next(ALICE) is None
    assert files.rank(ALICE, {1}, "hello", words.ANYWHERE) == {}


def test_what_comes_later_is_taken_in(files: TextFiles) -> None:
    files.keep(ALICE, [Text(7, "subject: hello", "")])
    assert files.index_next(ALICE) == 1  # the others of its chunk are known
    assert files.rank(ALICE, range(10), "hello", ["subject"]) == {1: 1.0, 7: 1.0}


def test_words_of_what_was_dropped_are_gone(files: TextFiles, tmp_path: Path) -> None:
    files.drop(ALICE, {2, 3})
    assert files.rank(ALICE, range(10), "hello", words.ANYWHERE) == {1: 1.0}
    assert files.index_next(ALICE) == 0
    octets = b"".join(path.read_bytes() for path in tmp_path.rglob("*.db*"))
    assert b"needle" in octets
    for word in (b"helpers", b"othello", b"carla", b"strassen", b"stra"):
        assert word not in octets


def test_words_are_many_and_long(files: TextFiles) -> None:
    """RFC 6203 section 8: very long words, and random ones."""
    files.keep(
        ALICE, [Text(8, "", "y" * 1_000_000), Text(9, "", " ".join(map(str, range(200_000))))]
    )
    while files.index_next(ALICE) is not None:
        pass
    assert files.rank(ALICE, {9}, "12345", ["body"]) == {9: 0.5}
    assert files.rank(ALICE, {9}, "199999", ["body"]) == {9: 0.2}  # 19999; it is behind the limit
