"""T6: the power fails at each write of a delivery, on a disk that drops what was not synced.

What had a 250 is there afterwards, whole; nothing is there twice; the store's invariants hold; and
the next delivery works.
"""

from pathlib import Path

import pytest

from mailstead.server.config import Config
from mailstead.testing.disk import SimulatedDisk
from mailstead.testing.house import SimulatedHouse, SimulatedWorld
from mailstead.testing.invariants import broken

BODY = "".join(f"line {number} of a body that fills some pages\r\n" for number in range(400))


def config_in(folder: Path) -> Config:
    return Config(hostname="mx.example.org", database=f"sqlite://{folder / 'mailstead.db'}")


async def deliver_with_cut(
    world: SimulatedWorld, folder: Path, cut_after: int, seed: int
) -> tuple[int, bool, SimulatedHouse]:
    """Deliver twice, cutting the power so many operations into the second; the house afterwards."""
    disk = SimulatedDisk(f"disk-{folder.name}")
    before = SimulatedHouse(world, "example.org", "203.0.113.25", config_in(folder), disk.vfs_name)
    await before.start()
    await before.populate(["alice"], {"all": ["alice", "bob@example.net"]})
    assert (await before.receive("x@example.net", to="alice@example.org", subject="One")).ok
    started = disk.operations
    disk.fail_at = started + cut_after
    reply = await before.receive("x@example.net", "all@example.org", "Two", BODY)
    used = disk.operations - started
    after_folder = folder.with_name(folder.name + "-after")
    after_folder.mkdir()
    disk.crash(after_folder, seed)
    disk.fail_at = 0
    await before.stop()
    after = SimulatedHouse(world, "example.org", "203.0.113.26", config_in(after_folder))
    await after.start()
    return used, reply.ok, after


@pytest.mark.rfc("5321 section 6.1")
async def test_a_power_cut_at_every_write_loses_nothing(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    cut, accepted, refused = 1, 0, 0
    while True:
        folder = tmp_path / f"cut-{cut}"
        folder.mkdir()
        used, ok, house = await deliver_with_cut(world, folder, cut, seed=cut)
        subjects = [filed.subject for filed in await house.mailbox("alice@example.org")]
        assert subjects[0] == "One"
        assert subjects[1:] in ([["Two"]] if ok else [[], ["Two"]])
        if subjects[1:]:
            assert (await house.newest("alice@example.org")).body == BODY.encode()
        assert await house.house.store.read(broken) == []
        assert await house.house.store.read(lambda tx: tx.value("PRAGMA integrity_check")) == "ok"
        assert (await house.receive("x@example.net", "alice@example.org", "Three")).ok
        assert await house.house.store.read(broken) == []
        await house.stop()
        accepted, refused = accepted + ok, refused + (not ok)
        if used < cut:
            break
        cut += 1
    assert accepted >= 1  # the last round, in which the power held
    assert refused >= 5  # the cut came before the commit was durable


async def test_without_the_sync_mail_would_be_lost(world: SimulatedWorld, tmp_path: Path) -> None:
    """The disk has teeth: where nothing is ever synced, what had a 250 is gone."""
    disk = SimulatedDisk("disk-without-sync")
    folder = tmp_path / "lost"
    folder.mkdir()
    house = SimulatedHouse(world, "example.org", "203.0.113.25", config_in(folder), disk.vfs_name)
    await house.start()
    await house.populate(["alice"], {})
    durable = {path: bytes(record.durable) for path, record in disk.records.items()}
    assert (await house.receive("x@example.net", to="alice@example.org")).ok
    for path, octets in durable.items():  # as if the syncs since then had not happened
        disk.records[path].durable = bytearray(octets)
    (tmp_path / "after").mkdir()
    disk.crash(tmp_path / "after", seed=1)
    await house.stop()
    after = SimulatedHouse(world, "example.org", "203.0.113.26", config_in(tmp_path / "after"))
    await after.start()
    assert await after.mailbox("alice@example.org") == []
    await after.stop()
