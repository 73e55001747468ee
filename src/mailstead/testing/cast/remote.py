"""A remote mail server whose answers are written down beforehand.

It speaks SMTP by our own engine, so it is strict about order and syntax; what it says is up to the
`Script`. The characters of the cast (sink, greylister, refuser, broken) are Scripts with a name.
"""

import asyncio
import ssl
from collections.abc import Callable

import msgspec

from mailstead.model.address import Address
from mailstead.model.envelope import Wish
from mailstead.model.reply import Reply
from mailstead.model.world import Stream
from mailstead.net.tls import TlsStream
from mailstead.protocol import sasl, sasl_mechanisms
from mailstead.protocol.smtp import replies
from mailstead.protocol.smtp.events import (
    Auth,
    AuthResponse,
    Chunk,
    ChunkTaken,
    Data,
    Declined,
    Event,
    HeaderEnd,
    Helo,
    Mail,
    Malformed,
    MessageEnd,
    MessageRefused,
    Quit,
    Rcpt,
    StartTls,
)
from mailstead.protocol.smtp.server import ServerOptions, SmtpServer


class Silence(msgspec.Struct, frozen=True):
    """Instead of a reply: nothing, for ever."""


class HangUp(msgspec.Struct, frozen=True):
    """Instead of a reply: the connection breaks."""


Answer = Reply | Silence | HangUp


class Script(msgspec.Struct, frozen=True):
    """What the server answers; each callable is asked anew every time."""

    greet: Callable[[], Answer] = lambda: replies.greeting("mx.example")
    mail: Callable[[Address | None], Answer] = lambda _: replies.SENDER_OK
    rcpt: Callable[[Address], Answer] = lambda _: replies.RECIPIENT_OK
    data: Callable[[], Answer] | None = None  # who has an answer to DATA offers no other way
    end: Callable[[], Answer] = lambda: replies.OK
    end_each: Callable[[Address], Answer] = lambda _: replies.OK  # in LMTP instead
    log_in: Callable[[str, str], Answer] = lambda *_: replies.AUTH_FAILED
    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    garbled_handshake: bool = False  # after 220 to STARTTLS comes something that is not TLS
    options: ServerOptions = ServerOptions("mx.example")


class Received(msgspec.Struct, frozen=True):
    """A message that came in whole."""

    reverse_path: Address | None
    recipients: tuple[Address, ...]
    content: bytes
    tls: str
    login: str = ""
    wishes: tuple[str, ...] = ()  # NOTIFY of each recipient
    require_tls: bool = False
    peer: str = ""  # the address that it came from
    helo: str = ""


