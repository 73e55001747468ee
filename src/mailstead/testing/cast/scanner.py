"""Programs that look at mail, as the world has them: one that speaks HTTP and JSON, and clamd."""

import json
from collections.abc import Callable
from typing import Any

from mailstead.model.world import Stream

Say = Callable[[dict[str, str], bytes], Any]  # of fields and body: the JSON of the answer


class HttpScanner:
    """Answers each POST with what `say` makes of it; `serve` is for SimulatedNetwork.listen."""

    def __init__(self, say: Say, status: str = "200 OK") -> None:
        self.say, self.status = say, status
        self.asked: list[tuple[str, dict[str, str], bytes]] = []  # request line, fields, body

    async def serve(self, stream: Stream) -> None:
        """One request."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive() or b""
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("utf-8").split("\r\n")
        fields: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            fields[name.lower()] = f"{fields[name.lower()]}, {value}" if name in fields else value
        while len(body) < int(fields["content-length"]):
            body += await stream.receive() or b""
        self.asked.append((first, fields, body))
        answer = json.dumps(self.say(fields, body)).encode()
        head_ = f"HTTP/1.1 {self.status}\r\nContent-Length: {len(answer)}\r\n\r\n"
        stream.send(head_.encode() + answer)
        await stream.close()


class Clamd:
    """Finds malware where `signature` is in the message."""

    def __init__(self, signature: bytes = b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE") -> None:
        self.signature = signature

    async def serve(self, stream: Stream) -> None:
        """One INSTREAM."""
        data = b""
        while not data.endswith(b"\0\0\0\0"):
            data += await stream.receive() or b""
        found = self.signature in data
        stream.send(b"stream: Eicar-Test FOUND\0" if found else b"stream: OK\0")
        await stream.close()


async def silent(stream: Stream) -> None:
    """A program that hangs."""
    while await stream.receive() != b"":
        pass
