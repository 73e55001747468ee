"""Where recipients lead, remembered for a moment: who gets much mail is looked up once a second.

Only what a moment cannot make wrong is remembered: an account with plenty of room, a domain that is
not ours. Holds: an account that went away meanwhile is noticed when the message is filed.
"""

from mailstead.model.address import Address, Domain
from mailstead.model.world import Clock
from mailstead.services.delivery.recipients import Found, NotHere
from mailstead.services.moment import Moment
from mailstead.services.telling import TellingStore

PLENTY = 256 * 1024**2  # octets that an account has left: nobody fills them in a moment
_LASTING_RULES = ("account", "subaddress")


class KnownRecipients:
    """What was found within the last moment."""

    def __init__(self, store: TellingStore, clock: Clock) -> None:
        self._known: Moment[Address | Domain, Found | NotHere] = Moment(store, clock)

    def find(self, recipient: Address) -> Found | NotHere | None:
        """Where the recipient leads; None if it has to be looked up.

        That a domain is not ours is known of all addresses in it, whichever was asked about.
        """
        return self._known.find(recipient) or self._known.find(recipient.domain)

    def remember(self, recipient: Address, found: object) -> None:
        """What was just looked up, if it will be right for a moment."""
        if isinstance(found, Found | NotHere) and _lasts(found):
            key = recipient.domain if isinstance(found, NotHere) else recipient
            self._known.keep(key, found)


def _lasts(found: Found | NotHere) -> bool:
    if isinstance(found, NotHere):
        return True
    return found.rule in _LASTING_RULES and all(one.room >= PLENTY for one in found.accounts)
