"""One connection to another server: made, secured, and driven through dialogues.

Time limits are those of RFC 5321 section 4.5.3.2. Whatever breaks becomes replies.CONNECTION_LOST
inside a dialogue, or a Trouble while the session is being set up; nothing is raised for what a peer
or the network does. Not here: which host, and what an outcome means (attempt).
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import TypeVar

import msgspec

from mailstead.model.address import parse_domain
from mailstead.model.reply import Reply
from mailstead.model.world import Stream, World
from mailstead.msgauth import dane
from mailstead.msgauth.tlsrpt import Result
from mailstead.net.tls import TlsError, TlsStream, opportunistic_context, verifying_context
from mailstead.protocol.smtp import replies
from mailstead.protocol.smtp.client import (
    LAST_CHUNK,
    Batch,
    Capabilities,
    Chunks,
    Content,
    Dialogue,
    Request,
    Stuffer,
    Upgrade,
    authenticate,
    chunk,
    hello,
    local_hello,
    start_tls,
)
from mailstead.protocol.smtp.replies import CONNECTION_LOST, ReplyReader
from mailstead.services.outbound.demand import ANYHOW, Demand
from mailstead.services.outbound.hosts import DeadHosts, Remembered
from mailstead.services.outbound.route import Security, Way

T = TypeVar("T")

CONNECT_TIMEOUT = timedelta(seconds=30)
HANDSHAKE_TIMEOUT = timedelta(minutes=1)
GREETING_TIMEOUT = timedelta(minutes=5)  # RFC 5321 section 4.5.3.2.1
COMMAND_TIMEOUT = timedelta(minutes=5)  # sections 4.5.3.2.2 and 4.5.3.2.3, and all others
DATA_TIMEOUT = timedelta(minutes=2)  # section 4.5.3.2.4
BLOCK_TIMEOUT = timedelta(minutes=3)  # section 4.5.3.2.5
END_TIMEOUT = timedelta(minutes=10)  # section 4.5.3.2.6
QUIT_TIMEOUT = timedelta(seconds=5)  # courtesy

# A small message goes out with its final dot in one write; a bigger one block by block.
BLOCK_SIZE = 64 * 1024

_LIMITS = {
    b"DATA": DATA_TIMEOUT,
    b".\r\n": END_TIMEOUT,
    LAST_CHUNK: END_TIMEOUT,
    b"QUIT": QUIT_TIMEOUT,
}

Pieces = Callable[[], AsyncIterator[bytes]]


class Target(msgspec.Struct, frozen=True):
    """One address of one host."""

    host: str
    address: str
    port: int
    preference: int = -1
    wanted: str = ""  # the TLS that a policy asks for
    source: str = ""  # address of ours to bind to; empty: the kernel chooses
    helo: str = ""  # what to call ourselves; empty: as always


class Trouble(msgspec.Struct, frozen=True):
    """Why there is no session: how far it came, and what was said or what broke."""

    reached: str  # as entries.HostTried has it
    reply: Reply
    said: str
    tls_failed: bool = False  # in the clear it might work
    tls: str = ""
    result: Result | None = None  # as reports call it, if it was about TLS


class Connection:
    """A session with one server; between `deliver`s it may be kept for the next message."""

    def __init__(self, stream: Stream, target: Target) -> None:
        self.stream, self.target = stream, target
        self.capabilities = Capabilities()
        self.messages = 0  # transactions begun
        self.trouble = ""  # what broke the connection
        self.open = True  # false once it broke or the peer said 421
        self.until = 0.0  # loop time up to which it may lie idle
        self.verified = ""  # how we know whom we talk to: "dane", "pkix"
        self._start()

    @property
    def tls(self) -> str:
        """Version and cipher of TLS, and how the server was verified if it was."""
        return f"{self.stream.tls} {self.verified}".strip()

    def _start(self) -> None:
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        self._held = b""  # content that leaves with the next command

    async def greeting(self) -> Reply:
        """What the server says first."""
        return await self._reply(GREETING_TIMEOUT)

    async def perform(self, dialogue: Dialogue[T], pieces: Pieces | None = None) -> T:
        """The dialogue's result; `pieces` is the content, should it be asked for."""
        try:
            request = next(dialogue)
            while True:
                request = dialogue.send(await self._answer(request, pieces))
        except StopIteration as end:
            result: T = end.value
            return result

    async def _answer(self, request: Request, pieces: Pieces | None) -> list[Reply]:
        match request:
            case Batch(commands, more):
                replies = await self._batch(commands)
                return replies + [await self._reply(END_TIMEOUT) for _ in range(more)]
            case Content():
                assert pieces is not None
                return await self._content(pieces)
            case Chunks(ahead):
                assert pieces is not None
                return await self._chunks(pieces, ahead)
            case Upgrade():
                return []  # the last request of `start_tls`: the dialer does it next

    async def _batch(self, commands: tuple[bytes, ...]) -> list[Reply]:
        held, self._held = self._held, b""
        self.stream.send(held + b"".join(commands))
        return [await self._reply(_LIMITS.get(one[:4], COMMAND_TIMEOUT)) for one in commands]

    async def _reply(self, limit: timedelta) -> Reply:
        if not self._replies:
            await self._read(limit)
        if not self._replies:
            return CONNECTION_LOST
        reply = self._replies.popleft()
        if reply.code == 421:
            self.open = False
        return reply

    async def _read(self, limit: timedelta) -> None:
        """Wait for the next reply, however slowly it comes, but no longer than the limit."""
        if self.trouble:
            return
        try:
            async with asyncio.timeout(limit.total_seconds()):
                while not self._replies:
                    data = await self.stream.receive()
                    if data == b"":
                        raise ConnectionResetError("the other side closed the connection")
                    self._replies += self._reader.receive(data or b"")
        except TimeoutError:
            self._break(f"no answer within {int(limit.total_seconds())} s")
        except ConnectionError as error:
            self._break(str(error) or "the connection broke")

    async def _content(self, pieces: Pieces) -> list[Reply]:
        stuffer = Stuffer()
        held = b""
        async for piece in pieces():
            held += stuffer.take(piece)
            if len(held) > BLOCK_SIZE:
                if not await self._send_block(held):
                    return [CONNECTION_LOST]
                held = b""
        self._held = held + stuffer.end()
        return []

    async def _chunks(self, pieces: Pieces, ahead: int) -> list[Reply]:
        """Chunk after chunk; the last is held until it is asked for."""
        stuffer, held, unanswered = Stuffer(dots=False), b"", 0
        async for piece in pieces():
            held += stuffer.take(piece)
            if len(held) > BLOCK_SIZE:
                if not await self._send_block(chunk(held)):
                    return [CONNECTION_LOST]
                held, unanswered = b"", unanswered + 1
            while unanswered > ahead:
                unanswered -= 1
                if not (reply := await self._reply(BLOCK_TIMEOUT)).ok:
                    return [reply, *[await self._reply(BLOCK_TIMEOUT) for _ in range(unanswered)]]
        said = [await self._reply(BLOCK_TIMEOUT) for _ in range(unanswered)]
        self._held = chunk(held + stuffer.end(), last=True)
        return [reply for reply in said if not reply.ok]

    async def _send_block(self, data: bytes) -> bool:
        try:
            async with asyncio.timeout(BLOCK_TIMEOUT.total_seconds()):
                self.stream.send(data)
                await self.stream.flush()
        except TimeoutError:
            self._break("the other side took no more of the message")
        except ConnectionError as error:
            self._break(str(error) or "the connection broke")
        return not self.trouble

    def _break(self, trouble: str) -> None:
        self.trouble, self.open = trouble, False
        self.stream.abort()

    def secured(self, stream: Stream) -> None:
        """From here on inside TLS; what came in the clear is forgotten (RFC 3207 section 4.2)."""
        self.stream = stream
        self._start()

    async def quit(self) -> None:
        """Say goodbye without waiting for an answer, and close."""
        self.stream.send(b"QUIT\r\n")
        await self.close()

    async def close(self) -> None:
        """Close; a peer that takes nothing any more is dropped."""
        self.open = False
        try:
            async with asyncio.timeout(QUIT_TIMEOUT.total_seconds()):
                await self.stream.close()
        except (TimeoutError, ConnectionError):
            self.stream.abort()


