"""Who sends from which pool, and what a new source may send: tables."""

from datetime import UTC, datetime, timedelta

import pytest

from mailstead.model.numbers import OrganisationId
from mailstead.services.outbound.sources import Departure, Sender, chosen, pool_of, tomorrow
from mailstead.storage.sources import Arrangement, PoolUse
from mailstead.testing.clock import SeededRandom

ONE, TWO = OrganisationId(1), OrganisationId(2)
ALL = OrganisationId(0)
USES = (
    PoolUse(ALL, "", "", "shared"),
    PoolUse(ALL, "", "news", "bulk"),
    PoolUse(ONE, "", "", "one"),
    PoolUse(ONE, "shop.example", "", "shop"),
    PoolUse(ONE, "shop.example", "news", "shop-news"),
    PoolUse(ALL, "odd.example", "", "odd"),
)
POOLS = {use.pool: (f"{use.pool}-a", f"{use.pool}-b") for use in USES}


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        (Sender(TWO, "example.net", ""), "shared"),
        (Sender(TWO, "example.net", "news"), "bulk"),
        (Sender(TWO, "example.net", "receipts"), "shared"),
        (Sender(TWO, "", ""), "shared"),  # a DSN
        (Sender(ONE, "example.org", ""), "one"),
        (Sender(ONE, "example.org", "news"), "one"),  # whose it is says more than what it is
        (Sender(ONE, "odd.example", ""), "one"),
        (Sender(TWO, "odd.example", "news"), "odd"),
        (Sender(ONE, "shop.example", ""), "shop"),
        (Sender(ONE, "shop.example", "news"), "shop-news"),
        (Sender(TWO, "shop.example", ""), "shared"),
    ],
)
def test_the_more_exact_use_counts(sender: Sender, expected: str) -> None:
    assert POOLS[expected] == pool_of(Arrangement(pools=POOLS, uses=USES), sender)


def test_without_a_use_there_is_no_pool() -> None:
    known = Arrangement(pools=POOLS, uses=(PoolUse(ONE, "", "", "one"),))
    assert pool_of(known, Sender(TWO, "example.net", "")) == ()
    assert pool_of(Arrangement(), Sender(ONE, "example.net", "")) == ()


def test_the_sources_of_a_pool_share_the_mail() -> None:
    random = SeededRandom(1)
    drawn = [chosen(("a", "b", "c"), random) for _ in range(3000)]
    assert all(900 <= drawn.count(name) <= 1100 for name in "abc")


FOUR, SIX = "198.51.100.1", "2001:db8::1"


@pytest.mark.parametrize(
    ("departure", "target", "expected"),
    [
        (Departure(), "192.0.2.1", ""),
        (Departure(addresses=(FOUR, SIX)), "192.0.2.1", FOUR),
        (Departure(addresses=(FOUR, SIX)), "2001:db8:2::1", SIX),
        (Departure(addresses=(FOUR,)), "2001:db8:2::1", None),
        (Departure(addresses=(FOUR,), unconfirmed=frozenset({FOUR})), "192.0.2.1", None),
        (
            Departure(
                addresses=(FOUR,), unconfirmed=frozenset({FOUR}), exempt=frozenset({"192.0.2.1"})
            ),
            "192.0.2.1",
            FOUR,
        ),
    ],
)
def test_binds_to_the_address_of_the_same_family(
    departure: Departure, target: str, expected: str | None
) -> None:
    assert expected == departure.towards(target)


def test_tomorrow_begins_at_midnight() -> None:
    now = datetime(2026, 11, 21, 23, 59, tzinfo=UTC)
    assert tomorrow(now) == now + timedelta(minutes=1)
