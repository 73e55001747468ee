"""Where a recipient leads: mailboxes here, addresses elsewhere, or nowhere.

Aliases are followed here, once, at RCPT: what they lead to is settled before the 250.
Holds: an expansion ends, whatever the aliases say: each address is followed once, DEPTH_LIMIT
levels deep, to at most TARGETS_LIMIT targets.
"""

from collections.abc import Callable, Sequence

import msgspec

from mailstead.model.address import Address, Domain, parse_address
from mailstead.model.envelope import NO_WISH, Wish
from mailstead.model.mailbox import SpecialUse
from mailstead.model.numbers import OrganisationId
from mailstead.model.reply import Reply
from mailstead.protocol.smtp import replies
from mailstead.services import return_path
from mailstead.services.delivery import srs
from mailstead.services.return_path import PURPOSE, Home
from mailstead.storage import accounts, mailboxes, relays, secrets
from mailstead.storage.accounts import Elsewhere, ToAccount, ToNobody, ToTargets
from mailstead.storage.store import Tx

DEPTH_LIMIT = 10  # aliases that lead to aliases
TARGETS_LIMIT = 100  # that one recipient may lead to

EXPANSION_TOO_BIG = Reply(554, "5.4.6", "The address leads to too many others")


RETURN_PATH = "return path"  # the rule of bounces that come home


class Found(msgspec.Struct, frozen=True):
    """A recipient that we take, and where the message goes for it."""

    address: Address
    rule: str  # the first step: "account", "subaddress", "alias", "catch-all", "role", ...
    organisation: OrganisationId
    accounts: tuple[ToAccount, ...] = ()
    elsewhere: tuple[Address, ...] = ()
    wish: Wish = NO_WISH
    days: int = 0  # that it may wait; 0: as usual
    home: Home | None = None  # whose return path it is
    junk: bool = False  # it goes to Junk
    marks: bytes = b""  # header fields of its own: what the filter says
    quarantined: bool = False  # it waits in the queue until somebody has looked at it

    @property
    def forwarded(self) -> bool:
        """What goes elsewhere does so because an alias of ours says so."""
        return self.rule == "alias"

    @property
    def passed_on(self) -> bool:
        """None of ours sends it, so nobody is told of failures (no backscatter)."""
        return self.forwarded or self.rule == "relay"

    @property
    def leaves(self) -> bool:
        """It is itself elsewhere, and one of ours sends to it."""
        return self.elsewhere == (self.address,) and self.rule != "relay"

    @property
    def targets(self) -> tuple[str, ...]:
        """All of it, for the journal."""
        return tuple(one.login for one in self.accounts) + tuple(map(str, self.elsewhere))


class NotHere(msgspec.Struct, frozen=True):
    """The domain is not ours; whether the message may pass is the caller's to say."""

    address: Address


class Catch(msgspec.Struct, frozen=True):
    """A developer's server: the account that gets what would leave without a route."""

    login: str
    is_routed: Callable[[Domain], bool]


def find(
    tx: Tx, address: Address, catch: Catch | None = None, bounce: bool = False
) -> Found | NotHere | Reply:
    """Where the recipient leads, or the reply that refuses it; a `bounce` has no reverse-path."""
    found = _find(tx, address, bounce)
    return found if catch is None else _caught(tx, found, catch)


def _find(tx: Tx, address: Address, bounce: bool) -> Found | NotHere | Reply:
    first = accounts.find_destination(tx, address) if address.domain else _postmaster(tx, address)
    if isinstance(first, Elsewhere):
        return NotHere(address)
    if return_path.is_signed(address.local_part) and not _is_taken(first):
        return _come_home(tx, address) if bounce else replies.UNKNOWN_RECIPIENT
    if srs.is_rewritten(address.local_part) and not _is_taken(first):
        return _send_home(tx, address) if bounce else replies.UNKNOWN_RECIPIENT
    if isinstance(first, ToAccount):
        if first.full:
            return replies.MAILBOX_FULL
        return Found(address, first.rule, first.organisation, accounts=(first,))
    if isinstance(first, ToTargets):
        return _expand(tx, address, first)
    return replies.UNKNOWN_RECIPIENT


def _is_taken(first: accounts.Destination) -> bool:
    """Whether somebody has that very address; a catch-all has none."""
    if isinstance(first, ToAccount):
        return first.rule != "catch-all"
    return isinstance(first, ToTargets)


