"""What is remembered of recipients, and when it is forgotten."""

from datetime import UTC, datetime, timedelta

import pytest

from mailstead.model.address import parse_address
from mailstead.model.numbers import AccountId, MailboxId, OrganisationId
from mailstead.protocol.smtp import replies
from mailstead.services.delivery.known import PLENTY, KnownRecipients
from mailstead.services.delivery.recipients import Found, NotHere
from mailstead.services.moment import REMEMBERED
from mailstead.storage.accounts import NO_END, ToAccount

ALICE = parse_address("alice@example.org")
MOMENT = timedelta(microseconds=1)


class Clock:
    """Stands still."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 21, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


class Store:
    """Counts changes."""

    changes = 0


def found(rule: str = "account", room: int = NO_END) -> Found:
    to = ToAccount(AccountId(1), OrganisationId(1), str(ALICE), MailboxId(1), rule, room)
    return Found(ALICE, rule, OrganisationId(1), accounts=(to,))


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(store, clock) -> KnownRecipients:
    return KnownRecipients(store, clock)


@pytest.mark.parametrize(
    ("what", "lasts"),
    [
        (found(), True),
        (found("subaddress"), True),
        (found(room=PLENTY), True),
        (found(room=PLENTY - 1), False),  # it may be full in a moment
        (found("alias"), False),
        (found("catch-all"), False),  # somebody may get the address
        (found("role"), False),
        (NotHere(ALICE), True),
        (replies.UNKNOWN_RECIPIENT, False),
    ],
)
def test_only_what_lasts_is_remembered(known, what, lasts):
    known.remember(ALICE, what)
    assert known.find(ALICE) == (what if lasts else None)


def test_of_a_domain_that_is_not_ours_no_address_is(known):
    known.remember(ALICE, NotHere(ALICE))
    assert known.find(parse_address("bob@example.org")) == NotHere(ALICE)
    assert known.find(parse_address("bob@example.net")) is None


def test_it_is_forgotten_after_a_moment(known, clock):
    known.remember(ALICE, found())
    clock.time += REMEMBERED - MOMENT
    assert known.find(ALICE) == found()
    clock.time += MOMENT
    assert known.find(ALICE) is None


def test_what_comes_later_in_the_moment_is_forgotten_with_it(known, clock):
    known.remember(ALICE, found())
    clock.time += REMEMBERED - MOMENT
    bob = parse_address("bob@example.org")
    known.remember(bob, NotHere(bob))
    clock.time += MOMENT
    assert known.find(bob) is None


def test_a_change_counts_at_once(known, store):
    known.remember(ALICE, found())
    store.changes += 1
    assert known.find(ALICE) is None
    known.remember(ALICE, found("subaddress"))
    assert known.find(ALICE) == found("subaddress")
