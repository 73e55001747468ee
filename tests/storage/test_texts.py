"""Texts kept for searching: what is found in them, what is left of them, what can go wrong."""

from pathlib import Path

import pytest

from mailstead.model.numbers import AccountId
from mailstead.storage import texts
from mailstead.storage.texts import Asked, Scanned, Text, TextFiles

ALICE = AccountId(1)
ANYWHERE = Asked("needle", header=True, body=True)
IN_BODY = Asked("needle", header=False, body=True)
IN_HEADER = Asked("needle", header=True, body=False)
LETTERS = [
    Text(1, "subject: hay", "a needle in it"),
    Text(2, "subject: needle", "nothing"),
    Text(3, "subject: nee", "dle"),
    Text(4, "", ""),
    Text(5, "needl", "e"),
    Text(6, "zürich", "ends with needle"),
]


@pytest.fixture
def files(tmp_path: Path) -> TextFiles:
    return TextFiles(tmp_path / "texts")


def scan_all(files: TextFiles, *asked: Asked, wanted: range = range(100)) -> Scanned:
    """All that is here, in one piece."""
    return files.scan(ALICE, wanted, asked, 0, 10**9)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (ANYWHERE, {1, 2, 6}),
        (IN_BODY, {1, 6}),
        (IN_HEADER, {2}),
        (Asked("", header=True, body=True), {1, 2, 3, 4, 5, 6}),
        (Asked("ü", header=True, body=True), {6}),
        (Asked("e", header=False, body=True), {1, 3, 5, 6}),
        (Asked("\udc80", header=True, body=True), set()),
    ],
)
def test_where_a_text_is_found(files: TextFiles, asked: Asked, expected: set[int]) -> None:
    files.keep(ALICE, LETTERS)
    assert scan_all(files, asked) == Scanned({1, 2, 3, 4, 5, 6}, [expected], None)


def test_only_the_wanted_are_seen(files: TextFiles) -> None:
    files.keep(ALICE, LETTERS)
    assert scan_all(files, ANYWHERE, IN_HEADER, wanted=range(2, 4)) == Scanned(
        {2, 3}, [{2}, {2}], None
    )
    assert files.scan(AccountId(2), {1}, [ANYWHERE], 0, 1) == Scanned(set(), [set()], None)


def test_half_a_surrogate_pair_is_kept(files: TextFiles) -> None:
    files.keep(ALICE, [Text(1, "\ud83d", "")])
    assert scan_all(files, Asked("\ud83d", header=True, body=True)).hits == [{1}]


def test_chunks_are_looked_through_in_pieces(
    files: TextFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "CHUNK", 30)
    for start in range(0, 40, 10):
        files.keep(ALICE, [Text(n, "x" * 10, f"needle{n}") for n in range(start, start + 10)])
    seen: set[int] = set()
    last: int | None = 0
    pieces = 0
    while last is not None:
        found = files.scan(ALICE, range(40), [ANYWHERE], last, 1)
        assert found.hits == [found.seen]
        assert not seen & found.seen
        seen, last, pieces = seen | found.seen, found.last, pieces + 1
    assert seen == set(range(40))
    assert pieces > 10


def test_small_pieces_are_joined(files: TextFiles) -> None:
    for n in range(100):
        files.keep(ALICE, [Text(n, "", f"text {n}")])
    assert scan_all(files, Asked("text", header=False, body=True)).hits == [set(range(100))]
    pieces = 0
    last: int | None = 0
    while last is not None:
        last, pieces = files.scan(ALICE, range(100), [IN_BODY], last, 1).last, pieces + 1
    assert pieces < 12


def test_what_is_dropped_leaves_no_trace(files: TextFiles, tmp_path: Path) -> None:
    files.keep(ALICE, [Text(n, f"subject {n}.", f"secret {n}." * 20) for n in range(20)])
    files.drop(ALICE, {7, 8})
    assert files.keys(ALICE) == set(range(20)) - {7, 8}
    assert scan_all(files, Asked("secret 9.", header=False, body=True)).hits == [{9}]
    assert scan_all(files, Asked("secret 7.", header=False, body=True)).hits == [set()]
    octets = b"".join(path.read_bytes() for path in tmp_path.rglob("*.db*"))
    assert b"secret 9." in octets
    assert b"secret 7." not in octets
    assert b"subject 8." not in octets


