"""What can happen to a message or a connection: the facts that the journal keeps.

One value each, past tense. Log lines are printed from them, `message explain` makes sentences of
them (services.explain), metrics count them. No content of a message and no password is ever in
one; addresses are.
"""

from datetime import datetime

import msgspec


class Entry(msgspec.Struct, frozen=True, tag_field="what", kw_only=True, omit_defaults=True):
    """The base of all entries: when it happened."""

    at: datetime


class Connected(Entry, frozen=True, tag="connected"):
    """A peer opened a session and sent a message in it."""

    peer: str  # "192.0.2.7:40312"
    role: str  # "mx", "submission"
    helo: str = ""
    tls: str = ""  # version and cipher, empty in the clear
    login: str = ""  # who logged in, if anybody


class Accepted(Entry, frozen=True, tag="accepted"):
    """The message is on disk and ours."""

    reverse_path: str
    recipients: tuple[str, ...]
    size: int
    message_id: str = ""  # the Message-ID field


class Refused(Entry, frozen=True, tag="refused"):
    """A command or a whole message was refused or put off; `reply` is what the peer was told."""

    stage: str  # "connect", "mail", "rcpt", "data"
    reply: str
    reason: str = ""
    recipient: str = ""
    reverse_path: str = ""


class Authenticated(Entry, frozen=True, tag="authenticated"):
    """What was found of who sent a message that came in, and what followed."""

    spf: str  # "pass", "fail", ... (RFC 7208 section 2.6)
    spf_domain: str
    dkim: tuple[str, ...]  # "example.net pass", "example.com fail: the body was changed ..."
    dmarc: str  # "pass", "fail", "none", ...; empty: there is no From to ask about
    domain: str = ""  # of From
    policy: str = ""  # that it asks for
    action: str = "inbox"  # "inbox", "junk", "refuse"
    reason: str = ""


class ScoredPart(msgspec.Struct, frozen=True, omit_defaults=True):
    """One reason for a score: a rule, its points, and where it was seen."""

    rule: str
    weight: float
    detail: str = ""


class Scored(Entry, frozen=True, tag="scored"):
    """What the filter made of a message for some of its recipients; the parts add up to `total`."""

    total: float
    parts: tuple[ScoredPart, ...]
    recipients: tuple[str, ...]
    action: str = "inbox"  # or "junk", "quarantine", "defer", "refuse"; "send", "hold" of our own
    reason: str = ""
    junk_at: float = 5.0  # points from which on that is junk
    refuse_at: float = 15.0


class Filtered(Entry, frozen=True, tag="filtered"):
    """What another program said of the message, and what it changed."""

    filter: str
    advice: str  # "nothing", "junk", "quarantine", "defer", "refuse"
    reason: str = ""
    malware: str = ""
    changes: tuple[str, ...] = ()
    failed: bool = False  # it did not answer


class Resolved(Entry, frozen=True, tag="resolved"):
    """Where a recipient leads, and by which rule."""

    recipient: str
    rule: str  # "account", "subaddress", "alias", "catch-all", "role", "elsewhere", "caught"
    targets: tuple[str, ...]


class Completed(Entry, frozen=True, tag="completed"):
    """What submission added or took away (RFC 6409 section 8)."""

    changes: tuple[str, ...]


class Delivered(Entry, frozen=True, tag="delivered"):
    """The message lies in a mailbox of ours."""

    recipient: str
    account: str
    mailbox: str
    uid: int = 0


class Queued(Entry, frozen=True, tag="queued"):
    """A recipient waits in the queue."""

    recipient: str
    queue_id: int = 0
    lane: str = ""
    held: bool = False
    stream: str = ""


class HostTried(msgspec.Struct, frozen=True, omit_defaults=True):
    """One host of an attempt, and how far we got."""

    host: str
    address: str
    reached: str  # "connect", "greeting", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "end"
    said: str  # the peer's reply word for word, or the error of the network
    tls: str = ""  # version, cipher, and how the host was verified: "dane", "pkix"
    preference: int = -1
    wanted: str = ""  # TLS that a policy asks for: "dane", "enforce", "testing", "verified"


class Attempted(Entry, frozen=True, tag="attempted"):
    """One attempt to pass a recipient on: the hosts tried, in order, and what came of it."""

    recipient: str
    attempt: int
    outcome: str  # "relayed", "deferred", "failed"
    reply: str
    hosts: tuple[HostTried, ...] = ()
    route: str = ""  # "mx", "implicit mx", "smarthost", "route"
    due: datetime | None = None  # when it is tried again, if it is
    queue_id: int = 0
    kind: str = ""  # what a refusal is about: "recipient-gone", "reputation" (docs/bounces.md)
    rule: str = ""  # that says so


class Departed(Entry, frozen=True, tag="departed"):
    """An attempt left from a source of ours; `instead`: why not from the one it was queued for."""

    source: str
    helo: str
    instead: str = ""


class Suppressed(Entry, frozen=True, tag="suppressed"):
    """The organisation writes to the recipient no more; "suspect": not before it happens again."""

    recipient: str
    reason: str  # "gone", "suspect", "complaint"
    evidence: str


class CameBack(Entry, frozen=True, tag="came_back"):
    """Something came back to the return path of what we sent, or somebody complained of it."""

    recipient: str
    form: str  # "bounce", "delay", "notice", "complaint", "auto-reply", "other"
    by: str = ""  # the server or service that says so
    said: str = ""
    kind: str = ""  # what a bounce is about, as in Attempted
    rule: str = ""


class Incident(Entry, frozen=True, tag="incident"):
    """A site says that it is about us, for the first time; or takes mail from us again."""

    state: str  # "opened", "closed"
    site: str
    source: str  # that the mail left from; empty: no source of its own
    kind: str  # "reputation", "authentication"
    number: int = 0
    said: str = ""


class Notified(Entry, frozen=True, tag="notified"):
    """A DSN went to the sender (RFC 3464): `action` is "delayed", "failed" or "relayed"."""

    recipient: str
    action: str
    sent_to: str  # empty: to nobody, the reverse-path is null
    trace: str = ""  # the id of the DSN itself


class Changed(Entry, frozen=True, tag="changed"):
    """An operator changed a queued recipient."""

    recipient: str
    change: str  # "held", "released", "expired", "dropped", "rerouted", "retried"
    detail: str = ""


class Retrieved(Entry, frozen=True, tag="retrieved"):
    """The owner's client fetched the message for the first time."""

    account: str
    protocol: str  # "imap", "pop3"
    mailbox: str
    uid: int
    client: str = ""


class LoggedIn(Entry, frozen=True, tag="logged-in"):
    """A log-in that worked."""

    account: str
    protocol: str
    mechanism: str
    peer: str


class LoginFailed(Entry, frozen=True, tag="login-failed"):
    """A log-in that did not work."""

    login: str
    protocol: str
    mechanism: str
    peer: str
    reason: str


AnyEntry = (
    Connected
    | Accepted
    | Refused
    | Authenticated
    | Scored
    | Filtered
    | Resolved
    | Completed
    | Delivered
    | Queued
    | Attempted
    | Departed
    | Suppressed
    | CameBack
    | Incident
    | Notified
    | Changed
    | Retrieved
    | LoggedIn
    | LoginFailed
)
