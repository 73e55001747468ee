"""The journal in plain language: what happened to a message, why, and what an operator can do.

Pure: the entries of a story (model/entries.py) become sentences, each with its evidence, in the
order they happened. The sentence is derived, never kept; every entry has one.
"""

from collections.abc import Sequence
from datetime import datetime
from shlex import quote
from typing import assert_never

import msgspec

from mailstead.model.entries import (
    Accepted,
    AnyEntry,
    Attempted,
    Authenticated,
    CameBack,
    Changed,
    Completed,
    Connected,
    Delivered,
    Departed,
    Filtered,
    HostTried,
    Incident,
    LoggedIn,
    LoginFailed,
    Notified,
    Queued,
    Refused,
    Resolved,
    Retrieved,
    Scored,
    ScoredPart,
    Suppressed,
)
from mailstead.model.envelope import format_path
from mailstead.services.delivery import relaying
from mailstead.services.inbound.rulebook import sentence_of
from mailstead.services.outbound.classify import advice

_Waiting = Queued | Attempted | Changed


class Line(msgspec.Struct, frozen=True):
    """One thing that happened: a sentence, the facts behind it, and the command that may help."""

    at: datetime
    text: str
    evidence: tuple[str, ...] = ()
    next: str = ""


def explain(entries: Sequence[AnyEntry]) -> list[Line]:
    """The story in sentences; a recipient that still waits says what an operator can do."""
    last = {e.recipient: e for e in entries if isinstance(e, _Waiting)}
    ids = {e.recipient: e.queue_id for e in entries if isinstance(e, Queued | Attempted)}
    lines: list[Line] = []
    seen: set[Connected] = set()
    for entry in entries:
        if isinstance(entry, Connected):
            # A refusal is written down with the connection it happened in: once is enough.
            same = msgspec.structs.replace(entry, at=entries[0].at)
            if same in seen:
                continue
            seen.add(same)
        line = explain_entry(entry)
        if isinstance(entry, _Waiting) and last[entry.recipient] is entry:
            command = _command(entry, ids.get(entry.recipient, 0))
            line = msgspec.structs.replace(line, next=command)
        lines.append(line)
    return lines


def explain_entry(entry: AnyEntry) -> Line:
    """The sentence of one entry."""
    match entry:
        case Connected() | LoggedIn() | LoginFailed():
            return _of_session(entry)
        case Accepted() | Refused() | Resolved() | Completed():
            return _of_arrival(entry)
        case Delivered() | Retrieved():
            return _of_mailbox(entry)
        case Queued() | Attempted() | Departed() | Suppressed() | Notified() | Changed():
            return _of_queue(entry)
        case Filtered():
            return _filtered(entry)
        case Authenticated():
            return _authenticated(entry)
        case Scored():
            return _scored(entry)
        case CameBack():
            return _came_back(entry)
        case Incident():
            return _incident(entry)
        case _:
            assert_never(entry)


def outcome(entries: Sequence[AnyEntry]) -> str:
    """The story in one word per kind of ending, for lists: "delivered, deferred"."""
    words: dict[str, str] = {}
    for entry in entries:
        match entry:
            case Refused(recipient=recipient, reply=reply):
                words[recipient] = "put off" if reply.startswith("4") else "refused"
            case Delivered(recipient=recipient):
                words[recipient] = "delivered"
            case Queued(recipient=recipient, held=held):
                words[recipient] = "held" if held else "queued"
            case Attempted(recipient=recipient, outcome=word):
                words[recipient] = word
            case Changed(recipient=recipient, change=change):
                words[recipient] = "queued" if change in _GOES_ON else change
            case _:
                pass
    return ", ".join(dict.fromkeys(words.values())) or "unfinished"


_GOES_ON = ("released", "retried", "rerouted")


def format_time(at: datetime) -> str:
    """The time as people of a server read it: in UTC, to the second."""
    return at.strftime("%Y-%m-%d %H:%M:%S")


# ---------------------------------------------------------------------- sessions

_WHO = {
    "mx": "Another server connected",
    "submission": "A mail program connected",
    "lmtp": "A host that delivers to us connected",
}


def _of_session(entry: Connected | LoggedIn | LoginFailed) -> Line:
    match entry:
        case Connected():
            who = _WHO.get(entry.role, f"A peer connected ({entry.role})")
            facts = (
                f"it called itself {entry.helo}" if entry.helo else "",
                f"encrypted: {entry.tls}" if entry.tls else "in the clear, without TLS",
                f"logged in as {entry.login}" if entry.login else "",
            )
            return Line(entry.at, f"{who} from {entry.peer}.", tuple(filter(None, facts)))
        case LoggedIn():
            text = f"{entry.account} logged in by {entry.protocol.upper()} from {entry.peer}."
            return Line(entry.at, text, (f"mechanism: {entry.mechanism}",))
        case LoginFailed():
            text = f"A log-in as {entry.login} by {entry.protocol.upper()} failed: {entry.reason}."
            command = f"mailstead account password {quote(entry.login)}"
            origin = (f"from {entry.peer}", f"mechanism: {entry.mechanism}")
            return Line(entry.at, text, origin, command)
        case _:
            assert_never(entry)


