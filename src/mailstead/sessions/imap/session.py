"""One connection of an IMAP client (RFC 3501): each command goes to the function that knows it.

Owns: time limits, the count of errors, which command is allowed when. The commands themselves are
in the other files of this room, one for each group.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from mailstead.model.errors import Refusal, TemporaryFailure
from mailstead.model.world import Stream
from mailstead.protocol.imap import acl as on_rights
from mailstead.protocol.imap import commands, events, responses
from mailstead.protocol.imap import metadata as on_annotations
from mailstead.sessions.imap import (
    acl,
    append,
    context,
    copy,
    fetch,
    idle,
    login,
    mailboxes,
    metadata,
    multisearch,
    notify,
    search,
    select,
    sort,
    store,
    updating,
)
from mailstead.sessions.imap.state import Contexts, Door, Session, Site, State
from mailstead.sessions.imap.sync import Senseless

LOGIN_TIMEOUT = timedelta(minutes=3)  # to send the next command, before log-in
STRANGER_LIMIT = timedelta(minutes=10)  # in all, before log-in
AUTOLOGOUT = timedelta(minutes=30)  # RFC 3501 section 5.4
IDLE_POLL = timedelta(minutes=2)  # between looks of our own while nobody wakes us
ERRORS_LIMIT = 10  # malformed commands of a stranger
OWNER_ERRORS_LIMIT = 100  # of somebody who has logged in

log = logging.getLogger("mailstead.imap")

Handler = Callable[[Session, Any], Awaitable[None]]


async def serve(stream: Stream, site: Site, door: Door) -> None:
    """One connection, from the greeting to its end. Never raises for what a peer does."""
    guest = site.doorkeeper.enter(stream.peer, f"BYE {login.TOO_MANY_CONNECTIONS}")
    async with asyncio.TaskGroup() as chores:
        try:
            if guest.refused:
                await _turn_away(stream, door)
                return
            if door.implicit_tls and door.tls:
                stream = await login.secure(stream, door)
            session = Session(stream, site, door, chores, guest)
            session.contexts = Contexts(context.tell_expunged, updating.settle)
            await _serve(session)
        except (ConnectionError, TimeoutError):
            stream.abort()
        finally:
            guest.leave()


async def _turn_away(stream: Stream, door: Door) -> None:
    """A handshake only to say no would be what a flood wants; there it ends without a word."""
    if not door.implicit_tls:
        stream.send(responses.bye(login.TOO_MANY_CONNECTIONS, "UNAVAILABLE"))
    await stream.close()


async def _serve(session: Session) -> None:
    stream = session.stream
    try:
        await _run(session)
    except (ConnectionError, TimeoutError):
        session.stream.abort()
    except Exception:
        log.exception("a session of ours failed; peer %s", stream.peer)
        session.stream.send(responses.bye("This failed on our side", "SERVERBUG"))
        await session.stream.close()
    finally:
        session.reader.close()
        session.silence()
        session.leave()
        session.guest.leave()
        session.incoming = None  # exceptions keep frames, and frames would keep the body


async def _run(session: Session) -> None:
    await login.greet(session)
    await session.flush()
    while not session.closing:
        try:
            data = await session.reader.receive(session.stream, _patience(session))
        except TimeoutError:
            await _on_silence(session)
            continue
        if data == b"":
            break
        if data is not None:
            session.pace.took(len(data))
            await _drive(session, data)
        elif session.idle_since is not None:
            await idle.tell(session)
        if session.notification is not None and not session.closing:
            await notify.tell(session)
        if session.site.watch.closing and not session.closing:
            session.end("The server is shutting down")
        await session.flush()
    session.output.send()
    await session.stream.close()


async def _drive(session: Session, data: bytes) -> None:
    """Handle everything that these octets bring about, in order, up to a BYE."""
    while not session.closing and (found := session.engine.receive(data)):
        for event in found:
            if not session.closing:
                await _handle(session, event)
        data = b""


def _patience(session: Session) -> timedelta:
    if session.login is None:
        here = timedelta(seconds=asyncio.get_running_loop().time() - session.began)
        return min(session.pace.left(LOGIN_TIMEOUT), max(STRANGER_LIMIT - here, timedelta(0)))
    return session.pace.left(AUTOLOGOUT) if session.idle_since is None else IDLE_POLL


async def _on_silence(session: Session) -> None:
    now = asyncio.get_running_loop().time()
    since = session.idle_since
    if since is None or now - since >= AUTOLOGOUT.total_seconds():
        session.end("Idle for too long")
        return
    session.write(responses.ok(responses.UNTAGGED, "Still here"))
    await idle.tell(session)


async def _handle(session: Session, event: events.Event) -> None:
    if not isinstance(event, events.AppendChunk):
        session.pace.answered()
    match event:
        case events.BadCommand(tag, text, code):
            session.incoming = session.authentication = session.idle_since = None
            _complain(session, tag, text, code)
        case events.RefusedCommand(tag, code, text):
            session.incoming = None
            session.refuse(tag, text, code)
        case events.Continue():
            session.write(responses.continuation())
            await session.flush()
        case events.AppendChunk():
            await append.chunk(session, event)
        case events.SaslResponse():
            await _attempt(session, session.sasl_tag, login.respond, event)
        case events.AppendNext(tag):
            await _attempt(session, tag, append.next_message, event)
        case events.AppendEnd(tag):
            await _attempt(session, tag, append.end, event)
        case events.IdleDone(tag):
            await _attempt(session, tag, idle.done, event)
        case _:
            await _answer(session, event)


async def _answer(session: Session, command: commands.Command) -> None:
    handler = _find_handler(session, command)
    if handler is None:
        if isinstance(command, commands.Append | commands.Replace):
            session.engine.refuse_append()
        _complain(session, command.tag, _WHY_NOT[session.state])
        return
    if type(command) in _SELECTED:
        await session.check_rights()
        if session.closing:
            return
    await _attempt(session, command.tag, handler, command)


async def _attempt(session: Session, tag: bytes, handler: Handler, event: Any) -> None:
    """Run the handler; what cannot be done is a NO, what makes no sense a BAD."""
    try:
        await handler(session, event)
    except Refusal as refusal:
        reason = refusal.reason[:1].upper() + refusal.reason[1:]
        session.refuse(tag, reason, refusal.code)
    except TemporaryFailure as failure:
        log.warning("put off a command of %s: %s", session.stream.peer, failure.reason)
        session.refuse(tag, "Not now; try again later", "UNAVAILABLE")
    except Senseless as error:
        said = str(error)
        _complain(session, tag, said[:1].upper() + said[1:])


def _complain(session: Session, tag: bytes, text: str, code: str = "") -> None:
    session.write(responses.bad(tag, text, code))
    session.errors += 1
    if session.errors > (ERRORS_LIMIT if session.login is None else OWNER_ERRORS_LIMIT):
        session.site.doorkeeper.refuse_commands(session.stream.peer, "BYE Too many errors")
        session.end("Too many errors")


def _find_handler(session: Session, command: commands.Command) -> Handler | None:
    kind = type(command)
    handler = _ALWAYS.get(kind)
    if handler is None and session.login is None:
        return _STRANGER.get(kind)
    if handler is None:
        handler = _AUTHENTICATED.get(kind)
    if handler is None and session.view is not None:
        handler = _SELECTED.get(kind)
    return handler


_WHY_NOT = {
    State.STRANGER: "Log in first",
    State.AUTHENTICATED: "Not without a selected mailbox, or not after log-in",
    State.SELECTED: "Not after log-in",
}
_ALWAYS: dict[type, Handler] = {
    commands.Capability: login.capability,
    commands.Noop: login.noop,
    commands.Logout: login.logout,
    commands.Id: login.identify,
}
_STRANGER: dict[type, Handler] = {
    commands.StartTls: login.start_tls,
    commands.Authenticate: login.authenticate,
    commands.Login: login.log_in,
}
_AUTHENTICATED: dict[type, Handler] = {
    commands.Namespace: login.namespace,
    commands.Enable: login.enable,
    commands.Compress: login.compress,
    commands.Unauthenticate: login.unauthenticate,
    commands.Select: select.select,
    commands.Examine: select.select,
    commands.Create: mailboxes.create,
    commands.Delete: mailboxes.delete,
    commands.Rename: mailboxes.rename,
    commands.Subscribe: mailboxes.subscribe,
    commands.Unsubscribe: mailboxes.unsubscribe,
    commands.List: mailboxes.list_,
    commands.Lsub: mailboxes.lsub,
    commands.Status: mailboxes.status,
    commands.GetQuota: mailboxes.get_quota,
    commands.GetQuotaRoot: mailboxes.get_quota_root,
    commands.Append: append.append,
    commands.Idle: idle.idle,
    on_rights.SetAcl: acl.set_acl,
    on_rights.DeleteAcl: acl.delete_acl,
    on_rights.GetAcl: acl.get_acl,
    on_rights.ListRights: acl.list_rights,
    on_rights.MyRights: acl.my_rights,
    commands.Notify: notify.notify,
    commands.MultiSearch: multisearch.multi_search,
    on_annotations.GetMetadata: metadata.get_metadata,
    on_annotations.SetMetadata: metadata.set_metadata,
}
_SELECTED: dict[type, Handler] = {
    commands.Check: login.noop,
    commands.Close: select.close,
    commands.Unselect: select.unselect,
    commands.Expunge: copy.expunge,
    commands.UidExpunge: copy.uid_expunge,
    commands.Search: search.search,
    commands.CancelUpdate: context.cancel,
    commands.Sort: sort.sort,
    commands.Thread: sort.thread_,
    commands.Fetch: fetch.fetch,
    commands.Store: store.store,
    commands.Copy: copy.copy,
    commands.Replace: append.replace,
    commands.Move: copy.move,
}
