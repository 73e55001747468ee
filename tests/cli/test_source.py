"""`mailstead source` and `mailstead pool`; the DNS outside is simulated."""

import pytest

from mailstead.cli import source
from mailstead.server import wiring
from mailstead.testing.zone import Zone

from .conftest import Shell

A, B = "198.51.100.1", "198.51.100.2"


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Zone:
    """The DNS, and a machine that has both addresses."""
    simulated = Zone()
    monkeypatch.setattr(wiring, "_resolver", lambda *_: simulated)
    monkeypatch.setattr(source, "_is_here", lambda address: address in (A, B))
    simulated["PTR", "1.100.51.198.in-addr.arpa"] = "a.example.org"
    simulated["A", "a.example.org"] = A
    return simulated


def add(mailstead: Shell, name: str, address: str, *more: str) -> None:
    ran = mailstead("source", "add", name, address, "--helo", f"{name}.example.org", *more)
    assert ran.code == 0, ran.err


def test_added_listed_shown_and_removed(mailstead: Shell, zone: Zone) -> None:
    assert "No sources" in mailstead("source", "list").out
    add(mailstead, "a", A)
    assert "day 1 of 21" in mailstead("source", "list").out
    shown = mailstead("source", "show", "a").out
    assert "50 messages to each provider, tomorrow 100" in " ".join(shown.split())
    assert mailstead("source", "warm", "a").code == 0
    assert "over: it sends as much" in mailstead("source", "show", "a").out
    assert mailstead("source", "remove", "a").code == 0
    refused = mailstead("source", "remove", "a")
    assert (refused.code, "mailstead source list" in refused.err) == (1, True)


def test_shows_what_was_sent_today(mailstead: Shell, zone: Zone) -> None:
    add(mailstead, "a", A)
    found = mailstead("source", "show", "a", "--json").json()
    google = next(one for one in found["today"] if one["provider"] == "google")
    assert (google["sent"], google["allowance"]) == (0, 50)


def test_check_says_what_to_do(mailstead: Shell, zone: Zone) -> None:
    add(mailstead, "a", A)
    add(mailstead, "b", B, "--warm")
    good = mailstead("source", "check", "a")
    assert (good.code, "as it should be" in good.out) == (0, True)
    bad = mailstead("source", "check", "b")
    assert bad.code == 1
    assert "198.51.100.2 has none" in bad.out
    assert "It is not used" in bad.out
    assert 'set the PTR record of 198.51.100.2 to b.example.org."' in bad.out


def test_an_address_of_another_machine_cannot_send(mailstead: Shell, zone: Zone) -> None:
    add(mailstead, "c", "198.51.100.3")
    assert "does not have 198.51.100.3" in mailstead("source", "check", "c").out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("a", A), "already"),
        (("c", A), "is the source a already"),
        (("c", B, "198.51.100.9"), "one address of each family"),
        (("c", "mx.example.org"), "mx.example.org"),
        (("No Name", B), "lower case"),
    ],
)
def test_refuses_what_cannot_be_a_source(
    mailstead: Shell, zone: Zone, arguments: tuple[str, ...], problem: str
) -> None:
    add(mailstead, "a", A)
    ran = mailstead("source", "add", *arguments, "--helo", "c.example.org")
    assert (ran.code, problem in ran.err) == (1, True)


def test_a_pool_and_who_uses_it(mailstead: Shell, zone: Zone) -> None:
    add(mailstead, "a", A)
    add(mailstead, "b", B)
    assert mailstead("pool", "add", "own", "a", "b").code == 0
    assert "nobody" in mailstead("pool", "list").out
    assert mailstead("pool", "use", "own").code == 0
    ran = mailstead("pool", "use", "own", "--organisation", "example.org", "--stream", "news")
    assert ran.code == 0
    listed = mailstead("pool", "list").out
    assert "all mail; mail of example.org in the stream news" in listed
    assert "a b" in listed
    # The last source of a pool that is used stays.
    assert mailstead("pool", "remove", "own", "a").code == 0
    refused = mailstead("source", "remove", "b")
    assert (refused.code, "mailstead pool unuse" in refused.err) == (1, True)
    assert mailstead("pool", "unuse").code == 0
    assert mailstead("pool", "unuse").code == 1
    ran = mailstead("pool", "unuse", "--organisation", "example.org", "--stream", "news")
    assert ran.code == 0
    assert mailstead("pool", "remove", "own").code == 0
    assert "No pools" in mailstead("pool", "list").out


@pytest.mark.parametrize(
    "arguments",
    [("use", "nothing"), ("remove", "nothing"), ("add", "own", "nobody")],
)
def test_a_pool_of_nothing_is_refused(mailstead: Shell, arguments: tuple[str, ...]) -> None:
    ran = mailstead("pool", *arguments)
    assert (ran.code, "mailstead" in ran.err) == (1, True)