# ---------------------------------------------------------------------- arrival

_STAGES = {
    "connect": "The connection",
    "mail": "The sender {reverse_path}",
    "rcpt": "The recipient {recipient}",
    "data": "The message",
}
_RULES = {
    "account": "is an account here",
    "subaddress": "is an account here, with a tag",
    "alias": "is an alias",
    "catch-all": "is nobody's own address; the catch-all of its domain takes it",
    "role": "is a role that every domain has; nobody set it up, so the first account gets it",
    "elsewhere": "is in a domain that is not ours",
    "srs": "is the return path of a message that we forwarded; it leads back to the sender",
    "relay_from": "is in a domain that is not ours; this network may relay (relay_from)",
    "relay": "is in a domain that we relay for; its mail goes on to that domain's own server",
    "caught": "is elsewhere, and this server lets nothing leave the machine",
}


def _of_arrival(entry: Accepted | Refused | Resolved | Completed) -> Line:
    match entry:
        case Accepted():
            facts = (
                f"from {_path(entry.reverse_path)}",
                *(f"to {recipient}" for recipient in entry.recipients),
                f"{entry.size} octets",
                *((f"Message-ID {entry.message_id}",) if entry.message_id else ()),
            )
            return Line(entry.at, "The message was accepted: it is on our disk, and ours.", facts)
        case Refused():
            return _refused(entry)
        case Resolved():
            rule = _RULES.get(entry.rule, f"was found by the rule {entry.rule!r}")
            facts = tuple(f"goes to {target}" for target in entry.targets)
            return Line(entry.at, f"{entry.recipient} {rule}.", facts)
        case Completed():
            text = "The message was made ready to send (RFC 6409 section 8)."
            return Line(entry.at, text, entry.changes)
        case _:
            assert_never(entry)


def _refused(entry: Refused) -> Line:
    what = _STAGES.get(entry.stage, "The command").format(
        reverse_path=_path(entry.reverse_path), recipient=entry.recipient
    )
    how = "put off: the other side should try again" if entry.reply.startswith("4") else "refused"
    facts = [f"told the peer: {entry.reply}"]
    if entry.reason:
        facts.append(f"because {entry.reason}")
    if entry.recipient and entry.stage != "rcpt":
        facts.append(f"recipient {entry.recipient}")
    if entry.reverse_path and entry.stage != "mail":
        facts.append(f"from {_path(entry.reverse_path)}")
    return Line(entry.at, f"{what} was {how}.", tuple(facts), _mend(entry))


def _mend(entry: Refused) -> str:
    """The command that would let the same mail in next time, where there is one.

    Quoted for the shell: the recipient is what a stranger sent.
    """
    code = entry.reply.split(" ")[1] if " " in entry.reply else ""
    domain = entry.recipient.rpartition("@")[2]
    match entry.stage, code:
        case "rcpt", "5.1.1" if entry.reply == str(relaying.UNKNOWN):
            return f"mailstead relay recipients {quote(domain)} add {quote(entry.recipient)}"
        case "rcpt", "5.1.1":
            return f"mailstead account add {quote(entry.recipient)}"
        case "rcpt", "5.7.1":
            return f"mailstead domain add {quote(domain)}"
        case "rcpt", "4.2.2" | "5.2.2":
            return f"mailstead account quota {quote(entry.recipient)} SIZE"
        case _:
            return ""


# ---------------------------------------------------------------------- mailboxes


def _of_mailbox(entry: Delivered | Retrieved) -> Line:
    match entry:
        case Delivered():
            uid = f" as UID {entry.uid}" if entry.uid else ""
            text = f"Delivered to {entry.recipient}: it lies in the mailbox {entry.mailbox}{uid}."
            return Line(entry.at, text, (f"account {entry.account}",))
        case Retrieved():
            text = f"{entry.account} fetched it for the first time by {entry.protocol.upper()}."
            client = (f"with {entry.client}",) if entry.client else ()
            return Line(entry.at, text, (f"mailbox {entry.mailbox}, UID {entry.uid}", *client))
        case _:
            assert_never(entry)


# ---------------------------------------------------------------------- the queue

