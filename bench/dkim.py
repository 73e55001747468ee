"""What signing and verifying cost: CPU time, the best of five.

Run: .venv/bin/python bench/dkim.py
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from mailstead.model.address import Domain
from mailstead.model.dns import Answer, Status
from mailstead.msgauth.arc.chain import parse_chain
from mailstead.msgauth.arc.seal import seal
from mailstead.msgauth.arc.validate import Status as ArcStatus
from mailstead.msgauth.arc.validate import Validation, validate
from mailstead.msgauth.authres import AuthenticationResults
from mailstead.msgauth.dkim.bodyhash import BodyHashes, Cover, Digest
from mailstead.msgauth.dkim.canonical import BodyHash, Form
from mailstead.msgauth.dkim.key import SigningKey
from mailstead.msgauth.dkim.sign import sign
from mailstead.msgauth.dkim.signature import signatures
from mailstead.msgauth.dkim.verify import verify
from mailstead.net.clock import ThreadOffload
from mailstead.services import signing

HEADER = (
    b"From: Alice <alice@example.org>\r\nTo: Bob <bob@example.net>\r\nSubject: Lunch?\r\n"
    b"Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
)
# What mail has on top when it comes in.
TRACE = (
    b"Received: from mx.example.org (mx.example.org [192.0.2.25])\r\n\tby mx.example.net with"
    b" ESMTPS id 7f3k\r\n\tfor <bob@example.net>; Sat, 21 Nov 2026 12:00:00 +0000\r\n"
) * 5 + b"".join(b"X-Something-%d: of whatever kind it may be, and long\r\n" % n for n in range(9))
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
    verifying(key)


def verifying(key: SigningKey) -> None:
    """Print what a message of 12 KB costs who receives it."""
    body = filled(CLEAN, 12 * 1024)
    answer = Answer(Status.NOERROR, (key.record,))
    for count in (1, 3):
        header = TRACE + whole(body, key) * count + HEADER
        (seen, *_), bodies = signatures(header), done(header, body)
        many = f"{count} signature{'s' if count > 1 else ''}"
        print(f"| read {many} | {best(partial(signatures, header)):.0f} µs |")
        print(f"| hash 12 KB for {many} | {best(partial(done, header, body)):.0f} µs |")
        if count == 1:
            work = partial(verify, seen, bodies, answer, NOW)
            print(f"| verify it, its key known | {best(work):.0f} µs |")
    validating = partial(arc, chain(body, key, 3), body, answer)
    print(f"| validate 3 ARC sets and their body of 12 KB | {best(validating):.0f} µs |")


def done(header: bytes, body: bytes) -> dict[Cover, Digest]:
    """The hashes of a body, in pieces, without what reading the header costs."""
    hashes = BodyHashes([Cover(Form.RELAXED)] * header.count(b"DKIM-Signature"))
    for at in range(0, len(body), PIECE):
        hashes.add(body[at : at + PIECE])
    return hashes.finish()


def chain(body: bytes, key: SigningKey, length: int) -> bytes:
    """A header with so many sets."""
    header = HEADER
    for number in range(length):
        found = Validation(ArcStatus.PASS if number else ArcStatus.NONE)
        results = AuthenticationResults("mx.example.org")
        sets = seal(header, hashed(body), parse_chain(header), found, results, key, NOW)
        header = sets + header
    return header


def arc(header: bytes, body: bytes, answer: Answer) -> object:
    """From the header to the status."""
    found = parse_chain(header)
    lookup = validate(found, done(b"DKIM-Signature", body), NOW)
    try:
        next(lookup)
        while True:
            lookup.send(answer)
    except StopIteration as end:
        return end.value


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


def best(work: Callable[[], object], times: int = 500) -> float:
    """Microseconds of CPU for one run of work."""
    return min(measure(work, times) for _ in range(5))


def measure(work: Callable[[], object], times: int) -> float:
    """Microseconds of CPU for one run of work, on average."""
    before = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - before) / times * 1e6


if __name__ == "__main__":
    main()
