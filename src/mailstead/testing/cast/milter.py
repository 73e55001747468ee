"""A milter that says what it was told to say: packets in answer to each command of the MTA."""

import contextlib
from collections.abc import Mapping

from mailstead.model.world import Stream
from mailstead.protocol.milter.options import ALL_ACTIONS, VERSION, Steps

CONTINUE = b"c"


def packet(said: bytes) -> bytes:
    """What goes over the wire: letter and data with their length."""
    return len(said).to_bytes(4, "big") + said


class Milter:
    """The server; `serve` is for SimulatedNetwork.listen.

    `answers` are packets by what they answer: a command's letter, or the whole command as it came;
    all else is answered with CONTINUE.
    """

    def __init__(self, answers: Mapping[bytes, list[bytes]]) -> None:
        self.answers = answers
        self.heard: list[bytes] = []

    async def serve(self, stream: Stream) -> None:
        """One connection, until the MTA has enough."""
        with contextlib.suppress(ConnectionError):
            await self._listen(stream)

    async def _listen(self, stream: Stream) -> None:
        buffer = b""
        while data := await stream.receive():
            buffer += data
            while len(buffer) >= 4 and len(buffer) >= (
                end := 4 + int.from_bytes(buffer[:4], "big")
            ):
                command, buffer = buffer[4:end], buffer[end:]
                self.heard.append(command)
                for said in self._answer(command):
                    stream.send(packet(said))

    def _answer(self, command: bytes) -> list[bytes]:
        letter = command[:1]
        if letter == b"O":
            numbers = (VERSION, int(ALL_ACTIONS), int(Steps.LEADING_SPACE))
            return [b"O" + b"".join(number.to_bytes(4, "big") for number in numbers)]
        if letter in b"DQAK":
            return []
        return self.answers.get(command, self.answers.get(letter, [CONTINUE]))
