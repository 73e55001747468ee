"""The doorkeeper: asks the limits, remembers who is here, and tells what was refused.

Owns: the gauge of open connections, the notes and metrics of limits. The arithmetic is in limits.
Holds: what is refused gives no hint whether an account exists, and fills neither the journal nor
the log: each limit speaks once a minute about the same peer or account.
"""

from collections.abc import Callable

import msgspec

from mailstead.model.entries import LoginFailed, Refused
from mailstead.model.numbers import OrganisationId, TraceId
from mailstead.model.world import Clock, Endpoint
from mailstead.services import limits
from mailstead.services.limits import Attempt, Counters, Network
from mailstead.services.metering import Meter
from mailstead.storage.plan import JournalRow

METRIC = "limit_reached_total"
CONNECTIONS_ADDRESS = "connections_address"
CONNECTIONS_ACCOUNT = "connections_account"
COMMANDS = "commands"
EARLY = "early_talkers"
TARPIT_LIMIT = 200  # connections of this machine that are kept waiting at a time
_TARPIT = b"tarpit"


class Settings(msgspec.Struct, frozen=True):
    """What operators may change."""

    connections_per_address: int = 50  # at a time, before log-in
    connections_per_minute: int = limits.CONNECTIONS_RATE.most  # of an address
    connections_per_account: int = 50  # at a time, after log-in, by IMAP
    exempt: tuple[Network, ...] = limits.LOOPBACK  # addresses that are nobody's in particular
    relay_from: tuple[Network, ...] = ()
    xclient_from: tuple[Network, ...] = ()


