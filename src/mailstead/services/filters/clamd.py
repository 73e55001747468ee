"""Asking clamd whether a message is malware (INSTREAM)."""

import contextlib

from mailstead.model.reply import Reply
from mailstead.model.world import Stream
from mailstead.protocol import clamd
from mailstead.services.filters.letter import Advice, EngineFailed, Letter, Opinion


async def ask(stream: Stream, letter: Letter, name: str) -> Opinion:
    """What clamd says; the caller sets the time limit and closes the stream."""
    scan = clamd.Scan()
    with contextlib.suppress(ConnectionError):  # it hangs up on what is too big, and says so
        await _send(stream, letter)
    while (verdict := scan.verdict) is None:
        data = await stream.receive()
        if data is not None:
            scan.receive(data)
    match verdict:
        case clamd.Malware(malware):
            return Opinion(
                name,
                Advice.REFUSE,
                f"it is malware: {malware}",
                Reply(550, "5.7.1", f"The message is malware: {malware}"),
                malware,
            )
        case clamd.TooBig():
            return Opinion(name, reason="it is too big to be looked at whole")
        case clamd.Failed(problem):
            raise EngineFailed(problem)
        case clamd.Clean():
            return Opinion(name)


async def _send(stream: Stream, letter: Letter) -> None:
    stream.send(clamd.START)
    for piece in (letter.header, *letter.body.parts()):
        for chunk in clamd.chunks(piece):
            stream.send(chunk)
        if stream.congested:
            await stream.flush()
    stream.send(clamd.END)
