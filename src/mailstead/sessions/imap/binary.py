"""BINARY: parts of a message without their transfer encoding (RFC 3516 section 4.2).

What lies in the first part of a stored body is decoded with its page. All else is a Decoded, which
is read twice when its turn comes, piece by piece: once for its size, once to be sent.
"""

from collections.abc import AsyncIterator

import msgspec

from mailstead.message.mime import find_part
from mailstead.message.structure import load
from mailstead.message.transfer import ENCODINGS, IDENTITIES, Decoder, encoding_of
from mailstead.model.errors import Refusal
from mailstead.protocol.imap.fetch import Binary
from mailstead.services.mailboxes.service import Mailboxes
from mailstead.sessions.imap.sections import Source
from mailstead.storage.blobs import PART_SIZE
from mailstead.storage.plan import StoredBody


class Decoded(msgspec.Struct, frozen=True):
    """Octets that are still in the store and encoded, behind some that are neither."""

    item: Binary
    prefix: bytes
    body: StoredBody
    start: int
    end: int
    encoding: str


class Measured(msgspec.Struct, frozen=True):
    """What came out: octets in all, those asked for, and whether NUL is among these."""

    size: int
    wanted: int
    nul: bool


def find_binary(item: Binary, source: Source) -> Decoded | None:
    """The part, None if there is none; Refusal if nobody knows its encoding."""
    if not item.part:  # a message has no encoding of its own
        return Decoded(item, source.header, source.body, 0, source.body.size, "8bit")
    part = find_part(load(source.structure), item.part)
    if part is None:
        return None
    encoding = encoding_of(part)
    if encoding not in ENCODINGS:
        raise Refusal("a part has an unknown transfer encoding", "UNKNOWN-CTE")
    return Decoded(item, b"", source.body, part.body_start, part.body_end, encoding)


def decode_now(found: Decoded, first: bytes) -> bytes | None:
    """The decoded octets, all of them, if they are at hand."""
    if found.end > len(first):
        return None
    decoder = Decoder(found.encoding)
    return found.prefix + decoder.feed(first[found.start : found.end]) + decoder.finish()


def size_of(found: Decoded) -> int | None:
    """The decoded size, if it is known without decoding."""
    if found.encoding in IDENTITIES:
        return len(found.prefix) + found.end - found.start
    return None


def literal_head(size: int, nul: bool) -> bytes:
    """What announces the octets: a literal8 only for NUL (RFC 3516 section 4.3)."""
    return (b"~{%d}\r\n" if nul else b"{%d}\r\n") % size


async def measure(found: Decoded, mailboxes: Mailboxes) -> Measured:
    """The first reading."""
    size = wanted = 0
    nul = False
    async for piece in _decode(found, mailboxes):
        chosen = _choose(found.item, piece, size)
        size += len(piece)
        wanted += len(chosen)
        nul = nul or b"\0" in chosen
    return Measured(size, wanted, nul)


async def chosen_pieces(found: Decoded, mailboxes: Mailboxes) -> AsyncIterator[bytes]:
    """The second reading: the octets asked for."""
    at = 0
    async for piece in _decode(found, mailboxes):
        yield _choose(found.item, piece, at)
        at += len(piece)
        if found.item.partial and at >= sum(found.item.partial):
            return


def choose(item: Binary, octets: bytes) -> bytes:
    """Those of the decoded octets that the item asks for."""
    return _choose(item, octets, 0)


def _choose(item: Binary, piece: bytes, at: int) -> bytes:
    """The same of a piece of them that begins there."""
    if item.partial is None:
        return piece
    offset, count = item.partial
    return piece[max(offset - at, 0) : max(offset + count - at, 0)]


async def _decode(found: Decoded, mailboxes: Mailboxes) -> AsyncIterator[bytes]:
    yield found.prefix
    decoder = Decoder(found.encoding)
    start = found.start
    while start < found.end:
        stop = min(found.end, start - start % PART_SIZE + PART_SIZE)
        data = await mailboxes.read_body(found.body, start, stop)
        if len(data) < stop - start:
            # The answer has begun; a client can only be told by the end of the connection.
            raise ConnectionAbortedError("a body was deleted while it was read, or is damaged")
        yield decoder.feed(data)
        start = stop
    yield decoder.finish()
