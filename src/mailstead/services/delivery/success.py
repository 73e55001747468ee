"""DSNs of success: to a sender who asked for them, about recipients that end here (RFC 3461).

Mail that lies in a mailbox is delivered; what an alias leads on is relayed or expanded, for nobody
further on is asked to tell (RFC 3461 section 5.2.7). What goes elsewhere by itself is told by the
outbound queue, or by those it passes the wish on to.
"""

import logging
from datetime import datetime

import msgspec

from mailstead.message.dsn import Action, Report, ReportedRecipient, compose_dsn
from mailstead.model.envelope import Wish
from mailstead.model.errors import Refusal, TemporaryFailure
from mailstead.model.numbers import TraceId
from mailstead.protocol.smtp.grammar import decode_xtext
from mailstead.services.delivery import recipients
from mailstead.services.delivery.plan import Message, compose_plan, mailboxes_of
from mailstead.services.delivery.recipients import Found
from mailstead.services.watch import Watch
from mailstead.storage.blobs import MemoryBody
from mailstead.storage.plan import Plan
from mailstead.storage.store import Store

log = logging.getLogger("mailstead.delivery")

_STATUS = {Action.DELIVERED: "2.1.5", Action.RELAYED: "2.1.9", Action.EXPANDED: "2.1.5"}


class Origin(msgspec.Struct, frozen=True):
    """Where and when a DSN is made, and under which trace."""

    hostname: str
    trace: TraceId
    now: datetime


def wanted(kept: list[Found]) -> list[Found]:
    """Those whose success is to be told, and is known now."""
    return [found for found in kept if found.wish.wants("SUCCESS") and _action(found)]


async def tell(
    store: Store, watch: Watch, message: Message, asked: list[Found], dsn: Origin
) -> None:
    """Send the DSN; the message itself is kept, so one that cannot be kept is let go.

    Only who has logged in can ask; where their own mail goes is known.
    """
    sender = message.reverse_path
    if sender is None:
        return
    found = await store.look_up(lambda tx: recipients.find(tx, sender))
    if not isinstance(found, Found):
        return
    plan = compose(message, asked, found, dsn)
    try:
        await store.apply(plan)
    except (Refusal, TemporaryFailure) as failure:
        log.warning("a DSN of success cannot be kept: %s", failure)
    else:
        watch.wake(mailboxes_of(plan))


def compose(
    message: Message,
    asked: list[Found],
    sender: Found,
    dsn: Origin,
) -> Plan:
    """The DSN, under a trace of its own, for where the sender's mail goes."""
    message_id = f"{dsn.trace}@{dsn.hostname}"
    header, body = compose_dsn(
        Report(
            reporting_mta=dsn.hostname,
            sender=sender.address,
            date=dsn.now,
            message_id=message_id,
            recipients=tuple(_reported(found, dsn.now) for found in asked),
            original_header=message.header,
            arrival=dsn.now,
            envelope_id=decode_xtext(message.envid) or "",
        )
    )
    message_id = f"<{message_id}>"
    notice = Message(dsn.trace, None, header, MemoryBody(body), message_id=message_id)
    return compose_plan(notice, [sender], [], dsn.now)


def original_recipient(wish: Wish) -> str:
    """ORCPT as a DSN repeats it: its type, and the address without xtext."""
    kind, _, address = wish.orcpt.partition(";")
    return f"{kind};{decode_xtext(address) or address}" if kind else ""


def _action(found: Found) -> Action | None:
    if not found.forwarded:
        return Action.DELIVERED if found.accounts and not found.elsewhere else None
    if len(found.targets) > 1:
        return Action.EXPANDED
    return Action.RELAYED if found.elsewhere else Action.DELIVERED


def _reported(found: Found, now: datetime) -> ReportedRecipient:
    action = _action(found) or Action.DELIVERED
    return ReportedRecipient(
        address=found.address,
        action=action,
        status=_STATUS[action],
        original_recipient=original_recipient(found.wish),
        last_attempt=now,
    )
