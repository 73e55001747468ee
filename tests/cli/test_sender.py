"""`mailstead sender` and `mailstead stream`."""

from .conftest import Shell

ALICE = "alice@example.org"


def test_the_usual_limits(mailstead: Shell) -> None:
    shown = mailstead("sender", "show", ALICE, "--json").json()
    assert (shown["recipients_limit"], shown["strangers_limit"]) == (1000, 200)
    assert "0 today, of 1000" in mailstead("sender", "show", ALICE).out


def test_other_limits(mailstead: Shell) -> None:
    mailstead("sender", "limits", ALICE, "--recipients", "none")
    shown = mailstead("sender", "limits", ALICE, "--strangers", "7", "--json").json()
    assert (shown["recipients_limit"], shown["strangers_limit"]) == (None, 7)
    assert "any number" in mailstead("sender", "show", ALICE).out
    mailstead("sender", "limits", ALICE, "--recipients", "usual", "--strangers", "usual")
    shown = mailstead("sender", "show", ALICE, "--json").json()
    assert (shown["recipients_limit"], shown["strangers_limit"]) == (1000, 200)


def test_limits_that_are_none(mailstead: Shell) -> None:
    assert mailstead("sender", "limits", ALICE).code == 2
    assert mailstead("sender", "limits", ALICE, "--recipients", "-5").code == 2
    refused = mailstead("sender", "limits", "bob@example.org", "--recipients", "5")
    assert (refused.code, "mailstead account list" in refused.err) == (1, True)


def test_send_as(mailstead: Shell) -> None:
    assert mailstead("sender", "allow", ALICE, "Sales@Example.org").code == 0
    assert mailstead("sender", "allow", ALICE, "@example.org").code == 0
    shown = mailstead("sender", "show", ALICE, "--json").json()
    assert shown["send_as"] == ["@example.org", "sales@example.org"]
    assert mailstead("sender", "forbid", ALICE, "sales@example.org").code == 0
    assert mailstead("sender", "forbid", ALICE, "sales@example.org").code == 1
    assert mailstead("sender", "show", ALICE, "--json").json()["send_as"] == ["@example.org"]


def test_send_as_somebody_elsewhere_is_refused(mailstead: Shell) -> None:
    mailstead("domain", "add", "example.com", "--organisation", "other")
    for address in ("bob@example.net", "@example.com", "nonsense", "@"):
        refused = mailstead("sender", "allow", ALICE, address)
        assert (address, refused.code) == (address, 1)


def test_streams(mailstead: Shell) -> None:
    assert "stream add" in mailstead("stream", "list").out
    assert mailstead("stream", "add", "news", "--priority", "bulk").code == 0
    assert mailstead("stream", "add", "receipts").code == 0
    assert mailstead("stream", "add", "news").code == 1
    assert mailstead("stream", "add", "No Name!").code == 1
    listed = mailstead("stream", "list", "--json").json()
    assert listed == [
        {"name": "receipts", "priority": "transactional"},
        {"name": "news", "priority": "bulk"},
    ]
    assert mailstead("stream", "set", "news", "--priority", "people").code == 0
    assert mailstead("stream", "list", "--json").json()[0]["name"] == "news"
    assert mailstead("sender", "stream", ALICE, "news").code == 0
    refused = mailstead("stream", "remove", "news")
    assert (refused.code, "sender stream" in refused.err) == (1, True)
    assert mailstead("sender", "stream", ALICE).code == 0
    assert mailstead("stream", "remove", "news").code == 0
    assert mailstead("sender", "stream", ALICE, "news").code == 1
