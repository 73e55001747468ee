"""One message for its recipients, as a Plan: filed here, queued for elsewhere, told in the journal.

Each account gets the message once, however many of the recipients lead to it.
"""

from datetime import datetime, timedelta

import msgspec

from mailstead.message import mime, structure
from mailstead.model.address import Address, Domain
from mailstead.model.entries import Accepted, AnyEntry, Resolved
from mailstead.model.envelope import NO_WISH, BodyType, Release, TlsWish, Wish, format_path
from mailstead.model.numbers import AccountId, MailboxId, TraceId
from mailstead.services.delivery import srs
from mailstead.services.delivery.recipients import Found
from mailstead.storage.plan import (
    Append,
    Body,
    Enqueue,
    Plan,
    QueuedRecipient,
    Rendered,
    Step,
)

LOCAL = "local"  # transport and lane of a recipient here that has to wait
QUARANTINE = "quarantine"  # lane of one whose message somebody has to look at first


class InStream(msgspec.Struct, frozen=True):
    """A message's stream and its place in the queue; without a name it is people's mail.

    Its recipients get signed return paths in the domain.
    """

    name: str = ""
    priority: int = 0
    return_domain: Domain = Domain("")


NO_STREAM = InStream()


class Message(msgspec.Struct, frozen=True):
    """A message on its way in, complete but for the fields that delivery adds."""

    trace: TraceId
    reverse_path: Address | None
    header: bytes
    body: Body
    body_type: BodyType = BodyType.SEVEN_BIT
    smtputf8: bool = False
    sender: AccountId | None = None  # who submitted it
    message_id: str = ""
    envid: str = ""
    ret: str = ""
    tls: TlsWish = TlsWish.USUAL
    release: Release | None = None
    stream: InStream = NO_STREAM
    genuine: bool = False  # its sender is who it says: they may be told of a forward's failure

    @property
    def size(self) -> int:
        """Octets, header and body."""
        return len(self.header) + self.body.size


def compose_plan(
    message: Message,
    recipients: list[Found],
    story: list[AnyEntry],
    now: datetime,
    key: bytes = b"",
) -> Plan:
    """The plan that delivers the message; `story` is what the journal knows so far.

    With a key, what is forwarded gets a return path that is signed with it (SRS).
    """
    organisation = recipients[0].organisation
    resolved = [
        Resolved(at=now, recipient=str(found.address), rule=found.rule, targets=found.targets)
        for found in recipients
        if found.rule not in ("account", "elsewhere")
    ]
    accepted = Accepted(
        at=now,
        reverse_path=str(message.reverse_path or ""),
        recipients=tuple(str(found.address) for found in recipients),
        size=message.size,
        message_id=message.message_id,
    )
    if message.release and message.release.due(now) > now:
        steps = _hold(message, recipients, message.release.due(now))
    else:
        taken = [found for found in recipients if not found.quarantined]
        steps = [*_file(message, taken, now), *_enqueue(message, taken, now, key)]
        if kept := [found for found in recipients if found.quarantined]:
            steps += _hold(message, kept, now, quarantined=True)
    journal = (*story, accepted, *resolved)
    body = message.body if steps else None  # what leads into no mailbox is not kept
    return Plan(tuple(steps), message.trace, organisation, body, journal, arrival=True)


def render(header: bytes, body: Body) -> Rendered:
    """What FETCH joins later, worked out now (once for all recipients)."""
    part = mime.scan(header, body.view())
    return Rendered(
        structure=structure.dump(part),
        envelope=structure.envelope(header),
        bodystructure=structure.body_structure(part),
        digest=structure.digest(header, part),
    )


def mailboxes_of(plan: Plan) -> set[MailboxId]:
    """Which mailboxes the plan files mail in."""
    return {step.mailbox for step in plan.steps if isinstance(step, Append)}


def _file(message: Message, recipients: list[Found], now: datetime) -> list[Step]:
    targets = {
        account.account: (account, found)
        for found in reversed(recipients)
        for account in found.accounts
    }
    if not targets:
        return []
    rendered = render(message.header, message.body)
    return [
        Append(
            account=account.account,
            mailbox=account.inbox,
            header=_delivery_fields(message.reverse_path, found.address)
            + found.marks
            + message.header,
            rendered=rendered,
            internal_date=now,
            recipient=str(found.address),
            keywords="$Junk" if found.junk else "",
        )
        for account, found in reversed(targets.values())
    ]


