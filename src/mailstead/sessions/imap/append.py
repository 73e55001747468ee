"""APPEND and REPLACE: messages of the client's, piece by piece.

RFC 3501 section 6.3.11, RFC 3502, RFC 4315, RFC 8508. Holds: of the messages of one command all are
filed, in one transaction, or none; what is replaced goes in the same one.
"""

from collections.abc import Sequence

from mailstead.model.errors import Refusal, TemporaryFailure
from mailstead.model.flags import FLAGGED
from mailstead.model.numbers import Uid
from mailstead.protocol.imap import commands, responses
from mailstead.protocol.imap.events import AppendChunk, AppendEnd, AppendNext
from mailstead.services.mailboxes.service import NewMessage
from mailstead.sessions.imap.copy import check_rights, end_expunge, find_target
from mailstead.sessions.imap.state import Arrival, Incoming, Session, log
from mailstead.sessions.imap.sync import Senseless, flags_of
from mailstead.storage.plan import Appended

HEADER_LIMIT = 256 * 1024  # octets; of a longer header the rest counts as body
SPOOLED_LIMIT = 10  # messages of one command in files: each keeps one open
HEADERS_LIMIT = 1024 * 1024  # octets of all headers of one command: they stay in memory


async def append(session: Session, command: commands.Append) -> None:
    """The command, before its first message: may it come?"""
    try:
        target = await find_target(session, command.mailbox)
        _take_up(session, Incoming(target, []), command.message)
    except (Refusal, TemporaryFailure):
        session.engine.refuse_append()
        raise


async def replace(session: Session, command: commands.Replace) -> None:
    """RFC 8508 section 3.4, before the message: is there what it is to replace, may it come?"""
    try:
        replaced = _find_replaced(session, command)
        target = await find_target(session, command.mailbox)
        _take_up(session, Incoming(target, [], replaced), command.message)
    except (Refusal, TemporaryFailure, Senseless):
        session.engine.refuse_append()
        raise


def _find_replaced(session: Session, command: commands.Replace) -> Uid:
    check_rights(session, "te")  # RFC 8508 section 4.1
    view = session.selected
    spans = view.select(command.numset, command.uid)
    if not spans:
        raise Refusal("there is no message with that UID", "NONEXISTENT")
    return Uid(view.contents.uids[spans[0][0]])


async def next_message(session: Session, event: AppendNext) -> None:
    """One message is complete: may the next one come?"""
    incoming, session.incoming = session.incoming, None
    try:
        if incoming is not None:
            _check(session, incoming)
            _take_up(session, incoming, event.message)
    except (Refusal, TemporaryFailure):
        session.engine.refuse_append()
        raise


def _take_up(session: Session, incoming: Incoming, message: commands.NewMessage) -> None:
    if not message.size:  # how a client takes back what it sent before (RFC 3502)
        raise Refusal("an empty message: nothing is appended")
    incoming.arrivals.append(Arrival(message, session.site.mailboxes.gather()))
    session.incoming = incoming


def _check(session: Session, incoming: Incoming) -> None:
    """What could not be kept so far."""
    if incoming.failure:
        raise TemporaryFailure(incoming.failure)
    if incoming.refused:  # RFC 3516 section 4.4
        raise Refusal("octets that are NUL have to come in a transfer encoding", "UNKNOWN-CTE")
    if sum(len(arrival.header) for arrival in incoming.arrivals) > HEADERS_LIMIT:
        raise Refusal("the headers are too long for one command", "LIMIT")
    if sum(arrival.body.spooled for arrival in incoming.arrivals) > SPOOLED_LIMIT:
        raise Refusal("too many big messages for one command", "LIMIT")


async def chunk(session: Session, event: AppendChunk) -> None:
    """Some of the message; what cannot be kept is told at its end."""
    incoming = session.incoming
    if incoming is None or incoming.failure:
        return
    if incoming.arrivals[-1].message.binary and b"\0" in event.data:
        incoming.refused = True
    try:
        _take(incoming.arrivals[-1], event.data)
    except TemporaryFailure as failure:
        log.warning("an APPEND of %s cannot be kept: %s", session.stream.peer, failure.reason)
        incoming.failure = failure.reason


def _take(arrival: Arrival, data: bytes) -> None:
    """Gather the header up to its empty line, then the body."""
    if arrival.complete:
        arrival.body.add(data)
        return
    header = arrival.header
    seen = max(0, len(header) - 3)
    header += data
    end = 2 if header.startswith(b"\r\n") else header.find(b"\r\n\r\n", seen, HEADER_LIMIT) + 4
    if end < 4 and not header.startswith(b"\r\n"):
        if len(header) <= HEADER_LIMIT:
            return
        end = header.rfind(b"\n", 0, HEADER_LIMIT) + 1 or HEADER_LIMIT
    arrival.complete = True
    if len(header) > end:
        arrival.body.add(bytes(header[end:]))
        del header[end:]


async def end(session: Session, event: AppendEnd) -> None:
    """The last message is complete: file them."""
    incoming, session.incoming = session.incoming, None
    if incoming is None:
        return
    _check(session, incoming)
    try:
        appended = await _file(session, incoming)
    except Refusal as refusal:
        code = "TRYCREATE" if refusal.code == "NONEXISTENT" else refusal.code
        raise Refusal(refusal.reason, code) from refusal
    code = responses.appenduid(appended[0].uidvalidity, [one.uid for one in appended])
    session.note_made(appended[0].mailbox, (one.uid for one in appended))
    if incoming.replaced is None:
        await session.finish(event.tag, "APPEND completed", code)
        return
    # Before the EXPUNGE (RFC 8508 section 4.3).
    session.write(responses.ok(responses.UNTAGGED, "The replacement is there", code))
    await end_expunge(session, event.tag, uid=False, word="REPLACE")


async def _file(session: Session, incoming: Incoming) -> Sequence[Appended]:
    """Rights given by others are looked at again: a message may have taken long to come in."""
    target = incoming.target
    if target.mailbox.account != session.owner.account:
        target = await find_target(session, target.mailbox.name)
    among, to = flags_of(target.rights), target.mailbox
    mailboxes = session.site.mailboxes
    new = [_new_message(arrival, among) for arrival in incoming.arrivals]
    if incoming.replaced is None:
        return await mailboxes.append_all(session.owner, to.id, new, to.account)
    await session.check_rights()
    if session.view is None:
        raise Refusal("the message to be replaced is gone", "EXPUNGEISSUED")
    check_rights(session, "te")
    source = session.view.contents.mailbox
    return [await mailboxes.replace(session.owner, source, incoming.replaced, to, new[0])]


def _new_message(arrival: Arrival, among: int) -> NewMessage:
    """The message, with those of its flags that may be set."""
    message = arrival.message
    return NewMessage(
        bytes(arrival.header),
        arrival.body.finish(),
        message.system & among,
        message.keywords if among & FLAGGED else "",
        message.internal_date,
    )
