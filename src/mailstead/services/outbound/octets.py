"""The octets of queued messages on their way out: header and small bodies at once, big ones in
pieces as the peer takes them. Owns nothing: the store keeps the octets until the last recipient
has left the queue.
"""

from collections.abc import AsyncIterator, Sequence

import msgspec

from mailstead.model.envelope import BodyType
from mailstead.model.errors import TemporaryFailure
from mailstead.protocol.smtp.client import MessageFacts
from mailstead.storage import blobs, relays
from mailstead.storage.packfile import DamagedBody, NotHere
from mailstead.storage.plan import StoredBody
from mailstead.storage.queue import Job, Outgoing
from mailstead.storage.relays import RelayDomain
from mailstead.storage.store import Store, Tx

PREFETCH_LIMIT = 64 * 1024  # octets of a body that are read together with its header


class Loaded(msgspec.Struct, frozen=True):
    """A job with its message's header, its body if that is small, and who we relay it for."""

    job: Job
    header: bytes
    body: bytes | None
    relay: RelayDomain | None = None


def load(tx: Tx, jobs: Sequence[Job]) -> list[Loaded]:
    """All that is needed to begin with these jobs, in one read; each message's octets once."""
    if not jobs:
        return []
    headers = dict(tx.each(_HEADER, {job.outgoing.id for job in jobs}))
    bodies = {body: _small_body(tx, body) for body in {job.outgoing.body for job in jobs}}
    relayed = relays.find_all(tx, {domain_of(job) for job in jobs})
    return [
        Loaded(
            job, headers[job.outgoing.id], bodies[job.outgoing.body], relayed.get(domain_of(job))
        )
        for job in jobs
    ]


_HEADER = "SELECT id, header FROM outgoing WHERE id = :id"


def domain_of(job: Job) -> str:
    """Where its recipients are."""
    return job.recipients[0].recipient.rpartition("@")[2]


def _small_body(tx: Tx, stored: StoredBody) -> bytes | None:
    if stored.size > PREFETCH_LIMIT:
        return None
    try:
        return blobs.read(tx, stored)
    except (DamagedBody, NotHere):  # read when the attempt comes to it: costs it, and no other
        return None


def facts_of(loaded: Loaded) -> MessageFacts:
    """What the peer is told about the message before it comes."""
    outgoing = loaded.job.outgoing
    return MessageFacts(
        size=len(loaded.header) + outgoing.body.size,
        eight_bit=_eight_bit(outgoing, loaded),
        # Raw 8-bit header fields without SMTPUTF8 are sloppy, not internationalised: they go on.
        utf8_header=outgoing.smtputf8 and not loaded.header.isascii(),
    )


def _eight_bit(outgoing: Outgoing, loaded: Loaded) -> bool:
    if outgoing.body_type is not BodyType.SEVEN_BIT or not loaded.header.isascii():
        return True
    return loaded.body is not None and not loaded.body.isascii()


async def pieces(store: Store, loaded: Loaded) -> AsyncIterator[bytes]:
    """Header and body, in pieces of a size that does no harm."""
    if loaded.body is not None:
        yield loaded.header + loaded.body
        return
    yield loaded.header
    stored = loaded.job.outgoing.body
    for start in range(0, stored.size, blobs.PART_SIZE):
        end = start + blobs.PART_SIZE
        try:
            piece = await store.read(lambda tx, at=start, to=end: blobs.read(tx, stored, at, to))  # type: ignore[misc]
        except DamagedBody as damage:
            raise TemporaryFailure(f"the message cannot be read: {damage}") from damage
        yield piece
