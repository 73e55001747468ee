"""An SMTP or LMTP session: each event has one reply, the Visit knows which.

Owns: time limits, the count of errors, TLS and log-in as the protocol wants them (RFC 3207, 4954).
"""

import asyncio
import logging
import ssl
from datetime import timedelta

import msgspec

from mailstead.model.errors import TemporaryFailure
from mailstead.model.reply import Reply
from mailstead.model.world import Endpoint, Stream
from mailstead.net.tls import TlsStream, certificate_of
from mailstead.protocol import sasl, sasl_mechanisms
from mailstead.protocol.smtp import replies
from mailstead.protocol.smtp.events import (
    Auth,
    AuthResponse,
    Chunk,
    ChunkTaken,
    Data,
    Declined,
    Etrn,
    Event,
    Expn,
    HeaderEnd,
    Helo,
    Help,
    Mail,
    Malformed,
    MessageEnd,
    MessageRefused,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
    Xclient,
)
from mailstead.protocol.smtp.server import ServerOptions, SmtpServer
from mailstead.services.accounts import Login, LoginBusy
from mailstead.services.authenticating import Authentication, Result
from mailstead.services.doorkeeper import Guest
from mailstead.services.inbound.site import Role, Site
from mailstead.services.inbound.visit import FUTURE_RELEASE_LIMIT, RECIPIENTS_LIMIT, Visit
from mailstead.services.limits import unit_of
from mailstead.services.outbound.etrn import send_now
from mailstead.sessions.pump import Output, Pace, Reader, drive

GREETING_PAUSE = timedelta(seconds=1.5)  # for strangers
COMMAND_TIMEOUT = timedelta(minutes=5)  # RFC 5321 section 4.5.3.2.7
HANDSHAKE_TIMEOUT = timedelta(seconds=30)
SEND_TIMEOUT = timedelta(minutes=5)  # a peer that takes nothing
ERRORS_LIMIT = 10  # malformed commands of one session
IDLE_COMMANDS_LIMIT = 100  # commands that bring no message nearer, between two messages
LOGINS_LIMIT = 3  # failed log-ins of one session
UNREAD_LIMIT = 256 * 1024  # octets that wait in the engine

log = logging.getLogger("mailstead.smtp")


class Door(msgspec.Struct, frozen=True):
    """What a listener lets in: the role, and how it is protected."""

    role: Role
    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    clear_text_login: bool = False  # a loopback listener that allows it


async def serve(stream: Stream, site: Site, door: Door) -> None:
    """One connection, from the greeting to its end. Never raises for what a peer does."""
    guest = site.doorkeeper.enter(stream.peer, str(replies.TOO_MANY_CONNECTIONS))
    try:
        if guest.refused:
            await _turn_away(stream, door)
            return
        if door.role is Role.LMTP and not site.doorkeeper.may_deliver(stream.peer.address):
            await _turn_away_stranger(stream, site)
            return
        if door.implicit_tls and door.tls:
            stream = await _start_tls(stream, door.tls)
        session = _Session(stream, site, door, guest)
        try:
            await session.run()
        finally:
            session.reader.close()
            session.guest.leave()
            session.visit.leave()  # exceptions keep frames, and frames would keep the body
    except (ConnectionError, TimeoutError):
        stream.abort()
    except Exception:
        log.exception("a session of ours failed; peer %s", stream.peer)
        stream.send(replies.format_reply(replies.LOCAL_ERROR))
        await stream.close()
    finally:
        guest.leave()


async def _turn_away(stream: Stream, door: Door) -> None:
    """A handshake only to say no would be what a flood wants; there it ends without a word."""
    if not door.implicit_tls:
        stream.send(replies.format_reply(replies.TOO_MANY_CONNECTIONS))
    await stream.close()


async def _turn_away_stranger(stream: Stream, site: Site) -> None:
    """Whoever speaks LMTP is believed what others have to prove."""
    peer, reply = stream.peer, replies.NOT_LISTED
    site.doorkeeper.refuse("lmtp", unit_of(peer.address), "connect", str(reply), str(peer))
    stream.send(replies.format_reply(reply))
    await stream.close()


async def _start_tls(stream: Stream, context: ssl.SSLContext) -> TlsStream:
    secured = TlsStream(stream, context, server_side=True)
    async with asyncio.timeout(HANDSHAKE_TIMEOUT.total_seconds()):
        await secured.handshake()
    return secured


