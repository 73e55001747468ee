"""Commands of anybody, and how to get in (RFC 3501 sections 6.1 and 6.2; RFC 2971, RFC 4959)."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta

from mailstead.model.errors import TemporaryFailure
from mailstead.model.mailbox import DELIMITER
from mailstead.model.world import Stream
from mailstead.net.deflate import DeflateStream
from mailstead.net.tls import TlsStream, certificate_of
from mailstead.protocol import sasl, sasl_mechanisms
from mailstead.protocol.imap import commands, responses
from mailstead.protocol.imap.acl import NEW_RIGHTS
from mailstead.protocol.imap.events import SaslResponse
from mailstead.protocol.imap.lexer import Enabled
from mailstead.protocol.imap.numset import NUMBER_MAX
from mailstead.services.accounts import Login, LoginBusy, LoginRefused
from mailstead.services.authenticating import Authentication, Result
from mailstead.sessions.imap.state import Door, Session
from mailstead.sessions.pump import Output
from mailstead.storage.rights import OTHER_USERS

HANDSHAKE_TIMEOUT = timedelta(seconds=30)
LOGINS_LIMIT = 3  # failed log-ins of one session
TOO_MANY_CONNECTIONS = "Too many connections from your address, try again soon"
TOO_MANY_OF_ACCOUNT = "Too many connections of this account; close another mail program"
CLIENT_LIMIT = 100  # characters of a client's name that are kept

_ALWAYS = ("IMAP4rev1", "IMAP4rev2", "LITERAL+", "SASL-IR", "ID", "IDLE")
_INSIDE = (
    "NAMESPACE",
    "CHILDREN",
    "UNSELECT",
    "UIDPLUS",
    "MULTIAPPEND",
    "BINARY",
    "MOVE",
    "REPLACE",
    "SPECIAL-USE",
    "LIST-EXTENDED",
    "LIST-STATUS",
    "STATUS=SIZE",
    "ENABLE",
    "CONDSTORE",
    "QRESYNC",
    "ESEARCH",
    "MULTISEARCH",
    "CONTEXT=SEARCH",
    "SEARCHRES",
    "SORT",
    "ESORT",
    "SORT=DISPLAY",
    "THREAD=REFERENCES",
    "THREAD=ORDEREDSUBJECT",
    "PARTIAL",
    "WITHIN",
    "SEARCH=FUZZY",
    "PREVIEW",
    "INPROGRESS",
    "SAVEDATE",
    "OBJECTID",
    "CREATE-SPECIAL-USE",
    "QUOTA",
    "QUOTA=RES-STORAGE",
    "NOTIFY",
    "UIDONLY",
    "UTF8=ACCEPT",
    "ACL",
    f"RIGHTS={NEW_RIGHTS}",
    "LIST-MYRIGHTS",
    "METADATA",
    "LIST-METADATA",
    "FILTERS",
)
_ENABLED = {
    "CONDSTORE": "CONDSTORE",
    "QRESYNC": "QRESYNC",
    "UTF8=ACCEPT": "UTF8=ACCEPT",
    "IMAP4REV2": "IMAP4rev2",
    "METADATA": "METADATA",
    "METADATA-SERVER": "METADATA-SERVER",
    "UIDONLY": "UIDONLY",
}


def capabilities(session: Session) -> list[str]:
    """What the session offers as it stands (RFC 3501 section 6.1.1)."""
    if session.login is not None:
        compress = [] if session.compressed else ["COMPRESS=DEFLATE", "UNAUTHENTICATE"]
        return [*_ALWAYS, *_INSIDE, *compress, f"APPENDLIMIT={session.site.size_limit}"]
    names = list(_ALWAYS)
    if session.door.tls is not None and not session.stream.tls:
        names.append("STARTTLS")
    if _may_log_in(session):
        return [*names, *(f"AUTH={mechanism}" for mechanism in session.mechanisms)]
    return [*names, "LOGINDISABLED"]


async def compress(session: Session, command: commands.Compress) -> None:
    """RFC 4978 section 3."""
    if session.compressed:
        session.refuse(command.tag, "Compression is active already", "COMPRESSIONACTIVE")
        return
    if command.mechanism != "DEFLATE":
        session.refuse(command.tag, "Only DEFLATE is offered", "CANNOT")
        return
    session.write(responses.ok(command.tag, "DEFLATE is active from here on"))
    await session.flush()
    session.compressed = True
    session.stream = DeflateStream(session.stream)
    session.output = Output(session.stream)
    session.engine.start_compression()


async def unauthenticate(session: Session, command: commands.Unauthenticate) -> None:
    """RFC 8437 section 3: the connection is a stranger's again, but inside the same TLS.

    Not offered once there is compression: where it would end, octets cannot tell.
    """
    if session.compressed:
        session.write(responses.bad(command.tag, "Not inside compression"))
        return
    session.guest.leave()
    peer = session.stream.peer
    session.guest = session.site.doorkeeper.enter(peer, f"BYE {TOO_MANY_CONNECTIONS}")
    if session.guest.refused:
        session.end(TOO_MANY_CONNECTIONS, "UNAVAILABLE")
        return
    session.forget()
    await _find_mechanisms(session)
    code = "CAPABILITY " + " ".join(capabilities(session))
    session.write(responses.ok(command.tag, "You are a stranger again", code))


async def enable(session: Session, command: commands.Enable) -> None:
    """RFC 5161 section 3.1; what we do not know is passed over."""
    names = {name: None for name in command.names if name in _ENABLED}
    if "CONDSTORE" in names or "QRESYNC" in names:
        session.enable_condstore()
    session.qresync = session.qresync or "QRESYNC" in names
    session.utf8_accept = session.utf8_accept or "UTF8=ACCEPT" in names
    session.rev2 = session.rev2 or "IMAP4REV2" in names
    if session.rev2 and session.view is not None:
        session.view.recent_from = NUMBER_MAX
    if "METADATA" in names or "METADATA-SERVER" in names:
        session.annotated = session.annotated or {}
        await session.tell_annotations()
    session.uidonly = session.uidonly or "UIDONLY" in names
    session.engine.enable(
        Enabled(session.utf8, charset=not session.utf8_accept, seqnums=not session.uidonly)
    )
    session.write(responses.enabled(_ENABLED[name] for name in names))
    session.write(responses.ok(command.tag, "ENABLE completed"))


async def greet(session: Session) -> None:
    """The first line (RFC 3501 section 7.1)."""
    await _find_mechanisms(session)
    code = "CAPABILITY " + " ".join(capabilities(session))
    session.write(responses.ok(responses.UNTAGGED, f"{session.site.hostname} is ready", code))


async def _find_mechanisms(session: Session) -> None:
    """What AUTHENTICATE may use here; the command LOGIN does what the mechanism LOGIN would."""
    shown = bool(certificate_of(session.stream))
    names = sasl_mechanisms.names(await session.site.accounts.find_offer(shown))
    session.mechanisms = tuple(name for name in names if name != "LOGIN")


async def secure(stream: Stream, door: Door) -> TlsStream:
    """The stream inside TLS."""
    assert door.tls is not None
    secured = TlsStream(stream, door.tls, server_side=True)
    async with asyncio.timeout(HANDSHAKE_TIMEOUT.total_seconds()):
        await secured.handshake()
    return secured


# ---------------------------------------------------------------------- commands of any state


async def capability(session: Session, command: commands.Capability) -> None:
    """RFC 3501 section 6.1.1."""
    session.write(responses.capability(capabilities(session)))
    await session.finish(command.tag, "CAPABILITY completed")


async def noop(session: Session, command: commands.Noop | commands.Check) -> None:
    """RFC 3501 sections 6.1.2 and 6.4.1."""
    if session.view is not None:
        session.view.dirty = True  # a wake-up from another process may have been lost
    if session.notification is not None:
        session.notification.wake_all()
    await session.finish(command.tag, "Completed")


async def logout(session: Session, command: commands.Logout) -> None:
    """RFC 3501 section 6.1.3."""
    session.end("Logging out")
    session.write(responses.ok(command.tag, "LOGOUT completed"))


async def identify(session: Session, command: commands.Id) -> None:
    """RFC 2971 section 3.1."""
    told = dict(command.parameters)
    client = " ".join(filter(None, (told.get("name"), told.get("version"))))
    session.client = client[:CLIENT_LIMIT]
    session.write(responses.id([("name", "Mailstead")]))
    await session.finish(command.tag, "ID completed")


async def namespace(session: Session, command: commands.Namespace) -> None:
    """RFC 2342 section 5."""
    session.write(responses.namespace(DELIMITER, OTHER_USERS))
    await session.finish(command.tag, "NAMESPACE completed")


# ---------------------------------------------------------------------- commands of strangers


async def start_tls(session: Session, command: commands.StartTls) -> None:
    """RFC 3501 section 6.2.1."""
    if session.door.tls is None or session.stream.tls:
        session.write(responses.bad(command.tag, "TLS is not to be had here"))
        return
    session.write(responses.ok(command.tag, "Begin TLS now"))
    await session.flush()
    session.stream = await secure(session.stream, session.door)
    session.output = Output(session.stream)
    session.engine.start_tls()
    await _find_mechanisms(session)


async def log_in(session: Session, command: commands.Login) -> None:
    """RFC 3501 section 6.2.3."""
    if not _may_log_in(session):
        session.refuse(command.tag, "Log in inside TLS only", "PRIVACYREQUIRED")
        return
    name = sasl.normalise_login(command.user)
    credentials = sasl.Credentials("", name, command.password, "LOGIN")
    found = await session.site.accounts.log_in(credentials, "imap", session.stream.peer)
    _conclude(session, command.tag, found)


async def authenticate(session: Session, command: commands.Authenticate) -> None:
    """RFC 3501 section 6.2.2, with an initial response (RFC 4959)."""
    if not _may_log_in(session):
        session.refuse(command.tag, "Log in inside TLS only", "PRIVACYREQUIRED")
    elif command.mechanism not in session.mechanisms:
        session.refuse(command.tag, "That mechanism is not offered", "CANNOT")
    else:
        session.engine.begin_authentication()
        session.sasl_tag = command.tag
        stream = session.stream
        session.authentication = Authentication(
            session.site.accounts, "imap", stream.peer, certificate_of(stream)
        )
        await _go_on(session, session.authentication.begin(command.mechanism, command.initial))


async def respond(session: Session, event: SaslResponse) -> None:
    """A line of the client in AUTHENTICATE."""
    if event.data is None:
        session.authentication = None
        session.write(responses.bad(session.sasl_tag, "AUTHENTICATE given up"))
    elif session.authentication is not None:
        await _go_on(session, session.authentication.respond(event.data))


async def _go_on(session: Session, step: Awaitable[bytes | Result]) -> None:
    """The next challenge, or the end; after an end of any kind the next line is a command again."""
    try:
        found = await step
    except TemporaryFailure:
        _end_authentication(session)
        raise
    if isinstance(found, bytes):
        session.write(responses.continuation(sasl.encode(found)))
        return
    _end_authentication(session)
    _conclude(session, session.sasl_tag, found)


def _end_authentication(session: Session) -> None:
    session.authentication = None
    session.engine.end_authentication()


def _conclude(session: Session, tag: bytes, found: Result) -> None:
    match found:
        case sasl.BadResponse(reason):
            session.write(responses.bad(tag, reason))
        case LoginBusy():
            session.refuse(tag, "Log-in is not possible at the moment, try again", "UNAVAILABLE")
        case LoginRefused():
            session.failed_logins += 1
            session.refuse(tag, "Login or password is wrong", "AUTHENTICATIONFAILED")
            if session.failed_logins >= LOGINS_LIMIT:
                session.end("Too many failed log-ins")
        case _:
            _let_in(session, tag, found)


def _let_in(session: Session, tag: bytes, found: Login) -> None:
    """The owner is here, if not too often."""
    reply = f"NO [LIMIT] {TOO_MANY_OF_ACCOUNT}"
    guest = session.site.doorkeeper.enter_account(found.login, session.stream.peer, reply)
    if guest.refused:
        guest.leave()
        session.refuse(tag, TOO_MANY_OF_ACCOUNT, "LIMIT")
        return
    session.guest.leave()
    session.guest, session.login, session.errors = guest, found, 0
    session.engine.authenticated()
    code = "CAPABILITY " + " ".join(capabilities(session))
    session.write(responses.ok(tag, "Logged in", code))


def _may_log_in(session: Session) -> bool:
    return bool(session.stream.tls) or session.door.clear_text_login
