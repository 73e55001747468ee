"""What a site has said changes how fast it is sent to."""

from datetime import UTC, datetime, timedelta

import pytest

from mailstead.services.outbound.providers import Limits, parse_providers
from mailstead.services.outbound.rules import ReplyClass
from mailstead.services.outbound.shaping import RELAYED, SITES_LIMIT, Shaping

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RATE, BLOCK = ReplyClass.RATE_LIMIT, ReplyClass.REPUTATION
SITE = "mx1.big.example,mx2.big.example"
PROVIDERS = parse_providers("""
[usual]
connections = 10
messages_a_connection = 100
messages_a_minute = 0
pause = 5
block_pause = 10
warmup = 1.0
[warmup]
days = [50]
[[provider]]
name = "big"
hosts = ['.*\\.big\\.example']
connections = 8
messages_a_minute = 200
block_pause = 20
[[provider.said]]
text = ['come back in an hour']
minutes = 60
""")


def shaping() -> Shaping:
    return Shaping(10, PROVIDERS)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([], Limits(8, 200, 100)),
        ([(0, RATE)], Limits(4, 100, 100)),
        ([(0, RATE), (0.1, RATE), (0.2, RATE)], Limits(4, 100, 100)),  # all at once: once
        ([(0, RATE), (6, RATE)], Limits(2, 50, 100)),
        ([(0, RATE), (6, RATE), (17, RATE), (40, RATE)], Limits(1, 12, 100)),
        ([(100 * n, RATE) for n in range(20)], Limits(1, 3, 100)),  # never nothing
        # What it takes gives a twentieth back, once a minute, not before the pause is over.
        ([(0, RATE), (1, RELAYED), (2, RELAYED)], Limits(4, 100, 100)),
        ([(0, RATE), (6, RELAYED), (6.1, RELAYED)], Limits(4, 110, 100)),
        ([(0, RATE), *((6 + n, RELAYED) for n in range(4))], Limits(6, 140, 100)),
        ([(0, RATE), *((6 + n, RELAYED) for n in range(30))], Limits(8, 200, 100)),
        # Blocks and everything else are not about speed.
        ([(0, BLOCK), (5, ReplyClass.THEIR_OUTAGE), (6, "")], Limits(8, 200, 100)),
    ],
)
def test_slows_down_quickly_and_recovers_slowly(
    told: list[tuple[float, str]], expected: Limits
) -> None:
    shaped = shaping()
    for minutes, verdict in told:
        shaped.told(SITE, verdict, START + minutes * MINUTE)
    assert expected == shaped.limits(SITE)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([(0, RELAYED)], None),
        ([(0, ReplyClass.GREYLISTED)], None),
        ([(0, RATE)], 5),
        ([(0, RATE), (1, RATE)], 4),  # what is left of it
        ([(0, RATE), (5, RATE)], 10),
        ([(0, RATE), (5, RATE), (15, RATE), (35, RATE), (75, RATE)], 60),
        ([(0, RATE), (6, RELAYED), (7, RATE)], 5),
        ([(0, BLOCK)], 20),
        ([(0, BLOCK), (20, BLOCK)], 20),
    ],
)
def test_pauses(told: list[tuple[float, str]], expected: float | None) -> None:
    shaped = shaping()
    pauses = [shaped.told(SITE, verdict, START + at * MINUTE) for at, verdict in told]
    assert pauses[-1] == (None if expected is None else expected * MINUTE)


@pytest.mark.parametrize("verdict", [RATE, BLOCK])
def test_a_provider_may_have_words_of_its_own(verdict: str) -> None:
    said = "421 4.7.0 Come back\r\n in an hour"
    assert shaping().told(SITE, verdict, START, said) == 60 * MINUTE
    assert shaping().told("mx.other.example", RATE, START, said) == 5 * MINUTE


@pytest.mark.parametrize(
    ("site", "verdict", "said", "minutes"),
    [
        ("aspmx.l.google.com", RATE, "4.7.28 Our system has detected an unusual rate of", 30),
        ("aspmx.l.google.com", RATE, "Our system has detected an unusual rate", 5),
        ("x.olc.protection.outlook.com", BLOCK, "part of their network is on our block list", 60),
        ("x.olc.protection.outlook.com", BLOCK, "blocked (S3140)", 60),
        ("x.mail.protection.outlook.com", BLOCK, "blocked (S3140)", 10),
        ("mta5.am0.yahoodns.net", RATE, "[TSS04] Messages from 192.0.2.1 deferred", 30),
        ("smtp-in.orange.fr", RATE, "Too many connections. OFR004_104 [104]", 5),
        ("smtp-in.orange.fr", RATE, "Too many messages", 10),
        ("mx00.t-online.de", BLOCK, "IP=192.0.2.1 - A problem occurred.", 60),
    ],
)
def test_the_words_of_the_big(site: str, verdict: str, said: str, minutes: float) -> None:
    assert Shaping().told(site, verdict, START, said) == minutes * MINUTE


def test_who_has_no_limit_gets_one_when_it_says_so() -> None:
    shaped = shaping()
    assert shaped.limits("mx.other.example") == Limits(10, 0, 100)
    shaped.told("mx.other.example", RATE, START)
    assert shaped.limits("mx.other.example") == Limits(5, 300, 100)
    assert shaped.limits(SITE) == Limits(8, 200, 100)


def test_the_operators_limit_counts_too() -> None:
    assert Shaping(3, PROVIDERS).limits(SITE) == Limits(3, 200, 100)


def test_remembers_no_more_than_the_limit() -> None:
    shaped = shaping()
    for number in range(SITES_LIMIT + 1):
        shaped.told(f"mx{number}.other.example", RATE, START)
    assert shaped.limits("mx0.other.example") == Limits(10, 0, 100)
    assert shaped.limits("mx1.other.example") == Limits(5, 300, 100)
