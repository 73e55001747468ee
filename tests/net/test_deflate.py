"""Compression keeps the contract of a Stream, and no bomb fills the memory (RFC 4978)."""

import zlib

import pytest

from mailstead.model.world import Endpoint
from mailstead.net.deflate import READ_SIZE, DeflateStream
from mailstead.testing.network import MemoryStream

HERE, THERE = Endpoint("192.0.2.1", 143), Endpoint("192.0.2.2", 40000)


def pair(split: int = 0) -> tuple[MemoryStream, MemoryStream]:
    one, other = MemoryStream(HERE, THERE, split), MemoryStream(THERE, HERE, split)
    one.join(other)
    return one, other


async def read(stream: DeflateStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = await stream.receive()
        assert piece
        data += piece
    return data


@pytest.mark.rfc("4978 section 3")
@pytest.mark.parametrize("split", [0, 1, 7])
async def test_what_is_sent_arrives_at_once(split):
    ours, theirs = map(DeflateStream, pair(split))
    for text in (b"a NOOP\r\n", b"", b"x" * 100_000, bytes(range(256)) * 40):
        ours.send(text)
        theirs.send(text[::-1])
        assert await read(theirs, len(text)) == text
        assert await read(ours, len(text)) == text[::-1]
    await ours.close()
    assert await theirs.receive() == b""


async def test_it_gets_smaller():
    one, _ = pair()
    text = b"* 1 FETCH (FLAGS (\\Seen))\r\n" * 1000
    DeflateStream(one).send(text)
    assert len(one.sent) < len(text) / 20


async def test_a_bomb_comes_out_in_pieces():
    one, other = pair()
    ours = DeflateStream(other)
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    one.send(squeezed.compress(bytes(50_000_000)) + squeezed.flush())
    left = 50_000_000
    while left:
        piece = await ours.receive()
        assert piece
        assert len(piece) <= READ_SIZE
        left -= len(piece)


async def test_what_is_no_deflate_ends_the_connection():
    one, other = pair()
    one.send(b"a NOOP\r\n")
    with pytest.raises(ConnectionError):
        await DeflateStream(other).receive()


async def test_a_wake_up_gets_through():
    _one, other = pair()
    ours = DeflateStream(other)
    ours.wake()
    assert await ours.receive() is None
