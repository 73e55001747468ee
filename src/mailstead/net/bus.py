"""Wake-ups between the processes on one store: a datagram to the socket of each.

The sockets lie in one folder, each named after its process; one that nobody reads any more is
removed by whoever notices. A lost datagram is no harm: watchers also look from time to time.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from mailstead.model.world import Bus

DATAGRAM_LIMIT = 512
LOOK_AGAIN = 1.0  # seconds after which the folder is read again


class ClosableBus(Bus, Protocol):
    """A bus with an end."""

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class JoinedBus:
    """Several buses as one: the workers of this machine, and the other machines."""

    def __init__(self, *buses: ClosableBus) -> None:
        self._buses = buses

    def publish(self, topic: bytes) -> None:
        """Tell all of them."""
        for bus in self._buses:
            bus.publish(topic)

    def subscribe(self, hear: Callable[[bytes], None]) -> None:
        """Hear all of them."""
        for bus in self._buses:
            bus.subscribe(hear)

    def close(self) -> None:
        """Close all of them."""
        for bus in self._buses:
            bus.close()


class DatagramBus:
    """The Bus of one machine."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A socket's path has at most 107 octets; through the descriptor any folder will do.
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._folder = Path(f"/proc/self/fd/{self._descriptor}")
        self._own = self._folder / f"{os.getpid()}.sock"
        self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._looked = -LOOK_AGAIN
        self._others: list[Path] = []
        self._receiver: socket.socket | None = None

    def publish(self, topic: bytes) -> None:
        """Tell the other processes."""
        now = time.monotonic()
        if now - self._looked > LOOK_AGAIN:
            self._looked = now
            with suppress(OSError):  # what is published is done: this is no reason to fail
                self._others = [p for p in self._folder.glob("*.sock") if p != self._own]
        for path in self._others:
            self._send(path, topic)

    def _send(self, path: Path, topic: bytes) -> None:
        try:
            self._sender.sendto(topic, str(path))
        except ConnectionRefusedError:
            with suppress(OSError):
                path.unlink()  # its process is gone
        except OSError:
            return  # it is busy: it will look by itself

    def subscribe(self, hear: Callable[[bytes], None]) -> None:
        """Call hear(topic) for what other processes publish; needs a running loop."""
        self._own.unlink(missing_ok=True)
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        receiver.bind(str(self._own))
        self._receiver = receiver
        asyncio.get_running_loop().add_reader(receiver, self._receive, receiver, hear)

    def _receive(self, receiver: socket.socket, hear: Callable[[bytes], None]) -> None:
        try:
            topic = receiver.recv(DATAGRAM_LIMIT)
        except OSError:
            return
        hear(topic)

    def close(self) -> None:
        """Take our socket out of the folder."""
        if self._receiver is not None:
            asyncio.get_running_loop().remove_reader(self._receiver)
            self._receiver.close()
            self._own.unlink(missing_ok=True)
        self._sender.close()
        os.close(self._descriptor)


def machine_of(folder: Path) -> str:
    """A name that the processes on this folder share, and no others."""
    found = folder.stat()
    return f"{socket.gethostname()}:{found.st_dev:x}:{found.st_ino:x}"
