"""Old journal rows go; deletions that were cut short are ended."""

from mailstead.model.flags import SEEN
from mailstead.storage import accounts, mailboxes, messages, placing
from mailstead.storage.store import Tx
from mailstead.testing.house import SimulatedWorld
from mailstead.testing.invariants import broken


async def test_journal_rows_go_when_their_organisation_no_longer_keeps_them(
    world: SimulatedWorld,
) -> None:
    house = await world.house("example.org", accounts=["alice"])
    await house.receive("bob@example.net", to="alice@example.org")
    await world.sleep(days=29)
    await house.house.housekeeping.tidy()
    await house.receive("bob@example.net", to="alice@example.org")
    assert await house.house.store.read(_arrivals) == 2
    await world.sleep(days=2)
    await house.house.housekeeping.tidy()
    assert await house.house.store.read(_arrivals) == 1


async def test_trash_and_junk_empty_themselves_after_thirty_days(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    for _ in range(3):
        await house.receive("bob@example.net", to="alice@example.org")
    await world.sleep(days=40)  # age in INBOX does not count: only the time in Trash

    def throw_away(tx: Tx) -> None:
        account = accounts.get_account(tx, "alice@example.org").id
        inbox, trash = (mailboxes.get(tx, account, name).id for name in ("INBOX", "Trash"))
        placing.move(tx, inbox, [(1, 2)], trash)

    await house.house.store.write(throw_away)
    await world.sleep(days=29)
    await house.house.housekeeping.tidy()
    assert len(await house.mailbox("alice@example.org", "Trash")) == 2
    await world.sleep(days=2)
    await house.house.housekeeping.tidy()
    assert await house.mailbox("alice@example.org", "Trash") == []
    assert len(await house.mailbox("alice@example.org")) == 1
    assert await house.house.store.read(broken) == []


async def test_a_deletion_that_was_cut_short_is_ended(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    await house.receive("bob@example.net", to="alice@example.org")

    def cut_short(tx: Tx) -> None:
        account = accounts.get_account(tx, "alice@example.org").id
        inbox, work = (mailboxes.get(tx, account, name).id for name in ("INBOX", "Archive"))
        placing.copy(tx, inbox, [(1, 1)], work)
        messages.set_flags(tx, work, [(1, 1)], "add", SEEN, "")
        mailboxes.delete(tx, account, "Archive")  # and here the power failed

    await house.house.store.write(cut_short)
    await house.house.housekeeping.tidy()
    assert await house.house.store.read(broken) == []
    assert await house.house.store.read(lambda tx: _count(tx, "placement")) == 1


def _arrivals(tx: Tx) -> int:
    count: int = tx.value("SELECT count(*) FROM journal WHERE arrival = 1")
    return count


def _count(tx: Tx, table: str) -> int:
    count: int = tx.value(f"SELECT count(*) FROM {table}")
    return count
