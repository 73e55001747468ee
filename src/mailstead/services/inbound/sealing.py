"""Sealing what is forwarded (RFC 8617): we say what we found, and vouch for those before us.

A switch, per organisation. The seal is by the domain that forwards, with the key that signs its
mail; it covers the message as it goes on.
"""

from collections.abc import Sequence
from datetime import datetime

from mailstead.msgauth.arc import seal as sealing
from mailstead.msgauth.arc.chain import parse_chain
from mailstead.services.delivery.recipients import Found
from mailstead.services.inbound import authentication
from mailstead.services.inbound.evidence import Evidence
from mailstead.services.inbound.site import Site
from mailstead.storage import switches


def may_be_sealed(found: Sequence[Found]) -> bool:
    """Whether some of it goes on."""
    return any(one.forwarded and one.elsewhere for one in found)


async def seal(
    site: Site,
    found: Sequence[Found],
    header: bytes,
    body_hash: bytes,
    evidence: Evidence,
    now: datetime,
) -> bytes:
    """The seal for the top of the header; nothing where it is not wanted, or no key is there."""
    forwards = [one for one in found if one.forwarded and one.elsewhere]
    wanted = await site.store.look_up(
        lambda tx: [
            one.address.domain
            for one in forwards
            if switches.is_on(tx, switches.SEALING, one.organisation, one.address.domain)
        ]
    )
    keys = await site.signing.keys_of(wanted[0]) if wanted else ()
    if not keys:
        return b""
    results = authentication.results_of(evidence, site.hostname)
    return sealing.seal(header, body_hash, parse_chain(header), evidence.arc, results, keys[0], now)