def _delivery_fields(reverse_path: Address | None, recipient: Address) -> bytes:
    """Return-Path (RFC 5321 section 4.4) and Delivered-To (RFC 9228)."""
    path = format_path(reverse_path)
    return f"Return-Path: {path}\r\nDelivered-To: {recipient}\r\n".encode()


def _enqueue(message: Message, recipients: list[Found], now: datetime, key: bytes) -> list[Step]:
    """Recipients elsewhere; forwards apart, for their failures are told to nobody.

    Whether a forwarded message came from who it says is not known yet (no backscatter). What is
    relayed tells the domain's own server what the filter says: there is no Junk of ours for it.
    """
    groups: dict[tuple[str, bool, bytes], dict[Address, QueuedRecipient]] = {}
    for found in recipients:
        path = _return_path(message, found, now, key) if found.elsewhere else None
        marks = found.marks if found.rule == "relay" else b""
        group = groups.setdefault((str(path or ""), _is_told(message, found), marks), {})
        wish = NO_WISH if found.passed_on else found.wish
        group |= {one: queued(one, now, wish, found.days) for one in found.elsewhere}
    return [
        Enqueue(
            header=marks + message.header,
            reverse_path=path,
            recipients=tuple(addresses.values()),
            account=message.sender,
            body_type=message.body_type,
            smtputf8=message.smtputf8,
            notify=notify,
            envid=message.envid if notify else "",
            ret=message.ret if notify else "",
            tls=message.tls,
            priority=message.stream.priority,
            stream=message.stream.name,
            return_domain=message.stream.return_domain,
        )
        for (path, notify, marks), addresses in groups.items()
        if addresses
    ]


def _is_told(message: Message, found: Found) -> bool:
    """Whether the sender gets DSNs; who sends in a stream has the journal, or asks for them.

    A stranger's forged sender would be told of what they never sent (backscatter).
    """
    if found.passed_on:
        return message.genuine
    return not message.stream.name or bool(found.wish.notify)


def _hold(
    message: Message, recipients: list[Found], due: datetime, quarantined: bool = False
) -> list[Step]:
    """Everybody waits; where a recipient here leads is looked up again when the time has come.

    What is quarantined waits until it is released, and nobody outside is told of it.
    """
    wanted = {found.address: found for found in recipients}
    return [
        Enqueue(
            header=message.header,
            reverse_path=str(message.reverse_path or ""),
            recipients=tuple(_held(found, due, quarantined) for found in wanted.values()),
            account=message.sender,
            body_type=message.body_type,
            smtputf8=message.smtputf8,
            notify=not quarantined or message.sender is not None,
            envid=message.envid,
            ret=message.ret,
            tls=message.tls,
            release=message.release.text if message.release else "",
            priority=message.stream.priority,
            stream=message.stream.name,
            return_domain=message.stream.return_domain,
        )
    ]


def _held(found: Found, due: datetime, quarantined: bool) -> QueuedRecipient:
    if found.elsewhere == (found.address,):
        return msgspec.structs.replace(queued(found.address, due, found.wish), hold=quarantined)
    if quarantined:
        return QueuedRecipient(str(found.address), LOCAL, QUARANTINE, due, hold=True)
    return QueuedRecipient(str(found.address), LOCAL, LOCAL, due, wish=found.wish)


def _return_path(message: Message, found: Found, now: datetime, key: bytes) -> Address | None:
    """What others pass on for somebody else comes back through us; our own senders' mail does."""
    sender = message.reverse_path
    if not key or sender is None or not found.forwarded or message.sender is not None:
        return sender
    return srs.rewrite(sender, found.address.domain, key, now) or sender


def queued(address: Address, due: datetime, wish: Wish = NO_WISH, days: int = 0) -> QueuedRecipient:
    """The recipient as it waits, so many days if it is said; its lane is its domain."""
    expires = due + timedelta(days=days) if days else None
    return QueuedRecipient(str(address), "smtp", address.domain, due, wish=wish, expires=expires)
