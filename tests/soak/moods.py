"""Remote servers that change their minds: dead, dark, silent, full, too slow, or just breaking."""

import asyncio
import email
import email.policy
import random
import ssl
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache

from mailstead.model.address import Address
from mailstead.model.reply import Reply
from mailstead.model.world import Stream
from mailstead.net.tls import TlsError
from mailstead.protocol.smtp import replies
from mailstead.protocol.smtp.server import ServerOptions
from mailstead.testing.cast.remote import Answer, HangUp, Remote, Script, Silence
from mailstead.testing.certificates import Authority
from mailstead.testing.house import SimulatedWorld

TROUBLE = timedelta(days=3)  # for so long moods change
HOPELESS = 0.1  # of the hosts are in some mood for ever after
SESSION = 0.03  # seconds in which a session is broken off that is

BUSY = Reply(421, "4.3.2", "Busy, come back later")
NOT_NOW = Reply(451, "4.3.0", "Not now")
NEVER = Reply(554, "5.7.1", "We do not like it")
GREY = Reply(450, "4.7.1", "Greylisted, try again later")
FULL = Reply(452, "4.2.2", "Mailbox full")
CROWD = Reply(452, "4.5.3", "Too many recipients")
GONE = Reply(550, "5.1.1", "No such user")
TOO_FAST = Reply(421, "4.7.0", "Too many messages, slow down")
ONE_TOO_FAST = Reply(450, "4.2.1", "The user is receiving mail too quickly")

# What may be said instead of yes, by stage.
FAULTS: dict[str, tuple[Answer, ...]] = {
    "greet": (BUSY, NEVER, TOO_FAST, Silence(), HangUp()),
    "mail": (NOT_NOW, BUSY, HangUp(), NEVER, TOO_FAST),
    "rcpt": (NOT_NOW, GREY, CROWD, FULL, GONE, ONE_TOO_FAST, BUSY, HangUp(), Silence()),
    "data": (NOT_NOW, BUSY, NEVER, HangUp(), Silence()),
    "end": (NOT_NOW, NEVER, HangUp(), HangUp(), Silence(), BUSY),
}


@dataclass(frozen=True)
class Mood:
    """How a host behaves for a while."""

    reach: str = "open"  # "dead" refuses connections, "dark" never answers them
    faults: dict[str, tuple[float, Answer]] = field(default_factory=dict)  # how often, what
    breaks: float = 0.0  # how many of the connections break at some moment


def mood(chance: random.Random) -> Mood:
    """Some mood."""
    reach = chance.choices(("open", "dead", "dark"), (6, 2, 1))[0]
    share = chance.choice((0.2, 0.5, 1.0))
    faults = {
        stage: (share, chance.choice(answers))
        for stage, answers in FAULTS.items()
        if chance.random() < 0.4
    }
    return Mood(reach, faults, chance.choice((0.0, 0.0, 0.3)))


@cache
def stranger() -> ssl.SSLContext:
    """A certificate of an authority that nobody knows."""
    return Authority().issue("mx.example").context()


@dataclass(frozen=True)
class Taken:
    """A message that a server took for a recipient."""

    subject: str
    recipient: str
    content: bytes
    heard: bool  # it could say so
    tells: bool  # it knows DSN, and so tells of success itself


class Host:
    """A mail server whose mood changes."""

    def __init__(
        self, world: SimulatedWorld, address: str, chance: random.Random, lmtp: bool = False
    ) -> None:
        self.world, self.address, self.chance = world, address, chance
        self.port = 24 if lmtp else 25
        self.taken: list[Taken] = []
        self.mood = Mood()
        self.tls = chance.choice(("none", "none", "good", "garbled"))
        limit = chance.choice((0, 0, 0, 1, 2))
        dsn = chance.random() < 0.4
        self.options = ServerOptions("mx.example", dsn=dsn, recipients_limit=limit, lmtp=lmtp)
        self.patience = 60 * chance.choice((0, 0, 0, 5, 60))  # seconds of greylisting
        self.first: dict[Address, float] = {}

    async def live(self) -> None:
        """Change moods until the trouble is over; then be well, or hopeless."""
        over = self.world.clock.now() + TROUBLE
        while self.world.clock.now() < over:
            self.turn(mood(self.chance) if self.chance.random() < 0.7 else Mood())
            await self.world.sleep(minutes=self.chance.choice((1, 7, 30, 120, 600, 2000)))
        self.turn(mood(self.chance) if self.chance.random() < HOPELESS else Mood())

    def turn(self, to: Mood) -> None:
        """From now on."""
        self.mood, network = to, self.world.network
        network.dark.discard(self.address)
        network.listen(self.address, self.port, self.serve)
        if to.reach == "dark":
            network.dark.add(self.address)
        elif to.reach == "dead":
            network.unlisten(self.address, self.port)

    async def serve(self, stream: Stream) -> None:
        """One session."""
        session = _Session(self, stream)
        breaking = None
        if self.chance.random() < self.mood.breaks:
            after = self.chance.uniform(0.0, SESSION)
            breaking = asyncio.get_running_loop().call_later(after, session.break_off)
        try:
            await session.remote.serve(stream)
        except TlsError:
            stream.abort()
        finally:
            if breaking:
                breaking.cancel()
            self.taken += session.ledger()


class _Session:
    def __init__(self, host: Host, stream: Stream) -> None:
        self.host, self.stream = host, stream
        self.broken = False  # nothing that is said from now on arrives
        self.heard: list[bool] = []  # of each message that was taken; in LMTP of each recipient
        self.remote = Remote(
            Script(
                greet=lambda: self.say("greet", replies.greeting("mx.example")),
                mail=lambda _: self.say("mail", replies.SENDER_OK),
                rcpt=self.rcpt,
                data=lambda: self.say("data", replies.START_DATA),
                end=self.end,
                end_each=lambda _: self.end(),
                tls=stranger() if host.tls == "good" else None,
                garbled_handshake=host.tls == "garbled",
                options=host.options,
            )
        )

    def break_off(self) -> None:
        """What was sent before still arrives, nothing after it."""
        self.broken = True
        self.stream.abort()

    def say(self, stage: str, usual: Answer) -> Answer:
        share, fault = self.host.mood.faults.get(stage, (0.0, usual))
        return fault if self.host.chance.random() < share else usual

    def rcpt(self, recipient: Address) -> Answer:
        if recipient.local_part.startswith("gone"):
            return GONE
        if recipient.local_part.startswith("full"):
            return FULL
        now = self.host.world.clock.now().timestamp()
        if now - self.host.first.setdefault(recipient, now) < self.host.patience:
            return GREY
        return self.say("rcpt", replies.RECIPIENT_OK)

    def end(self) -> Answer:
        answer = self.say("end", replies.OK)
        told = isinstance(answer, Reply) and not self.broken
        if not isinstance(answer, Reply) or answer.ok:
            self.heard.append(told)
        self.broken |= not told
        return answer

    def ledger(self) -> list[Taken]:
        """What came in, for whom."""
        options, received = self.host.options, self.remote.received
        pairs = [(one, recipient) for one in received for recipient in one.recipients]
        heard = self.heard
        if not options.lmtp:
            each = zip(received, self.heard, strict=True)
            heard = [told for one, told in each for _ in one.recipients]
        return [
            Taken(subject_of(one.content), str(recipient), one.content, told, options.dsn)
            for (one, recipient), told in zip(pairs, heard, strict=True)
        ]


def subject_of(message: bytes) -> str:
    """Of a message, or of a header alone."""
    return str(email.message_from_bytes(message, policy=email.policy.default)["Subject"])
