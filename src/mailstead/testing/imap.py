"""A plain IMAP client for stories: one command, its responses, in order."""

import re

from mailstead.model.world import Network

_LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")


class ImapClient:
    """One connection; `async with` opens and ends it."""

    def __init__(
        self, network: Network, address: str, port: int = 143, source: str | None = None
    ) -> None:
        self._network, self._address, self._port, self._source = network, address, port, source
        self._unread = b""
        self._tag = 0

    async def __aenter__(self) -> "ImapClient":
        self.stream = await self._network.connect(self._address, self._port, self._source)
        self.greeting = await self.response()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stream.send(b"zz LOGOUT\r\n")
        await self.stream.close()

    async def response(self) -> bytes:
        """The next response, its literals included, without the final CRLF."""
        text = await self._line()
        while literal := _LITERAL.search(text):
            text += await self._octets(int(literal[1])) + await self._line()
        return text[:-2]

    async def command(self, text: str) -> list[bytes]:
        """Send a command; its untagged responses, and the tagged one without its tag at the end."""
        self._tag += 1
        tag = b"a%d " % self._tag
        self.stream.send(tag + text.encode() + b"\r\n")
        responses = [await self.response()]
        while not responses[-1].startswith((tag, b"+")):
            responses.append(await self.response())
        return [*responses[:-1], responses[-1].removeprefix(tag)]

    async def log_in(self, login: str, password: str, mailbox: str = "INBOX") -> None:
        """LOGIN, then SELECT."""
        for text in (f"LOGIN {login} {password}", f'SELECT "{mailbox}"'):
            last = (await self.command(text))[-1]
            if not last.startswith(b"OK"):
                raise ConnectionRefusedError(last.decode())

    async def _line(self) -> bytes:
        while b"\r\n" not in self._unread:
            await self._receive()
        line, end, self._unread = self._unread.partition(b"\r\n")
        return line + end

    async def _octets(self, count: int) -> bytes:
        while len(self._unread) < count:
            await self._receive()
        octets, self._unread = self._unread[:count], self._unread[count:]
        return octets

    async def _receive(self) -> None:
        data = await self.stream.receive()
        if not data:
            raise ConnectionResetError("the server hung up")
        self._unread += data
