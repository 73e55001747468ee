"""A session that goes on compressed (RFC 4978)."""

import zlib

import pytest

from mailstead.net.deflate import DeflateStream
from mailstead.testing.house import SimulatedWorld
from mailstead.testing.transcript import Client, open_house


async def compressed(world: SimulatedWorld) -> Client:
    house = await open_house(world)
    await house.deliver("alice", b"Subject: One\r\n\r\nHi!\r\n")
    client = await house.log_in("alice")
    assert await client.command("a COMPRESS DEFLATE") == ["a OK DEFLATE is active from here on"]
    client.stream = DeflateStream(client.stream)
    return client


@pytest.mark.rfc("4978 section 3")
async def test_commands_and_answers_are_compressed(world: SimulatedWorld) -> None:
    client = await compressed(world)
    assert (await client.command("b SELECT INBOX"))[-1] == "b OK [READ-WRITE] SELECT completed"
    assert await client.command("c FETCH 1 (UID)") == ["* 1 FETCH (UID 1)", "c OK FETCH completed"]
    (names, _) = await client.command("d CAPABILITY")
    assert "COMPRESS" not in names
    (again,) = await client.command("e COMPRESS DEFLATE")
    assert again.startswith("e NO [COMPRESSIONACTIVE]")


async def test_a_stranger_again_is_not_to_be_had_inside(world: SimulatedWorld) -> None:
    client = await compressed(world)
    (names, _) = await client.command("b CAPABILITY")
    assert "UNAUTHENTICATE" not in names
    assert await client.command("c UNAUTHENTICATE") == ["c BAD Not inside compression"]


async def test_what_is_not_compressed_ends_the_session(world: SimulatedWorld) -> None:
    client = await compressed(world)
    client.stream._stream.send(b"b NOOP\r\n")  # type: ignore[attr-defined]
    with pytest.raises(ConnectionError):
        await client.line()


async def test_a_bomb_is_one_long_line(world: SimulatedWorld) -> None:
    client = await compressed(world)
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = squeezed.compress(b"a" * 30_000_000) + squeezed.flush(zlib.Z_SYNC_FLUSH)
    client.stream._stream.send(bomb + squeezed.compress(b"\r\nb NOOP\r\n") + squeezed.flush())  # type: ignore[attr-defined]
    assert (await client.line()).startswith("* BAD")
    assert await client.line() == "b OK Completed"


async def test_another_mechanism_is_refused(world: SimulatedWorld) -> None:
    client = await (await open_house(world)).log_in("alice")
    (no,) = await client.command("a COMPRESS LZW")
    assert no.startswith("a NO")
    assert await client.command("b NOOP") == ["b OK Completed"]
