"""Rights to mailboxes, and the commands on them as values (RFC 4314).

Rights are one string of letters in the order of RIGHTS. Where a client sees or says them there are
two more, of RFC 2086: `c` stands for `k` and `x`, `d` for `t` and `e` (RFC 4314 section 2.1.1).
"""

import enum
from typing import assert_never

import msgspec

RIGHTS = "lrswipkxtea"  # RFC 4314 section 2.1
NEW_RIGHTS = "kxte"  # those that RFC 2086 did not know
VIRTUAL = {"c": "kx", "d": "te"}

Tag = bytes


class Change(enum.StrEnum):
    """What becomes of the rights that an identifier had (RFC 4314 section 3.1)."""

    REPLACE = ""
    ADD = "+"
    REMOVE = "-"


class SetAcl(msgspec.Struct, frozen=True):
    """RFC 4314 section 3.1."""

    tag: Tag
    mailbox: str
    identifier: str
    change: Change
    rights: str


class DeleteAcl(msgspec.Struct, frozen=True):
    """RFC 4314 section 3.2."""

    tag: Tag
    mailbox: str
    identifier: str


class GetAcl(msgspec.Struct, frozen=True):
    """RFC 4314 section 3.3."""

    tag: Tag
    mailbox: str


class ListRights(msgspec.Struct, frozen=True):
    """RFC 4314 section 3.4; the identifier is kept as it was said, too, for the answer."""

    tag: Tag
    mailbox: str
    identifier: str
    said: bytes


class MyRights(msgspec.Struct, frozen=True):
    """RFC 4314 section 3.5."""

    tag: Tag
    mailbox: str


AclCommand = SetAcl | DeleteAcl | GetAcl | ListRights | MyRights


def parse_change(text: str) -> tuple[Change, str]:
    """The third argument of SETACL; ValueError for a right that there is not."""
    change = Change(text[:1]) if text.startswith(("+", "-")) else Change.REPLACE
    return change, parse_rights(text.removeprefix(change.value))


def parse_rights(text: str) -> str:
    """The rights in the text, each once; ValueError for one that there is not."""
    unknown = set(text) - set(RIGHTS) - VIRTUAL.keys()
    if unknown:
        raise ValueError(f"There is no right {min(unknown)!r}")
    return ordered(set("".join(VIRTUAL.get(letter, letter) for letter in text)))


def format_rights(rights: str) -> str:
    """The rights, with what a client of RFC 2086 has to see of them."""
    old = [letter for letter, meaning in VIRTUAL.items() if set(meaning) & set(rights)]
    return rights + "".join(old)


def changed(before: str, change: Change, rights: str) -> str:
    """The rights after the change."""
    match change:
        case Change.REPLACE:
            return rights
        case Change.ADD:
            return ordered(set(before) | set(rights))
        case Change.REMOVE:
            return ordered(set(before) - set(rights))
        case _:
            assert_never(change)


def ordered(rights: set[str]) -> str:
    """The one spelling of a set of rights."""
    return "".join(letter for letter in RIGHTS if letter in rights)
