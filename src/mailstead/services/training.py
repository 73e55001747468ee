"""Teaching the filter: what people moved into Junk and out of it, and what operators have sorted.

Lessons are written where they happen (storage.spam_lessons), and learnt here later, one message a
write. A message that counts as something else by now is taken back first.
Holds: an email counts once in the corpus of its account and once in that of its organisation.
"""

import logging
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta

import msgspec

from mailstead.message import header as fields
from mailstead.message import mime
from mailstead.message.addresses import author_addresses
from mailstead.message.header import ensure_crlf, split
from mailstead.model.errors import TemporaryFailure
from mailstead.model.numbers import AccountId, BlobId, EmailId, OrganisationId
from mailstead.model.world import Clock
from mailstead.msgauth import authres
from mailstead.services.inbound.rulebook import shipped_rules
from mailstead.services.metering import NO_METER, Meter
from mailstead.spam.lookalikes import main_domain
from mailstead.spam.sight import look
from mailstead.spam.tokens import tokens
from mailstead.storage import blobs, sender_memory, spam_corpus, spam_lessons
from mailstead.storage.packfile import DamagedBody
from mailstead.storage.plan import StoredBody
from mailstead.storage.sender_memory import Change, Sender
from mailstead.storage.spam_corpus import EVERYBODY
from mailstead.storage.spam_lessons import Lesson
from mailstead.storage.store import Store, Tx, to_micros

ROUND = timedelta(seconds=30)
PAGE = 50  # lessons of one look into the store
BODY_LIMIT = 512 * 1024  # octets of a body that are read
BATCH = 20  # messages of a folder that are one write
LESSON_WORTH = 4  # messages that one lesson counts like in the memory of its sender
LEARNT_KEPT = timedelta(days=365)  # so long can a lesson be taken back

log = logging.getLogger("mailstead.training")


class Taught(msgspec.Struct, frozen=True):
    """A message to learn, and the senders that it proves to be from."""

    organisation: OrganisationId
    tokens: list[int]
    senders: tuple[Sender, ...]


class Training:
    """The service. `run` it in a TaskGroup; cancel it to end it."""

    def __init__(self, store: Store, clock: Clock, hostname: str, meter: Meter = NO_METER) -> None:
        self._store, self._clock, self._hostname = store, clock, hostname
        self._meter = meter

    async def run(self) -> None:
        """What waits now, then again and again."""
        while True:
            try:
                await self.learn()
                await self._store.write(self._tidy)
            except TemporaryFailure as failure:
                log.warning("lessons have to wait: %s", failure.reason)
            except Exception:
                log.exception("learning failed, by our own fault")
            await self._clock.sleep(ROUND)

    async def learn(self) -> int:
        """All lessons that wait; how many."""
        learnt = 0
        while lessons := await self._store.read(lambda tx: spam_lessons.take(tx, PAGE)):
            for lesson in lessons:
                await self._learn(lesson)
            learnt += len(lessons)
        return learnt

    async def _learn(self, lesson: Lesson) -> None:
        hostname = self._hostname

        def read(tx: Tx) -> Taught | None:
            return _read(tx, lesson, hostname)

        try:
            taught = await self._store.read(read)
        except DamagedBody as damage:
            log.error("a message cannot be learnt: %s", damage)
            taught = None
        if await self._store.write(lambda tx: _take_in(tx, lesson, taught)):
            self._meter.count("learnt_total", kind="spam" if lesson.spam else "ham")

    def _tidy(self, tx: Tx) -> None:
        spam_corpus.forget_learnt(tx, to_micros(tx.now - LEARNT_KEPT), PAGE)

    # ------------------------------------------------------------------ operators

    async def train(
        self,
        organisation: OrganisationId,
        account: AccountId,
        messages: Iterable[bytes],
        spam: bool,
    ) -> int:
        """Learn messages that somebody has sorted; how many. They cannot be taken back."""
        learnt, batch = 0, []
        for message in messages:
            batch.append(tokens_of(message))
            learnt += 1
            if len(batch) == BATCH:
                await self._count(organisation, account, batch, spam)
                batch = []
        if batch:
            await self._count(organisation, account, batch, spam)
        return learnt

    async def _count(
        self, organisation: OrganisationId, account: AccountId, batch: list[list[int]], spam: bool
    ) -> None:
        times = Counter(token for one in batch for token in one)
        size = len(batch)
        await self._store.write(
            lambda tx: spam_corpus.count(tx, organisation, account, times, size, spam)
        )


def tokens_of(message: bytes) -> list[int]:
    """The tokens of a message as it lies in a file."""
    header, body = split(ensure_crlf(message))
    return tokens(look(header, mime.scan(header, body), body))


def _read(tx: Tx, lesson: Lesson, hostname: str) -> Taught | None:
    row = tx.row(
        "SELECT account.organisation, header, blob, body_size FROM email"
        " JOIN account ON account.id = email.account JOIN content ON content.id = email.content"
        " WHERE email.id = :email",
        email=lesson.email,
    )
    if row is None:  # it was deleted meanwhile
        return None
    organisation, header, blob, size = row
    body = blobs.read(tx, StoredBody(BlobId(blob), size), 0, BODY_LIMIT)
    found = tokens(look(header, mime.scan(header, body), body))
    return Taught(OrganisationId(organisation), found, tuple(senders_of(header, hostname)))


def senders_of(header: bytes, hostname: str) -> list[Sender]:
    """Whom our own Authentication-Results proves the message to be from."""
    said = authres.parse(fields.get(header, "Authentication-Results") or b"")
    if said is None or said.authserv_id.lower() != hostname.lower():
        return []
    if not any(one.method == "dmarc" and one.result == "pass" for one in said.results):
        return []
    authors = author_addresses(header)[:1]
    found = [Sender("address", str(one).lower()) for one in authors]
    found += [
        Sender("domain", main_domain(one.domain))
        for one in authors
        if one.domain not in shipped_rules().names.freemail
    ]
    return found


def _take_in(tx: Tx, lesson: Lesson, taught: Taught | None) -> bool:
    """Count the message as what it is now; nothing happens twice. Whether something did."""
    if not spam_lessons.done(tx, lesson) or taught is None:
        return False
    before = spam_corpus.find_learnt(tx, EmailId(lesson.email))
    if before is not None and before.spam == lesson.spam:
        return False
    times = dict.fromkeys(taught.tokens, 1)
    for account in (EVERYBODY, lesson.account):
        if before is not None:
            back = dict.fromkeys(taught.tokens, -1)
            spam_corpus.count(tx, taught.organisation, account, back, -1, before.spam)
        spam_corpus.count(tx, taught.organisation, account, times, 1, lesson.spam)
    spam_corpus.set_learnt(tx, EmailId(lesson.email), lesson.account, lesson.spam)
    ham = -LESSON_WORTH if lesson.spam else LESSON_WORTH
    sender_memory.remember(
        tx, [Change(taught.organisation, one, ham, -ham) for one in taught.senders]
    )
    return True
