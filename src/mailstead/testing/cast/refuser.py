"""Servers that say no: to recipients, to senders, to messages, or at the door."""

from collections.abc import Collection

from mailstead.model.reply import Reply
from mailstead.protocol.smtp import replies
from mailstead.testing.cast.remote import Remote, Script

UNKNOWN = Reply(550, "5.1.1", "No such user")
BUSY = Reply(421, "4.3.2", "Busy, come back later")
NOT_NOW = Reply(451, "4.3.0", "Not now")


def refuser(recipients: Collection[str] = (), reply: Reply = UNKNOWN) -> Remote:
    """Says the reply to these recipients, or to all if none is named, and takes the others."""
    return Remote(
        Script(
            rcpt=lambda recipient: (
                reply if not recipients or str(recipient) in recipients else replies.RECIPIENT_OK
            )
        )
    )


def closed_door(reply: Reply = BUSY) -> Remote:
    """Greets with the reply."""
    return Remote(Script(greet=lambda: reply))


def content_refuser(reply: Reply) -> Remote:
    """Says the reply to each message, after its final dot."""
    return Remote(Script(end=lambda: reply))
