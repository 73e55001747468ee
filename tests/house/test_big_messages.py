"""Messages that memory does not hold: spooled, kept whole, or put off if they cannot be."""

from pathlib import Path

import pytest

from mailstead.storage.blobs import SPOOL_SIZE
from mailstead.testing.house import SimulatedWorld
from mailstead.testing.invariants import broken
from mailstead.testing.smtp import SmtpClient

LINE = "0123456789" * 7 + "\r\n"


@pytest.mark.parametrize("size", [SPOOL_SIZE - 100, SPOOL_SIZE + 100, 3 * SPOOL_SIZE])
async def test_a_big_message_is_kept_whole(world: SimulatedWorld, size: int) -> None:
    house = await world.house("example.org", accounts=["alice"])
    body = LINE * (size // len(LINE))
    assert (await house.receive("x@example.net", "alice@example.org", "Big", body)).ok
    assert (await house.newest("alice@example.org")).body == body.encode()
    assert await house.house.store.read(broken) == []


async def test_without_a_spool_the_message_is_put_off_and_the_session_lives(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    house = await world.house("example.org", accounts=["alice"])
    spool = house.house.site.spool
    aside = spool.rename(tmp_path / "aside")
    try:
        async with SmtpClient(world.network, house.address, 25) as client:
            big = ("Subject: Big\r\n\r\n" + LINE * 30_000).encode()
            reply = await client.send_message("x@example.net", ["alice@example.org"], big)
            assert (reply.code, reply.enhanced) == (451, "4.3.0")
            small = await client.send_message(
                "x@example.net", ["alice@example.org"], b"A: b\r\n\r\n"
            )
            assert small.ok
    finally:
        aside.rename(spool)
    assert len(await house.mailbox("alice@example.org", "Junk")) == 1  # it says nothing
