"""Domains and words that look like others: what a reader takes for a name that he knows.

Each name has a skeleton, in which letters that look alike are one letter; names with the same
skeleton, or one slip of the finger apart, look alike. Not all of Unicode's confusables: those of
Cyrillic and Greek, digits, and pairs of letters that pass for one.
Holds: never raises; the cost does not grow with the number of names that are known.
"""

import functools
import unicodedata
from collections.abc import Iterable

import msgspec

LABEL_LIMIT = 63  # characters of a label
SHORTEST = 6  # characters of a name; of shorter ones too many are one slip apart

_FOREIGN = "а е о р с х у і ј ѕ һ ԁ ԛ ԝ ѵ к м т в н г п α β ε ι κ ν ο ρ τ υ χ ω ı ɑ ɡ ℓ"
_LATIN = "a e o p c x y i j s h d q w v k m t b h r n a b e i k v o p t u x w i a g l"
_LOOKS = {
    ord(foreign): latin
    for foreign, latin in zip(_FOREIGN.split(), _LATIN.split(), strict=True)
    if len(foreign) == 1
} | {ord("0"): "o", ord("1"): "l", ord("3"): "e", ord("5"): "s", ord("i"): "l", ord("|"): "l"}
_PAIRS = (("rn", "m"), ("vv", "w"), ("cl", "d"))


class Known(msgspec.Struct, frozen=True):
    """Names that may be imitated: skeleton or slip of it -> the domain that it is."""

    skeletons: dict[str, str]
    slips: dict[str, str]


class Imitation(msgspec.Struct, frozen=True):
    """A domain that is imitated; `exact`: it looks the same, and is not only one slip apart."""

    of: str
    exact: bool


def know(domains: Iterable[str]) -> Known:
    """What has to be known to find imitations of these domains, in A-labels."""
    skeletons: dict[str, str] = {}
    slips: dict[str, str] = {}
    for domain in domains:
        name = skeleton(_main_label(domain))
        if len(name) >= SHORTEST:
            skeletons.setdefault(name, domain)
            for slip in _slips(name):
                slips.setdefault(slip, domain)
    return Known(skeletons, slips)


def imitated(domain: str, known: Known) -> Imitation | None:
    """The domain that this one looks like and is not; None for most."""
    label = _main_label(domain)
    name = skeleton(label)
    if len(name) < SHORTEST:
        return None
    found = known.skeletons.get(name)
    if found is not None:
        return None if _main_label(found) == label else Imitation(found, exact=True)
    for slip in sorted(_slips(name)):
        found = known.slips.get(slip)
        if found is not None and _one_apart(name, skeleton(_main_label(found))):
            return Imitation(found, exact=False)
    return None


def skeleton(name: str) -> str:
    """The name as it looks: letters that pass for each other are the same one."""
    name = readable(name).lower()[:LABEL_LIMIT]
    if not name.isascii():
        plain = unicodedata.normalize("NFKD", name)
        name = "".join([one for one in plain if not unicodedata.combining(one)])
    name = name.translate(_LOOKS)
    for pair, one in _PAIRS:
        name = name.replace(pair, one)
    return name.replace("-", "")


def readable(name: str) -> str:
    """A-labels as people see them, where they can be read at all."""
    if "xn--" not in name:
        return name
    return ".".join([_read_label(label) for label in name.split(".")])


def _read_label(label: str) -> str:
    if not label.startswith("xn--") or len(label) > LABEL_LIMIT:
        return label
    try:
        return label[4:].encode("ascii").decode("punycode")
    except (UnicodeError, ValueError):
        return label


_SECOND_LEVELS = frozenset(("co", "com", "net", "org", "gov", "edu", "ac"))


@functools.lru_cache(maxsize=4096)
def main_domain(domain: str) -> str:
    """The part of a domain that its owner bought, as good as can be told without a list."""
    labels = domain.rstrip(".").split(".")
    size = 3 if len(labels) > 2 and labels[-2] in _SECOND_LEVELS and len(labels[-1]) == 2 else 2
    return ".".join(labels[-size:])


def _main_label(domain: str) -> str:
    return main_domain(domain).partition(".")[0]


def _slips(name: str) -> set[str]:
    """The name, and with each of its letters left out: two with one in common are close."""
    return {name} | {name[:at] + name[at + 1 :] for at in range(len(name))}


def _one_apart(one: str, other: str) -> bool:
    """One letter more, less, another, or two of them swapped; the first has to be right."""
    if one[:1] != other[:1] or abs(len(one) - len(other)) > 1 or one.isdigit():
        return False
    at = 0
    while at < min(len(one), len(other)) and one[at] == other[at]:
        at += 1
    first, second = one[at:], other[at:]
    swapped = first[:2] == second[1::-1] and first[2:] == second[2:]
    return swapped or first[1:] == second[1:] or first == second[1:] or first[1:] == second


_SCRIPTS = {"LATIN": "latin", "CYRILLIC": "cyrillic", "GREEK": "greek", "ARMENIAN": "armenian"}


def mixes_scripts(word: str) -> bool:
    """Whether letters of scripts that look alike stand in one word."""
    if word.isascii():
        return False
    scripts = {_script(one) for one in word if one.isalpha()}
    scripts.discard("")
    return len(scripts) > 1


def _script(letter: str) -> str:
    if letter.isascii():
        return "latin"
    name = unicodedata.name(letter, "")
    return _SCRIPTS.get(name.partition(" ")[0], "")
