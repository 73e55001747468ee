"""First retrievals of messages by their owner, as the journal tells them."""

from collections.abc import Sequence

import msgspec

from mailstead.model.entries import Retrieved
from mailstead.model.mailbox import Mailbox
from mailstead.model.numbers import OrganisationId
from mailstead.services.accounts import Login
from mailstead.storage import journal, messages
from mailstead.storage.plan import JournalRow
from mailstead.storage.store import Tx


class Retriever(msgspec.Struct, frozen=True):
    """Who fetched messages, for the journal."""

    login: Login
    protocol: str
    client: str


def mark(tx: Tx, mailbox: Mailbox, uids: Sequence[int], who: Retriever) -> None:
    """Note first retrievals, and tell of them in the journal of each message."""
    rows = [
        JournalRow(
            found.trace,
            OrganisationId(who.login.organisation),
            (
                Retrieved(
                    at=tx.now,
                    account=who.login.login,
                    protocol=who.protocol,
                    mailbox=mailbox.name,
                    uid=found.uid,
                    client=who.client,
                ),
            ),
        )
        for found in messages.mark_retrieved(tx, mailbox.id, uids)
    ]
    journal.add(tx, rows)
