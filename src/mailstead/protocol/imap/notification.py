"""What NOTIFY asks for, and where ESEARCH looks, as values (RFC 5465, RFC 7377)."""

import enum
from collections.abc import Iterator

import msgspec

from mailstead.model.mailbox import DELIMITER
from mailstead.protocol.imap.fetch import Item


class Scope(enum.StrEnum):
    """Which mailboxes events are wanted of (RFC 5465 section 6)."""

    SELECTED = "SELECTED"
    SELECTED_DELAYED = "SELECTED-DELAYED"
    INBOXES = "INBOXES"
    PERSONAL = "PERSONAL"
    SUBSCRIBED = "SUBSCRIBED"
    SUBTREE = "SUBTREE"
    SUBTREE_ONE = "SUBTREE-ONE"  # of a search only (RFC 7377 section 2.2)
    MAILBOXES = "MAILBOXES"


class Happening(enum.StrEnum):
    """What can be told of (RFC 5465 section 5)."""

    MESSAGE_NEW = "MessageNew"
    MESSAGE_EXPUNGE = "MessageExpunge"
    FLAG_CHANGE = "FlagChange"
    MAILBOX_NAME = "MailboxName"
    SUBSCRIPTION_CHANGE = "SubscriptionChange"
    MAILBOX_METADATA_CHANGE = "MailboxMetadataChange"  # RFC 5465 section 5.6
    SERVER_METADATA_CHANGE = "ServerMetadataChange"


OF_MESSAGES = frozenset({Happening.MESSAGE_NEW, Happening.MESSAGE_EXPUNGE, Happening.FLAG_CHANGE})


def levels(name: str) -> Iterator[str]:
    """The mailbox and those that it lies in, from the innermost on."""
    yield name
    while DELIMITER in name:
        name = name.rpartition(DELIMITER)[0]
        yield name


class Group(msgspec.Struct, frozen=True):
    """Events of some mailboxes; none of them for NONE.

    `names` are those of SUBTREE and MAILBOXES, `items` what is fetched of new messages at once.
    """

    scope: Scope
    events: frozenset[Happening]
    names: frozenset[str] = frozenset()
    items: tuple[Item, ...] = ()

    def covers(self, name: str, own: bool, subscribed: bool) -> bool:
        """Whether the mailbox is one of those; the selected one is as any other."""
        match self.scope:
            case Scope.SELECTED | Scope.SELECTED_DELAYED:
                return False
            case Scope.INBOXES | Scope.PERSONAL:  # RFC 5465 section 6.3 allows that
                return own
            case Scope.SUBSCRIBED:
                return subscribed
            case Scope.SUBTREE:
                return any(level in self.names for level in levels(name))
            case Scope.SUBTREE_ONE:
                return name in self.names or name.rpartition(DELIMITER)[0] in self.names
            case Scope.MAILBOXES:
                return name in self.names