_CHANGES = {
    "held": "An operator held {recipient} back: it waits until it is released.",
    "released": "An operator released {recipient}: it goes on.",
    "expired": "An operator gave {recipient} up before its time: the sender is told.",
    "dropped": "An operator took {recipient} out of the queue: it will not be delivered.",
    "rerouted": "An operator sent {recipient} by another way.",
    "retried": "An operator had {recipient} tried at once.",
}
_WAYS = {
    "mx": "the hosts of the domain's MX records",
    "implicit mx": "the domain has no MX record: its own address (RFC 5321 section 5.1)",
    "literal": "the address literal itself",
    "route": "a route that was set for it",
    "relay": "the server that was named for its domain (mailstead relay)",
    "lmtp": "the server that was named for its domain, by LMTP (mailstead relay)",
    "smarthost": "the smarthost of the configuration",
}
_REACHED = {
    "connect": "no connection",
    "greeting": "connected, no good greeting",
    "ehlo": "refused our EHLO",
    "starttls": "TLS failed",
    "auth": "our log-in failed",
    "mail": "refused the sender",
    "rcpt": "refused the recipient",
    "data": "refused the message before its text",
    "end": "answered the whole message",
}


def _of_queue(entry: Queued | Attempted | Departed | Suppressed | Notified | Changed) -> Line:
    match entry:
        case Queued():
            where = f"in the queue as #{entry.queue_id}" if entry.queue_id else "in the queue"
            how = "is held" if entry.held else "waits"
            facts = (f"lane {entry.lane}",) if entry.lane else ()
            return Line(entry.at, f"{entry.recipient} {how} {where}.", facts)
        case Attempted():
            return _attempted(entry)
        case Departed():
            facts = (entry.instead,) if entry.instead else ()
            text = f"The next attempt left from the source {entry.source}, as {entry.helo}."
            return Line(entry.at, text, facts)
        case Suppressed():
            return _suppressed(entry)
        case Notified():
            return _notified(entry)
        case Changed():
            text = _CHANGES.get(entry.change, f"An operator: {entry.change} {{recipient}}.")
            facts = (entry.detail,) if entry.detail else ()
            return Line(entry.at, text.format(recipient=entry.recipient), facts)
        case _:
            assert_never(entry)


def _attempted(entry: Attempted) -> Line:
    match entry.outcome:
        case "relayed":
            what = "the other server took it; from here on it is theirs"
        case "failed":
            # A temporary reply at the end: not the reply but the waiting decided.
            late = entry.reply.startswith("4")
            what = "given up: it has waited too long" if late else "failed for good"
        case _:
            what = "not yet"
            if entry.due:
                what += f"; the next attempt is at {format_time(entry.due)} UTC"
    facts = [f"way: {_WAYS.get(entry.route, entry.route)}"] if entry.route else []
    facts += [_host(host) for host in entry.hosts]
    if entry.reply and not (entry.hosts and entry.hosts[-1].said == entry.reply):
        facts.append(f"outcome: {entry.reply}")
    if entry.kind:
        facts.append(f"about: {entry.kind} ({advice(entry.kind, entry.rule)})")
    return Line(entry.at, f"Attempt {entry.attempt} for {entry.recipient}: {what}.", tuple(facts))


_TOLD = {"delayed": "is late", "relayed": "was passed on"}


def _suppressed(entry: Suppressed) -> Line:
    if entry.reason == "suspect":
        text = f"If {entry.recipient} fails again after a day, it is written to no more."
        return Line(entry.at, text, (entry.evidence,))
    long = "" if entry.reason == "complaint" else ", for 90 days"
    text = f"The organisation writes to {entry.recipient} no more{long}."
    command = f"mailstead suppression remove {quote(entry.recipient)}"
    return Line(entry.at, text, (entry.evidence,), command)


_RETURNS = {
    "bounce": "{who} took the mail for {to}, and then said that it cannot be delivered.",
    "delay": "{who} says that the mail for {to} takes longer.",
    "notice": "{who} sent a notice about the mail for {to}.",
    "complaint": "{to} complained of the message, says {who}.",
    "auto-reply": "An automatic answer of {to} came back; it is no bounce.",
    "other": "A message of {to} came back to the return path, and went to the sender.",
}


def _came_back(entry: CameBack) -> Line:
    who = entry.by or "A server"
    text = _RETURNS.get(entry.form, _RETURNS["notice"]).format(who=who, to=entry.recipient)
    about = (f"about: {entry.kind}",) if entry.kind else ()
    said = (entry.said,) if entry.said else ()
    return Line(entry.at, text, (*said, *about), advice(entry.kind, entry.rule))


_OUTCOMES = {
    "inbox": "It goes to the inbox of {to}",
    "junk": "It goes to the Junk of {to}",
    "quarantine": "It is quarantined for {to}",
    "defer": "It was put off for {to}",
    "refuse": "It was refused for {to}",
    "send": "It may leave to {to}",
    "hold": "It is held back, and waits to leave to {to}",
}


