"""`mailstead relay`: by hand, and lists by file."""

from collections.abc import Callable
from datetime import timedelta

from mailstead.cli.house import run_in_house
from mailstead.server.config import load
from mailstead.server.wiring import House
from mailstead.storage import call_ahead
from mailstead.storage.call_ahead import Said

from .conftest import Shell

NET = "example.net"
Write = Callable[[str, str], str]


def test_added_changed_shown_and_removed(mailstead: Shell) -> None:
    added = mailstead("relay", "add", NET)
    assert (added.code, f"mailstead relay recipients {NET} import" in added.out) == (0, True)
    again = mailstead("relay", "add", NET)
    assert (again.code, f"mailstead relay set {NET}" in again.err) == (1, True)
    mailstead("relay", "set", NET, "--host", "mx.example.net", "--days", "30")
    shown = mailstead("relay", "show", NET, "--json").json()
    assert shown["waiting"] == 0
    assert (shown["domain"]["host"], shown["domain"]["days"]) == ("mx.example.net:25", 30)
    (listed,) = mailstead("relay", "list", "--json").json()
    assert listed == shown["domain"]
    assert "mx.example.net:25" in mailstead("relay", "list").out
    mailstead("relay", "set", NET, "--by-mx")
    assert "its MX" in mailstead("relay", "list").out
    assert mailstead("relay", "remove", NET).code == 0
    gone = mailstead("relay", "show", NET)
    assert (gone.code, f"mailstead relay add {NET}" in gone.err) == (1, True)
    assert "No relay domains" in mailstead("relay", "list").out


def test_a_server_that_takes_anybody_is_told(mailstead: Shell) -> None:
    mailstead("relay", "add", NET, "--recipients", "call")
    assert mailstead("relay", "show", NET, "--json").json()["domain"]["takes_anybody"] is None
    assert "its server is asked" in mailstead("relay", "show", NET).out

    async def learn(house: House) -> None:
        until = house.world.clock.now() + timedelta(days=1)
        said = Said(f"@{NET}", True, "", until)
        await house.store.write(lambda tx: call_ahead.keep(tx, [said]))

    run_in_house(load(mailstead.config), learn)
    assert f"mailstead relay set {NET} --recipients list" in mailstead("relay", "show", NET).out


def test_what_cannot_be_is_refused(mailstead: Shell) -> None:
    assert "mx.example.net:25" in mailstead("relay", "add", NET, "--host", "no host").err
    assert "--host" in mailstead("relay", "add", NET, "--transport", "lmtp").err
    refused = mailstead("relay", "add", NET, "--transport", "lmtp", "--host", "10.0.0.1:25")
    assert "RFC 2033 section 5" in refused.err
    assert mailstead("relay", "list", "--json").json() == []
    mailstead("domain", "catch-all", "example.org", "alice@example.org")
    refused = mailstead("relay", "add", "example.org", "--host", "10.0.0.1")
    assert (refused.code, "catch-all example.org --none" in refused.err) == (1, True)


def test_the_list_by_hand(mailstead: Shell) -> None:
    assert mailstead("relay", "recipients", NET, "add", "bob").code == 1
    mailstead("relay", "add", NET)
    assert mailstead("relay", "recipients", NET, "add", "bob", "Carol@Example.NET").code == 0
    assert mailstead("relay", "recipients", NET, "add", "bob@example.com").code == 1
    assert mailstead("relay", "recipients", NET, "list").out == (
        "bob@example.net\ncarol@example.net\n"
    )
    mailstead("relay", "recipients", NET, "remove", "BOB")
    assert mailstead("relay", "recipients", NET, "list", "--json").json() == ["carol@example.net"]


def test_the_list_by_file(mailstead: Shell, write_file: Write) -> None:
    mailstead("relay", "add", NET)
    many = "".join(f"user{number}@example.net\n" for number in range(2500))
    ran = mailstead("relay", "recipients", NET, "import", write_file("many", many))
    assert (ran.code, "2500 of 2500 added" in ran.err) == (0, True)
    few = write_file("few", "# new\n\nuser1  # stays\nBob@example.net\n")
    mailstead("relay", "recipients", NET, "import", few)
    assert len(mailstead("relay", "recipients", NET, "list", "--json").json()) == 2501
    done = mailstead("relay", "recipients", NET, "import", few, "--replace", "--json").json()
    assert (done["added"], done["removed"]) == (2, 2499)
    assert mailstead("relay", "recipients", NET, "list", "--json").json() == [
        "bob@example.net",
        "user1@example.net",
    ]


def test_a_bad_line_takes_nobody_off(mailstead: Shell, write_file: Write) -> None:
    mailstead("relay", "add", NET)
    mailstead("relay", "recipients", NET, "add", "bob")
    bad = write_file("bad", "carol\nno address at all\ndave@example.com\n")
    ran = mailstead("relay", "recipients", NET, "import", bad, "--replace", "--json")
    assert (ran.code, [one["line"] for one in ran.json()["refused"]]) == (1, [2, 3])
    assert len(mailstead("relay", "recipients", NET, "list", "--json").json()) == 2


def test_a_list_goes_with_its_domain(mailstead: Shell) -> None:
    mailstead("relay", "add", NET)
    mailstead("relay", "recipients", NET, "add", "bob")
    mailstead("relay", "remove", NET)
    mailstead("relay", "add", NET)
    assert mailstead("relay", "recipients", NET, "list", "--json").json() == []
