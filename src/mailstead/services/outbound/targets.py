"""Which IP addresses mail may be sent to when only the DNS names them.

Anybody can point an MX record at an address inside our network; so loopback, private and other
addresses that mean something only here are unusable (RFC 6890, and the IANA special-purpose
registries) unless the operator's `allowed_targets` names them. Documentation ranges count as
ordinary. Routes and smarthosts, which the operator wrote down, are not asked about here.
"""

import ipaddress

import msgspec

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SPECIAL: tuple[Network, ...] = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",  # this network, unspecified
            "10.0.0.0/8",  # private (RFC 1918), and the two others of it below
            "100.64.0.0/10",  # behind a carrier's NAT (RFC 6598)
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local (RFC 3927); where clouds keep credentials
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments
            "192.88.99.0/24",  # 6to4 relays (RFC 7526)
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks (RFC 2544)
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
            "::/96",  # unspecified, loopback, IPv4-compatible (RFC 4291 section 2.5.5.1)
            "::ffff:0:0/96",  # IPv4-mapped (RFC 4291 section 2.5.5.2)
            "64:ff9b::/96",  # NAT64 (RFC 6052)
            "64:ff9b:1::/48",  # NAT64 of one's own (RFC 8215)
            "100::/64",  # discard only (RFC 6666)
            "2001::/23",  # protocol assignments, Teredo among them (RFC 4380)
            "2002::/16",  # 6to4, any IPv4 address inside (RFC 3056)
            "fc00::/7",  # unique local (RFC 4193)
            "fe80::/10",  # link-local
            "fec0::/10",  # site-local (RFC 3879)
            "ff00::/8",  # multicast
        ),
    )
)


class Targets(msgspec.Struct, frozen=True):
    """What is special on this machine: networks allowed after all, and addresses of our own.

    Those of our own are in their shortest form.
    """

    allowed: tuple[Network, ...] = ()
    own: frozenset[str] = frozenset()

    def is_own(self, address: str) -> bool:
        """Whether this house listens there."""
        return str(_parse(address)) in self.own

    def is_allowed(self, address: str) -> bool:
        """Whether the operator named a network that the address lies in."""
        ip = _parse(address)
        return ip is not None and any(ip in network for network in self.allowed)

    def is_usable(self, address: str) -> bool:
        """Whether mail may go there though only the DNS says so."""
        ip = _parse(address)
        if ip is None:
            return False
        if any(ip in network for network in self.allowed):
            return True
        return not self.is_own(address) and not any(ip in network for network in _SPECIAL)


def parse_networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """The networks of the setting `allowed_targets`; ValueError if one is none."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        return None
