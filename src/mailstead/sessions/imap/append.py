"""APPEND: a message of the client's, piece by piece (RFC 3501 section 6.3.11, RFC 4315)."""

from mailstead.model.errors import Refusal, TemporaryFailure
from mailstead.protocol.imap import commands, responses
from mailstead.protocol.imap.events import AppendChunk, AppendEnd
from mailstead.sessions.imap.copy import find_target
from mailstead.sessions.imap.state import Incoming, Session, log

HEADER_LIMIT = 256 * 1024  # octets; of a longer header the rest counts as body


async def append(session: Session, command: commands.Append) -> None:
    """The command, before its message: may it come?"""
    try:
        mailbox = await find_target(session, command.mailbox)
    except (Refusal, TemporaryFailure):
        session.engine.refuse_append()
        raise
    body = session.site.mailboxes.gather()
    session.incoming = Incoming(command, mailbox, body)


async def chunk(session: Session, event: AppendChunk) -> None:
    """Some of the message; what cannot be kept is told at its end."""
    incoming = session.incoming
    if incoming is None or incoming.failure:
        return
    try:
        _take(incoming, event.data)
    except TemporaryFailure as failure:
        log.warning("an APPEND of %s cannot be kept: %s", session.stream.peer, failure.reason)
        incoming.failure = failure.reason


def _take(incoming: Incoming, data: bytes) -> None:
    """Gather the header up to its empty line, then the body."""
    if incoming.complete:
        incoming.body.add(data)
        return
    header = incoming.header
    seen = max(0, len(header) - 3)
    header += data
    end = 2 if header.startswith(b"\r\n") else header.find(b"\r\n\r\n", seen, HEADER_LIMIT) + 4
    if end < 4 and not header.startswith(b"\r\n"):
        if len(header) <= HEADER_LIMIT:
            return
        end = header.rfind(b"\n", 0, HEADER_LIMIT) + 1 or HEADER_LIMIT
    incoming.complete = True
    if len(header) > end:
        incoming.body.add(bytes(header[end:]))
        del header[end:]


async def end(session: Session, event: AppendEnd) -> None:
    """The message is complete: file it."""
    incoming, session.incoming = session.incoming, None
    if incoming is None:
        return
    command = incoming.command
    if incoming.failure:
        raise TemporaryFailure(incoming.failure)
    try:
        appended = await session.site.mailboxes.append(
            session.owner,
            incoming.mailbox,
            bytes(incoming.header),
            incoming.body.finish(),
            command.system,
            command.keywords,
            command.internal_date,
        )
    except Refusal as refusal:
        code = "TRYCREATE" if refusal.code == "NONEXISTENT" else refusal.code
        raise Refusal(refusal.reason, code) from refusal
    code = responses.appenduid(appended.uidvalidity, appended.uid)
    await session.finish(event.tag, "APPEND completed", code)
