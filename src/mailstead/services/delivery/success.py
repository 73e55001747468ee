"""DSNs of success: to a sender who asked for them, about recipients that end here (RFC 3461).

Mail that lies in a mailbox is delivered; what an alias leads on is relayed or expanded, for nobody
further on is asked to tell (RFC 3461 section 5.2.7). What goes elsewhere by itself is told by the
outbound queue, or by those it passes the wish on to.
"""

from datetime import datetime

from mailstead.message.dsn import Action, Report, ReportedRecipient, compose_dsn
from mailstead.model.envelope import Wish
from mailstead.model.numbers import TraceId
from mailstead.protocol.smtp.grammar import decode_xtext
from mailstead.services.delivery.plan import Message, compose_plan
from mailstead.services.delivery.recipients import Found
from mailstead.storage.blobs import MemoryBody
from mailstead.storage.plan import Plan

_STATUS = {Action.DELIVERED: "2.1.5", Action.RELAYED: "2.1.9", Action.EXPANDED: "2.1.5"}


def wanted(recipients: list[Found]) -> list[Found]:
    """Those whose success is to be told, and is known now."""
    return [found for found in recipients if found.wish.wants("SUCCESS") and _action(found)]


def compose(
    message: Message,
    recipients: list[Found],
    sender: Found,
    hostname: str,
    trace: TraceId,
    now: datetime,
) -> Plan:
    """The DSN, under a trace of its own, for where the sender's mail goes."""
    message_id = f"{trace}@{hostname}"
    header, body = compose_dsn(
        Report(
            reporting_mta=hostname,
            sender=sender.address,
            date=now,
            message_id=message_id,
            recipients=tuple(_reported(found, now) for found in recipients),
            original_header=message.header,
            arrival=now,
            envelope_id=decode_xtext(message.envid) or "",
        )
    )
    dsn = Message(trace, None, header, MemoryBody(body), message_id=f"<{message_id}>")
    return compose_plan(dsn, [sender], [], now)


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
