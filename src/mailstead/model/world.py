"""The windows to the world: what the house asks of time, DNS, network, chance and threads.

Real sides are in mailstead.net, simulated ones in mailstead.testing. Nothing else in the house
reads a clock, opens a socket or throws dice.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

import msgspec

from mailstead.model.dns import Answer, Question

T = TypeVar("T")


class Clock(Protocol):
    """The time of day, and waiting."""

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        ...

    async def sleep(self, duration: timedelta) -> None:
        """Come back after that long."""
        ...


class Random(Protocol):
    """Chance; in tests seeded, so that everything happens again in the same way."""

    def token(self, octets: int) -> bytes:
        """So many octets that nobody can guess."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """A number between the two."""
        ...

    def shuffle(self, items: list[T]) -> None:
        """Put the list into any order, in place."""
        ...


class Resolver(Protocol):
    """The DNS."""

    async def ask(self, question: Question) -> Answer:
        """The answer; never raises: a failure is an answer too."""
        ...


class Endpoint(msgspec.Struct, frozen=True):
    """One end of a connection: IP address in its shortest form, and port."""

    address: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


class Stream(Protocol):
    """One connection, bytes both ways. One reader and one writer at a time."""

    @property
    def peer(self) -> Endpoint: ...
    @property
    def local(self) -> Endpoint: ...
    @property
    def tls(self) -> str:
        """The TLS version and cipher, as "TLSv1.3 TLS_AES_256_GCM_SHA384"; empty in the clear."""
        ...

    async def receive(self) -> bytes | None:
        """What has come in: b"" at the end of the stream, None if `wake` was called.

        Raises ConnectionError if the connection broke.
        """
        ...

    def wake(self) -> None:
        """Let the running or the next `receive` return None, unless bytes come first."""
        ...

    def send(self, data: bytes) -> None:
        """Hand over bytes; they leave in order. After a break they are dropped."""
        ...

    @property
    def congested(self) -> bool:
        """Whether `flush` would have to wait: the peer is slow to take what we send."""
        ...

    async def flush(self) -> None:
        """Wait until the peer has taken so much that more may be sent.

        Raises ConnectionError if the connection broke.
        """
        ...

    async def close(self) -> None:
        """Send what is left, then close; comes back at once if the connection broke."""
        ...

    def abort(self) -> None:
        """Drop the connection and what was not sent."""
        ...


class Network(Protocol):
    """Connections out."""

    async def connect(self, address: str, port: int, source: str | None = None) -> Stream:
        """A stream to an IP address; OSError if nobody answers. The caller sets the time limit."""
        ...


ALL = b"all"  # the topic that says: look, whatever you wait for; some were not heard


class Bus(Protocol):
    """Wake-ups between the processes on one store. Says *that* something changed, never what."""

    def publish(self, topic: bytes) -> None:
        """Tell the other processes; may be lost, so nobody relies on it alone."""
        ...

    def subscribe(self, hear: Callable[[bytes], None]) -> None:
        """Call `hear(topic)` for what other processes publish."""
        ...


class Offload(Protocol):
    """Work that would hold up the loop: SQL, password hashes, big messages."""

    async def run(self, work: Callable[[], T]) -> T:
        """The result of work(), done on a thread (in tests: at once)."""
        ...


class World(msgspec.Struct, frozen=True):
    """All windows together, as `server.wiring.build` is given them."""

    clock: Clock
    random: Random
    resolver: Resolver
    network: Network
    bus: Bus
    offload: Offload
