"""A mailbox: a named place of one account, its counters, its special use (RFC 9051, RFC 6154)."""

import enum

import msgspec

from mailstead.model.numbers import AccountId, MailboxId, ModSeq, Uid, UidValidity

DELIMITER = "/"  # between the levels of a mailbox name
INBOX = "INBOX"
NAME_LIMIT = 512  # characters of a whole mailbox name
DEPTH_LIMIT = 20  # levels


class SpecialUse(enum.StrEnum):
    """RFC 6154 section 2."""

    ARCHIVE = "\\Archive"
    DRAFTS = "\\Drafts"
    JUNK = "\\Junk"
    SENT = "\\Sent"
    TRASH = "\\Trash"


# What a new account finds: name -> special use.
DEFAULT_MAILBOXES: dict[str, SpecialUse | None] = {
    INBOX: None,
    "Archive": SpecialUse.ARCHIVE,
    "Drafts": SpecialUse.DRAFTS,
    "Junk": SpecialUse.JUNK,
    "Sent": SpecialUse.SENT,
    "Trash": SpecialUse.TRASH,
}


class Mailbox(msgspec.Struct, frozen=True):
    """One mailbox as it stands; `size` in octets, `unseen` a count (RFC 8438, RFC 9051)."""

    id: MailboxId
    account: AccountId
    name: str
    special_use: SpecialUse | None
    uidvalidity: UidValidity
    uidnext: Uid
    modseq: ModSeq  # the highest of its messages, expunged ones included
    messages: int
    unseen: int
    deleted: int
    size: int
    first_recent: Uid  # messages from here on have been seen by no session


def normalise_name(name: str) -> str:
    """The mailbox name as stored: INBOX in capitals wherever it is the first level."""
    first, *rest = name.split(DELIMITER)
    return DELIMITER.join([INBOX if first.upper() == INBOX else first, *rest])
