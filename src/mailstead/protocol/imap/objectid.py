"""Identifiers of objects that never change (RFC 8474): a letter for the kind, a number in hex."""

import re

EMAIL_ID, MAILBOX_ID = "M", "F"
_NUMBER = re.compile(rb"[1-9a-f][0-9a-f]{0,14}")


def format_object_id(kind: str, number: int) -> str:
    """The identifier of the object."""
    return f"{kind}{number:x}"


def parse_object_id(kind: str, text: bytes) -> int:
    """The number of the object; 0, which no object has, if it is no identifier of this kind."""
    if not text.startswith(kind.encode("ascii")) or not _NUMBER.fullmatch(text, 1):
        return 0
    return int(text[1:], 16)
