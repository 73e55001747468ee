"""The lists in the DNS that are known: where they lie and what their answers mean.

They lie in zones.toml beside this module, for people to read; here they are checked, once.
Not here: how to ask them (msgauth.dnsbl).
"""

import functools
import importlib.resources
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mailstead.msgauth.dnsbl import Bit, Kind, Meaning, Zone

ZONES_FILE = "zones.toml"
_CODE = re.compile(r"127(\.(\*|[0-9]{1,3})){3}\Z")


class KnownZone(msgspec.Struct, frozen=True):
    """A zone, whether it is asked without anybody saying so, what it counts, and who says all this.

    `weights` are of the labels that count more or less than the rest; `keyed` is the suffix for who
    has registered.
    """

    zone: Zone
    on: bool
    source: str
    weight: float = 0.0
    weights: Mapping[str, float] = {}
    keyed: str = ""

    def weight_of(self, labels: Sequence[str]) -> float:
        """What a listing with these labels counts: as much as the weightiest of them."""
        return max((self.weights.get(label, self.weight) for label in labels), key=abs, default=0.0)


class _Zone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    suffix: str
    kinds: tuple[Kind, ...]
    on: bool
    source: str
    codes: dict[str, str] = {}
    bits: dict[str, str] = {}
    allows: bool = False
    test_domain: str = "test"
    weight: float = 0.0
    weights: dict[str, float] = {}
    keyed: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    zone: tuple[_Zone, ...]


@functools.cache
def shipped_zones() -> tuple[KnownZone, ...]:
    """The zones that come with Mailstead."""
    file = importlib.resources.files("mailstead.services.inbound") / ZONES_FILE
    return parse_zones(file.read_text("utf-8"))


def parse_zones(toml: str) -> tuple[KnownZone, ...]:
    """The zones of a file; ValueError says which one is wrong."""
    data: dict[str, Any] = tomllib.loads(toml)
    zones = msgspec.convert(data, _File).zone
    if len({one.name for one in zones}) < len(zones):
        raise ValueError("two zones have the same name")
    return tuple(_known(one) for one in zones)


def _known(one: _Zone) -> KnownZone:
    for code in one.codes:
        if not _CODE.match(code):
            raise ValueError(f"{one.name}: {code!r} is no answer of a list")
    for mask in one.bits:
        if not mask.isdecimal() or int(mask).bit_count() != 1 or not 1 < int(mask) < 256:
            raise ValueError(f"{one.name}: {mask!r} is no bit of an octet, or the lowest")
    if not one.kinds or not (one.codes or one.bits):
        raise ValueError(f"{one.name}: without kinds, or without answers that mean something")
    zone = Zone(
        name=one.name,
        suffix=one.suffix,
        kinds=one.kinds,
        codes=tuple(Meaning(code, label) for code, label in one.codes.items()),
        bits=tuple(Bit(int(mask), label) for mask, label in one.bits.items()),
        allows=one.allows,
        test_domain=one.test_domain,
    )
    labels = {**one.codes, **one.bits}
    if unknown := set(one.weights) - set(labels):
        raise ValueError(f"{one.name}: a weight for {min(unknown)}, which means nothing there")
    weights = {labels[code]: weight for code, weight in one.weights.items()}
    return KnownZone(zone, one.on, one.source, one.weight, weights, one.keyed)


def with_key(known: KnownZone, key: str) -> KnownZone:
    """The zone as who has registered asks it."""
    if not key or not known.keyed:
        return known
    zone = msgspec.structs.replace(known.zone, suffix=known.keyed.replace("{key}", key))
    return msgspec.structs.replace(known, zone=zone)
