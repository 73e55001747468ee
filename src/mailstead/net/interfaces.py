"""The IP addresses of this machine (Linux): who we are, when we listen on all of them."""

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_SIOCGIFADDR = 0x8915  # linux/sockios.h: the IPv4 address of an interface


def own_addresses(listening: Iterable[str]) -> frozenset[str]:
    """The addresses that we listen on; for a wildcard, those of all interfaces."""
    found: set[str] = set()
    for address in listening:
        if address == "0.0.0.0":
            found.update(_ipv4())
        elif address == "::":
            found.update(_ipv6())
        else:
            found.add(address)
    return frozenset(found)


def _ipv4() -> Iterator[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # an interface without an IPv4 address
                request = struct.pack("256s", name.encode()[:15])
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, request)
                yield socket.inet_ntoa(answer[20:24])


def _ipv6(path: Path = Path("/proc/net/if_inet6")) -> Iterator[str]:
    with suppress(OSError):
        for line in path.read_text("ascii").splitlines():
            yield str(ipaddress.IPv6Address(bytes.fromhex(line.split()[0])))