def _send_home(tx: Tx, address: Address) -> Found | Reply:
    """The sender of a message that we forwarded, if the return path is ours and not too old."""
    original = srs.restore(address.local_part, secrets.find_all(tx, PURPOSE), tx.now)
    if original is None:
        return replies.UNKNOWN_RECIPIENT
    domain = accounts.get_domain(tx, address.domain)
    found = _expand(tx, address, ToTargets(domain.organisation, (original,)))
    return msgspec.structs.replace(found, rule="srs") if isinstance(found, Found) else found


def _come_home(tx: Tx, address: Address) -> Found | Reply:
    """A bounce of what one of our streams sent; it leads into no mailbox."""
    home = return_path.read(address, secrets.find_all(tx, PURPOSE), tx.now)
    if home is None:
        return replies.UNKNOWN_RECIPIENT
    organisation = accounts.get_domain(tx, address.domain).organisation
    return Found(address, RETURN_PATH, organisation, home=home)


def _postmaster(tx: Tx, address: Address) -> accounts.Destination:
    """The only address without a domain (RFC 5321 section 4.5.1)."""
    found = accounts.find_postmaster(tx) if address.local_part.lower() == "postmaster" else None
    return found or accounts.ToNobody()


def into_junk(tx: Tx, found: Sequence[Found]) -> list[Found]:
    """The same recipients, with the Junk mailbox of each account in the place of the inbox."""
    return [
        msgspec.structs.replace(
            one, accounts=tuple(_junk_of(tx, to) for to in one.accounts), junk=True
        )
        for one in found
    ]


def _junk_of(tx: Tx, to: ToAccount) -> ToAccount:
    junk = mailboxes.find_special(tx, to.account, SpecialUse.JUNK)
    return to if junk is None else msgspec.structs.replace(to, inbox=junk)


def leave(address: Address, organisation: OrganisationId, rule: str = "elsewhere") -> Found:
    """A recipient elsewhere that a sender of ours may send to."""
    return Found(address, rule, organisation, elsewhere=(address,))


def _caught(tx: Tx, found: Found | NotHere | Reply, catch: Catch) -> Found | NotHere | Reply:
    """The same, with the catching account instead of everything that has no route."""
    if isinstance(found, Reply):
        return found
    account = accounts.find_destination(tx, parse_address(catch.login))
    if not isinstance(account, ToAccount):
        return found
    if isinstance(found, NotHere):
        if catch.is_routed(found.address.domain):
            return leave(found.address, account.organisation)
        return Found(found.address, "caught", account.organisation, accounts=(account,))
    routed = tuple(one for one in found.elsewhere if catch.is_routed(one.domain))
    if routed == found.elsewhere:
        return found
    return msgspec.structs.replace(found, accounts=(*found.accounts, account), elsewhere=routed)


def _expand(tx: Tx, address: Address, alias: ToTargets) -> Found | Reply:
    mailboxes: dict[int, ToAccount] = {}
    elsewhere: dict[Address, None] = {}
    seen, level, depth = {address}, list(alias.targets), 0
    while level and depth < DEPTH_LIMIT:
        depth += 1
        level = [target for target in dict.fromkeys(level) if target not in seen]
        seen.update(level)
        if len(seen) > TARGETS_LIMIT:
            return EXPANSION_TOO_BIG
        level = _follow(tx, level, mailboxes, elsewhere)
    open_ = tuple(account for account in mailboxes.values() if not account.full)
    if not open_ and not elsewhere:
        return replies.MAILBOX_FULL if mailboxes else replies.UNKNOWN_RECIPIENT
    return Found(address, "alias", alias.organisation, open_, tuple(elsewhere))


def _follow(
    tx: Tx,
    level: list[Address],
    mailboxes: dict[int, ToAccount],
    elsewhere: dict[Address, None],
) -> list[Address]:
    """One level further: what is settled is noted, what are aliases again comes back."""
    further: list[Address] = []
    for target in level:
        found = accounts.find_destination(tx, target)
        if isinstance(found, ToAccount):
            mailboxes[found.account] = found
        elif isinstance(found, Elsewhere) or _is_relayed(tx, found, target):
            elsewhere[target] = None
        elif isinstance(found, ToTargets):
            further.extend(found.targets)
    return further


def _is_relayed(tx: Tx, found: accounts.Destination, target: Address) -> bool:
    """Whether the address is of a split domain, and may exist on its other server."""
    if not isinstance(found, ToNobody):
        return False
    relayed = relays.find_recipient(tx, target)
    return relayed is not None and (relayed.listed or relayed.domain.recipients == "call")
