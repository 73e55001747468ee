"""How to get into a maildrop: CAPA, STLS, USER and PASS, AUTH (RFC 1939, 2449, 2595, 5034)."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta

from mailstead.model.errors import TemporaryFailure
from mailstead.model.world import Stream
from mailstead.net.tls import TlsStream, certificate_of
from mailstead.protocol import sasl, sasl_mechanisms
from mailstead.protocol.pop3 import commands, responses
from mailstead.services.accounts import Login, LoginBusy, LoginRefused
from mailstead.services.authenticating import Authentication, Result
from mailstead.sessions.pop3.state import Door, Session
from mailstead.sessions.pump import Output

HANDSHAKE_TIMEOUT = timedelta(seconds=30)
LOGINS_LIMIT = 3  # failed log-ins of one session
EXPIRE_FIRST = "1 USER"  # before log-in: the least that an account may have (RFC 2449 section 6.7)


async def secure(stream: Stream, door: Door) -> TlsStream:
    """The stream inside TLS."""
    assert door.tls is not None
    secured = TlsStream(stream, door.tls, server_side=True)
    async with asyncio.timeout(HANDSHAKE_TIMEOUT.total_seconds()):
        await secured.handshake()
    return secured


async def capa(session: Session, command: commands.Capa) -> None:
    """RFC 2449 section 5."""
    mechanisms = await _find_mechanisms(session)
    stls = session.door.tls is not None and not session.stream.tls and session.drop is None
    expire = EXPIRE_FIRST
    if session.drop is not None:
        expire = "NEVER" if session.drop.days is None else str(session.drop.days)
    names = responses.capabilities(mechanisms, stls, expire, session.may_log_in)
    session.say(responses.listing("Capabilities follow", names))


async def _find_mechanisms(session: Session) -> tuple[str, ...]:
    if not session.may_log_in:
        return ()
    offer = await session.site.accounts.find_offer(bool(certificate_of(session.stream)))
    return sasl_mechanisms.names(offer)


async def start_tls(session: Session, command: commands.Stls) -> None:
    """RFC 2595 section 4."""
    if session.door.tls is None or session.stream.tls:
        session.refuse("TLS is not to be had here")
        return
    session.say(responses.ok("Begin TLS now"))
    await session.flush()
    session.stream = await secure(session.stream, session.door)
    session.output = Output(session.stream)
    session.engine.start_tls()
    session.user, session.utf8 = "", False


async def user(session: Session, command: commands.User) -> None:
    """RFC 1939 section 7; whether there is such a mailbox is not told."""
    if not session.may_log_in:
        session.refuse("Log in inside TLS only", responses.AUTH)
        return
    session.user = sasl.normalise_login(command.name)
    session.say(responses.ok("The password?"))


async def password(session: Session, command: commands.Pass) -> None:
    """RFC 1939 section 7."""
    name, session.user = session.user, ""
    if not name:
        session.refuse("USER comes first")
        return
    credentials = sasl.Credentials("", name, command.password, "USER")
    found = await session.site.accounts.log_in(credentials, "pop3", session.stream.peer)
    await _conclude(session, found)


async def authenticate(session: Session, command: commands.Auth) -> None:
    """RFC 5034 section 4; without a mechanism, which there are."""
    if not session.may_log_in:
        session.refuse("Log in inside TLS only", responses.AUTH)
        return
    mechanisms = await _find_mechanisms(session)
    if not command.mechanism:
        session.say(responses.listing("Mechanisms follow", mechanisms))
    elif command.mechanism not in mechanisms:
        session.refuse("That mechanism is not offered")
    else:
        session.engine.begin_authentication()
        stream = session.stream
        session.authentication = Authentication(
            session.site.accounts, "pop3", stream.peer, certificate_of(stream)
        )
        await _go_on(session, session.authentication.begin(command.mechanism, command.initial))


async def respond(session: Session, event: commands.SaslResponse) -> None:
    """A line of the client within AUTH."""
    if event.data is None or session.authentication is None:
        _end_authentication(session)
        session.refuse("AUTH given up")
    else:
        await _go_on(session, session.authentication.respond(event.data))


async def _go_on(session: Session, step: Awaitable[bytes | Result]) -> None:
    """The next challenge, or the end; after an end of any kind the next line is a command again."""
    try:
        found = await step
    except TemporaryFailure:
        _end_authentication(session)
        raise
    if isinstance(found, bytes):
        session.say(responses.challenge(found))
        return
    _end_authentication(session)
    await _conclude(session, found)


def _end_authentication(session: Session) -> None:
    session.authentication = None
    session.engine.end_authentication()


async def _conclude(session: Session, found: Result) -> None:
    match found:
        case sasl.BadResponse(reason):
            session.refuse(reason)
        case LoginBusy():
            text = "Log-in is not possible at the moment, try again"
            session.refuse(text, responses.TEMPORARY)
        case LoginRefused():
            session.failed_logins += 1
            text = "Login or password is wrong"
            if session.failed_logins >= LOGINS_LIMIT:
                session.end(responses.err(text, responses.AUTH))
            else:
                session.refuse(text, responses.AUTH)
        case Login():
            await _open(session, found)


async def _open(session: Session, login: Login) -> None:
    """The maildrop, for this session alone (RFC 1939 section 4)."""
    drop = await session.site.maildrops.open(login)
    if drop is None:
        session.refuse("Another session has the maildrop", responses.IN_USE)
        return
    session.guest.leave()  # no stranger any more
    session.drop, session.errors = drop, 0
    session.kept_at = asyncio.get_running_loop().time()
    session.say(responses.ok(responses.count(len(drop.uids))))
