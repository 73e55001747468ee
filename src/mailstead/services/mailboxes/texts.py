"""The texts that searches have read, kept on this machine so that the next one reads less.

What is here is exactly what message.text gave; what is not here is read from the store as ever.
Each machine tidies its own: every hour what was expunged goes, and the files of accounts that are
gone or have not searched for long.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial

import msgspec

from mailstead.model.errors import TemporaryFailure
from mailstead.model.numbers import AccountId, MailboxId
from mailstead.model.world import World
from mailstead.services.mailboxes.reading import content_of
from mailstead.storage import emails, mailboxes, words
from mailstead.storage.store import Store
from mailstead.storage.texts import CHUNK, Asked, Text, TextFiles

ROUND = timedelta(hours=1)
UNUSED_KEPT = timedelta(days=90)
Tell = Callable[[int], Awaitable[None]]

PIECE = 8 * 1024 * 1024  # octets that are looked through between two looks at the loop

log = logging.getLogger("mailstead.texts")


class Found(msgspec.Struct, frozen=True):
    """Whose texts were here, and for each text asked for who has it."""

    seen: set[int]
    hits: list[set[int]]


class Keeper:
    """Texts that are read one page after the other, written down in bigger pieces."""

    def __init__(self, keep: Callable[[Sequence[Text]], Awaitable[None]]) -> None:
        self._keep = keep
        self._texts: list[Text] = []
        self._size = 0

    async def add(self, texts: Sequence[Text]) -> None:
        """Some more."""
        self._texts += texts
        self._size += sum(len(text.header) + len(text.body) for text in texts)
        if self._size >= CHUNK:
            await self.end()

    async def end(self) -> None:
        """No more come."""
        texts, self._texts, self._size = self._texts, [], 0
        await self._keep(texts)


class TextShelf:
    """The service. `run` it in a TaskGroup, once on a machine; cancel it to end it."""

    def __init__(self, store: Store, world: World, files: TextFiles) -> None:
        self._store, self._world, self._files = store, world, files
        self._tidied: dict[AccountId, tuple[int, float]] = {}  # modseq of the account, last search

    async def owner(self, mailbox: MailboxId) -> AccountId | None:
        """Whose texts a search of this mailbox reads and keeps."""
        found = await self._store.look_up(lambda tx: mailboxes.find_by_id(tx, mailbox))
        return None if found is None else found.account

    async def find(
        self,
        account: AccountId,
        wanted: set[int],
        asked: Sequence[Asked],
        tell: Tell,
    ) -> Found:
        """Look for the texts in all that is here of the wanted; `tell` hears how many are done."""
        found = Found(set(), [set() for _ in asked])
        last: int | None = 0
        while last is not None:
            scan = partial(self._files.scan, account, wanted, asked, last, PIECE)
            some = await self._world.offload.run(scan)
            found.seen.update(some.seen)
            for hits, more in zip(found.hits, some.hits, strict=True):
                hits.update(more)
            last = some.last
            if last is not None:
                await tell(len(found.seen))
        if found.seen:
            self._files.touch(account, self._world.clock.now().timestamp())
        return found

    def has_room(self, account: AccountId) -> bool:
        """Whether what is read would be kept."""
        return self._files.has_room(account)

    async def index(self, account: AccountId, tell: Tell) -> None:
        """Have the words of all texts that are here in the index; `tell` hears how many came in."""
        done = 0
        index_next = partial(self._files.index_next, account)
        while (count := await self._world.offload.run(index_next)) is not None:
            done += count
            await tell(done)

    async def rank(
        self, account: AccountId, wanted: set[int], text: str, field: str
    ) -> dict[int, float]:
        """Which of the wanted have the words of the text, and how well, up to 1.

        The field is that of a header, "body", or empty for all that is known of a message.
        """
        columns = [words.FIELDS.get(field, field)] if field else words.ANYWHERE
        work = partial(self._files.rank, account, wanted, text, columns)
        return await self._world.offload.run(work)

    async def keep(self, account: AccountId, texts: Sequence[Text]) -> None:
        """Have them here next time."""
        if texts:
            await self._world.offload.run(partial(self._files.keep, account, texts))
            self._files.touch(account, self._world.clock.now().timestamp())

    async def size(self) -> int:
        """Octets of all files."""
        return await self._world.offload.run(self._files.size)

    def keeper(self, account: AccountId) -> "Keeper":
        """Who gathers what one search reads."""
        return Keeper(partial(self.keep, account))

    # ------------------------------------------------------------------ now and then

    async def run(self) -> None:
        """A round now, then one an hour."""
        while True:
            try:
                await self.tidy()
            except TemporaryFailure as failure:
                log.warning("kept texts cannot be tidied: %s", failure.reason)
            except Exception:
                log.exception("kept texts cannot be tidied, by our own fault")
            await self._world.clock.sleep(ROUND)

    async def tidy(self) -> None:
        """One round: what the account no longer has, the file no longer has."""
        oldest = (self._world.clock.now() - UNUSED_KEPT).timestamp()
        run = self._world.offload.run
        for account, used in (await run(self._files.accounts)).items():
            modseq = await self._store.read(partial(emails.find_modseq, account=account))
            if modseq is None or used < oldest:
                await run(partial(self._files.remove, account))
            elif self._tidied.get(account) != (modseq, used) and await self._is_tidy(account):
                self._tidied[account] = modseq, used

    async def _is_tidy(self, account: AccountId) -> bool:
        """Whether there was nothing to take out; if there was, the next round looks again."""
        run = self._world.offload.run
        # What is on the shelf first: what comes later than this look has a content by then.
        here = await run(partial(self._files.keys, account))
        living = await self._store.read(partial(emails.contents, account=account))
        dead = {key for key in here if content_of(key) not in living}
        if dead:
            await run(partial(self._files.drop, account, dead))
        return not dead
