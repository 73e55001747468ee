"""Modified UTF-7, the encoding of mailbox names (RFC 3501 section 5.1.3).

Holds: one name has one spelling. What encode() would not have written, decode() refuses.
"""

import binascii
import re

_SHIFTED = re.compile(r"&([^-]*)-")
_UNPRINTABLE = re.compile(r"&|[^\x20-\x7e]+")


def encode(name: str) -> bytes:
    """The name in modified UTF-7; ValueError for a lone surrogate."""
    if name.isascii() and name.isprintable() and "&" not in name:
        return name.encode("ascii")
    return _UNPRINTABLE.sub(_shift, name).encode("ascii")


def decode(encoded: bytes) -> str:
    """The name that was encoded; ValueError if it is not the one spelling of a name."""
    if b"&" not in encoded:
        return _printable(encoded)
    name = _SHIFTED.sub(_unshift, encoded.decode("ascii"))
    # Superfluous shifts, shifted printables, stray bits and a lone "&" all fail here.
    if encode(name) != encoded:
        raise ValueError("no modified UTF-7")
    return name


def _printable(encoded: bytes) -> str:
    name = encoded.decode("ascii")
    if not name.isprintable():
        raise ValueError("a control character in modified UTF-7")
    return name


def _shift(match: re.Match[str]) -> str:
    text = match[0]
    if text == "&":
        return "&-"
    base64 = binascii.b2a_base64(text.encode("utf-16-be"), newline=False).decode("ascii")
    return "&" + base64.rstrip("=").replace("/", ",") + "-"


def _unshift(match: re.Match[str]) -> str:
    if not match[1]:
        return "&"
    base64 = match[1].replace(",", "/")
    padded = base64 + "=" * (-len(base64) % 4)
    return binascii.a2b_base64(padded.encode("ascii")).decode("utf-16-be")