class Doorkeeper:
    """What sessions ask before they go on."""

    def __init__(
        self,
        counters: Counters,
        settings: Settings,
        clock: Clock,
        note: Callable[[JournalRow], None],
        meter: Meter,
    ) -> None:
        self._counters, self._settings, self._clock = counters, settings, clock
        self._note, self._meter = note, meter

    # ------------------------------------------------------------------ connections

    def enter(self, peer: Endpoint, reply: str) -> "Guest":
        """A connection; if it is refused, `reply` is what the peer will be told."""
        if self._is_exempt(peer.address) or self.may_relay(peer.address):
            return Guest(self, b"")
        unit = limits.unit_of(peer.address)
        guest = Guest(self, b"address " + unit)
        limit = ""
        most = self._settings.connections_per_minute
        if not limits.may_connect(self._counters, peer.address, self._now(), most):
            limit = limits.CONNECTIONS_RATE.name
        elif guest.here > self._settings.connections_per_address:
            limit = CONNECTIONS_ADDRESS
        if limit:
            guest.refused = True
            self.refuse(limit, unit, "connect", reply, str(peer))
        return guest

    def enter_account(self, login: str, peer: Endpoint, reply: str) -> "Guest":
        """A connection of this account by IMAP, or its refusal."""
        if self._is_exempt(peer.address):
            return Guest(self, b"")
        guest = Guest(self, b"account " + login.encode())
        if guest.here > self._settings.connections_per_account:
            guest.refused = True
            self.refuse(CONNECTIONS_ACCOUNT, login.encode(), "login", reply, f"{peer} {login}")
        return guest

    def come(self, key: bytes) -> int:
        """One more under the key is here; how many that makes."""
        return self._counters.enter(key) if key else 0

    def go(self, key: bytes) -> None:
        """One under the key is gone."""
        if key:
            self._counters.leave(key)

    # ------------------------------------------------------------------ relaying, recipients

    def may_relay(self, address: str) -> bool:
        """Whether the peer may relay without log-in (the setting relay_from)."""
        return limits.is_within(address, self._settings.relay_from)

    def may_speak_for_others(self, address: str) -> bool:
        """Whether the peer may say by XCLIENT for whom it speaks (the setting xclient_from)."""
        return limits.is_within(address, self._settings.xclient_from)

    def may_deliver(self, address: str) -> bool:
        """Whether the peer may speak LMTP: from this machine, or from where it may relay."""
        return limits.is_within(address, limits.LOOPBACK) or self.may_relay(address)

    def is_ours(self, address: str) -> bool:
        """Whether the peer is on this machine, and that is believed (limits.loopback_exempt)."""
        return limits.is_within(address, limits.LOOPBACK) and self._is_exempt(address)

    def stranger(self, address: str) -> bytes:
        """The key that a peer's misses are counted under; empty for who is exempt from that."""
        if self._is_exempt(address) or self.may_relay(address):
            return b""
        return limits.unit_of(address)

    def has_harvested(self, stranger: bytes) -> bool:
        """Whether the peer has named too many recipients lately that do not exist."""
        if not stranger:
            return False
        rate = limits.UNKNOWN_RATE
        return limits.count(self._counters, rate, stranger, self._now()) >= rate.most

    def unknown_recipient(self, address: str) -> None:
        """The peer has named one more."""
        limits.add(self._counters, limits.UNKNOWN_RATE, limits.unit_of(address), self._now())

    def welcome(self, address: str) -> None:
        """The peer has brought mail that proved where it is from."""
        limits.add(self._counters, limits.HOST_RATE, limits.unit_of(address), self._now())

    def is_welcome(self, address: str) -> bool:
        """Whether it has lately, is on this machine, or somebody has logged in well from there."""
        if limits.is_within(address, limits.LOOPBACK):
            return True
        unit, now = limits.unit_of(address), self._now()
        known = limits.count(self._counters, limits.HOST_RATE, unit, now) > 0
        return known or limits.is_good(self._counters, unit, now)

    def keep_waiting(self) -> "Guest | None":
        """A place for one more peer that is kept waiting, until it leaves; None: no room."""
        guest = Guest(self, _TARPIT)
        if guest.here > TARPIT_LIMIT:
            guest.leave()
            return None
        return guest

    def refuse_early(self, peer: Endpoint, reply: str) -> None:
        """Tell of a peer that spoke before it was greeted."""
        self.refuse(EARLY, limits.unit_of(peer.address), "connect", reply, str(peer))

    # ------------------------------------------------------------------ log-ins

    def find_login_limit(self, attempt: Attempt, peer: Endpoint) -> str:
        """The name of the limit that puts the log-in off; "" if it may be tried."""
        if self._is_exempt(peer.address):
            return ""
        return limits.find_login_limit(self._counters, attempt, self._now())

    def is_known(self, attempt: Attempt) -> bool:
        """Whether the account has logged in from there lately."""
        return limits.is_known(self._counters, attempt, self._now())

    def refuse_login(self, limit: str, attempt: Attempt, entry: LoginFailed) -> None:
        """Tell of a log-in that was put off by a limit."""
        self._meter.count(METRIC, limit=limit)
        if self.may_tell(limit, attempt.here):
            self._note(JournalRow(TraceId(""), OrganisationId(0), (entry,)))

    def log_in_failed(self, attempt: Attempt, password: str) -> bool:
        """Count a wrong password; whether the journal should be told."""
        fresh = limits.log_in_failed(self._counters, attempt, password, self._now())
        return fresh or self.may_tell("repeated", attempt.here)

    def log_in_worked(self, attempt: Attempt) -> None:
        """Remember the place."""
        limits.log_in_worked(self._counters, attempt, self._now())

    def refuse_commands(self, peer: Endpoint, reply: str) -> None:
        """Tell of a session that is ended for the commands that it sent, or did not send."""
        self.refuse(COMMANDS, limits.unit_of(peer.address), "session", reply, str(peer))

    # ------------------------------------------------------------------ telling

    def refuse(self, limit: str, key: bytes, stage: str, reply: str, reason: str) -> None:
        """Count a refusal; tell journal and log of the first in a minute."""
        self._meter.count(METRIC, limit=limit)
        if self.may_tell(limit, key):
            at = self._clock.now()
            entry = Refused(at=at, stage=stage, reply=reply, reason=f"{limit}: {reason}")
            self._note(JournalRow(TraceId(""), OrganisationId(0), (entry,)))

    def may_tell(self, limit: str, key: bytes) -> bool:
        """Whether nothing was told about the same limit and key in this minute."""
        name = b"%s %s" % (limit.encode(), key)
        return limits.first_in_window(self._counters, name, self._now())

    def _is_exempt(self, address: str) -> bool:
        return limits.is_within(address, self._settings.exempt)

    def _now(self) -> float:
        return self._clock.now().timestamp()


class Guest:
    """Somebody who is here, and counted until `leave`."""

    def __init__(self, doorkeeper: Doorkeeper, key: bytes) -> None:
        self._doorkeeper, self._key = doorkeeper, key
        self.here = doorkeeper.come(key)  # how many of them are here
        self.refused = False

    def leave(self) -> None:
        """Gone; may be called again."""
        key, self._key = self._key, b""
        self._doorkeeper.go(key)
