"""`mailstead filter add|list|remove|test|code`."""

from pathlib import Path

from mailstead.services.inbound.policy import Action
from mailstead.testing.filtering import ALL_RIGHT, evidence, load_code

from .conftest import Shell


def test_engines(mailstead: Shell) -> None:
    assert "None. Next: mailstead filter add" in mailstead("filter", "list").out
    assert (
        mailstead("filter", "add", "av", "clamd", "unix:/run/clamd.sock", "--place", "1").code == 0
    )
    assert mailstead("filter", "add", "rs", "rspamd", "http://127.0.0.1:11333").code == 0
    assert mailstead("filter", "add", "od", "milter", "inet:8891@127.0.0.1").code == 0
    found = mailstead("filter", "list", "--json").json()
    assert [(one["name"], one["endpoint"]) for one in found] == [
        ("av", "/run/clamd.sock"),
        ("od", "127.0.0.1:8891"),
        ("rs", "http://127.0.0.1:11333/checkv2"),
    ]
    assert mailstead("filter", "add", "av", "clamd", "/run/x").code == 1
    assert mailstead("filter", "add", "x", "clamd", "nowhere").code == 1
    assert mailstead("filter", "add", "x", "http", "ftp://127.0.0.1/").code == 1
    assert mailstead("filter", "remove", "rs").code == 0
    gone = mailstead("filter", "remove", "rs")
    assert (gone.code, "mailstead filter list" in gone.err) == (1, True)


def test_a_filter_that_does_not_answer(mailstead: Shell) -> None:
    assert mailstead("filter", "add", "av", "clamd", "unix:/nowhere").code == 0
    ran = mailstead("filter", "test", "av")
    assert (ran.code, "does not answer" in ran.err) == (75, True)
    assert mailstead("filter", "test", "other").code == 1


CODE = """
from mailstead.services.inbound.policy import Action, Verdict

def judge(evidence, verdict, recipient):
    if evidence.listed and recipient == "alice@example.org":
        return Verdict(Action.JUNK, "listed")
    return verdict
"""


def test_own_code(mailstead: Shell, tmp_path: Path) -> None:
    path = tmp_path / "filter.py"
    path.write_text("judge = 5")
    assert mailstead("filter", "code", str(path)).code == 1
    path.write_text(CODE)
    assert mailstead("filter", "code", str(path)).code == 0
    assert mailstead("filter", "code", "--json").json() == {"code": str(path)}
    path.chmod(0o666)
    assert mailstead("filter", "code", str(path)).code == 1
    assert mailstead("filter", "code", "--off").code == 0
    assert mailstead("filter", "code", "--json").json() == {"code": ""}


def test_the_harness(tmp_path: Path) -> None:
    path = tmp_path / "filter.py"
    path.write_text(CODE)
    judge = load_code(path)
    listed = evidence(listed="spamhaus-zen")
    assert judge(listed, ALL_RIGHT, "alice@example.org").action is Action.JUNK
    assert judge(listed, ALL_RIGHT, "carol@example.org") == ALL_RIGHT
    assert judge(evidence(), ALL_RIGHT, "alice@example.org") == ALL_RIGHT
