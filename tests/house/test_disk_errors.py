"""A full disk and a failing one, at each write and sync of a delivery: 4xx or kept, never lost.

The server lives on: as soon as the disk works again, so does it, without a restart.
"""

from pathlib import Path

import apsw
import pytest

from mailstead.server.config import Config
from mailstead.testing.disk import SimulatedDisk
from mailstead.testing.house import PASSWORD, SimulatedHouse, SimulatedWorld
from mailstead.testing.imap import ImapClient
from mailstead.testing.invariants import broken

CALLS_LIMIT = 500
BODY = "".join(f"line {number} of a body that fills some pages\r\n" for number in range(400))


@pytest.mark.rfc("5321 section 6.1")
@pytest.mark.parametrize("failure", [apsw.FullError, apsw.IOError])
@pytest.mark.parametrize("failures", [1, 3, 1000])
async def test_every_call_may_fail(
    world: SimulatedWorld, tmp_path: Path, failure: type[apsw.Error], failures: int
) -> None:
    disk = SimulatedDisk(f"errors-{failure.__name__}-{failures}")
    folder = tmp_path / "house"
    folder.mkdir()
    config = Config(hostname="mx.example.org", database=f"sqlite://{folder / 'mailstead.db'}")
    house = SimulatedHouse(world, "example.org", "203.0.113.25", config, disk.vfs_name)
    await house.start()
    await house.populate(["alice"], {"all": ["alice", "bob@example.net"]})
    kept: list[str] = []
    put_off = 0
    for call in range(1, CALLS_LIMIT):
        disk.failure, disk.failures = failure, failures
        disk.fail_at = started = disk.operations + call
        reply = await house.receive("x@example.net", "all@example.org", f"Number {call}", BODY)
        used = disk.operations
        disk.fail_at = 0
        assert reply.ok or reply.temporary, str(reply)
        kept += [f"Number {call}"] if reply.ok else []
        put_off += not reply.ok
        if used < started:
            break
        after = await house.receive("x@example.net", "alice@example.org", f"After {call}")
        assert after.ok, str(after)
        kept.append(f"After {call}")
    assert put_off >= (5 if failures == 1000 else 0)  # a passing fault is not even noticed
    subjects = [filed.subject for filed in await house.mailbox("alice@example.org")]
    assert [subject for subject in subjects if subject in kept] == kept
    assert len(subjects) == len(kept)  # what was put off is not there either
    assert await house.house.store.read(broken) == []
    await house.stop()


@pytest.mark.rfc("3501 section 6.4.5")
async def test_mail_can_be_read_while_the_disk_is_full(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    disk = SimulatedDisk("full-while-reading")
    config = Config(hostname="mx.example.org", database=f"sqlite://{tmp_path / 'mailstead.db'}")
    house = SimulatedHouse(world, "example.org", "203.0.113.25", config, disk.vfs_name)
    await house.start()
    await house.populate(["alice"], {})
    assert (await house.receive("x@example.net", "alice@example.org", "Hello", "a body")).ok
    async with ImapClient(world.network, house.address) as client:
        await client.log_in("alice@example.org", PASSWORD)
        disk.failure, disk.failures, disk.fail_at = apsw.FullError, 1000, disk.operations + 1
        text, done = await client.command("FETCH 1 BODY[TEXT]")
        assert (b"a body" in text, done) == (True, b"OK FETCH completed")
        disk.fail_at = 0
        text, seen, _ = await client.command("FETCH 1 BODY[TEXT]")
        assert b"a body" in text
        assert b"\\Seen" in seen  # nothing to write is lost: the next time it is
    await house.stop()