def _scored(entry: Scored) -> Line:
    to = ", ".join(entry.recipients)
    why = f" ({entry.reason})" if entry.reason else ""
    outcome_ = _OUTCOMES.get(entry.action, entry.action).format(to=to)
    what = "held" if entry.action in ("send", "hold") else "Junk"
    text = f"The filter gives it {entry.total:g} points, {what} from {entry.junk_at:g} on."
    return Line(entry.at, f"{text} {outcome_}{why}.", tuple(map(_reason, entry.parts)))


def _reason(part: ScoredPart) -> str:
    """One line of the sum: "+3.50 no-date: it has no Date"."""
    said = sentence_of(part.rule)
    detail = f" ({part.detail})" if part.detail and said else part.detail
    return f"{part.weight:+.2f} {part.rule}: {said}{detail}".rstrip(": ")


_ACTIONS = {
    "inbox": "The message is taken for what it says it is",
    "junk": "The message goes to Junk",
    "quarantine": "The message is quarantined",
    "defer": "The message was put off",
    "refuse": "The message was refused",
}


_ADVICE = {
    "nothing": "has nothing against the message",
    "junk": "says that it belongs into Junk",
    "quarantine": "wants it to be kept back",
    "defer": "wants it later",
    "refuse": "refuses it",
}


def _filtered(entry: Filtered) -> Line:
    if entry.failed:
        after = "so it was put off" if entry.advice == "defer" else "so mail goes on without it"
        command = f"mailstead filter test {quote(entry.filter)}"
        text = f"The filter {entry.filter} did not answer, {after}."
        return Line(entry.at, text, (entry.reason,), command)
    facts = (entry.reason, f"malware: {entry.malware}" if entry.malware else "")
    changes = tuple(f"it changed: {change}" for change in entry.changes)
    text = f"The filter {entry.filter} {_ADVICE.get(entry.advice, entry.advice)}."
    return Line(entry.at, text, (*filter(None, facts), *changes))


def _authenticated(entry: Authenticated) -> Line:
    text = _ACTIONS.get(entry.action, entry.action)
    text += f": {entry.reason}." if entry.reason else "."
    facts = [f"SPF {entry.spf} ({entry.spf_domain})", *(f"DKIM {one}" for one in entry.dkim)]
    if entry.dmarc:
        policy = f", policy {entry.policy}" if entry.policy else ""
        facts.append(f"DMARC {entry.dmarc} ({entry.domain}{policy})")
    return Line(entry.at, text, tuple(facts))


def _incident(entry: Incident) -> Line:
    source = f" from {entry.source}" if entry.source else ""
    if entry.state == "closed":
        text = f"{entry.site} takes mail{source} again: incident #{entry.number} is over."
        return Line(entry.at, text)
    text = f"{entry.site} refuses mail{source} because of us: incident #{entry.number}."
    return Line(entry.at, text, (f"about: {entry.kind}", entry.said), "mailstead incident list")


def _host(host: HostTried) -> str:
    preference = f", preference {host.preference}" if host.preference >= 0 else ""
    tls = f", encrypted: {host.tls}" if host.tls else ""
    tls += f", wanted: {host.wanted}" if host.wanted else ""
    reached = _REACHED.get(host.reached, f"reached {host.reached}")
    address = f" [{host.address}]" if host.address else ""
    return f"{host.host}{address}{preference}{tls}: {reached}: {host.said}"


def _notified(entry: Notified) -> Line:
    what = _TOLD.get(entry.action, "could not be delivered")
    if not entry.sent_to:
        text = f"Nobody was told that {entry.recipient} {what}: there is no one to tell."
        return Line(entry.at, text)
    text = f"{entry.sent_to} was told that {entry.recipient} {what} (DSN, RFC 3464)."
    if not entry.trace:
        return Line(entry.at, text)
    return Line(
        entry.at,
        text,
        (f"the notice is {entry.trace}",),
        f"mailstead message explain {entry.trace}",
    )


def _command(entry: _Waiting, queue_id: int) -> str:
    """What an operator can do for a recipient whose latest entry this is."""
    which = f"--id {queue_id}" if queue_id else f"--to {quote(entry.recipient)}"
    match entry:
        case Queued(held=True) | Changed(change="held"):
            return f"mailstead queue release {which}"
        case Attempted(outcome="deferred"):
            return f"mailstead queue retry {which}"
        case Queued():
            return f"mailstead queue show {which}"
        case _:
            return ""


def _path(reverse_path: str) -> str:
    """The reverse-path in brackets; the null one explained."""
    return f"<{reverse_path}>" if reverse_path else f"{format_path(None)} (a notice, not a person)"