class Remote:
    """The server; `serve` is for SimulatedNetwork.listen, or for a real listener."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()
        self.received: list[Received] = []
        self.sessions = 0
        self.commands: list[str] = []  # the events of all sessions, by name

    async def serve(self, stream: Stream) -> None:
        """One session."""
        self.sessions += 1
        session = _Session(self, stream)
        try:
            await session.run()
        except (ConnectionError, _End):
            stream.abort()
        else:
            await stream.close()


class _End(Exception):
    """The script says that the connection breaks here."""


class _Session:
    def __init__(self, remote: Remote, stream: Stream) -> None:
        self.remote, self.script, self.stream = remote, remote.script, stream
        tls = self.script.tls is not None or self.script.garbled_handshake
        chunking = self.script.options.chunking and self.script.data is None
        self.engine = SmtpServer(
            msgspec.structs.replace(self.script.options, tls_available=tls, chunking=chunking)
        )
        self.exchange: sasl.Exchange | None = None
        self.login = self.helo = ""
        self.forget()

    def forget(self) -> None:
        """No transaction."""
        self.reverse_path: Address | None = None
        self.require_tls = False
        self.recipients: list[Address] = []
        self.wishes: list[str] = []
        self.content: list[bytes] = []

    async def run(self) -> None:
        """From the greeting to the end."""
        if self.script.implicit_tls:
            await self.secure()
            self.engine.start_tls()
        await self.say(self.script.greet())
        while not self.engine.closing:
            data = await self.stream.receive()
            if not data:
                return
            while events := self.engine.receive(data):
                for event in events:
                    await self.handle(event)
                data = b""

    async def say(self, answer: Answer) -> None:
        """The answer, if it is one."""
        match answer:
            case Reply():
                self.stream.send(self.engine.send(answer))
            case Silence():
                while await self.stream.receive() != b"":
                    pass
                raise _End
            case HangUp():
                raise _End

    async def handle(self, event: Event) -> None:
        """Answer one event."""
        match event:
            case HeaderEnd(octets) | Chunk(octets):
                self.content.append(octets)
                return
            case StartTls():
                self.note(event)
                await self.start_tls()
                return
            case MessageEnd() if self.script.options.lmtp:
                self.note(event)
                await self.finish_each()
                return
            case _:
                self.note(event)
                await self.say(self.answer(event))

    def note(self, event: Event) -> None:
        """Remember what was asked."""
        self.remote.commands.append(type(event).__name__)

    def answer(self, event: Event) -> Answer:
        """What the script says."""
        match event:
            case Helo(name):
                self.helo = name
                return self.engine.ehlo_reply()
            case Mail(reverse_path, require_tls=require_tls):
                self.forget()
                self.reverse_path, self.require_tls = reverse_path, require_tls
                return self.script.mail(reverse_path)
            case Rcpt(recipient, wish):
                return self.take(recipient, wish)
            case Data():
                return self.script.data() if self.script.data else replies.START_DATA
            case MessageEnd():
                return self.finish()
            case Auth(mechanism, initial):
                return self.advance(sasl_mechanisms.begin(mechanism, initial, b""), None)
            case AuthResponse(data):
                assert self.exchange is not None
                return self.advance(self.exchange, data)
            case Malformed(reply) | Declined(reply) | ChunkTaken(reply) | MessageRefused(reply):
                return reply
            case Quit():
                return replies.GOODBYE
            case _:
                return replies.OK

    def take(self, recipient: Address, wish: Wish) -> Answer:
        """RCPT."""
        answer = self.script.rcpt(recipient)
        if isinstance(answer, Reply) and answer.ok:
            self.recipients.append(recipient)
            self.wishes.append(wish.notify)
        return answer

    def finish(self) -> Answer:
        """The final dot; a message is remembered even if the answer to it is never heard."""
        answer = self.script.end()
        if not _refuses(answer):
            self.remember(tuple(self.recipients))
        self.forget()
        return answer

    async def finish_each(self) -> None:
        """The final dot in LMTP: one reply for each recipient."""
        answers = {one: self.script.end_each(one) for one in self.recipients}
        self.remember(tuple(one for one, answer in answers.items() if not _refuses(answer)))
        self.forget()
        for answer in answers.values():
            await self.say(answer)

    def remember(self, recipients: tuple[Address, ...]) -> None:
        """The message came in for these."""
        self.remote.received.append(
            Received(
                self.reverse_path,
                recipients,
                b"".join(self.content),
                self.stream.tls,
                self.login,
                tuple(self.wishes),
                self.require_tls,
                self.stream.peer.address,
                self.helo,
            )
        )

    def advance(self, exchange: sasl.Exchange, response: bytes | None) -> Answer:
        """One step of a log-in."""
        match sasl.advance(exchange, response):
            case bytes(challenge):
                self.exchange = exchange
                return replies.challenge(challenge)
            case sasl.Credentials(login=login, password=password):
                answer = self.script.log_in(login, password)
                if isinstance(answer, Reply) and answer.code == 235:
                    self.login = login
                return answer
            case sasl.BadResponse(reason):
                return replies.syntax_error("5.5.2", reason)
            case other:
                raise AssertionError(f"a remote of ours asks nobody: {other!r}")

    async def start_tls(self) -> None:
        """STARTTLS, as it should be or broken."""
        await self.say(replies.START_TLS)
        if self.script.garbled_handshake:
            self.stream.send(b"\x15\x03\x01\x00\x02\x02\x28 not what you think\r\n")
            await asyncio.sleep(0)
            raise _End
        await self.secure()
        self.engine.start_tls()

    async def secure(self) -> None:
        """The handshake."""
        assert self.script.tls is not None
        secured = TlsStream(self.stream, self.script.tls, server_side=True)
        await secured.handshake()
        self.stream = secured


def _refuses(answer: Answer) -> bool:
    return isinstance(answer, Reply) and not answer.ok
