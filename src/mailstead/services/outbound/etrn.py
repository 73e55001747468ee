"""ETRN: somebody says that a server is back, and wants its mail now (RFC 1985).

Anybody may: mail goes where it always goes, and a domain is flushed once a minute at most.
"""

from mailstead.model.address import parse_domain
from mailstead.model.reply import Reply
from mailstead.protocol.smtp import replies
from mailstead.services.doorkeeper import Doorkeeper
from mailstead.services.outbound.relaying import flush
from mailstead.services.watch import Watch
from mailstead.storage import relays
from mailstead.storage.store import Store

LIMIT = "etrn"


async def send_now(store: Store, watch: Watch, doorkeeper: Doorkeeper, node: str) -> Reply:
    """Try all that waits for the relay domain; what the peer is told (RFC 1985 section 5.1)."""
    try:
        domain = parse_domain(node.strip())
    except ValueError as error:  # "@" and "#" before the node, too: we know no such queues
        return replies.syntax_error("5.5.4", str(error))
    if await store.look_up(lambda tx: relays.find(tx, domain)) is None:
        return Reply(458, "4.7.1", f"Unable to queue messages for node {domain}")
    if not doorkeeper.may_tell(LIMIT, domain.encode()):
        return Reply(250, "2.0.0", f"OK, queuing for node {domain} started")
    if count := await flush(store, watch, domain, whatever=True):
        return Reply(253, "2.0.0", f"OK, {count} pending messages for node {domain} started")
    return Reply(251, "2.0.0", f"OK, no messages waiting for node {domain}")
