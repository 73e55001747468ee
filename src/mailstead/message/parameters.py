"""Content-Type and Content-Disposition: a value and its parameters (RFC 2045, 2183, 2231).

Continuations (`name*0=...; name*1=...`) are joined, as RFC 2231 section 8 asks of IMAP servers.
A parameter with a charset keeps its asterisk and its percent encoding, `decode_parameter` reads
it. Holds: never raises, at most PARAMETER_LIMIT parameters, the first of a name wins.
"""

import re
from urllib.parse import unquote_to_bytes

from mailstead.message.charset import decode_text
from mailstead.message.header import decode, strip_comments

Parameters = tuple[tuple[str, bytes], ...]

PARAMETER_LIMIT = 100  # parameters of one field
FIELD_LIMIT = 64 * 1024  # octets of one field that are looked at
SEGMENT_LIMIT = 1000  # segments of continued parameters of one field

_TYPE = re.compile(rb"\s*([!#$%&'*+.^_`{|}~\w-]+)\s*/\s*([!#$%&'*+.^_`{|}~\w-]+)", re.A)
_TOKEN = re.compile(rb"\s*([!#$%&'*+.^_`{|}~\w-]+)", re.A)
# A value without quotes goes to the next ";": file names with spaces are sent so.
_PARAMETER = re.compile(rb';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*+)"|([^;]*+))', re.S)
_ESCAPED = re.compile(rb"\\(.)", re.S)
_CONTINUED = re.compile(r"(.+?)\*(\d{1,4})(\*?)\Z", re.S)


def parse_type(value: bytes) -> tuple[str, str, Parameters] | None:
    """Type, subtype and parameters; None if it is none, and text/plain holds (RFC 2045 5.2)."""
    value = strip_comments(value[:FIELD_LIMIT])
    match = _TYPE.match(value)
    if match is None:
        return None
    type_, subtype = match[1].decode("ascii").lower(), match[2].decode("ascii").lower()
    return type_, subtype, _parameters(value, match.end())


def parse_disposition(value: bytes | None) -> tuple[str | None, Parameters]:
    """The disposition type and its parameters (RFC 2183 section 2)."""
    if value is None:
        return None, ()
    value = strip_comments(value[:FIELD_LIMIT])
    match = _TOKEN.match(value)
    if match is None:
        return None, ()
    return match[1].decode("ascii").lower(), _parameters(value, match.end())


def decode_parameter(parameters: Parameters, name: str) -> str | None:
    """The parameter as people read it: RFC 2231, or the encoded words that many send instead."""
    found = dict(reversed(parameters))
    extended = found.get(name + "*")
    if extended is not None:
        charset, _, rest = extended.partition(b"'")
        data = unquote_to_bytes(rest.partition(b"'")[2] if b"'" in rest else extended)
        return decode_text(data, charset.decode("latin-1") if b"'" in rest else "utf-8")
    plain = found.get(name)
    return None if plain is None else decode(plain)


def _parameters(value: bytes, at: int) -> Parameters:
    if at >= len(value):
        return ()
    found: dict[str, bytes] = {}
    continued: list[tuple[str, bytes]] = []
    for match in _PARAMETER.finditer(value, at):
        name = match[1].decode("latin-1").lower()
        if "*" in name and len(continued) < SEGMENT_LIMIT and _CONTINUED.match(name):
            continued.append((name, _value(match)))
        elif len(found) < PARAMETER_LIMIT:
            found.setdefault(name, _value(match))
    return (*found.items(), *_joined(continued)) if continued else tuple(found.items())


def _value(match: "re.Match[bytes]") -> bytes:
    quoted: bytes | None = match[2]
    if quoted is None:
        # A quoted string that is never closed is taken without its quote.
        bare: bytes = match[3]
        return bare.strip().strip(b'"')
    return _ESCAPED.sub(rb"\1", quoted) if b"\\" in quoted else quoted


def _joined(segments: list[tuple[str, bytes]]) -> Parameters:
    """Continued parameters in one piece each (RFC 2231 section 3), percent-encoded if any is."""
    families: dict[str, dict[int, tuple[bytes, bool]]] = {}
    for name, value in segments:
        if match := _CONTINUED.match(name):
            numbered = families.setdefault(match[1], {})
            numbered.setdefault(int(match[2]), (value, bool(match[3])))
    joined = []
    for name, numbered in families.items():
        pieces = [numbered[number] for number in range(len(numbered)) if number in numbered]
        extended = any(encoded for _, encoded in pieces)
        texts = [_percent(text) if extended and not enc else text for text, enc in pieces]
        joined.append((name + "*" if extended else name, b"".join(texts)))
    return tuple(joined[:PARAMETER_LIMIT])


def _percent(text: bytes) -> bytes:
    return _RESERVED.sub(lambda match: b"%%%02X" % match[0][0], text)


_RESERVED = re.compile(rb"[^A-Za-z0-9._~!#$&+^`{|}-]", re.S)