def test_all_may_go(files: TextFiles) -> None:
    files.keep(ALICE, LETTERS)
    files.drop(ALICE, {text.key for text in LETTERS})
    assert scan_all(files, ANYWHERE) == Scanned(set(), [set()], None)
    files.keep(ALICE, LETTERS[:1])
    assert scan_all(files, ANYWHERE).hits == [{1}]


def test_a_file_can_be_removed_at_any_time(files: TextFiles, tmp_path: Path) -> None:
    files.keep(ALICE, LETTERS)
    other = TextFiles(tmp_path / "texts")  # another process
    assert scan_all(other, ANYWHERE).hits == [{1, 2, 6}]
    files.remove(ALICE)
    assert files.accounts() == {}
    assert scan_all(other, ANYWHERE) == Scanned(set(), [set()], None)
    other.keep(ALICE, LETTERS[:1])
    assert scan_all(files, ANYWHERE) == Scanned({1}, [{1}], None)


def test_two_processes_keep_the_same(files: TextFiles, tmp_path: Path) -> None:
    other = TextFiles(tmp_path / "texts")
    files.keep(ALICE, LETTERS[:3])
    other.keep(ALICE, LETTERS)
    files.keep(ALICE, LETTERS[3:])
    assert scan_all(other, ANYWHERE) == Scanned({1, 2, 3, 4, 5, 6}, [{1, 2, 6}], None)


@pytest.mark.parametrize("rubbish", [b"", b"x" * 100_000, b"SQLite format 3\0" + b"y" * 200_000])
def test_a_damaged_file_is_made_anew(files: TextFiles, tmp_path: Path, rubbish: bytes) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "1.db").write_bytes(rubbish)
    assert scan_all(files, ANYWHERE) == Scanned(set(), [set()], None)
    files.keep(ALICE, LETTERS)
    assert scan_all(files, ANYWHERE).hits == [{1, 2, 6}]


def test_a_file_cut_short_is_made_anew(files: TextFiles, tmp_path: Path) -> None:
    files.keep(ALICE, [Text(n, "", "needle" * 10_000) for n in range(50)])
    files.close()
    path = tmp_path / "texts" / "1.db"
    path.write_bytes(path.read_bytes()[: 3 * texts.PAGE_SIZE])
    assert scan_all(files, ANYWHERE).hits == [set()]
    files.keep(ALICE, LETTERS)
    assert scan_all(files, ANYWHERE).hits == [{1, 2, 6}]


def test_another_format_is_made_anew(files: TextFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    files.keep(ALICE, LETTERS)
    files.close()
    schema = texts._SCHEMA.replace(f"user_version = {texts.FORMAT}", "user_version = 99")
    monkeypatch.setattr(texts, "_SCHEMA", schema)
    monkeypatch.setattr(texts, "FORMAT", 99)
    assert scan_all(files, ANYWHERE) == Scanned(set(), [set()], None)
    files.keep(ALICE, LETTERS)
    assert scan_all(files, ANYWHERE).hits == [{1, 2, 6}]


@pytest.mark.parametrize(("limit", "value"), [("ACCOUNT_LIMIT", 1), ("FREE_LEAST", 10**18)])
def test_without_room_nothing_is_added(
    files: TextFiles, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    files.keep(ALICE, LETTERS[:1])
    monkeypatch.setattr(texts, limit, value)
    files.keep(ALICE, LETTERS[1:])
    assert files.keys(ALICE) == {1}


def test_a_folder_that_cannot_be_made_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "texts").write_bytes(b"a file")
    files = TextFiles(tmp_path / "texts")
    files.keep(ALICE, LETTERS)
    assert scan_all(files, ANYWHERE) == Scanned(set(), [set()], None)
    assert files.accounts() == {}


def test_not_too_many_files_are_open(files: TextFiles) -> None:
    for number in range(20):
        files.keep(AccountId(number), LETTERS)
    assert len(files._open) == texts.OPEN_FILES
    assert files.size() > 20 * texts.PAGE_SIZE
    assert scan_all(files, ANYWHERE).hits == [{1, 2, 6}]
    assert set(files.accounts()) == set(range(20))