class Dialer:
    """Makes connections: TCP, greeting, EHLO, TLS and log-in as the way and policies ask for."""

    def __init__(
        self,
        world: World,
        hostname: str,
        verifying: ssl.SSLContext | None = None,
        opportunistic: ssl.SSLContext | None = None,
    ) -> None:
        self._network, self._clock, self._hostname = world.network, world.clock, hostname
        self._opportunistic = opportunistic or opportunistic_context()
        self._verifying = verifying or verifying_context()
        self._dead = DeadHosts()

    def dead(self, target: Target) -> Remembered | None:
        """Why to ask others before this address, or None."""
        return self._dead.find(target.address, self._clock.now(), target.source)

    async def dial(
        self, target: Target, way: Way, demand: Demand = ANYHOW, clear: bool = False
    ) -> Connection | Trouble:
        """A session ready for MAIL; with `clear`, without the TLS that would only be a bonus."""
        connected = await self._connect(target)
        if isinstance(connected, Trouble):
            return connected
        try:
            trouble = await self._set_up(connected, way, demand, clear and not demand.mandatory)
        except BaseException:
            connected.stream.abort()
            raise
        if trouble is None:
            return connected
        await connected.quit()
        return msgspec.structs.replace(trouble, tls=connected.stream.tls)

    async def _connect(self, target: Target) -> Connection | Trouble:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT.total_seconds()):
                stream = await self._network.connect(
                    target.address, target.port, target.source or None
                )
        except TimeoutError:
            return self._no_connection(target, "no answer to the connection")
        except OSError as error:
            return self._no_connection(target, error.strerror or str(error))
        self._dead.answered(target.address, target.source)
        return Connection(stream, target)

    def _no_connection(self, target: Target, said: str) -> Trouble:
        self._dead.failed(target.address, said, self._clock.now(), target.source)
        text = f"No connection to {target.host} [{target.address}]: {said}"
        return Trouble("connect", Reply(451, "4.4.1", text), said)

    async def _set_up(
        self, connection: Connection, way: Way, demand: Demand, clear: bool
    ) -> Trouble | None:
        implicit = way.security is Security.IMPLICIT
        if implicit and (failed := await self._secure(connection, way, demand)):
            return failed
        greeting = await connection.greeting()
        if not _positive(greeting):
            return _refused("greeting", greeting, connection)
        if trouble := await self._hello(connection, way):
            return trouble
        if (
            not clear
            and not connection.stream.tls
            and (no := await self._start_tls(connection, way, demand))
        ):
            return no
        if demand.require_tls and not connection.capabilities.offers("REQUIRETLS"):
            return _refused("ehlo", _NO_REQUIRETLS, connection)
        return await self._log_in(connection, way) if way.login else None

    async def _hello(self, connection: Connection, way: Way) -> Trouble | None:
        greet = local_hello if way.lmtp else hello
        name = connection.target.helo or self._hostname
        offered = await connection.perform(greet(name))
        if isinstance(offered, Reply):
            return _refused("ehlo", offered, connection)
        connection.capabilities = offered
        return None

    async def _start_tls(self, connection: Connection, way: Way, demand: Demand) -> Trouble | None:
        """TLS if it is offered; trouble if it is not but has to be, or if it fails."""
        anyhow = not demand.mandatory and not demand.by_name
        if way.security is Security.NONE and anyhow:
            return None
        if not connection.capabilities.offers("STARTTLS"):
            if way.security is Security.OPPORTUNISTIC and anyhow:
                return None
            reply, result = _NO_STARTTLS, Result.STARTTLS_NOT_SUPPORTED
            return _refused("starttls", reply, connection, result=result)
        reply = await connection.perform(start_tls())
        if reply.code != 220:
            result = Result.STARTTLS_NOT_SUPPORTED
            return _refused("starttls", reply, connection, tls_failed=True, result=result)
        return await self._secure(connection, way, demand) or await self._hello(connection, way)

    async def _secure(self, connection: Connection, way: Way, demand: Demand) -> Trouble | None:
        """The handshake, and whether the peer is who it has to be."""
        verified = demand.by_name or (
            demand.binding is None and way.security in (Security.STARTTLS, Security.IMPLICIT)
        )
        context = self._verifying if verified else self._opportunistic
        name = demand.binding.base if demand.binding else connection.target.host
        try:
            secured = TlsStream(connection.stream, context, False, _server_name(name, verified))
            async with asyncio.timeout(HANDSHAKE_TIMEOUT.total_seconds()):
                await secured.handshake()
        except TimeoutError:
            return _tls_trouble("no answer to the TLS handshake")
        except (ConnectionError, ssl.SSLError, ValueError) as error:  # ValueError: no name for TLS
            return _tls_trouble(str(error) or "the connection broke", _result(error))
        connection.secured(secured)
        connection.verified = "pkix" if verified else ""
        return self._check_binding(connection, secured, demand)

    def _check_binding(
        self, connection: Connection, secured: TlsStream, demand: Demand
    ) -> Trouble | None:
        """Whether the certificate is one that the TLSA records name (RFC 7672 section 3)."""
        if demand.binding is None:
            return None
        usable, now = demand.binding.usable, self._clock.now()
        result = dane.check_chain(usable, secured.peer_chain(), demand.names, now)
        if result is not Result.SUCCESS:
            said = f"the certificate does not match the TLSA records: {result.value}"
            return _tls_trouble(said, result)
        connection.verified = "dane"
        return None

    async def _log_in(self, connection: Connection, way: Way) -> Trouble | None:
        # The last line of defence: configuration and Way agree already (RFC 4954 section 4).
        if not connection.stream.tls:
            return _refused("auth", _NO_STARTTLS, connection)
        offered = connection.capabilities.auth
        reply = await connection.perform(authenticate(offered, way.login, way.password))
        return None if reply.code == 235 else _refused("auth", reply, connection)


