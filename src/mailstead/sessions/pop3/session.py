"""One connection of a POP3 client (RFC 1939): each command goes to the function that knows it.

Owns: time limits, the count of errors, which command is allowed when, the lock of the maildrop.
Holds: a connection that ends without QUIT deletes nothing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from mailstead.model.errors import Refusal, TemporaryFailure
from mailstead.model.world import Stream
from mailstead.protocol.pop3 import commands, responses
from mailstead.services.doorkeeper import Guest
from mailstead.sessions.pop3 import login, messages
from mailstead.sessions.pop3.state import LOCK_ROUND, Ahead, Door, Session, Site

LOGIN_TIMEOUT = timedelta(minutes=3)  # to send the next command, before log-in
STRANGER_LIMIT = timedelta(minutes=10)  # in all, before log-in
AUTOLOGOUT = timedelta(minutes=10)  # RFC 1939 section 3
ERRORS_LIMIT = 10  # malformed commands of a stranger
OWNER_ERRORS_LIMIT = 100  # of somebody who has logged in
TOO_MANY_CONNECTIONS = "Too many connections from your address, try again soon"

log = logging.getLogger("mailstead.pop3")

Handler = Callable[[Session, Any], Awaitable[None]]


async def serve(stream: Stream, site: Site, door: Door) -> None:
    """One connection, from the greeting to its end. Never raises for what a peer does."""
    told = responses.err(TOO_MANY_CONNECTIONS, responses.TEMPORARY)
    guest = site.doorkeeper.enter(stream.peer, told.decode().strip())
    try:
        if guest.refused:
            await _turn_away(stream, door, told)
            return
        if door.implicit_tls and door.tls:
            stream = await login.secure(stream, door)
        await _serve(stream, site, door, guest)
    except (ConnectionError, TimeoutError):
        stream.abort()
    finally:
        guest.leave()


async def _turn_away(stream: Stream, door: Door, told: bytes) -> None:
    """A handshake only to say no would be what a flood wants; there it ends without a word."""
    if not door.implicit_tls:
        stream.send(told)
    await stream.close()


async def _serve(stream: Stream, site: Site, door: Door, guest: Guest) -> None:
    session = Session(stream, site, door, guest)
    try:
        await _run(session)
    except (ConnectionError, TimeoutError):
        session.stream.abort()
    except Exception:
        log.exception("a session of ours failed; peer %s", stream.peer)
        session.stream.send(responses.err("This failed on our side", responses.PERMANENT))
        await session.stream.close()
    finally:
        session.reader.close()
        await _leave(session)


async def _leave(session: Session) -> None:
    """Give the maildrop back, as it was."""
    if session.drop is None:
        return
    try:
        await messages.note_retrieved(session)
        await session.site.maildrops.close(session.drop)
    except TemporaryFailure as failure:
        log.warning("a maildrop stays locked for a while: %s", failure.reason)


async def _run(session: Session) -> None:
    session.say(responses.ok(f"{session.site.hostname} is ready"))
    await session.flush()
    while not session.closing:
        try:
            data = await session.reader.receive(session.stream, _patience(session))
        except TimeoutError:
            await _on_silence(session)
            await session.flush()
            continue
        if data == b"":
            break
        if data is not None:
            session.pace.took(len(data))
            await _drive(session, data)
        if session.site.watch.closing and not session.closing:
            session.end(responses.err("The server is shutting down", responses.TEMPORARY))
        await session.flush()
    session.output.send()
    await session.stream.close()


async def _drive(session: Session, data: bytes) -> None:
    """Handle everything that these octets bring about, in order, up to the end."""
    while not session.closing and (found := session.engine.receive(data)):
        for event in found:
            session.pace.answered()
            await _handle(session, event)
            await session.keep_lock()
        data = b""


def _patience(session: Session) -> timedelta:
    if session.drop is not None:
        return min(session.pace.left(AUTOLOGOUT), LOCK_ROUND)
    here = timedelta(seconds=asyncio.get_running_loop().time() - session.began)
    return min(session.pace.left(LOGIN_TIMEOUT), max(STRANGER_LIMIT - here, timedelta(0)))


async def _on_silence(session: Session) -> None:
    """Somebody who has logged in may think for a while; the lock is kept, memory is not."""
    session.ahead = Ahead()
    if session.drop is None or not session.pace.left(AUTOLOGOUT):
        session.end(responses.err("Idle for too long", responses.TEMPORARY))
        return
    await session.keep_lock()


async def _handle(session: Session, event: commands.Event) -> None:
    match event:
        case commands.Malformed(text):
            session.authentication = None
            _complain(session, text)
        case commands.SaslResponse():
            await _attempt(session, login.respond, event)
        case commands.Quit():
            await _quit(session)
        case _:
            await _answer(session, event)


async def _answer(session: Session, command: commands.Command) -> None:
    if not isinstance(command, commands.Pass | commands.Noop):
        session.user = ""  # PASS follows at once, or not at all (RFC 1939 section 7)
    kind = type(command)
    handler = _ALWAYS.get(kind)
    if handler is None:
        handler = (_STRANGER if session.drop is None else _OWNER).get(kind)
    if handler is None:
        _complain(session, "Log in first" if session.drop is None else "Not after log-in")
        return
    await _attempt(session, handler, command)


async def _attempt(session: Session, handler: Handler, event: Any) -> None:
    try:
        await handler(session, event)
    except Refusal as refusal:
        session.refuse(refusal.reason[:1].upper() + refusal.reason[1:])
    except TemporaryFailure as failure:
        log.warning("put off a command of %s: %s", session.stream.peer, failure.reason)
        session.refuse("Not now; try again later", responses.TEMPORARY)


def _complain(session: Session, text: str) -> None:
    session.refuse(text)
    session.errors += 1
    if session.errors > (ERRORS_LIMIT if session.drop is None else OWNER_ERRORS_LIMIT):
        session.site.doorkeeper.refuse_commands(session.stream.peer, "-ERR Too many errors")
        session.end(responses.err("Too many errors"))


async def _quit(session: Session) -> None:
    """RFC 1939 section 6: the session ends, whatever comes of the deletions."""
    if session.drop is None:
        session.end(responses.ok("Bye"))
        return
    try:
        session.end(await messages.update(session))
    except TemporaryFailure as failure:
        log.warning("put off deletions of %s: %s", session.stream.peer, failure.reason)
        session.end(responses.err("Not all of it was deleted", responses.TEMPORARY))


async def _noop(session: Session, command: commands.Noop) -> None:
    session.say(responses.ok())


async def _utf8(session: Session, command: commands.Utf8) -> None:
    """RFC 6856 section 2.1."""
    session.utf8, session.ahead = True, Ahead()
    session.say(responses.ok("UTF-8 it is"))


async def _lang(session: Session, command: commands.Lang) -> None:
    """RFC 6856 section 3: there is one language."""
    if not command.language:
        session.say(responses.listing("Languages follow", responses.LANGUAGES))
    elif command.language == "*" or command.language.lower().split("-")[0] == responses.LANGUAGE:
        session.say(responses.ok(f"{responses.LANGUAGE} English it is"))
    else:
        session.refuse("That language is not spoken here")


_ALWAYS: dict[type, Handler] = {
    commands.Capa: login.capa,
    commands.Utf8: _utf8,
    commands.Lang: _lang,
    commands.Noop: _noop,
}
_STRANGER: dict[type, Handler] = {
    commands.Stls: login.start_tls,
    commands.User: login.user,
    commands.Pass: login.password,
    commands.Auth: login.authenticate,
}
_OWNER: dict[type, Handler] = {
    commands.Stat: messages.stat,
    commands.List: messages.list_,
    commands.Uidl: messages.uidl,
    commands.Retr: messages.retr,
    commands.Top: messages.top,
    commands.Dele: messages.dele,
    commands.Rset: messages.rset,
}
