"""Macros of SPF: `%{i}` and the like in domains and explanations (RFC 7208 section 7).

Parsed when the record is, expanded when a term is looked at. Pure; the one value that takes the
DNS to know (%{p}) is given to `expand` like the others.
Holds: linear in the size of text and values; parsing raises ValueError and nothing else.
"""

import ipaddress
import re
from collections.abc import Mapping

import msgspec

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

DOMAIN_LETTERS = "slodipvh"
EXPLANATION_LETTERS = DOMAIN_LETTERS + "crt"  # RFC 7208 section 7.2
PARTS_LIMIT = 128  # parts that a digit can ask for; a domain name has at most 127
NAME_LIMIT = 253  # characters of a name that is looked up (RFC 7208 section 7.3)


class Macro(msgspec.Struct, frozen=True):
    """One `%{...}`; `parts` of 0 are all of them."""

    letter: str
    parts: int
    reverse: bool
    delimiters: str
    escaped: bool  # an upper-case letter asks for URL escaping


MacroString = tuple[str | Macro, ...]

_TOKEN = re.compile(
    r"%\{(?P<letter>[A-Za-z])(?P<digits>[0-9]*)(?P<reverse>[rR]?)(?P<delimiters>[.\-+,/_=]*)\}"
    r"|%(?P<special>[%_-])|(?P<literal>[\x20-\x24\x26-\x7e]+)"
)
_SPECIALS = {"%": "%", "_": " ", "-": "%20"}
_TOP_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")


def parse(text: str, letters: str = EXPLANATION_LETTERS) -> MacroString:
    """The macro-string in its pieces; ValueError if it is none (RFC 7208 section 7.1)."""
    return tuple(_piece(token, letters) for token in _tokens(text))


def parse_domain_spec(text: str) -> MacroString:
    """The domain-spec in its pieces: it ends with a macro or a top label; ValueError if it is none.

    What the macros will stand for is not known here, and need not be a domain name.
    """
    tokens = _tokens(text)
    if not tokens or " " in text:
        raise ValueError(f"{text!r} is no domain")
    literal = tokens[-1]["literal"]
    if literal and not _ends_with_top_label(literal):
        raise ValueError(f"{text!r} ends with no top label")
    return tuple(_piece(token, DOMAIN_LETTERS) for token in tokens)


def _tokens(text: str) -> "list[re.Match[str]]":
    tokens = []
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise ValueError(f"{text[at : at + 10]!r} is no macro, nor plain text")
        tokens.append(token)
        at = token.end()
    return tokens


def _ends_with_top_label(literal: str) -> bool:
    """A top label has a letter or a hyphen: what ends with a number is an address, no domain."""
    _, dot, label = literal.removesuffix(".").rpartition(".")
    return bool(dot) and _TOP_LABEL.fullmatch(label) is not None and not label.isdigit()


def _piece(token: "re.Match[str]", letters: str) -> str | Macro:
    if token["literal"]:
        return token["literal"]
    if token["special"]:
        return _SPECIALS[token["special"]]
    letter, digits = token["letter"], token["digits"].lstrip("0")
    if letter.lower() not in letters:
        raise ValueError(f"%{{{letter}}} is no macro that can stand here")
    if token["digits"] and not digits:
        raise ValueError(f"{token[0]!r} asks for no part at all")
    parts = min(int(digits[:4] or 0), PARTS_LIMIT)
    return Macro(
        letter.lower(), parts, bool(token["reverse"]), token["delimiters"], letter.isupper()
    )


def uses(pieces: MacroString, letters: str) -> bool:
    """Whether one of the macros is of these letters."""
    return any(isinstance(piece, Macro) and piece.letter in letters for piece in pieces)


def expand(pieces: MacroString, values: Mapping[str, str]) -> str:
    """The text with each macro's value in its place (RFC 7208 section 7.3)."""
    return "".join(one if isinstance(one, str) else _value(one, values) for one in pieces)


def _value(macro: Macro, values: Mapping[str, str]) -> str:
    value = values[macro.letter]
    if macro.parts or macro.reverse or macro.delimiters:
        parts = _split(value, macro.delimiters)
        if macro.reverse:
            parts.reverse()
        value = ".".join(parts[-macro.parts :])
    return _escape(value) if macro.escaped else value


def _split(value: str, delimiters: str) -> list[str]:
    for delimiter in set(delimiters):
        value = value.replace(delimiter, "\n")  # which no value has: `clean` saw to it
    return value.split("\n" if delimiters else ".")


_RESERVED = re.compile(rb"[^A-Za-z0-9._~-]")


def _escape(value: str) -> str:
    octets = value.encode("utf-8", "surrogateescape")
    return _RESERVED.sub(lambda found: b"%%%02X" % found[0][0], octets).decode("ascii")


def clean(value: str, limit: int) -> str:
    """A stranger's word as a value: without controls, and no longer than that."""
    return _CONTROL.sub("", value[:limit])


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def dotted(address: IpAddress) -> str:
    """The address for %{i}: dotted quad, or 32 nibbles with dots (RFC 7208 section 7.3)."""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return ".".join(f"{int(address):032X}")


def shorten(name: str) -> str:
    """The name to look up: labels go from its left until it fits (RFC 7208 section 7.3)."""
    if len(name) > NAME_LIMIT:
        cut = name.find(".", len(name) - NAME_LIMIT - 1)
        return name[cut + 1 :] if cut >= 0 else name[-NAME_LIMIT:]
    return name
