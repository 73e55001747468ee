"""Commands about the messages of a maildrop (RFC 1939 section 5 and 7; RFC 6856).

The list is in memory, as columns. Small messages are read some at a time, ahead of a client that
takes one after the other, and formatted off the loop; big ones are streamed. Holds: what is read
ahead is bounded, and dropped when a peer is slow; nothing is deleted before QUIT.
"""

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from mailstead.message.surrogate import surrogate
from mailstead.model.numbers import BlobId
from mailstead.protocol.pop3 import commands, responses
from mailstead.protocol.pop3.content import Lines, Stuffing, stuff
from mailstead.services.mailboxes.reading import Page
from mailstead.sessions.pop3.state import Ahead, Session
from mailstead.storage.blobs import PART_SIZE
from mailstead.storage.plan import StoredBody

LISTED_AT_ONCE = 5000  # lines
AHEAD_MESSAGES = 128
AHEAD_OCTETS = 256 * 1024
NOTED_AT_ONCE = 500  # retrieved messages
NO_SUCH_MESSAGE = "No such message"
DAMAGED = "The message is damaged; the server's log says more"

_COLUMNS = ("uid", "header", "blob", "body_size", "part")


class Big(msgspec.Struct, frozen=True):
    """A message too big to be read at once."""

    header: bytes
    body: StoredBody


Found = bytes | Big


# ---------------------------------------------------------------------- lists


async def stat(session: Session, command: commands.Stat) -> None:
    """RFC 1939 section 5."""
    drop, gone = session.maildrop, session.deleted
    octets = drop.octets - sum(drop.sizes[index] for index in gone)
    session.say(responses.ok(f"{len(drop.uids) - len(gone)} {octets}"))


async def list_(session: Session, command: commands.List) -> None:
    """RFC 1939 section 5."""
    sizes = session.maildrop.sizes
    await _list(session, command.number, lambda index: f"{index + 1} {sizes[index]}")


async def uidl(session: Session, command: commands.Uidl) -> None:
    """RFC 1939 section 7."""
    drop = session.maildrop
    await _list(session, command.number, lambda index: f"{index + 1} {drop.unique_id(index)}")


async def _list(session: Session, number: int, format_: Callable[[int], str]) -> None:
    if number:
        index = _find(session, number)
        if index is not None:
            session.say(responses.ok(format_(index)))
        return
    total, gone = len(session.maildrop.uids), session.deleted
    session.say(responses.ok(responses.count(total - len(gone))))
    for start in range(0, total, LISTED_AT_ONCE):
        indices: Iterable[int] = range(start, min(start + LISTED_AT_ONCE, total))
        if gone:
            indices = (index for index in indices if index not in gone)
        await session.write("".join([f"{format_(index)}\r\n" for index in indices]).encode())
        await asyncio.sleep(0)  # others get their turn
    session.say(responses.END)


def _find(session: Session, number: int) -> int | None:
    """The index of the message; the client is told if there is none."""
    index = number - 1
    if index >= len(session.maildrop.uids) or index in session.deleted:
        session.refuse(NO_SUCH_MESSAGE)
        return None
    return index


# ---------------------------------------------------------------------- messages


async def retr(session: Session, command: commands.Retr) -> None:
    """RFC 1939 section 5."""
    index = _find(session, command.number)
    if index is None:
        return
    data = session.ahead.found.pop(index, None)
    if data is None:
        found = await _read(session, index)
        if found is None:
            return
        data = found if isinstance(found, bytes) else await _stream(session, found)
    session.ahead.next = index + 1
    await session.write(data)
    if session.stream.congested:
        session.ahead = Ahead()
    await _note(session, index)


async def _read(session: Session, index: int) -> Found | None:
    """The message, and into `session.ahead` those after it; None if the client was refused."""
    drop, ahead = session.maildrop, session.ahead
    follows = index == ahead.next
    count = min(ahead.count * 2, AHEAD_MESSAGES) if follows else 1
    session.ahead = ahead = Ahead(next=index + 1, count=count)
    utf8, uids = session.utf8, drop.uids
    ranges = [(uids[index], uids[min(index + count, len(uids)) - 1])]

    def render(page: Page) -> tuple[dict[int, Found], int]:
        return _render(page, utf8), page.damaged

    (found, damaged), _ = await session.site.mailboxes.page(
        drop.mailbox.id, ranges, _COLUMNS, render, count, AHEAD_OCTETS
    )
    wanted = found.pop(uids[index], None)
    if wanted is None:
        told = (DAMAGED, responses.PERMANENT) if damaged == uids[index] else (NO_SUCH_MESSAGE, "")
        session.refuse(*told)
        return None
    for number in range(index + 1, min(index + count, len(uids))):
        after = found.get(uids[number])
        if isinstance(after, bytes):
            ahead.found[number] = after
    return wanted


