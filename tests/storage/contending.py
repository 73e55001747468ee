"""One of several processes that are in each other's way in one PostgreSQL: see test_postgres.py.

    contending.py URL FOLDER NAME SECONDS

Tells on its last line, as JSON, what it was promised; any error that is no Refusal ends it.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from mailstead.message import mime, structure
from mailstead.model.address import Domain, parse_address
from mailstead.model.errors import Refusal
from mailstead.model.flags import DELETED, FLAGGED, SEEN
from mailstead.model.numbers import AccountId, MailboxId, OrganisationId, TraceId
from mailstead.net.clock import SystemClock
from mailstead.storage import accounts, blobs, mailboxes, messages, placing
from mailstead.storage.claims import Asked, claim
from mailstead.storage.packfile import PackFolder
from mailstead.storage.plan import (
    Append,
    Enqueue,
    Plan,
    Postpone,
    QueuedRecipient,
    Release,
    Rendered,
    Step,
)
from mailstead.storage.postgres import PostgresStore
from mailstead.storage.store import Tx

ACCOUNTS = 3
HEADER = b"From: bob@example.net\r\nSubject: Hello\r\n\r\n"
BODY = b"Hi\r\n"
LEASE = timedelta(hours=1)


def render() -> Rendered:
    part = mime.scan(HEADER, BODY)
    digest = structure.digest(HEADER, part)
    return Rendered(
        structure.dump(part), structure.envelope(HEADER), structure.body_structure(part), digest
    )


RENDERED = render()


def open_store(url: str, folder: Path) -> PostgresStore:
    return PostgresStore(url, PackFolder(folder / "packs"), SystemClock())


def login(number: int) -> str:
    return f"user{number}@example.org"


def populate(tx: Tx) -> None:
    organisation = accounts.create_organisation(tx, "example")
    accounts.create_domain(tx, organisation, Domain("example.org"))
    for number in range(ACCOUNTS):
        account = accounts.create_account(tx, parse_address(login(number)), "hash")
        mailboxes.create(tx, account, "Board")


def plan(*steps: Step, body: bytes | None = BODY, trace: str = "t") -> Plan:
    octets = None if body is None else blobs.MemoryBody(body)
    return Plan(steps, TraceId(trace), OrganisationId(1), octets)


def append(account: AccountId, mailbox: MailboxId, keywords: str = "") -> Append:
    now = SystemClock().now()
    return Append(account, mailbox, HEADER, RENDERED, now, keywords=keywords)


def recipients(count: int) -> tuple[QueuedRecipient, ...]:
    now = SystemClock().now()
    return tuple(
        QueuedRecipient(f"r{number}@example.net", "smtp", "example.net", now)
        for number in range(count)
    )


class Contender:
    """What one process does, and what it was promised."""

    def __init__(self, store: PostgresStore, name: str) -> None:
        self.store, self.name, self.chance = store, name, random.Random(name)
        self.done: Counter[str] = Counter()
        self.uids: list[tuple[int, int]] = []  # (mailbox, uid), each given once
        self.modseqs: set[tuple[int, int]] = set()  # (account, modseq) of this process
        self.keywords: dict[int, list[str]] = {}  # board -> keywords that were set
        self.claims: list[tuple[int, int]] = []  # (recipient, attempts)
        self.released: list[int] = []
        self.queued: list[int] = []

    async def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        works = (self.deliver, self.file, self.flag, self.pin, self.send, self.claim, self.churn)
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(self._repeat(work, end))

    async def _repeat(self, work: Callable[[], Awaitable[None]], end: float) -> None:
        while time.monotonic() < end:
            await work()
            self.done[work.__name__] += 1

    async def place(self, name: str) -> tuple[AccountId, MailboxId]:
        user = login(self.chance.randrange(ACCOUNTS))

        def find(tx: Tx) -> tuple[AccountId, MailboxId]:
            account = accounts.get_account(tx, user).id
            return account, mailboxes.get(tx, account, name).id

        return await self.store.read(find)

    # ------------------------------------------------------------------ what is done

    async def deliver(self) -> None:
        """New mail, also for two at once, in whatever order."""
        places = [await self.place("INBOX") for _ in range(self.chance.randint(1, 3))]
        applied = await self.store.apply(
            plan(*(append(account, mailbox, "new") for account, mailbox in places))
        )
        for (account, _), one in zip(places, applied.appended, strict=True):
            self.uids.append((one.mailbox, one.uid))
            self.modseqs.add((account, one.modseq))

    async def file(self) -> None:
        """Copy, move, flag for deletion, expunge."""
        account, inbox = await self.place("INBOX")
        archive = await self.store.read(lambda tx: mailboxes.get(tx, account, "Archive").id)
        upto = await self.store.read(lambda tx: mailboxes.find_by_id(tx, inbox).uidnext)  # type: ignore[union-attr]
        ranges = [(upto - 10, upto - self.chance.randint(0, 5))]
        work = self.chance.choice([placing.copy, placing.move])
        copied = await self.store.write(lambda tx: work(tx, inbox, ranges, archive))
        self.uids += [(archive, uid) for uid in copied.copies]
        some = [(1, 2**32 - 1)]
        await self.store.write(lambda tx: messages.set_flags(tx, archive, some, "add", DELETED, ""))
        await self.store.write(lambda tx: messages.expunge(tx, archive, some))

    async def flag(self) -> None:
        """A page of messages gets flags, and loses them."""
        account, inbox = await self.place("INBOX")
        flags, mode = self.chance.choice([SEEN, FLAGGED]), self.chance.choice(["add", "remove"])
        rows = await self.store.write(
            lambda tx: messages.set_flags(tx, inbox, [(1, 2**32 - 1)], mode, flags, "")  # type: ignore[arg-type]
        )
        self.modseqs |= {(account, row.modseq) for row in rows}

    async def pin(self) -> None:
        """A keyword of our own on the one message of the board: lost if another overwrites it."""
        _, board = await self.place("Board")
        mine = self.keywords.setdefault(board, [])
        word = f"{self.name}-{len(mine)}"
        await self.store.write(lambda tx: messages.set_flags(tx, board, [(1, 1)], "add", 0, word))
        mine.append(word)
        await asyncio.sleep(0.05)

    async def send(self) -> None:
        applied = await self.store.apply(
            plan(Enqueue(HEADER, "a@example.org", recipients(self.chance.randint(1, 4))))
        )
        self.queued += applied.enqueued[0].queue_ids

    async def claim(self) -> None:
        """Claim; some are sent, some have to wait again."""
        claimed = await self.store.write(lambda tx: claim(tx, Asked(LEASE, 20, 100)))
        now = SystemClock().now()
        for row in [row for job in claimed.jobs for row in job.recipients]:
            self.claims.append((row.id, row.attempts))
            if self.chance.random() < 0.7:
                step: Step = Release(row.id)
                self.released.append(row.id)
            else:
                step = Postpone(row.id, now, row.attempts + 1, "450 later")
            await self.store.apply(plan(step, body=None))

    async def churn(self) -> None:
        """A mailbox comes, gets mail, and goes; all want the same name."""
        account, _ = await self.place("INBOX")
        try:
            await self.store.write(lambda tx: mailboxes.create(tx, account, "Temp"))
        except Refusal:
            self.done["refused"] += 1
        try:
            mailbox = await self.store.read(lambda tx: mailboxes.get(tx, account, "Temp").id)
            await self.store.apply(plan(append(account, mailbox)))
            gone = await self.store.write(lambda tx: mailboxes.delete(tx, account, "Temp"))
            await self.store.write(lambda tx: messages.clear(tx, account, gone, 1000))
        except Refusal:
            self.done["refused"] += 1

    def told(self) -> dict[str, Any]:
        return {
            "done": self.done,
            "uids": self.uids,
            "modseqs": sorted(self.modseqs),
            "keywords": self.keywords,
            "claims": self.claims,
            "released": self.released,
            "queued": self.queued,
        }


async def main() -> None:
    url, folder, name, seconds = sys.argv[1:]
    store = open_store(url, Path(folder))
    contender = Contender(store, name)
    await contender.run(float(seconds))
    await store.close()
    sys.stdout.write(json.dumps(contender.told()))


if __name__ == "__main__":
    asyncio.run(main())
