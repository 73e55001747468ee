"""A plain POP3 client for stories: one command, one response, in order."""

from mailstead.model.world import Network


class Pop3Client:
    """One connection; `async with` opens it, and drops it without QUIT."""

    def __init__(
        self, network: Network, address: str, port: int = 110, source: str | None = None
    ) -> None:
        self._network, self._address, self._port, self._source = network, address, port, source
        self._unread = b""

    async def __aenter__(self) -> "Pop3Client":
        self.stream = await self._network.connect(self._address, self._port, self._source)
        self.greeting = await self.line()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stream.close()

    async def line(self) -> str:
        """The next line, without its end."""
        while b"\r\n" not in self._unread:
            await self._receive()
        line, _, self._unread = self._unread.partition(b"\r\n")
        return line.decode("utf-8", "surrogateescape")

    async def command(self, text: str) -> str:
        """Send it; the one line of the response."""
        self.stream.send(text.encode() + b"\r\n")
        return await self.line()

    async def listing(self, text: str) -> bytes:
        """Send it; what follows the first line up to the dot, with dots as they were."""
        said = await self.command(text)
        if not said.startswith("+OK"):
            raise ValueError(said)
        place = 0
        while (end := (b"\r\n" + self._unread).find(b"\r\n.\r\n", place)) < 0:
            place = max(0, len(self._unread) - 4)
            await self._receive()
        found, self._unread = self._unread[:end], self._unread[end + 3 :]
        return (b"\r\n" + found).replace(b"\r\n..", b"\r\n.")[2:]

    async def log_in(self, login: str, password: str) -> str:
        """USER and PASS; the answer to PASS."""
        await self.command(f"USER {login}")
        return await self.command(f"PASS {password}")

    async def _receive(self) -> None:
        data = await self.stream.receive()
        if not data:
            raise ConnectionResetError("the server hung up")
        self._unread += data
