"""Flags of a message in a mailbox (RFC 9051 section 2.3.2): system flags as bits, the rest by name.

`system` is an int of the bits below, cheap to keep for each of a hundred thousand messages;
`keywords` is one string, names sorted and parted by a space, empty for nearly every message.
\\Recent is no flag here: it belongs to a session.
"""

import re

SEEN, ANSWERED, FLAGGED, DELETED, DRAFT = 1, 2, 4, 8, 16

# Not a flag of IMAP, but kept with them: the owner has fetched the body once.
RETRIEVED = 1 << 16

SYSTEM_FLAGS: dict[str, int] = {
    "\\Seen": SEEN,
    "\\Answered": ANSWERED,
    "\\Flagged": FLAGGED,
    "\\Deleted": DELETED,
    "\\Draft": DRAFT,
}
_BIT_OF_LOWER = {name.lower(): bit for name, bit in SYSTEM_FLAGS.items()}

KEYWORD_LIMIT = 100  # octets of one keyword
KEYWORDS_LIMIT = 100  # different keywords in one mailbox

# An atom without "\" (RFC 9051 section 9: flag-keyword).
_KEYWORD = re.compile(rf"[^\x00-\x20\x7f-\U0010ffff(){{%*\"\\\]]{{1,{KEYWORD_LIMIT}}}\Z")


def parse_flags(names: "list[str] | tuple[str, ...]") -> tuple[int, str]:
    """(system, keywords) of flag names; \\Recent is passed over.

    Raises ValueError for a name that is neither a system flag nor a keyword.
    """
    system, keywords = 0, set()
    for name in names:
        if name.startswith("\\"):
            if name.lower() != "\\recent":
                system |= _system_bit(name)
        elif _KEYWORD.match(name):
            keywords.add(name)
        else:
            raise ValueError(f"{name!r} is no keyword")
    return system, join_keywords(keywords)


def format_flags(system: int, keywords: str = "", recent: bool = False) -> str:
    """The names in one line, as between the parentheses of FLAGS (...)."""
    names = [name for name, bit in SYSTEM_FLAGS.items() if system & bit]
    if keywords:
        names.append(keywords)
    if recent:
        names.append("\\Recent")
    return " ".join(names)


def join_keywords(keywords: "set[str]") -> str:
    """The one spelling of a set of keywords: case folded together, sorted, parted by spaces."""
    unique = {keyword.lower(): keyword for keyword in sorted(keywords, reverse=True)}
    return " ".join(unique[key] for key in sorted(unique))


def has_keyword(keywords: str, name: str) -> bool:
    """Whether the keyword is set; keywords are case-insensitive."""
    return bool(keywords) and name.lower() in keywords.lower().split(" ")


def _system_bit(name: str) -> int:
    bit = _BIT_OF_LOWER.get(name.lower())
    if bit is None:
        raise ValueError(f"{name!r} is no system flag")
    return bit
