"""`mailstead spam`."""

from pathlib import Path

import pytest

from mailstead.services.sorted_mail import messages_in

from .conftest import Shell

OFFER = "From: bob@example.net\nSubject: Cheap pills\n\nOrder now at http://pills.example/\n"
LUNCH = "From: carol@example.net\nSubject: Lunch\n\nAt noon in the usual place?\n"


@pytest.fixture
def sorted_mail(tmp_path: Path) -> Path:
    for kind, text in (("ham", LUNCH), ("spam", OFFER)):
        folder = tmp_path / kind
        folder.mkdir()
        for number in range(100):
            (folder / f"{number}.eml").write_text(text + f"Message {number}.\n")
    return tmp_path


def test_training(mailstead: Shell, sorted_mail: Path) -> None:
    assert "Nothing was learnt" in mailstead("spam", "stats").out
    assert mailstead("spam", "train", str(sorted_mail / "ham"), "--ham").code == 0
    trained = mailstead("spam", "train", str(sorted_mail / "spam"), "--spam", "--json").json()
    assert trained == {"messages": 100, "kind": "spam"}
    (one,) = mailstead("spam", "stats", "--json").json()
    assert (one["organisation"], one["account"], one["ham"], one["spam"]) == (
        "example.org",
        "",
        100,
        100,
    )
    offer, lunch = (str(sorted_mail / kind / "0.eml") for kind in ("spam", "ham"))
    found = mailstead("spam", "test", offer, "--json").json()
    assert found["score"]["total"] == round(sum(x["weight"] for x in found["score"]["parts"]), 2)
    assert (
        found["score"]["total"]
        > 5
        > mailstead("spam", "test", lunch, "--json").json()["score"]["total"]
    )
    assert "url:pills.example" in {word for word, _ in found["clues"]}
    said = mailstead("check", "spam", offer).out
    assert "learnt" in said
    assert "url:pills.example" in said
    assert mailstead("spam", "forget").code == 0
    assert mailstead("spam", "test", offer, "--json").json()["clues"] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OFFER, [OFFER]),
        ("", [""]),
        (f"From x\n{OFFER}\nFrom y\n{LUNCH}", [f"{OFFER}\n", LUNCH]),
        (f"From x\n{LUNCH}From here on\n", [f"{LUNCH}From here on\n"]),
    ],
)
def test_mbox(text: str, expected: list[str], tmp_path: Path) -> None:
    path = tmp_path / "mail"
    path.write_text(text)
    assert [one.decode() for one in messages_in(path)] == expected


def test_thresholds(mailstead: Shell) -> None:
    whom = ("--account", "alice@example.org")
    assert mailstead("spam", "threshold", "set", "junk", "4").code == 0
    assert mailstead("spam", "threshold", "set", "refuse", "never", *whom).code == 0
    assert mailstead("spam", "threshold", "set", "junk", "7", "--domain", "example.org").code == 0
    found = mailstead("spam", "threshold", "list", "--json").json()
    told = {(one["name"], one["domain"] or one["account"]): one["points"] for one in found}
    assert told == {
        ("junk", ""): 4,
        ("quarantine", ""): None,
        ("defer", ""): None,
        ("refuse", ""): 15,
        ("hold", ""): None,
        ("refuse", "alice@example.org"): None,
        ("junk", "example.org"): 7,
    }
    ours = ("--domain", "example.org")
    assert mailstead("spam", "threshold", "set", "junk", "usual", *ours).code == 0
    left = mailstead("spam", "threshold", "list", "--json").json()
    assert {one["domain"] for one in left} == {""}
    assert mailstead("spam", "threshold", "set", "junk", "many").code == 1
    assert mailstead("spam", "threshold", "set", "junk", "1", "--domain", "a.example").code == 1


def test_lists(mailstead: Shell) -> None:
    assert "Nobody" in mailstead("spam", "listed").out
    assert mailstead("spam", "allow", "Example.NET", "--note", "friends").code == 0
    whom = ("--account", "alice@example.org")
    assert mailstead("spam", "block", "192.0.2.0/24", *whom).code == 0
    assert mailstead("spam", "block", "192.0.2.0/25").code == 1
    found = mailstead("spam", "listed", "--json").json()
    assert [(one["entry"], one["verdict"], one["account"]) for one in found] == [
        ("example.net", "allow", ""),
        ("192.0.2.0/24", "block", "alice@example.org"),
    ]
    assert mailstead("spam", "unlist", "example.net").code == 0
    assert mailstead("spam", "unlist", "example.net").code == 1


def test_rules(mailstead: Shell, sorted_mail: Path) -> None:
    assert mailstead("spam", "rule", "set", "no-date", "3").code == 0
    shown = {one["name"]: one for one in mailstead("spam", "rule", "list", "--json").json()}
    assert (shown["no-date"]["weight"], shown["no-date"]["usual"]) == (3, 0.8)
    lunch = str(sorted_mail / "ham" / "0.eml")
    parts = mailstead("spam", "test", lunch, "--json").json()["score"]["parts"]
    assert {part["rule"]: part["weight"] for part in parts}["no-date"] == 3
    assert mailstead("spam", "rule", "set", "no-date", "0").code == 0
    assert "no-date" not in mailstead("spam", "test", lunch).out
    assert mailstead("spam", "rule", "set", "no-date", "usual").code == 0
    assert "+0.80 no-date: it has no Date" in mailstead("spam", "test", lunch).out
    assert mailstead("spam", "rule", "set", "no-dates", "1").code == 1
    assert mailstead("spam", "rule", "set", "no-date", "much").code == 1
    assert mailstead("spam", "rule", "set", "no-date", "1000").code == 1


def test_nothing_is_quarantined(mailstead: Shell) -> None:
    assert "Nothing" in mailstead("spam", "quarantine", "list").out
    assert mailstead("spam", "quarantine", "release", "1").code == 1


def test_nothing_to_replay(mailstead: Shell) -> None:
    assert "0 of 0" in mailstead("spam", "replay", "--junk", "4").out
    assert mailstead("spam", "replay", "--rule", "no-date").code == 1
