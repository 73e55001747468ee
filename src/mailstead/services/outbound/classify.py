"""What a refusing reply is about, whose business that is, and what follows. Pure.

One code serves for unknown users, full mailboxes and blocks, and providers lie with theirs; so
rules (replies.toml) look at the host, the words and the codes, and words count more.
Not here: what is done about it (retry, bounce; suppression is the caller's).
Holds: only a permanent reply about the recipient may suppress; a block never does.
"""

import re

import msgspec

from mailstead.message.diagnostic import join_lines, read_reply
from mailstead.message.report import Reported
from mailstead.model.reply import Reply
from mailstead.services.outbound.rules import (
    Blame,
    Consequence,
    Matcher,
    ReplyClass,
    Rules,
    Suppress,
    shipped_rules,
)

TEXT_LIMIT = 2000  # characters of a reply that are looked at
HOST_LIMIT = 255

# Addresses are no words: <spam@example.org> may well be unknown.
_ADDRESS = re.compile(r"<[^<>\s]{1,320}>|(?:[^\s<>@(\[:.]|\.(?!\.)){1,64}@[\w.-]{1,255}")
_CODED = re.compile(r"\b[45]\d\d\b|\b4\.\d{1,3}\.\d{1,3}\b")
_STATUS = re.compile(r"\A#?([245]\.\d{1,3}\.\d{1,3})\b|\(#([245]\.\d{1,3}\.\d{1,3})\)")


class Classified(msgspec.Struct, frozen=True, kw_only=True):
    """A reply understood: the class, by which rule, and what follows."""

    class_: ReplyClass
    rule: str  # its id; empty: none matched
    blame: Blame
    permanent: bool
    suppress: Suppress
    slow: bool
    soft: bool
    advice: str

    @property
    def about_site(self) -> bool:
        """Not about one mailbox there: a rate that is no reason to slow down is a mailbox's own."""
        return self.slow or self.class_ is not ReplyClass.RATE_LIMIT


class _Said(msgspec.Struct, frozen=True):
    host: str
    code: str
    enhanced: str
    words: str


def classify(reply: Reply, host: str = "", rules: Rules | None = None) -> Classified:
    """What a reply that is not positive is about; `host` is the MX host that gave it."""
    rules = rules or shipped_rules()
    said = _said(reply, host)
    for matcher in rules.matchers:
        if _matches(matcher, said):
            rule = matcher.rule
            return _classified(rule.class_, rule.id, matcher.consequence, reply)
    unknown = ReplyClass.UNKNOWN
    return _classified(unknown, "", rules.consequences[unknown], reply)


def classify_report(recipient: Reported, rules: Rules | None = None) -> Classified:
    """What a recipient's part of a report that came back is about.

    One that failed, failed for good, whatever the words: else it would be tried again.
    """
    reply = read_reply(recipient.diagnostic, recipient.status)
    if recipient.action == "failed" and not _CODED.search(recipient.diagnostic + recipient.status):
        reply = msgspec.structs.replace(reply, code=550)
    return classify(reply, recipient.remote_mta, rules)


def advice(kind: str, rule: str, rules: Rules | None = None) -> str:
    """What an operator can do about a refusal of this class, found by this rule."""
    rules = rules or shipped_rules()
    for matcher in rules.matchers:
        if matcher.rule.id == rule:
            return matcher.consequence.advice
    return rules.consequences[ReplyClass(kind)].advice if kind in set(ReplyClass) else ""


def slows(reply: Reply, host: str = "") -> bool:
    """Whether to leave that site alone for a while instead of trying its next host."""
    return classify(reply, host).slow


def crowded(reply: Reply) -> bool:
    """Whether it refuses no recipient, only so many of them at once (RFC 5321 section 4.5.3.1.10).

    552 was the code for it in RFC 821.
    """
    if reply.code not in (452, 552):
        return False
    return classify(reply).class_ is ReplyClass.TOO_MANY_RECIPIENTS


def status_of(reply: Reply) -> str:
    """The status code of a reply, found by its words where it has none (RFC 3463)."""
    if reply.enhanced:
        return reply.enhanced
    consequence = shipped_rules().consequences[classify(reply).class_]
    return f"{5 if reply.permanent else 4}.{consequence.status}"


def _classified(
    class_: ReplyClass, rule: str, consequence: Consequence, reply: Reply
) -> Classified:
    # Too many at once is put off, whatever the code (RFC 5321 section 4.5.3.1.10).
    permanent = reply.permanent and not (
        class_ is ReplyClass.TOO_MANY_RECIPIENTS and reply.code == 552
    )
    return Classified(
        class_=class_,
        rule=rule,
        blame=consequence.blame,
        permanent=permanent,
        suppress=consequence.suppress if permanent else Suppress.NEVER,
        slow=consequence.slow,
        soft=consequence.soft,
        advice=consequence.advice,
    )


def _said(reply: Reply, host: str) -> _Said:
    text = reply.text[:TEXT_LIMIT]
    status = _STATUS.search(text) if not reply.enhanced else None
    return _Said(
        host[:HOST_LIMIT].lower().rstrip("."),
        str(reply.code),
        (status[1] or status[2]) if status else reply.enhanced,
        _ADDRESS.sub("<>", join_lines(" ".join(text.lower().split()))),
    )


def _matches(matcher: Matcher, said: _Said) -> bool:
    return (
        (matcher.code is None or matcher.code.match(said.code) is not None)
        and (matcher.enhanced is None or matcher.enhanced.match(said.enhanced) is not None)
        and (matcher.host is None or matcher.host.match(said.host) is not None)
        and (matcher.text is None or matcher.text.search(said.words) is not None)
    )
