"""What is known about the big sites: how much they take, from a new source and from an old one.

It lies in providers.toml beside this module, for people to read; here it is checked and compiled,
once. Not here: what a site has said since (shaping). Pure.
"""

import functools
import importlib.resources
import re
import tomllib
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import msgspec

PROVIDERS_FILE = "providers.toml"
OTHER = "other"  # the provider of hosts that match no profile
HOSTS_LIMIT = 20  # names of one site that are looked at
HOST_LENGTH = 255
TEXT_LIMIT = 2000  # characters of a reply that are looked at


class Limits(msgspec.Struct, frozen=True):
    """How much one lane may do; 0 messages a minute: as many as go."""

    connections: int
    messages_a_minute: int
    messages_a_connection: int


class Profile(msgspec.Struct, frozen=True):
    """A provider with everything filled in."""

    name: str
    limits: Limits
    pause: timedelta
    block_pause: timedelta
    warmup: float
    source: str = ""
    hosts: "re.Pattern[str] | None" = None
    said: "tuple[tuple[re.Pattern[str], timedelta], ...]" = ()

    def pause_for(self, said: str) -> timedelta | None:
        """How long to pause after these words, if the provider has some of its own."""
        words = " ".join(said[:TEXT_LIMIT].lower().split())
        return next((pause for pattern, pause in self.said if pattern.search(words)), None)


class Providers(msgspec.Struct, frozen=True):
    """All profiles, in the order they are tried, what applies to everybody else, and the plan."""

    profiles: tuple[Profile, ...]
    usual: Profile
    days: tuple[int, ...]  # messages a day of a source that is warming

    def find(self, hosts: Iterable[str]) -> Profile:
        """The profile of a site with these MX hosts."""
        names = [host[:HOST_LENGTH].lower().rstrip(".") for host in list(hosts)[:HOSTS_LIMIT]]
        for profile in self.profiles:
            assert profile.hosts is not None
            if any(map(profile.hosts.fullmatch, names)):
                return profile
        return self.usual

    def allowance(self, provider: str, day: int) -> int | None:
        """What a source sends to the provider on that day of its life (from 0); None: warm."""
        if day >= len(self.days):
            return None
        shares = {profile.name: profile.warmup for profile in self.profiles}
        return max(int(self.days[max(day, 0)] * shares.get(provider, self.usual.warmup)), 1)


class _Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: tuple[str, ...]
    minutes: int


class _Usual(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    connections: int
    messages_a_connection: int
    messages_a_minute: int
    pause: int
    block_pause: int
    warmup: float


class _Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    hosts: tuple[str, ...]
    connections: int | None = None
    messages_a_connection: int | None = None
    messages_a_minute: int | None = None
    pause: int | None = None
    block_pause: int | None = None
    warmup: float | None = None
    source: str = ""
    said: tuple[_Said, ...] = ()


class _WarmUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    days: tuple[int, ...]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    usual: _Usual
    warmup: _WarmUp
    provider: tuple[_Provider, ...]


@functools.cache
def shipped_providers() -> Providers:
    """The profiles that come with Mailstead."""
    file = importlib.resources.files("mailstead.services.outbound") / PROVIDERS_FILE
    return parse_providers(file.read_text("utf-8"))


@functools.lru_cache(maxsize=4096)
def profile_of_host(host: str) -> Profile:
    """The profile of one MX host."""
    return shipped_providers().find((host,))


def parse_providers(toml: str) -> Providers:
    """The profiles of a file; ValueError says which one is wrong."""
    data: dict[str, Any] = tomllib.loads(toml)
    file = msgspec.convert(data, _File)
    names = [one.name for one in file.provider]
    if len({*names, OTHER}) <= len(names):
        raise ValueError(f"two providers have the same name, or one is called {OTHER!r}")
    usual = _profile(_Provider(OTHER, ()), file.usual)
    return Providers(
        tuple(_profile(one, file.usual) for one in file.provider), usual, file.warmup.days
    )


def _profile(one: _Provider, usual: _Usual) -> Profile:
    fields = {field: getattr(usual, field) for field in usual.__struct_fields__}
    fields |= {field: own for field in fields if (own := getattr(one, field)) is not None}
    if min(fields["connections"], fields["messages_a_connection"]) < 1:
        raise ValueError(f"provider {one.name}: nothing could be sent")
    try:
        return Profile(
            name=one.name,
            limits=Limits(
                fields["connections"], fields["messages_a_minute"], fields["messages_a_connection"]
            ),
            pause=timedelta(minutes=fields["pause"]),
            block_pause=timedelta(minutes=fields["block_pause"]),
            warmup=fields["warmup"],
            source=one.source,
            hosts=_any(one.hosts) if one.hosts else None,
            said=tuple((_any(said.text), timedelta(minutes=said.minutes)) for said in one.said),
        )
    except re.error as error:
        raise ValueError(f"provider {one.name}: {error}") from error


def _any(patterns: tuple[str, ...]) -> "re.Pattern[str]":
    return re.compile("|".join(f"(?:{one})" for one in patterns))
