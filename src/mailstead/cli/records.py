"""The DNS records that a domain needs for its mail, as lines of a zone.

MX (RFC 5321 section 5.1), SPF (RFC 7208), DKIM (RFC 6376 section 3.6), DMARC (RFC 9989), SRV for
mail programs (RFC 6186, RFC 8314 section 5.1).
"""

import ipaddress
import socket
from contextlib import suppress

import msgspec

from mailstead.model.address import Domain
from mailstead.msgauth.dkim.key import SigningKey, txt_strings
from mailstead.msgauth.mtasts import policy_host, record_text

MX_PREFERENCE = 10
# An address of the outside world: nothing is sent to it, the kernel only looks up the way.
_OUTSIDE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
_SERVICES = {"_imaps._tcp": 993, "_submissions._tcp": 465, "_submission._tcp": 587}


class Record(msgspec.Struct, frozen=True):
    """One record to publish, and what it is for."""

    name: str
    type: str
    value: str
    why: str


def records(hostname: str, addresses: list[str], key: SigningKey) -> list[Record]:
    """What to publish for the domain of the key; placeholders stand where there is no address."""
    domain = key.domain
    srv = [
        Record(f"{service}.{domain}.", "SRV", f"0 1 {port} {hostname}.", "mail programs find us")
        for service, port in _SERVICES.items()
    ]
    return [
        *_of_host(hostname, addresses),
        Record(
            f"{domain}.", "MX", f"{MX_PREFERENCE} {hostname}.", "mail for the domain comes here"
        ),
        Record(f"{domain}.", "TXT", '"v=spf1 mx ~all"', "SPF: who sends for the domain"),
        dkim_record(key, "DKIM: the key that shows that mail is from the domain"),
        Record(
            f"_dmarc.{domain}.",
            "TXT",
            f'"v=DMARC1; p=none; rua=mailto:postmaster@{domain}"',
            "DMARC: reports first; p=quarantine once they show nothing odd",
        ),
        *srv,
    ]


def dkim_record(key: SigningKey, why: str) -> Record:
    """The public half of a key, in strings as long as a zone may have them."""
    strings = " ".join(f'"{text}"' for text in txt_strings(key.record))
    return Record(f"{key.name}.", "TXT", strings, why)


def policy_records(domain: Domain, hostname: str, policy_id: str) -> list[Record]:
    """What makes others fetch the MTA-STS policy of a domain, and send reports (RFC 8461, 8460)."""
    why = "MTA-STS: that there is a policy, and which"
    return [
        Record(f"_mta-sts.{domain}.", "TXT", f'"{record_text(policy_id)}"', why),
        Record(
            f"{policy_host(domain)}.", "CNAME", f"{hostname}.", "the host that serves the policy"
        ),
        Record(
            f"_smtp._tls.{domain}.",
            "TXT",
            f'"v=TLSRPTv1; rua=mailto:postmaster@{domain}"',
            "TLS-RPT: others tell what went wrong",
        ),
    ]


def _of_host(hostname: str, addresses: list[str]) -> list[Record]:
    why = "the server itself; the PTR record of the address must say the same name"
    if not addresses:
        return [
            Record(f"{hostname}.", "A", "(this server's public IPv4 address)", why),
            Record(f"{hostname}.", "AAAA", "(its public IPv6 address, if it has one)", why),
        ]
    return [
        Record(f"{hostname}.", "AAAA" if ":" in address else "A", address, why)
        for address in addresses
    ]


def format_records(found: list[Record]) -> str:
    """The records as lines of a zone, each with its reason above."""
    lines: list[str] = []
    for number, record in enumerate(found):
        if not number or found[number - 1].why != record.why:
            lines.append(f"  ; {record.why}")
        lines.append(f"  {record.name}  {record.type}  {record.value}")
    return "\n".join(lines)


def own_addresses() -> list[str]:
    """The public addresses that this machine would send from; behind NAT there are none."""
    found = []
    for family, outside in _OUTSIDE.items():
        # A kernel without IPv6 has no such socket, a machine without a way out no route.
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((outside, 53))
            found.append(str(probe.getsockname()[0]))
    return [address for address in found if ipaddress.ip_address(address).is_global]
