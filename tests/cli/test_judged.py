"""`mailstead check message`: the verdict by hand; the DNS outside is simulated."""

import pytest

from mailstead.server import wiring
from mailstead.testing.zone import Zone

from .conftest import Shell

FIELDS = "Date: Sun, 22 Nov 2026 12:00:00 +0000\nMessage-ID: <1@example.com>\n"
MESSAGE = f"From: Bob <bob@example.com>\n{FIELDS}Subject: x\n\nHi\n"


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Zone:
    """The DNS outside."""
    simulated = Zone()
    monkeypatch.setattr(wiring, "_resolver", lambda *_: simulated)
    simulated["TXT", "example.com"] = "v=spf1 ip4:192.0.2.25 -all"
    simulated["TXT", "_dmarc.example.com"] = "v=DMARC1; p=quarantine"
    return simulated


@pytest.mark.parametrize(
    ("client", "sender", "message", "expected"),
    [
        ("192.0.2.25", "bob@example.com", MESSAGE, "is taken for what it says it is"),
        ("192.0.2.26", "bob@example.com", MESSAGE, "goes to Junk"),
        (
            "192.0.2.26",
            "<>",
            MESSAGE.replace("bob@example.com", "bob@example.org"),
            "goes to Junk",
        ),  # hosted here
        (
            "192.0.2.26",
            "<>",
            MESSAGE.replace("bob@example.com", "bob@example.net"),
            "is taken for what it says it is",
        ),
    ],
)
def test_what_would_become_of_it(
    mailstead: Shell, zone: Zone, client: str, sender: str, message: str, expected: str
) -> None:
    ran = mailstead("check", "message", client, sender, stdin=message)
    assert (ran.code, expected in ran.out) == (0, True), ran
    assert "SPF " in ran.out
    assert "The filter gives it" in ran.out


def test_for_whom(mailstead: Shell, zone: Zone) -> None:
    ran = ("check", "message", "192.0.2.25", "bob@example.com", "--json", "--to")
    authenticated, scored = mailstead(*ran, "alice@example.org", stdin=MESSAGE).json()
    assert (authenticated["what"], scored["what"]) == ("authenticated", "scored")
    assert scored["recipients"] == ["alice@example.org"]
    assert scored["total"] == round(sum(part["weight"] for part in scored["parts"]), 2)
    assert mailstead(*ran, "nobody@example.org", stdin=MESSAGE).code == 1


def test_what_is_no_address(mailstead: Shell) -> None:
    assert mailstead("check", "message", "nowhere", "bob@example.com").code == 2
