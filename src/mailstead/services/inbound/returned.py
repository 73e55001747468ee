"""Bounces and complaints that come home: which message they are about, and what follows.

A signed return path names the recipient in the queue; what the report itself says of addresses is
not believed, or anybody we wrote to could have others suppressed. Automatic answers are noted and
are no bounces (RFC 3834). What is none of these goes to whoever sent the message.
Holds: a report is told in the journal of the message that it is about.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import msgspec

from mailstead.message import header as fields
from mailstead.message.arf import Complaint
from mailstead.message.autoreply import AutoReply, find_autoreply
from mailstead.message.mime import Buffer
from mailstead.message.report import Report, Reported
from mailstead.message.returned import Other, Returned, kind_of
from mailstead.model.address import Address, parse_address
from mailstead.model.entries import AnyEntry, CameBack, Connected, Queued, Suppressed
from mailstead.model.numbers import OrganisationId, TraceId
from mailstead.services import return_path
from mailstead.services.delivery.recipients import RETURN_PATH, Found
from mailstead.services.outbound.classify import classify_report
from mailstead.services.outbound.rules import Suppress as SuppressRule
from mailstead.services.return_path import Home
from mailstead.storage import accounts, journal, journal_index, secrets
from mailstead.storage.accounts import ToAccount
from mailstead.storage.plan import JournalRow, Step, Suppress
from mailstead.storage.store import Store, Tx

SAID_LIMIT = 500  # characters of a report's words that are kept
PATHS_LIMIT = 5  # return paths looked for in a complaint
_FEEDBACK = b"feedback-report"  # the report-type of a complaint (RFC 5965 section 2)

_WHAT = {"failed": "bounce", "delayed": "delay"}


class Sent(msgspec.Struct, frozen=True):
    """What we sent, as the journal has it."""

    trace: TraceId
    organisation: OrganisationId
    recipient: str
    stream: str
    login: str


class CameHome(msgspec.Struct, frozen=True):
    """What is left to deliver, what else is to be done, and what is told of the messages."""

    recipients: list[Found]
    steps: tuple[Step, ...] = ()
    rows: tuple[JournalRow, ...] = ()


def concerns(header: bytes, recipients: Sequence[Found]) -> bool:
    """Whether the message may be a report about what we sent."""
    return any(found.rule == RETURN_PATH for found in recipients) or _FEEDBACK in header.lower()


async def take(
    store: Store, recipients: list[Found], header: bytes, body: Buffer, reverse_path: Address | None
) -> CameHome:
    """What the report says about messages of ours; the others get it as any message."""
    kind = kind_of(header, body, str(reverse_path or ""))
    if isinstance(kind, AutoReply) and find_autoreply(header) is None:
        kind = (
            Other()
        )  # whatever comes to a return path comes from nobody: that alone tells nothing
    return await store.read(lambda tx: _take(tx, recipients, kind))


def _take(tx: Tx, recipients: list[Found], kind: Returned) -> CameHome:
    left, steps, rows = [], [], []
    for found in recipients:
        sent = _find_sent(tx, found.home) if found.home else None
        if found.home and not isinstance(kind, Report | Complaint | AutoReply):
            found = _to_sender(tx, found, sent)
        left.append(found)
        if sent is not None:
            more, row = _tell(sent, kind, tx.now)
            steps += more
            rows.append(row)
    if isinstance(kind, Complaint) and kind.against_us and not rows:
        for sent in _complained_of(tx, kind):
            more, row = _tell(sent, kind, tx.now)
            steps += more
            rows.append(row)
    return CameHome(left, tuple(steps), tuple(rows))


def _find_sent(tx: Tx, home: Home) -> Sent | None:
    """The message and the recipient, while the journal knows them."""
    since, until = home.day - timedelta(hours=1), home.day + timedelta(hours=25)
    wanted = journal_index.Wanted(queue_id=home.queue_id, since=since, until=until)
    for trace in journal_index.search(tx, wanted, 1):
        entries, organisation = journal.find_owned(tx, trace)
        login = next((one.login for one in entries if isinstance(one, Connected)), "")
        for one in entries:
            if isinstance(one, Queued) and one.queue_id == home.queue_id:
                return Sent(trace, organisation, one.recipient, one.stream, login)
    return None


def _to_sender(tx: Tx, found: Found, sent: Sent | None) -> Found:
    """Into the mailbox of whoever sent the message, if that is still there."""
    to = accounts.find_destination(tx, parse_address(sent.login)) if sent and sent.login else None
    if not isinstance(to, ToAccount) or to.full:
        return found
    return msgspec.structs.replace(found, accounts=(to,))


def _complained_of(tx: Tx, complaint: Complaint) -> Iterator[Sent]:
    """What a complaint is about, to any address, if it brings a return path of ours along."""
    keys = secrets.find_all(tx, return_path.PURPOSE)
    said = [complaint.original_mail_from]
    said += [
        value.decode("ascii", "replace")
        for value in fields.get_all(complaint.original.header, "Return-Path")
    ]
    for text in said[:PATHS_LIMIT]:
        try:
            home = return_path.read(parse_address(text.strip("<> \t")), keys, tx.now)
        except ValueError:
            continue
        if home and (sent := _find_sent(tx, home)):
            yield sent
            return


def _tell(sent: Sent, kind: Returned, now: datetime) -> tuple[list[Step], JournalRow]:
    """What follows for the recipient, and how it is told."""
    entry = _entry(sent, kind, now)
    steps: list[Step] = []
    entries: list[AnyEntry] = [entry]
    rule, evidence = _rule(kind), f"{entry.by}: {entry.said}".strip(": ") or entry.form
    if entry.form == "complaint":
        step = Suppress(sent.recipient, evidence, complaint=True, stream=sent.stream)
        steps.append(step)
        entries.append(_suppressed(sent, "complaint", evidence, now))
    elif rule is not SuppressRule.NEVER:
        twice = rule is SuppressRule.TWICE
        steps.append(Suppress(sent.recipient, evidence, twice))
        entries.append(_suppressed(sent, "suspect" if twice else "gone", evidence, now))
    return steps, JournalRow(sent.trace, sent.organisation, tuple(entries))


def _suppressed(sent: Sent, reason: str, evidence: str, now: datetime) -> Suppressed:
    return Suppressed(at=now, recipient=sent.recipient, reason=reason, evidence=evidence)


def _rule(kind: Returned) -> SuppressRule:
    reported = _reported(kind)
    if reported is None or reported.action != "failed":
        return SuppressRule.NEVER
    return classify_report(reported).suppress


def _reported(kind: Returned) -> Reported | None:
    """What the report says, of the one recipient that its return path is for."""
    if not isinstance(kind, Report) or not kind.recipients:
        return None
    failed = [one for one in kind.recipients if one.action == "failed"]
    return (failed or list(kind.recipients))[0]


def _entry(sent: Sent, kind: Returned, now: datetime) -> CameBack:
    match kind:
        case Report():
            reported = _reported(kind)
            verdict = classify_report(reported) if reported else None
            action = reported.action if reported else ""
            bounced = verdict if action == "failed" else None
            return CameBack(
                at=now,
                recipient=sent.recipient,
                form=_WHAT.get(action, "notice"),
                by=(reported.remote_mta if reported else "") or kind.reporting_mta,
                said=(reported.diagnostic or reported.status)[:SAID_LIMIT] if reported else "",
                kind=bounced.class_.value if bounced else "",
                rule=bounced.rule if bounced else "",
            )
        case Complaint():
            form = "complaint" if kind.against_us else "notice"
            by, said = kind.reporting_mta or kind.user_agent, kind.feedback_type
            return CameBack(at=now, recipient=sent.recipient, form=form, by=by, said=said)
        case AutoReply():
            return CameBack(at=now, recipient=sent.recipient, form="auto-reply", said=kind.sign)
        case _:
            return CameBack(at=now, recipient=sent.recipient, form="other")
