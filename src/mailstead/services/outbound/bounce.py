"""DSNs to senders: what failed, and what takes longer (RFC 3464).

Holds: none for the null reverse-path (RFC 5321 section 4.5.5), none where the message says so
(forwards), and one DSN for all recipients that an attempt failed or delayed. It is filed or queued
in the transaction that records the outcome it tells of.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from mailstead.message.dsn import Action, Report, ReportedRecipient, compose_dsn
from mailstead.model.address import Address, parse_address
from mailstead.model.entries import AnyEntry, Notified
from mailstead.model.envelope import TlsWish
from mailstead.model.numbers import MailboxId
from mailstead.model.reply import Reply
from mailstead.model.world import World
from mailstead.protocol.smtp.grammar import decode_xtext
from mailstead.services.delivery import recipients
from mailstead.services.delivery.plan import Message, compose_plan, mailboxes_of
from mailstead.services.delivery.recipients import Catch, Found, NotHere
from mailstead.services.outbound.classify import status_of
from mailstead.services.signing import Signing
from mailstead.services.tracing import new_trace
from mailstead.storage import accounts, blobs
from mailstead.storage.accounts import ToAccount
from mailstead.storage.blobs import MemoryBody
from mailstead.storage.packfile import DamagedBody
from mailstead.storage.plan import Enqueue, JournalRow, Plan, Step
from mailstead.storage.queue import Outgoing
from mailstead.storage.store import Store, Tx

HEADER_LIMIT = 64 * 1024  # octets of the original header that are looked at
FULL_LIMIT = 1024 * 1024  # octets of a body that goes back with its DSN


class Event(msgspec.Struct, frozen=True):
    """What is to be recorded about one message: steps, story, and who needs to be told of."""

    outgoing: Outgoing
    header: bytes
    steps: tuple[Step, ...]
    entries: tuple[AnyEntry, ...]
    notices: tuple[ReportedRecipient, ...] = ()


class Wakes(msgspec.Struct, frozen=True):
    """Who has to be woken after the commit."""

    mailboxes: frozenset[MailboxId] = frozenset()
    queue: bool = False


class Bounces:
    """Makes plans of events, with a DSN where one is due."""

    def __init__(
        self, store: Store, world: World, hostname: str, catch: Catch | None = None
    ) -> None:
        self._store, self._world, self._hostname, self._catch = store, world, hostname, catch
        self._signing = Signing(store, world.clock)

    async def plan(self, event: Event) -> Plan:
        """The plan that records the event and tells the sender."""
        sender = _sender(event)
        if not event.notices or sender is None:
            return plain_plan(event)
        found = await self._store.read(lambda tx: _find(tx, sender, event.outgoing, self._catch))
        if found is None:
            return plain_plan(event)
        message = self._compose(event, sender, await self._body(event))
        if found.elsewhere:
            octets = bytes(message.body.view())
            header = await self._signing.sign_notice(message.header, octets, self._hostname)
            message = msgspec.structs.replace(message, header=header)
        return self._with_dsn(event, message, sender, found)

    async def _body(self, event: Event) -> bytes | None:
        """What goes back beyond the header: all, if the sender asked (RFC 3461 section 4.3)."""
        outgoing = event.outgoing
        failed = any(one.action is Action.FAILED for one in event.notices)
        # A DSN may take ways that the message must not take (RFC 8689 section 5).
        if outgoing.ret != "FULL" or not failed or outgoing.tls is TlsWish.REQUIRED:
            return None
        if len(event.header) > HEADER_LIMIT or outgoing.body.size > FULL_LIMIT:
            return None
        try:
            return await self._store.read(lambda tx: blobs.read(tx, outgoing.body))
        except DamagedBody:
            return None

    def _with_dsn(self, event: Event, message: Message, sender: Address, found: Found) -> Plan:
        now = self._world.clock.now()
        dsn = compose_plan(message, [found], [], now)
        told = tuple(
            Notified(
                at=now,
                recipient=str(one.address),
                action=one.action.value,
                sent_to=str(sender),
                trace=message.trace,
            )
            for one in event.notices
        )
        original = event.outgoing
        row = JournalRow(original.trace, original.organisation, (*event.entries, *told))
        return msgspec.structs.replace(dsn, steps=(*event.steps, *dsn.steps), rows=(row,))

    def _compose(self, event: Event, sender: Address, original: bytes | None) -> Message:
        trace, now = new_trace(self._world), self._world.clock.now()
        message_id = f"{trace}@{self._hostname}"
        header, body = compose_dsn(
            Report(
                reporting_mta=self._hostname,
                sender=sender,
                date=now,
                message_id=message_id,
                recipients=event.notices,
                original_header=event.header[:HEADER_LIMIT],
                original_body=original,
                arrival=event.outgoing.created,
                envelope_id=decode_xtext(event.outgoing.envid) or "",
                release=event.outgoing.release,
            )
        )
        # What the message says about TLS goes for its DSN too (RFC 8689 section 5).
        tls = event.outgoing.tls
        message_id = f"<{message_id}>"
        return Message(trace, None, header, MemoryBody(body), message_id=message_id, tls=tls)


def plain_plan(event: Event) -> Plan:
    """The plan that records the event and tells nobody."""
    return Plan(
        event.steps, event.outgoing.trace, event.outgoing.organisation, journal=event.entries
    )


def wakes_of(plan: Plan) -> Wakes:
    """Whom the plan concerns."""
    return Wakes(
        frozenset(mailboxes_of(plan)), any(isinstance(step, Enqueue) for step in plan.steps)
    )


def reported(
    address: Address,
    action: Action,
    reply: Reply,
    host: str,
    last_attempt: datetime,
    reason: str = "",
    will_retry_until: datetime | None = None,
) -> ReportedRecipient:
    """One recipient as the DSN names it; without a host, the words are our own."""
    return ReportedRecipient(
        address=address,
        action=action,
        # Where the time is over, what was in the way says more than 4.4.7, that it is over.
        status=status_of(reply),
        reply=str(reply) if host else "",
        reason=reason if host else " ".join(filter(None, (_sentence(reply), reason))),
        remote_mta=host,
        last_attempt=last_attempt,
        will_retry_until=will_retry_until,
    )


def _sentence(reply: Reply) -> str:
    return f"{reply.text.rstrip('.')}."


def _sender(event: Event) -> Address | None:
    outgoing = event.outgoing
    if not outgoing.reverse_path or not outgoing.notify:
        return None
    try:
        return parse_address(outgoing.reverse_path)
    except ValueError:
        return None


def _find(tx: Tx, sender: Address, outgoing: Outgoing, catch: Catch | None) -> Found | None:
    """Where the DSN goes: into a mailbox here, even a full one, or out again."""
    destination = accounts.find_destination(tx, sender)
    if isinstance(destination, ToAccount):
        here = (destination,)
        return Found(sender, destination.rule, destination.organisation, accounts=here)
    # A forward's return path (SRS) leads back to who sent it.
    found = recipients.find(tx, sender, catch, bounce=True)
    if isinstance(found, NotHere):
        return recipients.leave(sender, outgoing.organisation)
    return found if isinstance(found, Found) else None


def group(
    notices: Sequence[tuple[ReportedRecipient | None, Step, AnyEntry]],
    outgoing: Outgoing,
    header: bytes,
) -> list[Event]:
    """The events of one attempt: one, or two if it both failed and delayed recipients.

    A plan holds one body, and so one DSN.
    """
    delayed = [n for n in notices if n[0] is not None and n[0].action is Action.DELAYED]
    others = [n for n in notices if n[0] is None or n[0].action is not Action.DELAYED]
    return [
        Event(
            outgoing,
            header,
            tuple(step for _, step, _ in part),
            tuple(entry for _, _, entry in part),
            tuple(notice for notice, _, _ in part if notice is not None),
        )
        for part in (others, delayed)
        if part
    ]
