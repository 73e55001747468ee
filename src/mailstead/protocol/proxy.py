"""The header with which a proxy tells whom it speaks for (PROXY protocol of HAProxy, 1 and 2).

`parse` is given what has come in so far. Not here: which peers may say such a thing. What version
2 says beyond the addresses (TLVs) is skipped; UNKNOWN, LOCAL and UNSPEC name nobody.
"""

import ipaddress
import re

import msgspec

from mailstead.model.world import Endpoint

V1_LIMIT = 107  # octets of a line of version 1, CRLF included
V2_LIMIT = 4096  # octets of a header of version 2; its TLVs are seldom beyond 536

_V1 = b"PROXY "
_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED = 16  # octets before the addresses
_V1_LINE = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?"
    rb"|TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4}))\r\n"
)


class Proxied(msgspec.Struct, frozen=True):
    """A header: who the client is (None: nobody in particular), and how long the header was."""

    client: Endpoint | None
    size: int


class Incomplete(msgspec.Struct, frozen=True):
    """More has to come in."""


class NotProxied(msgspec.Struct, frozen=True):
    """This is no such header, or a broken one."""

    reason: str


Found = Proxied | Incomplete | NotProxied


def parse(data: bytes) -> Found:
    """The header at the beginning of what a proxy sent."""
    if data.startswith(_V2[: len(data)]):
        return Incomplete() if len(data) < _V2_FIXED else _parse_v2(data)
    if data.startswith(_V1[: len(data)]):
        return _parse_v1(data)
    return NotProxied("no PROXY header")


def _parse_v1(data: bytes) -> Found:
    end = data.find(b"\n", 0, V1_LIMIT)
    if end < 0:
        return NotProxied("the line is too long") if len(data) >= V1_LIMIT else Incomplete()
    found = _V1_LINE.fullmatch(data, 0, end + 1)
    if found is None:
        return NotProxied("a broken line")
    if found[1] is None:
        return Proxied(None, end + 1)
    client = _endpoint(found[1], found[2].decode("ascii"), int(found[4]))
    local = _endpoint(found[1], found[3].decode("ascii"), int(found[5]))
    if client is None or local is None:
        return NotProxied("an impossible address")
    return Proxied(client, end + 1)


def _endpoint(family: bytes, address: str, port: int) -> Endpoint | None:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    if ip.version != int(family) or port > 65535:
        return None
    return Endpoint(_shortest(ip), port)


def _shortest(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """As Endpoint has it; an IPv4 address inside an IPv6 one is an IPv4 address."""
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)


def _parse_v2(data: bytes) -> Found:
    version, command = data[12] >> 4, data[12] & 15
    family, size = data[13], _V2_FIXED + int.from_bytes(data[14:16], "big")
    if version != 2 or command > 1:
        return NotProxied("an unknown version or command")
    if size > V2_LIMIT:
        return NotProxied("the header is too long")
    if len(data) < size:
        return Incomplete()
    if command == 0:  # LOCAL: the proxy speaks for itself
        return Proxied(None, size)
    return _parse_addresses(family, data[_V2_FIXED:size], size)


def _parse_addresses(family: int, data: bytes, size: int) -> Found:
    """0x11 is TCP over IPv4, 0x21 TCP over IPv6; source and destination, then both ports."""
    octets = {0x11: 4, 0x21: 16}.get(family)
    if octets is None:
        known = family >> 4 <= 3 and family & 15 <= 2
        return Proxied(None, size) if known else NotProxied("an unknown family")
    if len(data) < 2 * octets + 4:
        return NotProxied("the addresses are cut off")
    client = ipaddress.ip_address(data[:octets])
    port = int.from_bytes(data[2 * octets : 2 * octets + 2], "big")
    return Proxied(Endpoint(_shortest(client), port), size)
