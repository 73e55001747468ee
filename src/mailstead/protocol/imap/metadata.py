"""Annotations of mailboxes and of the server, and the commands on them as values (RFC 5464).

Names of entries are kept in lower case. An empty mailbox name is the server.
"""

import re

import msgspec

ENTRY_LIMIT = 255  # octets of a name
PRIVATE, SHARED = "/private", "/shared"
INFINITE = 1 << 30  # DEPTH infinity

_NAME = re.compile(r"/(?:private|shared)(?:/[^/*%\x00-\x1f\x7f-\U0010ffff]+)*\Z")

Tag = bytes


class GetMetadata(msgspec.Struct, frozen=True):
    """RFC 5464 section 4.2; without MAXSIZE values of any size are wanted."""

    tag: Tag
    mailbox: str
    entries: tuple[str, ...]
    max_size: int | None = None
    depth: int = 0


class SetMetadata(msgspec.Struct, frozen=True):
    """RFC 5464 section 4.3; None takes an entry away."""

    tag: Tag
    mailbox: str
    values: tuple[tuple[str, bytes | None], ...]


MetadataCommand = GetMetadata | SetMetadata


def parse_entry(text: str) -> str:
    """The name of an entry, or of what is above one; ValueError if it is none (section 3.2)."""
    name = text.lower()
    if len(name) > ENTRY_LIMIT or not _NAME.match(name):
        raise ValueError("That is no name of an entry")
    return name


def is_complete(entry: str) -> bool:
    """Whether the entry can have a value: /shared/vendor is only a beginning (section 3.2)."""
    _, _, *levels = entry.split("/")
    return len(levels) >= (3 if levels[:1] == ["vendor"] else 1)


def is_within(entry: str, root: str, depth: int) -> bool:
    """Whether the entry is the root, or below it by not more levels than that."""
    if entry == root:
        return True
    return entry.startswith(root + "/") and entry.count("/") - root.count("/") <= depth
