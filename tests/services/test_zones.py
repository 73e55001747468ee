"""The shipped lists, and what is wrong with a file of them."""

import pytest

from mailstead.services.inbound.zones import parse_zones, shipped_zones

ZONE = """
[[zone]]
name = "a"
suffix = "a.example"
kinds = ["ipv4"]
on = true
source = "https://a.example/"
"""


def test_what_needs_registration_is_off() -> None:
    zones = {known.zone.name: known for known in shipped_zones()}
    assert not zones["barracuda"].on
    assert zones["spamhaus-zen"].zone.labels("127.0.0.3")[0].startswith("CSS")
    assert zones["uribl"].zone.labels("127.0.0.14") != ()
    assert [name for name, known in zones.items() if known.zone.allows] == ["dnswl"]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (ZONE, "without"),
        (ZONE + '[zone.codes]\n"10.0.0.1" = "x"', "no answer"),
        (ZONE + '[zone.bits]\n1 = "x"', "no bit"),
        (ZONE + '[zone.bits]\n6 = "x"', "no bit"),
        (ZONE + 'colour = "red"', "colour"),
        ((ZONE + '[zone.bits]\n2 = "x"') * 2, "same name"),
    ],
)
def test_what_is_wrong(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        parse_zones(text)