class _Session:
    def __init__(self, stream: Stream, site: Site, door: Door, guest: Guest) -> None:
        self.stream, self.site, self.door, self.guest = stream, site, door, guest
        self.pace, self.reader = Pace(), Reader()
        options = _options(site, door, stream.peer)
        self.engine = SmtpServer(options, tls=bool(stream.tls))
        self.visit = Visit(site, door.role, stream.peer)
        self.output = Output(stream)
        self.errors = self.failed_logins = self.idle_commands = 0
        self.authentication: Authentication | None = None

    async def run(self) -> None:
        """Greet, then answer until one side has enough."""
        if await self._speaks_early():
            self.site.doorkeeper.refuse_early(self.stream.peer, str(replies.SPOKE_EARLY))
            self.output.write(replies.format_reply(replies.SPOKE_EARLY))
            self.output.send()
            await self.stream.close()
            return
        self.output.write(self.engine.send(replies.greeting(self.site.hostname)))
        await self._flush()
        while not self.engine.closing:
            try:
                data = await self.reader.receive(self.stream, self.pace.left(COMMAND_TIMEOUT))
            except TimeoutError:
                self.output.write(self.engine.send(replies.TIMEOUT))
                break
            if data == b"":
                break
            if data:
                self.pace.took(len(data))
                await drive(self.engine, data, self._handle)
                await self._flush()
            if self.site.watch.closing and not self.visit.busy:
                self.output.write(self.engine.send(replies.SHUTTING_DOWN))
                break
        self.output.send()
        await self.stream.close()

    async def _speaks_early(self) -> bool:
        """Whether a stranger sends before it is greeted (RFC 5321 section 4.3.1).

        Only whom we do not know is listened to for a moment: programs that send spam do not wait.
        """
        peer, doorkeeper = self.stream.peer, self.site.doorkeeper
        if not doorkeeper.stranger(peer.address) or self.visit.caller is None:
            return False
        if doorkeeper.is_welcome(peer.address):
            return False
        try:
            return bool(await self.reader.receive(self.stream, GREETING_PAUSE))
        except TimeoutError:
            return False

    async def _flush(self) -> None:
        await self.output.flush(SEND_TIMEOUT)

    async def _handle(self, event: Event) -> None:
        match event:
            case HeaderEnd(header):
                self.visit.header(header)
            case Chunk(data):
                self.visit.chunk(data)
            case Helo() | Data() if self.engine.buffered and self.visit.caller:
                self.visit.caller.pipelined = True  # before the reply it may not (RFC 2920 3.1)
                self._reply(await self._answer(event))
            case StartTls():
                await self._secure()
            case Xclient():
                await self._adopt(event)
            case MessageEnd() if self.door.role is Role.LMTP:
                for reply in await self._answer_each():
                    self._reply(reply)
            case MessageRefused():  # in LMTP a reply for each recipient
                reply = await self._answer(event)
                for _ in range(self.engine.owed):
                    self._reply(reply)
            case _:
                self._reply(await self._answer(event))

    def _reply(self, reply: Reply) -> None:
        if self._has_enough():
            reply = replies.TOO_MANY_ERRORS
            self.site.doorkeeper.refuse_commands(self.visit.peer, str(reply))
        self.pace.answered()
        self.output.write(self.engine.send(reply))

    def _has_enough(self) -> bool:
        """Whether the peer has wasted so much of our time that it has to go."""
        return (
            self.errors > ERRORS_LIMIT
            or self.failed_logins >= LOGINS_LIMIT
            or self.idle_commands > IDLE_COMMANDS_LIMIT
        )

    async def _answer(self, event: Event) -> Reply:
        """The one reply to the event; what the world cannot do now is a 451."""
        try:
            return await self._transaction(event)
        except TemporaryFailure as failure:
            if not isinstance(event, Rcpt):  # others were taken, and may get their mail
                self.visit.forget()
            return self._put_off(failure)

    async def _answer_each(self) -> list[Reply]:
        """After the final dot one reply for each recipient (RFC 2033 section 4.2)."""
        self.idle_commands, owed = 0, self.engine.owed
        try:
            return await self.visit.end_each()
        except TemporaryFailure as failure:
            self.visit.forget()
            return [self._put_off(failure)] * owed

    def _put_off(self, failure: TemporaryFailure) -> Reply:
        log.warning("put off a message from %s: %s", self.visit.peer, failure.reason)
        return replies.LOCAL_ERROR

    async def _transaction(self, event: Event) -> Reply:
        match event:
            case Helo(extended=extended):
                return await self._helo(event, extended)
            case Mail():
                return await self.visit.mail(event)
            case Rcpt(recipient, wish):
                return await self.visit.rcpt(recipient, wish)
            case Data():
                return replies.START_DATA
            case MessageEnd():
                self.idle_commands = 0
                return await self.visit.end()
            case MessageRefused(reply):
                self.visit.forget()
                return reply
            case Rset():
                self.idle_commands += 1
                self.visit.forget()
                return replies.RESET_OK
            case Etrn(node):
                self.idle_commands += 1
                site = self.site
                return await send_now(site.store, site.watch, site.doorkeeper, node)
            case Auth(mechanism, initial):
                return await self._begin_login(mechanism, initial)
            case AuthResponse(data):
                return await self._continue_login(data)
            case _:
                return self._courtesy(event)

    def _courtesy(self, event: Event) -> Reply:
        """What needs nothing of the house."""
        self.idle_commands += not isinstance(event, ChunkTaken)
        match event:
            case Malformed(reply):
                self.errors += 1
                return reply
            case Declined(reply) | ChunkTaken(reply):
                return reply
            case Vrfy() | Expn():
                return replies.CANNOT_VERIFY
            case Help():
                return replies.HELP
            case Quit():
                return replies.GOODBYE
            case Noop():
                return replies.OK
            case _:
                raise AssertionError(f"nobody answers {event!r}")

    async def _helo(self, event: Helo, extended: bool) -> Reply:
        self.idle_commands += 1
        self.visit.forget()
        self.visit.helo(event, self.stream.tls)
        if extended:
            if self.door.role is Role.SUBMISSION:
                shown = bool(certificate_of(self.stream))
                offer = await self.site.accounts.find_offer(shown)
                self.engine.offer(sasl_mechanisms.names(offer))
            return self.engine.ehlo_reply(self.site.world.clock.now())
        return replies.helo_reply(self.site.hostname)

    async def _secure(self) -> None:
        if self.door.tls is None:
            self._reply(replies.TLS_UNAVAILABLE)
            return
        self._reply(replies.START_TLS)
        await self._flush()
        self.stream = await _start_tls(self.stream, self.door.tls)
        self.output = Output(self.stream)
        self.engine.start_tls()
        before, self.visit = (
            self.visit,
            Visit(self.site, self.door.role, self.visit.peer, self.visit.caller),
        )
        before.forget()

    async def _adopt(self, said: Xclient) -> None:
        """From here on the session is that of the client whom a trusted host speaks for."""
        peer = Endpoint(said.address, said.port) if said.address else self.visit.peer
        login = await self.site.accounts.find_login(said.login) if said.login else None
        if said.login and login is None:
            self._reply(replies.AUTH_FAILED)
            return
        self.guest.leave()
        self.guest = self.site.doorkeeper.enter(peer, str(replies.TOO_MANY_CONNECTIONS))
        if self.guest.refused:
            self._reply(replies.TOO_MANY_CONNECTIONS)
            return
        if login is not None:
            self.guest.leave()
        self._reply(replies.greeting(self.site.hostname))
        self.engine.adopt()
        self.visit.leave()
        self.visit = Visit(self.site, self.door.role, peer)
        self.visit.login = login

    # ------------------------------------------------------------------ log-in

    async def _begin_login(self, mechanism: str, initial: bytes | None) -> Reply:
        accounts, peer = self.site.accounts, self.visit.peer
        certificate = certificate_of(self.stream)
        self.authentication = Authentication(accounts, "submission", peer, certificate)
        return self._say(await self.authentication.begin(mechanism, initial))

    async def _continue_login(self, data: bytes | None) -> Reply:
        if data is None or self.authentication is None:
            self.authentication = None
            return replies.AUTH_CANCELLED
        return self._say(await self.authentication.respond(data))

    def _say(self, step: bytes | Result) -> Reply:
        if isinstance(step, bytes):
            return replies.challenge(step)
        self.authentication = None
        match step:
            case Login():
                self.guest.leave()  # no stranger any more
                self.visit.login = step
                return replies.AUTH_OK
            case LoginBusy():
                return replies.AUTH_TEMPORARY
            case sasl.BadResponse(reason):
                return replies.syntax_error("5.5.2", reason)
            case _:
                self.failed_logins += 1
                return replies.AUTH_FAILED


def _options(site: Site, door: Door, peer: Endpoint) -> ServerOptions:
    submission = door.role is Role.SUBMISSION
    return ServerOptions(
        hostname=site.hostname,
        size_limit=site.size_limit,
        tls_available=door.tls is not None,
        auth_mechanisms=sasl_mechanisms.PASSWORD_MECHANISMS if submission else (),
        auth_needs_tls=not door.clear_text_login,
        recipients_limit=RECIPIENTS_LIMIT,
        lmtp=door.role is Role.LMTP,
        dsn=submission,
        etrn=door.role is Role.MX,
        require_tls=True,
        future_release=FUTURE_RELEASE_LIMIT if submission else None,
        xclient=site.doorkeeper.may_speak_for_others(peer.address),
    )
