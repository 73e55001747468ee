"""Lists of tag=value, as signatures and key records are written (RFC 6376 section 3.2).

Strict, as section 6.1.1 wants it: a tag that is there twice, or a control character, spoils the
list. Each function raises ValueError with a reason in words; the callers make values of it.
"""

import binascii
import re
from collections.abc import Mapping

WSP = " \t\r\n"  # folding white space, in whatever order it comes

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def parse_tags(data: bytes) -> dict[str, str]:
    """Each tag's value without the white space around it; UTF-8 is allowed (RFC 8616)."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    if _CONTROL.search(text):
        raise ValueError("it has control characters")
    specs = text.split(";")
    if not specs[-1].strip(WSP):
        specs.pop()
    tags: dict[str, str] = {}
    for spec in specs:
        name, value = _split(spec)
        if name in tags:
            raise ValueError(f"{name}= is there twice")
        tags[name] = value
    return tags


def _split(spec: str) -> tuple[str, str]:
    name, equals, value = spec.partition("=")
    name = name.strip(WSP)
    if not equals or not _NAME.fullmatch(name):
        raise ValueError(f"{spec.strip(WSP)[:40]!r} is no tag with a value")
    return name, value.strip(WSP)


def without(data: bytes, name: bytes) -> bytes:
    """The list with this tag's value, and the white space around it, left out (section 3.7)."""
    specs = data.split(b";")
    for at, spec in enumerate(specs):
        found, equals, _ = spec.partition(b"=")
        if equals and found.strip(WSP.encode()) == name:
            specs[at] = found + equals
    return b";".join(specs)


def need(tags: Mapping[str, str], name: str) -> str:
    """The value of a tag that has to be there, and not empty."""
    value = tags.get(name)
    if value is None:
        raise ValueError(f"{name}= is missing")
    if not value:
        raise ValueError(f"{name}= is empty")
    return value


def parse_list(text: str) -> list[str]:
    """The words between colons, with white space around them or not."""
    return [word.strip(WSP) for word in text.split(":")]


def parse_number(tags: Mapping[str, str], name: str, digits: int) -> int | None:
    """The number of decimal digits, or None if there is no such tag."""
    text = tags.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= digits):
        raise ValueError(f"{name}= is no number of at most {digits} digits")
    return int(text)


def parse_base64(text: str, name: str) -> bytes:
    """The octets; white space counts for nothing."""
    try:
        data = text.encode("ascii").translate(None, WSP.encode())
        octets = binascii.a2b_base64(data, strict_mode=True)
    except ValueError:
        raise ValueError(f"{name}= is no base64") from None
    if len(data) % 4:  # too much padding passes as strict
        raise ValueError(f"{name}= is no base64")
    return octets
