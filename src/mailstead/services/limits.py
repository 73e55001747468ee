"""The arithmetic of limits: how often something may happen, to whom it is counted, who may go on.

Pure: every function is given the counters and the time. Strangers are counted by address (IPv6:
the /64), log-ins by account and network (/24, /48). Holds: whoever guesses passwords from
elsewhere uses up nothing that the owner of the account needs.
"""

import ipaddress
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

import msgspec

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# What is counted together, in a table of its own: a flood of one kind cannot push out the others.
RATES, FAILURES, GUESSES, KNOWN, HOSTS = range(5)

Cell = tuple[int, int, int]  # the window's number, the count in it, the count in the one before


class Counters(Protocol):
    """Memory for counts, shared by the workers of a machine; bounded: old counts may be lost."""

    def find(self, shelf: int, key: bytes) -> Cell | None:
        """What was kept under the key."""
        ...

    def keep(self, shelf: int, key: bytes, cell: Cell, now: float) -> None:
        """Keep this instead."""
        ...

    def enter(self, key: bytes) -> int:
        """One more is here; how many there are now, on the whole machine."""
        ...

    def leave(self, key: bytes) -> None:
        """One that had entered is gone."""
        ...


NOTES_WINDOW = 60  # seconds in which the journal is told once about the same limit and key


class Rate(msgspec.Struct, frozen=True):
    """So many in any stretch of that length; `name` is what its metric says."""

    name: str
    most: int
    window: timedelta
    shelf: int = RATES


CONNECTIONS_RATE = Rate("connections_rate", 120, timedelta(minutes=1))  # per address; a setting
UNKNOWN_RATE = Rate("unknown_recipients", 20, timedelta(minutes=10))  # per address
UNKNOWN_LIMIT = 20  # unknown recipients of one connection
# Wrong passwords: from a network for an account, from an address for all accounts.
FAILURES_RATE = Rate("logins_account", 10, timedelta(minutes=15), FAILURES)
ADDRESS_FAILURES_RATE = Rate("logins_address", 20, timedelta(minutes=15), FAILURES)
REPEATED_RATE = Rate("repeated", 1, timedelta(hours=24), GUESSES)  # the very same wrong password
KNOWN_RATE = Rate("known", 1, timedelta(days=30), KNOWN)  # where the account logged in
GOOD_RATE = Rate("good", 1, timedelta(days=1), KNOWN)  # where somebody logged in
HOST_RATE = Rate("hosts", 1, timedelta(days=30), HOSTS)  # that brought mail which proved itself
GENEROSITY = 10  # how much more is allowed to those who have logged in well


# ---------------------------------------------------------------------- windows


def advance(cell: Cell | None, number: int) -> Cell:
    """The cell as it stands in the window of this number."""
    if cell is None or not number - 1 <= cell[0] <= number:
        return number, 0, 0
    return cell if cell[0] == number else (number, 0, cell[1])


def estimate(cell: Cell, part: float) -> float:
    """How many there were in the last stretch, when this part of the current window is over."""
    return cell[1] + cell[2] * (1.0 - part)


def count(counters: Counters, rate: Rate, key: bytes, now: float) -> float:
    """How often it happened lately."""
    number, part = divmod(now / rate.window.total_seconds(), 1.0)
    found = counters.find(rate.shelf, _named(rate, key))
    return 0.0 if found is None else estimate(advance(found, int(number)), part)


def add(counters: Counters, rate: Rate, key: bytes, now: float) -> float:
    """It happened once more; how often that makes."""
    number, part = divmod(now / rate.window.total_seconds(), 1.0)
    name = _named(rate, key)
    window, current, before = advance(counters.find(rate.shelf, name), int(number))
    cell = (window, current + 1, before)
    counters.keep(rate.shelf, name, cell, now)
    return estimate(cell, part)


def first_in_window(counters: Counters, key: bytes, now: float) -> bool:
    """Whether this is the first time in this stretch of NOTES_WINDOW."""
    number, name = int(now / NOTES_WINDOW), b"note " + key
    found = counters.find(RATES, name)
    if found is not None and found[0] == number:
        return False
    counters.keep(RATES, name, (number, 1, 0), now)
    return True


def _named(rate: Rate, key: bytes) -> bytes:
    return b"%s %s" % (rate.name.encode(), key)


