"""`mailstead suppression`: by hand, and by file."""

import csv
import io
from pathlib import Path

from .conftest import Shell

BOB = "bob@example.net"


def rows(mailstead: Shell) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(mailstead("suppression", "export").out)))


def test_added_listed_and_removed(mailstead: Shell) -> None:
    assert mailstead("suppression", "add", BOB, "--evidence", "ticket 7", "--days", "30").code == 0
    assert BOB in mailstead("suppression", "list").out
    (one,) = mailstead("suppression", "list", "--json").json()
    assert (one["address"], one["reason"], one["evidence"]) == (BOB, "named", "ticket 7")
    assert mailstead("suppression", "remove", BOB).code == 0
    refused = mailstead("suppression", "remove", BOB)
    assert (refused.code, "mailstead suppression list" in refused.err) == (1, True)
    assert "Nobody" in mailstead("suppression", "list").out


def test_a_complaint_has_no_end(mailstead: Shell) -> None:
    refused = mailstead("suppression", "add", BOB, "--reason", "complaint", "--days", "1")
    assert (refused.code, "does not expire" in refused.err) == (1, True)


def test_a_file_out_and_in(mailstead: Shell, tmp_path: Path) -> None:
    mailstead(
        "suppression", "add", BOB, "--reason", "complaint", "--evidence", 'said "stop", twice'
    )
    mailstead("suppression", "add", "carol@example.com", "--days", "5")
    path = tmp_path / "list.csv"
    path.write_text(mailstead("suppression", "export").out, "utf-8")
    before = rows(mailstead)
    for one in (BOB, "carol@example.com"):
        mailstead("suppression", "remove", one)
    assert rows(mailstead) == []
    assert mailstead("suppression", "import", str(path)).code == 0
    assert rows(mailstead) == before


def test_bad_rows_are_told(mailstead: Shell, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"address,reason\n{BOB},gone\nno address,gone\nx@y.example,whatever\n", "utf-8")
    ran = mailstead("suppression", "import", str(path), "--json")
    told = ran.json()
    assert (ran.code, told["added"], [one["line"] for one in told["refused"]]) == (1, 1, [3, 4])


def test_a_file_without_columns_is_refused(mailstead: Shell, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"{BOB}\n", "utf-8")
    ran = mailstead("suppression", "import", str(path))
    assert (ran.code, "name the columns" in ran.err) == (1, True)


def test_an_unknown_organisation_is_refused(mailstead: Shell) -> None:
    assert mailstead("suppression", "list", "--organisation", "nobody").code == 1
