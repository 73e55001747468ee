"""Plans: what a unit of work wants done, as values (house rule: a plan fails alone).

A Plan shares one body among its steps: the message that is delivered to three accounts and queued
for two more is one plan, one body, one transaction.
"""

import mmap
from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

import msgspec

from mailstead.message.structure import Digest
from mailstead.model.entries import AnyEntry
from mailstead.model.envelope import NO_WISH, BodyType, TlsWish, Wish
from mailstead.model.numbers import (
    AccountId,
    BlobId,
    EmailId,
    MailboxId,
    ModSeq,
    OrganisationId,
    OutgoingId,
    QueueId,
    TraceId,
    Uid,
    UidValidity,
)


class Body(Protocol):
    """Octets of a message body that are not in the store yet, in memory or spooled."""

    @property
    def size(self) -> int: ...

    def parts(self) -> Iterator[bytes]:
        """The octets in pieces of blobs.PART_SIZE; only the last is shorter."""
        ...

    def view(self) -> bytes | mmap.mmap:
        """All octets, to look into; a big body is mapped, not read."""
        ...


class StoredBody(msgspec.Struct, frozen=True):
    """A body that lies in the store."""

    blob: BlobId
    size: int


class Rendered(msgspec.Struct, frozen=True):
    """What is worked out once, at delivery, and only joined when read."""

    structure: bytes
    envelope: bytes
    bodystructure: bytes
    digest: Digest


class Append(msgspec.Struct, frozen=True):
    """File the message in a mailbox. With `recipient` it is a delivery, told in the journal."""

    account: AccountId
    mailbox: MailboxId
    header: bytes
    rendered: Rendered
    internal_date: datetime
    flags: int = 0
    keywords: str = ""
    recipient: str = ""
    enforce_quota: bool = False


class QueuedRecipient(msgspec.Struct, frozen=True):
    """A recipient for the queue: how it travels, in which lane, due from when on.

    It leaves from `source`, and is given up when it `expires`; empty and None: as usual.
    """

    recipient: str
    transport: str
    lane: str
    due: datetime
    hold: bool = False
    route: str = ""
    wish: Wish = NO_WISH
    source: str = ""
    expires: datetime | None = None


class Enqueue(msgspec.Struct, frozen=True):
    """Put the message into the queue for recipients elsewhere.

    With a `return_domain` each recipient gets a signed return path in it; the reverse-path is then
    who hears of failures.
    """

    header: bytes
    reverse_path: str
    recipients: tuple[QueuedRecipient, ...]
    account: AccountId | None = None
    body_type: BodyType = BodyType.SEVEN_BIT
    smtputf8: bool = False
    priority: int = 0
    notify: bool = True  # tell the sender of delays and failures; never for a forward
    envid: str = ""
    ret: str = ""
    tls: TlsWish = TlsWish.USUAL
    release: str = ""  # as asked for (model.envelope.Release.text)
    stream: str = ""
    return_domain: str = ""


class Release(msgspec.Struct, frozen=True):
    """The recipient leaves the queue: relayed, failed, or dropped."""

    queue_id: QueueId


class Postpone(msgspec.Struct, frozen=True):
    """The recipient waits again; `attempts` counts those that were made.

    With a `source` it leaves from there from now on.
    """

    queue_id: QueueId
    due: datetime
    attempts: int
    last_reply: str
    delay_notified: bool = False
    source: str = ""
    lane: str = ""  # that it waits in from now on; empty: as before


class Suppress(msgspec.Struct, frozen=True):
    """The organisation writes to the recipient no more; `twice`: only if it fails again later.

    A complaint is about the stream that was complained of, and never expires.
    """

    recipient: str
    evidence: str
    twice: bool = False
    complaint: bool = False
    stream: str = ""


class Wrote(msgspec.Struct, frozen=True):
    """The account wrote to these, so many of them for the first time: it counts for its limits."""

    account: AccountId
    recipients: tuple[str, ...]
    strangers: int


class CountSent(msgspec.Struct, frozen=True):
    """A source that is warming sent so many messages to a provider on that day (since 1970)."""

    source: str
    provider: str
    day: int
    sent: int


Step = Append | Enqueue | Release | Postpone | Suppress | Wrote | CountSent


class JournalRow(msgspec.Struct, frozen=True):
    """Entries about one message, for the journal; `arrival` marks the row that `list` shows."""

    trace: TraceId
    organisation: OrganisationId
    entries: tuple[AnyEntry, ...]
    arrival: bool = False


class Plan(msgspec.Struct, frozen=True):
    """Steps that happen together or not at all, and the story they make.

    To the entries of `journal` the store adds a Delivered for each Append with a recipient and a
    Queued for each recipient that was enqueued, with the numbers they got. All entries of a plan
    become one journal row under its trace.
    """

    steps: tuple[Step, ...]
    trace: TraceId
    organisation: OrganisationId
    body: Body | StoredBody | None = None
    journal: tuple[AnyEntry, ...] = ()
    arrival: bool = False
    rows: tuple[JournalRow, ...] = ()  # of other messages that this unit of work touches

    @property
    def only_adds(self) -> bool:
        """Whether it only adds a message that nobody else knows of yet."""
        if isinstance(self.body, StoredBody):
            return False
        return all(isinstance(step, Append | Enqueue | Wrote) for step in self.steps)


class Appended(msgspec.Struct, frozen=True):
    """Where an Append came to lie."""

    mailbox: MailboxId
    uidvalidity: UidValidity
    uid: Uid
    modseq: ModSeq
    email: EmailId


class Enqueued(msgspec.Struct, frozen=True):
    """What an Enqueue became."""

    outgoing: OutgoingId
    queue_ids: tuple[QueueId, ...]


class Applied(msgspec.Struct, frozen=True):
    """What came of the steps that make something, in their order."""

    appended: tuple[Appended, ...] = ()
    enqueued: tuple[Enqueued, ...] = ()
    story: tuple[AnyEntry, ...] = ()  # what went into the journal under the plan's trace
