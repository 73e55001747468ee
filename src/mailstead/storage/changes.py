"""What changed in a mailbox since a modseq: one answer for IDLE, NOOP and every other watcher."""

import msgspec

from mailstead.model.numbers import MailboxId, ModSeq, Uid
from mailstead.storage import messages
from mailstead.storage.messages import FlagsRow
from mailstead.storage.store import Tx

FEW = 10  # modseqs; each may be that of a thousand messages
AT_ONCE = 2000  # rows


class Changes(msgspec.Struct, frozen=True):
    """New and changed messages by UID, and the UIDs that are gone."""

    modseq: ModSeq
    rows: tuple[FlagsRow, ...]
    expunged: tuple[Uid, ...]


def since(tx: Tx, mailbox: MailboxId, modseq: ModSeq) -> Changes | None:
    """Everything after that modseq, or None if the mailbox is gone."""
    highest = tx.value("SELECT modseq FROM mailbox WHERE id = :id", id=mailbox)
    if highest is None:
        return None
    if highest == modseq:
        return Changes(modseq, (), ())
    gone = tuple(messages.vanished(tx, mailbox, modseq))
    if highest - modseq <= FEW:
        rows = tx.rows(_CHANGED, mailbox=mailbox, modseq=modseq)
        return Changes(ModSeq(highest), tuple([FlagsRow(*row) for row in rows]), gone)
    with tx.stream(_CHANGED, AT_ONCE, mailbox=mailbox, modseq=modseq) as stream:
        return Changes(ModSeq(highest), tuple([FlagsRow(*row) for row in stream]), gone)


_CHANGED = (
    "SELECT uid, flags, keywords, modseq FROM placement"
    " WHERE mailbox = :mailbox AND modseq > :modseq ORDER BY uid"
)
