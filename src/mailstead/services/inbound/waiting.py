"""Who has to come again: strangers where greylisting is on, and whom the DNS is silent about.

Greylisting is off until it is switched on. Whoever proves who it is (DMARC passes, a believed host
saw it pass), is on an allow list or has come before is never asked to wait; who waits is known by
its network or by the domain that SPF passes for, never by the single address.
The DNS: a message that a missing answer could turn into a refusal is put off for a day at most.
"""

from collections.abc import Sequence
from datetime import timedelta

from mailstead.model.reply import Reply
from mailstead.msgauth.dmarc.check import Dmarc
from mailstead.msgauth.spf.record import Spf
from mailstead.services.delivery.recipients import Found
from mailstead.services.inbound.evidence import Evidence
from mailstead.services.limits import network_of
from mailstead.storage import greylist, sender_memory
from mailstead.storage.sender_memory import Sender
from mailstead.storage.store import Store, Tx

WAIT = timedelta(minutes=4, seconds=30)  # most servers try again after five minutes
WINDOW = timedelta(days=2)  # for the second attempt
WELL_KNOWN = 3  # so much different mail has passed, or was welcome: it is asked no more
MOSTLY = 4  # times as much welcome mail as spam
DNS_WAIT = timedelta(hours=24)
_DNS = "dns"

COME_AGAIN = Reply(451, "4.7.1", "We do not know you yet; come again in five minutes")


async def is_put_off(
    store: Store, evidence: Evidence, found: Sequence[Found], senders: Sequence[Sender] = ()
) -> bool:
    """Whether the message has to come again; greylisting is on for all its recipients."""
    if _proves_itself(evidence):
        return False
    source, domain = _source(evidence), _domain(evidence)
    if await store.look_up(lambda tx: _is_known(tx, source, domain, found, senders)):
        return False

    def knock(tx: Tx) -> bool:
        came = [greylist.knock(tx, source, domain, str(one.address), WAIT, WINDOW) for one in found]
        return not any(came)

    return await store.write(knock)


def _proves_itself(evidence: Evidence) -> bool:
    dmarc = evidence.dmarc
    if dmarc is not None and dmarc.result is Dmarc.PASS:
        return True
    return any(hit.allows for hit in evidence.hits if hit.of_client)


def _is_known(
    tx: Tx, source: str, domain: str, found: Sequence[Found], senders: Sequence[Sender]
) -> bool:
    for organisation in {one.organisation for one in found}:
        known = sender_memory.find(tx, organisation, senders).values()
        if any(one.ham >= WELL_KNOWN and one.ham > MOSTLY * one.spam for one in known):
            return True
    if greylist.count_passed(tx, source, WELL_KNOWN) >= WELL_KNOWN:
        return True
    return any(greylist.has_passed(tx, source, domain, str(one.address)) for one in found)


def _source(evidence: Evidence) -> str:
    if evidence.spf.result is Spf.PASS and evidence.spf.identity:
        return f"spf:{evidence.spf.identity}"
    return f"net:{network_of(evidence.client.address).decode()}"


def _domain(evidence: Evidence) -> str:
    return evidence.client.reverse_path.rpartition("@")[2].lower()


async def has_waited(store: Store, evidence: Evidence, found: Found) -> bool:
    """Whether the DNS has been silent about this sender and recipient for too long to wait on."""
    domain, recipient = _domain(evidence), str(found.address)
    waits = await store.write(lambda tx: greylist.waits(tx, _DNS, domain, recipient, DNS_WAIT))
    return not waits