_NO_STARTTLS = Reply(454, "4.7.4", "The server offers no TLS, which is needed here")
_NO_REQUIRETLS = Reply(550, "5.7.30", "REQUIRETLS support required")  # RFC 8689 section 4.2.1


def _positive(reply: Reply) -> bool:
    return 200 <= reply.code < 300


def _server_name(host: str, verified: bool) -> str | None:
    """The name to ask for; one that the DNS made up and that is none is left out."""
    if verified:
        return host
    try:
        return None if host.startswith("[") else parse_domain(host)
    except ValueError:
        return None


def _tls_trouble(said: str, result: Result | None = None) -> Trouble:
    reply = Reply(454, "4.7.5", f"TLS failed: {said}")
    return Trouble("starttls", reply, said, tls_failed=True, result=result)


_EXPIRED = (9, 10)  # OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED
_MISMATCH = (62, 64)  # _HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH


def _result(error: Exception) -> Result:
    """What reports call it (RFC 8460 section 4.3)."""
    cause = error.__cause__ if isinstance(error, TlsError) else error
    if not isinstance(cause, ssl.SSLCertVerificationError):
        return Result.VALIDATION_FAILURE
    if cause.verify_code in _EXPIRED:
        return Result.EXPIRED
    return Result.HOST_MISMATCH if cause.verify_code in _MISMATCH else Result.NOT_TRUSTED


def _refused(
    reached: str,
    reply: Reply,
    connection: Connection,
    tls_failed: bool = False,
    result: Result | None = None,
) -> Trouble:
    """What the server said, or what broke while it should have said something."""
    said = str(reply)
    if reply == replies.CONNECTION_LOST and connection.trouble:
        said = connection.trouble
        reply = Reply(451, "4.4.2", f"The connection broke: {said}")
    return Trouble(reached, reply, said, tls_failed, result=result)
