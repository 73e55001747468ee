"""What signing costs: CPU time, the best of five. Run: .venv/bin/python bench/dkim.py"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from mailstead.model.address import Domain
from mailstead.msgauth.dkim.canonical import BodyHash
from mailstead.msgauth.dkim.key import SigningKey
from mailstead.msgauth.dkim.sign import sign
from mailstead.net.clock import ThreadOffload
from mailstead.services import signing

HEADER = (
    b"From: Alice <alice@example.org>\r\nTo: Bob <bob@example.net>\r\nSubject: Lunch?\r\n"
    b"Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
)
CLEAN = b"The quick brown fox jumps over the lazy dog, and on it goes.\r\n"
DIRTY = b"The  quick brown\tfox \r\n"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
PIECE = 64 * 1024  # octets, as they come in


def main() -> None:
    """Print the table."""
    key = SigningKey(Domain("example.org"), "m1", make_key())
    print("| what | CPU |\n|---|---|")
    for size in (8, 50):
        body = filled(CLEAN, size * 1024)
        print(f"| hash and sign {size} KB | {best(partial(whole, body, key)):.0f} µs |")
    for name, line in (("clean", CLEAN), ("dirty", DIRTY)):
        body = filled(line, 1024 * 1024)
        print(f"| hash 1 MB, white space {name} | {best(partial(hashed, body), 20):.0f} µs |")


def make_key() -> bytes:
    """A key like the ones in use."""
    return asyncio.run(signing.make_key(ThreadOffload()))


def filled(line: bytes, size: int) -> bytes:
    """A body of this size."""
    return (line * (size // len(line) + 1))[: size - 2] + b"\r\n"


def whole(body: bytes, key: SigningKey) -> bytes:
    """The signature's field."""
    return sign(HEADER, hashed(body), key, NOW)


def hashed(body: bytes) -> bytes:
    """The hash of the body, in pieces."""
    body_hash = BodyHash()
    for at in range(0, len(body), PIECE):
        body_hash.add(body[at : at + PIECE])
    return body_hash.finish()


def best(work: Callable[[], bytes], times: int = 500) -> float:
    """Microseconds of CPU for one run of work."""
    return min(measure(work, times) for _ in range(5))


def measure(work: Callable[[], bytes], times: int) -> float:
    """Microseconds of CPU for one run of work, on average."""
    before = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - before) / times * 1e6


if __name__ == "__main__":
    main()
