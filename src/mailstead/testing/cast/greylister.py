"""A server that puts strangers off for a while (RFC 6647)."""

from datetime import datetime, timedelta

from mailstead.model.address import Address
from mailstead.model.reply import Reply
from mailstead.model.world import Clock
from mailstead.protocol.smtp import replies
from mailstead.testing.cast.remote import Answer, Remote, Script

GREYLISTED = Reply(450, "4.7.1", "Greylisted, try again later")


def greylister(clock: Clock, pause: timedelta) -> Remote:
    """Says 450 to each recipient until the first try is so long ago, then takes it."""
    first: dict[Address, datetime] = {}

    def rcpt(recipient: Address) -> Answer:
        since = first.setdefault(recipient, clock.now())
        return replies.RECIPIENT_OK if clock.now() - since >= pause else GREYLISTED

    return Remote(Script(rcpt=rcpt))
