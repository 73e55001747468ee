"""`mailstead check spf` and `check dmarc`; the DNS outside is simulated."""

import pytest

from mailstead.server import wiring
from mailstead.testing.zone import Zone

from .conftest import Shell


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Zone:
    """The DNS outside."""
    simulated = Zone()
    monkeypatch.setattr(wiring, "_resolver", lambda *_: simulated)
    simulated["TXT", "example.com"] = "v=spf1 mx include:_spf.example.net -all exp=why.example.com"
    simulated["MX", "example.com"] = "10 mx.example.com"
    simulated["A", "mx.example.com"] = "192.0.2.25"
    simulated["TXT", "_spf.example.net"] = "v=spf1 ip4:198.51.100.0/24 ~all"
    simulated["TXT", "why.example.com"] = "%{i} is no server of ours; ask \x1b[31m%{r}"
    simulated["TXT", "_dmarc.example.com"] = "v=DMARC1; p=reject; sp=quarantine; t=y"
    return simulated


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("ip", "sender", "expected"),
    [
        ("192.0.2.25", "bob@example.com", '"mx" in the record of example.com lets 192.0.2.25'),
        ("198.51.100.1", "bob@example.com", '"include:_spf.example.net" in the record of exam'),
        ("203.0.113.1", "<bob@example.com>", '"-all" in the record of example.com says that'),
        ("203.0.113.1", "_spf.example.net", '"~all" in the record of _spf.example.net says th'),
        ("203.0.113.1", "bob@nowhere.example", "why there is no record"),
        ("::1", "bob@localhost", "why it is no domain name of several labels"),
    ],
)
def test_spf_says_what_decided(
    mailstead: Shell, zone: Zone, ip: str, sender: str, expected: str
) -> None:
    ran = mailstead("check", "spf", ip, sender)
    assert ran.code == 0
    assert expected in words(ran.out)


def test_spf_shows_what_was_asked_and_their_words(mailstead: Shell, zone: Zone) -> None:
    ran = mailstead("check", "spf", "203.0.113.1", "bob@example.com")
    assert "MX example.com 10 mx.example.com A mx.example.com 192.0.2.25" in words(ran.out)
    assert "look-ups 2 of 10" in words(ran.out)
    assert "\x1b" not in ran.out


def test_spf_for_programs(mailstead: Shell, zone: Zone) -> None:
    found = mailstead("check", "spf", "192.0.2.25", "<>", "--helo", "example.com", "--json").json()
    assert (found["verdict"]["result"], found["verdict"]["mechanism"]) == ("pass", "mx")
    assert found["verdict"]["identity"] == "example.com"
    assert found["asked"][0]["name"] == "example.com"


def test_spf_when_the_dns_is_silent(mailstead: Shell, zone: Zone) -> None:
    zone.fail("example.com")
    ran = mailstead("check", "spf", "192.0.2.25", "bob@example.com")
    assert (ran.code, "no answer for TXT example.com" in ran.out) == (75, True)


def test_spf_wants_an_address(mailstead: Shell) -> None:
    ran = mailstead("check", "spf", "mx.example.com", "bob@example.com")
    assert (ran.code, "is no IP address" in ran.err) == (2, True)


def test_spf_of_the_null_path_wants_a_helo(mailstead: Shell) -> None:
    ran = mailstead("check", "spf", "192.0.2.25", "<>")
    assert (ran.code, "--helo" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["example.com", "--spf", "mail.example.com:pass"],
            ["result pass", "spf mail.example.com pass: aligns (relaxed), belongs to example.com"],
        ),
        (
            ["example.com", "--dkim", "example.com", "--dkim", "example.net"],
            ["DKIM of example.com stands behind", "dkim example.net pass: does not align"],
        ),
        (
            ["example.com", "--spf", "example.com:fail"],
            ["result fail", "policy quarantine (p=)", "is only testing", "TXT _dmarc.example.com"],
        ),
        (["a.example.com"], ["record of example.com", "policy none (sp=)"]),
        (["nowhere.example", "--spf", "nowhere.example"], ["result none", "there is no record"]),
    ],
)
def test_dmarc(mailstead: Shell, zone: Zone, arguments: list[str], expected: list[str]) -> None:
    ran = mailstead("check", "dmarc", *arguments)
    assert ran.code == 0
    assert [one for one in expected if one not in words(ran.out)] == []


def test_dmarc_for_programs(mailstead: Shell, zone: Zone) -> None:
    found = mailstead("check", "dmarc", "example.com", "--dkim", "example.com", "--json").json()
    assert found["verdict"]["result"] == "pass"
    assert found["verdict"]["record"]["p"] == "reject"
    assert found["aligned"] == [{"method": "dkim", "domain": "example.com", "result": "pass"}]


def test_dmarc_when_the_dns_is_silent(mailstead: Shell, zone: Zone) -> None:
    zone.fail("_dmarc.example.com")
    assert mailstead("check", "dmarc", "example.com").code == 75


@pytest.mark.parametrize("value", ["example.com:maybe", "a b:pass", ":pass"])
def test_dmarc_wants_results(mailstead: Shell, value: str) -> None:
    assert mailstead("check", "dmarc", "example.com", "--spf", value).code == 2
