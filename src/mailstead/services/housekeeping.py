"""What has to be done now and then: old journal rows go, Trash and Junk empty themselves.

Suppressions expire, and deletions that were cut short are ended.
Each step is a series of small writes, so that mail goes on meanwhile.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from mailstead.model.errors import TemporaryFailure
from mailstead.model.numbers import MailboxId
from mailstead.model.world import Clock
from mailstead.services.maildrops import Maildrops
from mailstead.services.signing import RETIRED_KEPT
from mailstead.services.watch import Watch
from mailstead.storage import (
    call_ahead,
    dkim,
    greylist,
    incidents,
    journal,
    mailboxes,
    messages,
    sender_memory,
    senders,
    sources,
    spam_corpus,
    suppression,
    tls_policies,
)
from mailstead.storage.store import WRITE_LIMIT, Store, Tx, to_micros

ROUND = timedelta(hours=1)
PAGE = 500  # mailboxes looked at in one read

log = logging.getLogger("mailstead.housekeeping")


class Housekeeping:
    """The service. `run` it in a TaskGroup; cancel it to end it."""

    def __init__(self, store: Store, clock: Clock, watch: Watch, drops: Maildrops) -> None:
        self._store, self._clock, self._watch, self._drops = store, clock, watch, drops

    async def run(self) -> None:
        """A round now, then one an hour."""
        while True:
            try:
                await self.tidy()
            except TemporaryFailure as failure:
                log.warning("housekeeping has to wait: %s", failure.reason)
            except Exception:
                log.exception("housekeeping failed, by our own fault")
            await self._clock.sleep(ROUND)

    async def tidy(self) -> None:
        """One round."""
        await self._repeat(lambda tx: journal.expire(tx, WRITE_LIMIT))
        await self._repeat(lambda tx: suppression.expire(tx, WRITE_LIMIT))
        await self._repeat(lambda tx: tls_policies.expire(tx, WRITE_LIMIT))
        await self._repeat(lambda tx: senders.expire(tx, WRITE_LIMIT))
        await self._repeat(lambda tx: incidents.expire(tx, WRITE_LIMIT))
        await self._repeat(lambda tx: call_ahead.expire(tx, WRITE_LIMIT))
        await self._repeat(lambda tx: greylist.expire(tx, WRITE_LIMIT))
        await self._repeat(lambda tx: sources.expire(tx, WRITE_LIMIT))
        await self._repeat(lambda tx: sender_memory.expire(tx, WRITE_LIMIT))
        await self._prune_corpora()
        await self._store.write(lambda tx: dkim.forget_retired(tx, tx.now - RETIRED_KEPT))
        await self._repeat(lambda tx: messages.clear_left_behind(tx, WRITE_LIMIT))
        await self._drops.tidy()
        await self._empty_trash()

    async def _prune_corpora(self) -> None:
        for organisation, corpus in await self._store.read(spam_corpus.list_all):
            await self._repeat(
                lambda tx, whose=organisation, account=corpus.account: spam_corpus.prune(  # type: ignore[misc]
                    tx, whose, account, WRITE_LIMIT
                )
            )

    async def _empty_trash(self) -> None:
        page = await self._expiring(MailboxId(0))
        while page:
            for mailbox, days in page:
                await self._expire(mailbox, self._clock.now() - timedelta(days=days))
            page = await self._expiring(page[-1][0])

    async def _expiring(self, after: MailboxId) -> list[tuple[MailboxId, int]]:
        return await self._store.read(lambda tx: mailboxes.expiring(tx, after, PAGE))

    async def _expire(self, mailbox: MailboxId, before: datetime) -> None:
        oldest = to_micros(before)
        if not await self._store.read(lambda tx: messages.any_before(tx, mailbox, oldest)):
            return
        await self._repeat(lambda tx: messages.expire(tx, mailbox, oldest, WRITE_LIMIT))
        self._watch.wake([mailbox])

    async def _repeat(self, step: Callable[[Tx], int]) -> None:
        while await self._store.write(step) >= WRITE_LIMIT:
            pass