def _render(page: Page, utf8: bool) -> dict[int, Found]:
    """Whole responses, by UID."""
    columns = zip(
        page.uids, page["header"], page["blob"], page["body_size"], page["part"], strict=True
    )
    found: dict[int, Found] = {}
    for uid, header, blob, size, part in columns:
        head = header if utf8 else surrogate(header)
        if size > PART_SIZE:
            found[uid] = Big(head, StoredBody(BlobId(blob), size))
        else:
            found[uid] = b"+OK\r\n" + stuff(head + (part or b""))
    return found


async def _stream(session: Session, message: Big) -> bytes:
    """Send it piece by piece; what is left to send is its end."""
    stuffing = Stuffing()
    await session.write(b"+OK\r\n" + stuffing.take(message.header))
    start, size = 0, message.body.size
    while start < size:
        stop = min(size, start + PART_SIZE)
        data = await session.site.mailboxes.read_body(message.body, start, stop)
        if len(data) < stop - start:
            # The message has begun; a client can only be told by the end of the connection.
            raise ConnectionAbortedError("a body was deleted while it was read, or is damaged")
        await session.write(stuffing.take(data))
        start = stop
    return stuffing.end()


async def top(session: Session, command: commands.Top) -> None:
    """RFC 1939 section 7: the header, the empty line, and so many lines of the body."""
    index = _find(session, command.number)
    if index is None:
        return
    drop = session.maildrop
    uid = drop.uids[index]
    (rows, damaged), _ = await session.site.mailboxes.page(
        drop.mailbox.id, [(uid, uid)], _COLUMNS, _rows, 1, AHEAD_OCTETS
    )
    if not rows:
        session.refuse(DAMAGED if damaged else NO_SUCH_MESSAGE)
        return
    header, body, part = rows[0]
    stuffing, lines = Stuffing(), Lines(command.lines)
    head = header if session.utf8 else surrogate(header)
    await session.write(b"+OK\r\n" + stuffing.take(head) + stuffing.take(lines.take(part)))
    start = len(part)
    while lines.left and start < body.size:
        data = await session.site.mailboxes.read_body(body, start, start + PART_SIZE)
        if not data:
            raise ConnectionAbortedError("a body was deleted while it was read, or is damaged")
        await session.write(stuffing.take(lines.take(data)))
        start += len(data)
    session.say(stuffing.end())


def _rows(page: Page) -> tuple[list[tuple[bytes, StoredBody, bytes]], int]:
    columns = zip(page["header"], page["blob"], page["body_size"], page["part"], strict=True)
    rows = [
        (header, StoredBody(BlobId(blob), size), part or b"")
        for header, blob, size, part in columns
    ]
    return rows, page.damaged


async def _note(session: Session, index: int) -> None:
    """The owner has it now."""
    session.retrieved.append(session.maildrop.uids[index])
    if len(session.retrieved) >= NOTED_AT_ONCE:
        await note_retrieved(session)


async def note_retrieved(session: Session) -> None:
    """Write down what was retrieved since the last time."""
    uids, session.retrieved = session.retrieved, []
    if uids:
        await session.site.maildrops.note_retrieved(session.maildrop, uids)


# ---------------------------------------------------------------------- deletions


async def dele(session: Session, command: commands.Dele) -> None:
    """RFC 1939 section 5: it goes at QUIT."""
    index = _find(session, command.number)
    if index is not None:
        session.deleted.add(index)
        session.ahead.found.pop(index, None)
        session.say(responses.ok())


async def rset(session: Session, command: commands.Rset) -> None:
    """RFC 1939 section 5."""
    session.deleted.clear()
    session.say(responses.ok())


async def update(session: Session) -> bytes:
    """The end of a session: what was marked goes to Trash; what to say (RFC 1939 section 6)."""
    drop = session.maildrop
    uids = [drop.uids[index] for index in sorted(session.deleted)]
    await note_retrieved(session)
    session.drop = None
    if not await session.site.maildrops.update(drop, uids):
        text = "The maildrop is another session's by now; nothing was deleted"
        return responses.err(text, responses.TEMPORARY)
    return responses.ok("Bye")
