"""What a session of POP3 is: the connection, who has logged in, the maildrop and what of it goes.

Holds: what is written leaves in order, and waits for a slow peer before there is much of it.
"""

import asyncio
import logging
import ssl
from datetime import timedelta

import msgspec

from mailstead.model.errors import TemporaryFailure
from mailstead.model.world import Stream
from mailstead.protocol.pop3 import responses
from mailstead.protocol.pop3.server import Pop3Server
from mailstead.services.accounts import Accounts
from mailstead.services.authenticating import Authentication
from mailstead.services.doorkeeper import Doorkeeper, Guest
from mailstead.services.mailboxes.service import Mailboxes
from mailstead.services.maildrops import Maildrop, Maildrops
from mailstead.services.watch import Watch
from mailstead.sessions.pump import Output, Pace, Reader

SEND_TIMEOUT = timedelta(minutes=5)  # a peer that takes nothing
LOCK_ROUND = timedelta(seconds=40)  # between two looks that the maildrop is still ours

log = logging.getLogger("mailstead.pop3")


class Door(msgspec.Struct, frozen=True):
    """How a listener is protected."""

    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    clear_text_login: bool = False  # a loopback listener that allows it


class Site(msgspec.Struct, frozen=True):
    """What every session needs of the house."""

    hostname: str
    watch: Watch
    accounts: Accounts
    mailboxes: Mailboxes
    maildrops: Maildrops
    doorkeeper: Doorkeeper


class Ahead(msgspec.Struct):
    """Messages that were read before they were asked for: by index, as they are sent."""

    found: dict[int, bytes] = {}
    next: int = -1  # the index after the last that was asked for
    count: int = 1  # how many are read together


class Session:
    """One connection."""

    def __init__(self, stream: Stream, site: Site, door: Door, guest: Guest) -> None:
        self.stream, self.site, self.door = stream, site, door
        self.guest = guest  # a stranger, until log-in
        self.pace, self.reader = Pace(), Reader()
        self.began = asyncio.get_running_loop().time()
        self.engine = Pop3Server()
        self.output = Output(stream)
        self.user = ""  # what USER said, for the PASS that follows
        self.authentication: Authentication | None = None
        self.drop: Maildrop | None = None
        self.kept_at = 0.0  # when the lock was last put off
        self.deleted: set[int] = set()  # indices
        self.retrieved: list[int] = []  # UIDs that nobody has noted yet
        self.utf8 = False
        self.ahead = Ahead()
        self.errors = self.failed_logins = 0
        self.closing = False

    @property
    def maildrop(self) -> Maildrop:
        """The maildrop; for commands that are allowed only with one."""
        assert self.drop is not None
        return self.drop

    @property
    def may_log_in(self) -> bool:
        """Whether a password may come here."""
        return bool(self.stream.tls) or self.door.clear_text_login

    async def write(self, data: bytes) -> None:
        """Some more of the answer; waits while the peer is slow."""
        self.output.write(data)
        if self.stream.congested:
            await self.flush()

    async def flush(self) -> None:
        """Send what there is, and wait for a slow peer; its maildrop is kept meanwhile."""
        for _ in range(SEND_TIMEOUT // LOCK_ROUND):
            try:
                return await self.output.flush(LOCK_ROUND)
            except TimeoutError:
                await self.keep_lock()
        return await self.output.flush(LOCK_ROUND)

    async def keep_lock(self) -> None:
        """Say now and then that the maildrop is in use."""
        now = asyncio.get_running_loop().time()
        if self.drop is None or now - self.kept_at < LOCK_ROUND.total_seconds():
            return
        self.kept_at = now
        try:
            kept = await self.site.maildrops.keep(self.drop)
        except TemporaryFailure as failure:
            log.warning("a lock is not put off: %s", failure.reason)
            return
        if not kept:
            self.drop = None
            self.end(responses.err("Another session has the maildrop by now", responses.IN_USE))

    def say(self, data: bytes) -> None:
        """A line of an answer."""
        self.output.write(data)

    def refuse(self, text: str, code: str = "") -> None:
        """-ERR."""
        self.output.write(responses.err(text, code))

    def end(self, data: bytes) -> None:
        """The last words; the connection is closed when they have left."""
        if not self.closing:
            self.output.write(data)
            self.closing = True
            self.engine.close()
