"""Wake-ups between processes."""

import asyncio
import os
import resource
from pathlib import Path

from mailstead.net.bus import DatagramBus


def tell_from_another_process(folder: Path) -> None:
    child = os.fork()
    if not child:
        DatagramBus(folder).publish(b"mailbox 7")
        os._exit(0)
    os.waitpid(child, 0)


async def test_another_process_is_heard(tmp_path: Path) -> None:
    folder = tmp_path / ("a very long name " * 8)  # longer than a socket's path may be
    bus, heard = DatagramBus(folder), asyncio.Queue[bytes]()
    bus.subscribe(heard.put_nowait)
    tell_from_another_process(folder)
    async with asyncio.timeout(5):
        assert await heard.get() == b"mailbox 7"
    bus.close()


def test_a_socket_that_nobody_reads_is_removed(tmp_path: Path) -> None:
    async def leave() -> None:
        bus = DatagramBus(tmp_path)
        bus.subscribe(lambda topic: None)

    (tmp_path / "99999.sock").touch()
    bus = DatagramBus(tmp_path)
    bus.publish(b"queue")
    assert not (tmp_path / "99999.sock").exists()
    bus.close()


def test_what_cannot_be_published_is_no_reason_to_fail(tmp_path: Path) -> None:
    bus = DatagramBus(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))  # no more files can be opened
    try:
        bus.publish(b"queue")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    bus.close()
