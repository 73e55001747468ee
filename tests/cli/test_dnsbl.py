"""`mailstead check dnsbl`; the DNS outside is simulated."""

import pytest

from mailstead.server import wiring
from mailstead.testing.zone import Zone

from .conftest import Shell


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Zone:
    """The DNS outside: four lists that are sound, one that refuses, and one client."""
    simulated = Zone()
    monkeypatch.setattr(wiring, "_resolver", lambda *_: simulated)
    for suffix in ("zen.spamhaus.org", "bl.spamcop.net", "psbl.surriel.com"):
        simulated["A", f"2.0.0.127.{suffix}"] = "127.0.0.2"
    simulated["A", "2.0.0.0.0.0.f.7.f.f.f.f." + "0." * 20 + "zen.spamhaus.org"] = "127.0.0.2"
    simulated["A", "2.0.0.127.bl.mailspike.net"] = "127.255.255.254"
    simulated["A", "dbltest.com.dbl.spamhaus.org"] = "127.0.1.2"
    return simulated


def test_says_who_lists_an_address(mailstead: Shell, zone: Zone) -> None:
    zone["A", "99.2.0.192.zen.spamhaus.org"] = "127.0.0.4"
    zone["TXT", "99.2.0.192.zen.spamhaus.org"] = "https://example.test/192.0.2.99"
    ran = mailstead("check", "dnsbl", "192.0.2.99")
    assert ran.code == 1
    assert "spamhaus-zen: LISTED: XBL: taken over (127.0.0.4). They say: https:" in ran.out
    assert "spamcop: not listed" in ran.out
    assert "mailspike: not usable: the list refuses our questions: 127.255.255.254" in ran.out
    assert "dnswl: not usable: 127.0.0.2 must be listed, and is not" in ran.out
    assert "barracuda" not in ran.out


def test_a_domain_by_name_of_the_list_for_programs(mailstead: Shell, zone: Zone) -> None:
    ran = mailstead("check", "dnsbl", "spam.example", "--zone", "spamhaus-dbl", "--json")
    assert (ran.code, ran.json()[0]["result"]) == (0, {"zone": "spamhaus-dbl"})


@pytest.mark.parametrize(
    "words", [["no domain"], ["192.0.2.1", "--zone", "surbl"], ["192.0.2.1", "--zone", "x"]]
)
def test_usage(mailstead: Shell, zone: Zone, words: list[str]) -> None:
    assert mailstead("check", "dnsbl", *words).code == 2
