"""What other programs are shown of a message, and what they say of it. Values only."""

import enum

import msgspec

from mailstead.model.reply import Reply
from mailstead.model.world import Endpoint
from mailstead.protocol.milter.responses import HeaderChange
from mailstead.storage.plan import Body


class Letter(msgspec.Struct, frozen=True):
    """A message and how it came."""

    trace: str
    hostname: str  # ours
    peer: Endpoint
    name: str  # of the peer in the DNS, if it leads back; else ""
    helo: str
    tls: str  # version and cipher
    login: str
    reverse_path: str  # "" is the null one
    recipients: tuple[str, ...]
    header: bytes
    body: Body

    @property
    def size(self) -> int:
        """Octets."""
        return len(self.header) + self.body.size


class Advice(enum.StrEnum):
    """What a program wants to be done; the later the graver."""

    NOTHING = "nothing"
    JUNK = "junk"
    QUARANTINE = "quarantine"
    DEFER = "defer"
    REFUSE = "refuse"


class Changes(msgspec.Struct, frozen=True):
    """What a program changes of a message."""

    header: tuple[HeaderChange, ...] = ()
    body: Body | None = None
    added: tuple[str, ...] = ()  # recipients
    removed: tuple[str, ...] = ()
    reverse_path: str | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """What is told of them in the journal."""
        told = [f"{type(one).__name__} {one.name}" for one in self.header]
        told += ["a new body"] if self.body is not None else []
        told += [f"also to {one}" for one in self.added]
        told += [f"not to {one}" for one in self.removed]
        return (*told, *([f"from {self.reverse_path}"] if self.reverse_path is not None else []))


NO_CHANGES = Changes()


class Opinion(msgspec.Struct, frozen=True):
    """What one program said. `refused` are recipients that it does not want to have the message."""

    engine: str
    advice: Advice = Advice.NOTHING
    reason: str = ""
    reply: Reply | None = None
    malware: str = ""
    weight: float = 0.0  # what it adds to a score
    changes: Changes = NO_CHANGES
    refused: tuple[str, ...] = ()
    failed: bool = False


class EngineFailed(Exception):
    """The program did not answer, or nonsense; the text says what."""
