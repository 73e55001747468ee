"""A plain SMTP client for stories: one command, one reply, in order."""

import ssl
from collections.abc import Sequence

from mailstead.model.reply import Reply
from mailstead.model.world import Network, Stream
from mailstead.net.tls import TlsStream
from mailstead.protocol import sasl
from mailstead.protocol.smtp.client import stuff
from mailstead.protocol.smtp.replies import ReplyReader


class SmtpClient:
    """One connection; `async with` opens and ends it."""

    def __init__(
        self, network: Network, address: str, port: int, source: str = "192.0.2.200"
    ) -> None:
        self._network, self._address, self._port, self._source = network, address, port, source
        self._reader = ReplyReader()
        self._replies: list[Reply] = []
        self.stream: Stream

    async def __aenter__(self) -> "SmtpClient":
        self.stream = await self._network.connect(self._address, self._port, self._source)
        self.greeting = await self.reply()
        self.ehlo = await self.command("EHLO client.example")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stream.send(b"QUIT\r\n")
        await self.stream.close()

    async def reply(self) -> Reply:
        """The next reply; ConnectionError if the server hung up instead."""
        while not self._replies:
            data = await self.stream.receive()
            if not data:
                raise ConnectionResetError("the server hung up")
            self._replies += self._reader.receive(data)
        return self._replies.pop(0)

    async def command(self, line: str) -> Reply:
        """Send a line, wait for its reply."""
        self.stream.send(line.encode() + b"\r\n")
        return await self.reply()

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """STARTTLS, and EHLO again."""
        await self.command("STARTTLS")
        secured = TlsStream(self.stream, context, False, None)
        await secured.handshake()
        self.stream = secured
        self.ehlo = await self.command("EHLO client.example")

    async def log_in(self, login: str, password: str) -> Reply:
        """AUTH PLAIN."""
        initial = sasl.encode(sasl.plain_initial(login, password)).decode()
        return await self.command(f"AUTH PLAIN {initial}")

    async def send_message(self, sender: str, recipients: Sequence[str], message: bytes) -> Reply:
        """The whole transaction; the first reply that refuses, or the one to the end."""
        for line in (f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{to}>" for to in recipients), "DATA"):
            reply = await self.command(line)
            if not reply.ok:
                return reply
        for piece in stuff([message]):
            self.stream.send(piece)
        self.stream.send(b".\r\n")
        return await self.reply()
