"""Pages of a mailbox, one after the other, give each message once and in order."""

import pytest

from mailstead.services.mailboxes.reading import STEP, Page
from mailstead.storage import accounts
from mailstead.testing.house import SimulatedWorld
from mailstead.testing.transcript import open_house

COUNT = STEP + 11
LIGHT, HEADERS, BODIES = ("uid", "size"), ("uid", "header"), ("uid", "header", "part")


@pytest.mark.parametrize("ranges", [[(1, 500)], [(2, 2), (5, 20), (30, 31), (60, 400)], [(90, 95)]])
@pytest.mark.parametrize(
    ("columns", "limit", "octets"),
    [
        (LIGHT, 7, None),
        (LIGHT, 500, None),
        (HEADERS, 500, 1),
        (HEADERS, 500, 2000),
        (HEADERS, 3, 10_000_000),
        (BODIES, 500, 1),
        (BODIES, 10, 900),
        (BODIES, 500, 10_000_000),
    ],
)
async def test_pages(
    world: SimulatedWorld,
    ranges: list[tuple[int, int]],
    columns: tuple[str, ...],
    limit: int,
    octets: int | None,
) -> None:
    house = await open_house(world)
    for number in range(1, COUNT + 1):
        await house.deliver("alice", b"X: %b\r\n\r\n%b" % (b"x" * number, b"y" * 7 * number))
    account = await house.house.store.read(lambda tx: accounts.get_account(tx, "alice@example.org"))
    inbox = await house.mailboxes.get(account.id, "INBOX")
    expected = [uid for first, last in ranges for uid in range(first, min(last, COUNT) + 1)]
    found: list[int] = []
    while ranges:
        some, ranges = await house.mailboxes.page(  # type: ignore[assignment]
            inbox.id, ranges, columns, _uids, limit, octets
        )
        assert len(some) <= limit
        found += some
    assert expected == found


def _uids(page: Page) -> list[int]:
    return page.uids