# ---------------------------------------------------------------------- whom it is counted to


def unit_of(address: str) -> bytes:
    """Who a stranger is: the address; of IPv6 the /64, which one host has for itself."""
    return _prefix(address, 32, 64)


def network_of(address: str) -> bytes:
    """Where somebody logs in from: the /24; of IPv6 the /48."""
    return _prefix(address, 24, 48)


def _prefix(address: str, bits4: int, bits6: int) -> bytes:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address.encode("utf-8", "surrogateescape")
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    bits = bits4 if ip.version == 4 else bits6
    return b"%d:%x/%d" % (ip.version, int(ip) >> (ip.max_prefixlen - bits), bits)


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks, as "10.0.0.0/8"; a single address is one too. ValueError if one is not."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def is_within(address: str, networks: Sequence[Network]) -> bool:
    """Whether the address is in one of the networks."""
    if not networks:
        return False
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip.version == network.version and ip in network for network in networks)


LOOPBACK = parse_networks(["127.0.0.0/8", "::1"])


# ---------------------------------------------------------------------- who may go on


def may_connect(
    counters: Counters, address: str, now: float, most: int = CONNECTIONS_RATE.most
) -> bool:
    """Whether one more connection of the address comes not too soon; counts it."""
    unit = unit_of(address)
    times = GENEROSITY if is_good(counters, unit, now) else 1
    return add(counters, CONNECTIONS_RATE, unit, now) <= most * times


def is_good(counters: Counters, unit: bytes, now: float) -> bool:
    """Whether somebody logged in well from the address lately."""
    return count(counters, GOOD_RATE, unit, now) > 0


class Attempt(msgspec.Struct, frozen=True):
    """A log-in that is tried, by its keys."""

    login: bytes
    unit: bytes
    network: bytes

    @property
    def here(self) -> bytes:
        """This account from this network."""
        return self.login + b"\0" + self.network

    @property
    def exactly_here(self) -> bytes:
        """This account from this address."""
        return self.login + b"\0" + self.unit


def attempt_of(login: str, address: str) -> Attempt:
    """The keys of a log-in; all spellings of a login that lead to one account are one."""
    name = login.casefold().encode("utf-8", "surrogatepass")
    return Attempt(name, unit_of(address), network_of(address))


def find_login_limit(counters: Counters, attempt: Attempt, now: float) -> str:
    """The name of the limit that puts this log-in off; "" if none does.

    Where the account has logged in from lately, nothing that happened at other addresses and to
    other accounts counts, and the network has GENEROSITY: its owner goes on.
    """
    most = FAILURES_RATE.most
    wide = count(counters, FAILURES_RATE, attempt.here, now)
    if is_known(counters, attempt, now):
        near = count(counters, FAILURES_RATE, attempt.exactly_here, now)
        return FAILURES_RATE.name if near >= most or wide >= most * GENEROSITY else ""
    if wide >= most:
        return FAILURES_RATE.name
    most = ADDRESS_FAILURES_RATE.most
    if is_good(counters, attempt.unit, now):
        most *= GENEROSITY
    failures = count(counters, ADDRESS_FAILURES_RATE, attempt.unit, now)
    return ADDRESS_FAILURES_RATE.name if failures >= most else ""


def is_known(counters: Counters, attempt: Attempt, now: float) -> bool:
    """Whether the account has logged in from the network lately."""
    return count(counters, KNOWN_RATE, attempt.here, now) > 0


def log_in_failed(counters: Counters, attempt: Attempt, password: str, now: float) -> bool:
    """Count a wrong password; False if it is the very same as before, which is not counted."""
    guess = attempt.login + b"\0" + password.encode("utf-8", "surrogatepass")
    if add(counters, REPEATED_RATE, guess, now) > 1:
        return False
    add(counters, FAILURES_RATE, attempt.here, now)
    add(counters, FAILURES_RATE, attempt.exactly_here, now)
    add(counters, ADDRESS_FAILURES_RATE, attempt.unit, now)
    return True


def log_in_worked(counters: Counters, attempt: Attempt, now: float) -> None:
    """Remember where the account, and from which address somebody, has logged in."""
    add(counters, KNOWN_RATE, attempt.here, now)
    add(counters, GOOD_RATE, attempt.unit, now)
