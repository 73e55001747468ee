"""How fast each site may be sent to: its provider's profile, less what it has said since.

A site that says we are too fast gets half of it (multiplicative decrease) and a pause; each minute
in which it takes something gives a twentieth back (additive increase), up to the profile. Values
only: whoever asks says what time it is. In memory: after a start everything is tried anew.
"""

import re
from collections import OrderedDict
from datetime import datetime, timedelta

import msgspec

from mailstead.services.outbound.providers import Limits, Profile, Providers, shipped_providers
from mailstead.services.outbound.rules import ReplyClass

RELAYED = "relayed"
SITES_LIMIT = 10_000  # that have said something lately
LEAST = 1 / 64  # of the profile; slower than this nobody has to be
RECOVERY = 1 / 20  # of the profile
RECOVERY_TIME = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)
# Where a profile knows no limit, half of everything is half of this.
UNLIMITED = 600  # messages a minute


class _State(msgspec.Struct, frozen=True):
    """What a site has said: which part of its profile it gets, and how often in a row."""

    part: float
    in_a_row: int
    paused_until: datetime
    changed: datetime


class Shaping:
    """What sites have said to this process."""

    def __init__(self, connections: int = 10, providers: Providers | None = None) -> None:
        self._most = connections  # at once to one site, whatever its profile says
        self._providers = providers or shipped_providers()
        self._states: OrderedDict[str, _State] = OrderedDict()
        self._profiles: dict[str, tuple[Profile, Limits]] = {}  # and the limits at full speed

    def profile(self, site: str) -> Profile:
        """The profile of the site."""
        return self._known(site)[0]

    def _known(self, site: str) -> tuple[Profile, Limits]:
        """Asked for each message: patterns are gone through once for each site."""
        if known := self._profiles.get(site):
            return known
        profile = self._providers.find(hosts_of(site))
        connections = min(profile.limits.connections, self._most)
        full = msgspec.structs.replace(profile.limits, connections=connections)
        if len(self._profiles) >= SITES_LIMIT:
            self._profiles.clear()
        self._profiles[site] = profile, full
        return profile, full

    def limits(self, site: str) -> Limits:
        """How fast the site may be sent to now."""
        full = self._known(site)[1]
        state = self._states.get(site)
        if state is None:
            return full
        return Limits(
            max(round(full.connections * state.part), 1),
            max(round((full.messages_a_minute or UNLIMITED) * state.part), 1),
            full.messages_a_connection,
        )

    def told(
        self, site: str, verdict_class: str, now: datetime, said: str = ""
    ) -> timedelta | None:
        """The site gave an answer of this class (RELAYED if it was good); how long to pause."""
        if verdict_class == RELAYED:
            self._took(site, now)
        elif verdict_class == ReplyClass.RATE_LIMIT:
            return self._too_fast(site, now, said)
        elif verdict_class == ReplyClass.REPUTATION:
            profile = self.profile(site)
            return profile.pause_for(said) or profile.block_pause
        return None

    def _too_fast(self, site: str, now: datetime, said: str) -> timedelta:
        state = self._states.get(site) or _State(1.0, 0, now, now)
        if state.in_a_row and now < state.paused_until:
            return state.paused_until - now  # said to another connection of ours a moment ago
        profile = self.profile(site)
        pause = (profile.pause_for(said) or profile.pause) * (1 << min(state.in_a_row, 10))
        pause = min(pause, LONGEST_PAUSE)
        part = max(state.part / 2, LEAST)
        self._keep(site, _State(part, state.in_a_row + 1, now + pause, now))
        return pause

    def _took(self, site: str, now: datetime) -> None:
        state = self._states.get(site)
        if state is None or now < state.paused_until:
            return
        part, changed = state.part, state.changed
        if now - max(changed, state.paused_until) >= RECOVERY_TIME:
            part, changed = part + RECOVERY, now
        if part >= 1:
            del self._states[site]
        else:
            self._keep(site, _State(part, 0, state.paused_until, changed))

    def _keep(self, site: str, state: _State) -> None:
        self._states[site] = state
        self._states.move_to_end(site)
        if len(self._states) > SITES_LIMIT:
            self._states.popitem(last=False)


def hosts_of(site: str) -> list[str]:
    """The host names in the name of a site."""
    return re.split(r"[,;\s|+]+", site)
