"""Where recipients lead, remembered for a moment: who gets much mail is looked up once a second.

Only what a moment cannot make wrong is remembered: an account with plenty of room, a domain that is
not ours. Holds: what this process itself changes counts at once; what another one changes counts
after REMEMBERED, and an account that went away meanwhile is noticed when the message is filed.
"""

from datetime import datetime, timedelta

from mailstead.model.address import Address, Domain
from mailstead.model.world import Clock
from mailstead.services.delivery.recipients import Found, NotHere
from mailstead.services.telling import TellingStore

REMEMBERED = timedelta(seconds=1)
RECIPIENTS_LIMIT = 10_000
PLENTY = 256 * 1024**2  # octets that an account has left: nobody fills them in a moment
_LASTING_RULES = ("account", "subaddress")


class KnownRecipients:
    """What was found within the last second."""

    def __init__(self, store: TellingStore, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._known: dict[Address | Domain, Found | NotHere] = {}
        self._until: datetime = clock.now()
        self._changes = store.changes

    def find(self, recipient: Address) -> Found | NotHere | None:
        """Where the recipient leads; None if it has to be looked up.

        That a domain is not ours is known of all addresses in it, whichever was asked about.
        """
        if self._clock.now() >= self._until or self._store.changes != self._changes:
            return None
        return self._known.get(recipient) or self._known.get(recipient.domain)

    def remember(self, recipient: Address, found: object) -> None:
        """What was just looked up, if it will be right for a moment."""
        if not isinstance(found, Found | NotHere) or not _lasts(found):
            return
        now = self._clock.now()
        stale = now >= self._until or self._store.changes != self._changes
        if stale or len(self._known) >= RECIPIENTS_LIMIT:
            self._known.clear()
            self._until, self._changes = now + REMEMBERED, self._store.changes
        self._known[recipient.domain if isinstance(found, NotHere) else recipient] = found


def _lasts(found: Found | NotHere) -> bool:
    if isinstance(found, NotHere):
        return True
    return found.rule in _LASTING_RULES and all(one.room >= PLENTY for one in found.accounts)
