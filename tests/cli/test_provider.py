"""`mailstead check provider`."""

from .conftest import Shell


def test_says_how_fast_mail_goes_there(fresh: Shell) -> None:
    fresh.setup()
    ran = fresh("check", "provider", "mta5.am0.yahoodns.net")
    assert ran.code == 0
    assert "provider   yahoo" in ran.out
    assert "5 connections of 20 messages, 120 messages a minute" in ran.out
    assert "https://help.yahoo.com/" in ran.out


def test_the_same_for_programs(fresh: Shell) -> None:
    fresh.setup()
    found = fresh("check", "provider", "aspmx.l.google.com", "--json").json()
    assert found["name"] == "google"
    assert found["limits"]["connections"] == 10
    assert found["warmup_days"][:2] == [50, 100]
