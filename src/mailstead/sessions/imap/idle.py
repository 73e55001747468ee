"""IDLE: the server speaks when something happens (RFC 2177)."""

import asyncio

from mailstead.protocol.imap import commands, responses
from mailstead.protocol.imap.events import IdleDone
from mailstead.sessions.imap.state import Session


async def idle(session: Session, command: commands.Idle) -> None:
    """From here on wake-ups are told at once."""
    session.engine.begin_idle()
    session.idle_since = asyncio.get_running_loop().time()
    session.write(responses.continuation(b"idling"))
    if session.view is not None and session.hears:
        await session.sync()


async def done(session: Session, event: IdleDone) -> None:
    """The client ended IDLE."""
    session.idle_since = None
    await session.finish(event.tag, "IDLE completed")


async def tell(session: Session) -> None:
    """Woken, or a while has passed in which a wake-up may have been lost."""
    if session.view is not None and session.hears:
        await session.sync()
    await session.tell_annotations()
    await session.flush()
