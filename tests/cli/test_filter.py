"""`mailstead filter`."""

from .conftest import Shell


def test_zones(mailstead: Shell) -> None:
    assert "spamhaus-zen" in mailstead("filter", "zone", "list").out
    assert mailstead("filter", "zone", "off", "spamcop").code == 0
    assert mailstead("filter", "zone", "on", "spamhaus-zen", "--key", "abc").code == 0
    shown = {one["name"]: one for one in mailstead("filter", "zone", "list", "--json").json()}
    assert (shown["spamcop"]["active"], shown["barracuda"]["active"]) == (False, False)
    assert shown["spamhaus-zen"]["key"]
    unknown = mailstead("filter", "zone", "on", "spamcup")
    assert (unknown.code, "mailstead filter zone list" in unknown.err) == (1, True)
    assert mailstead("filter", "zone", "on", "spamcop", "--key", "abc").code == 1
    assert mailstead("filter", "zone", "on", "spamhaus-zen", "--key", "a.b").code == 1


def test_sealers(mailstead: Shell) -> None:
    assert "Nobody" in mailstead("filter", "sealer", "list").out
    assert mailstead("filter", "sealer", "add", "Lists.example.com").code == 0
    assert mailstead("filter", "sealer", "add", "lists.example.com").code == 0
    one = ("--organisation", "example.org")
    assert mailstead("filter", "sealer", "add", "a.example", *one).code == 0
    found = mailstead("filter", "sealer", "list", "--json").json()
    assert [(each["domain"], each["organisation"]) for each in found] == [
        ("lists.example.com", ""),
        ("a.example", "example.org"),
    ]
    assert mailstead("filter", "sealer", "remove", "lists.example.com").code == 0
    assert mailstead("filter", "sealer", "remove", "lists.example.com").code == 1


def test_switches(mailstead: Shell) -> None:
    for name in ("greylist", "seal", "strict"):
        assert "Off for everybody" in mailstead("filter", name, "list").out
        assert mailstead("filter", name, "on").code == 0
        assert mailstead("filter", name, "off", "--domain", "example.org").code == 0
        found = mailstead("filter", name, "list", "--json").json()
        assert [(each["domain"], each["on"]) for each in found] == [
            ("", True),
            ("example.org", False),
        ]
        assert mailstead("filter", name, "on", "--domain", "example.net").code == 1
