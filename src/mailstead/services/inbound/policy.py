"""What becomes of a message for a recipient, by what is known of it. Pure: a table to be printed.

A message that fails DMARC is never refused solely because its domain asks for it (RFC 9989 section
7.4): lists and forwarders break what was right. It goes to junk, unless a second fact is there:
SPF fails too and nothing shows that it came through a list or forwarder, or a block list has the
client. Whom a believed host saw pass is no forgery. What claims a domain hosted here and fails is
junk at best. What the DNS kept to itself never makes a refusal: it may put the message off.
"""

import enum

import msgspec

from mailstead.model.reply import Reply
from mailstead.msgauth.dmarc.check import Dmarc
from mailstead.msgauth.dmarc.record import Policy
from mailstead.msgauth.spf.record import Spf
from mailstead.services.filters.letter import Advice, Opinion
from mailstead.services.inbound.evidence import Evidence
from mailstead.storage.filter_lists import ALLOW, BLOCK
from mailstead.storage.thresholds import Thresholds

FORGED = Reply(
    550,
    "5.7.1",
    "The message is not from who it says: SPF and DMARC fail, and its domain asks to refuse it",
)
NOT_PROVEN = Reply(550, "5.7.1", "Nothing proves that the message is from who it says: DMARC fails")
FORGED_BY_LISTED = Reply(
    550,
    "5.7.1",
    "The message is not from who it says: DMARC fails, its domain asks to refuse it, and a block"
    " list has your address",
)
UNSURE = Reply(
    451,
    "4.7.5",
    "The DNS does not say now whether the message is from who it says; try again later",
)


FORGED_AND_SPAM = Reply(
    550,
    "5.7.1",
    "The message is not from who it says: DMARC fails, its domain asks to refuse it, and it looks"
    " like spam",
)
LATER = Reply(451, "4.7.1", "The message looks like spam; try again later")


class Action(enum.StrEnum):
    """Where the message goes."""

    INBOX = "inbox"
    JUNK = "junk"
    QUARANTINE = "quarantine"  # kept until somebody has looked at it
    DEFER = "defer"
    REFUSE = "refuse"


class Verdict(msgspec.Struct, frozen=True):
    """What becomes of it, and why, in words; no reason for what is all right."""

    action: Action
    reason: str = ""
    reply: Reply | None = None  # of what is refused or put off


class Wishes(msgspec.Struct, frozen=True):
    """How a recipient wants its mail judged: what its organisation, domain and account say."""

    sealers: frozenset[str] = frozenset()  # whose ARC seals are believed
    greylisted: bool = False
    strict: bool = False  # what a domain asks to refuse is refused, without a second fact


class Points(msgspec.Struct, frozen=True):
    """What the score says to a recipient; `apart` is the total without what DMARC said itself."""

    total: float
    apart: float
    thresholds: Thresholds
    reference: str  # that the sender is told, and that `message explain` opens
    listed: str = ""  # "allow", "block": what a list of the recipient's says
    entry: str = ""


ALL_RIGHT = Verdict(Action.INBOX)
NO_WISHES = Wishes()


def judge(evidence: Evidence, wishes: Wishes = NO_WISHES) -> Verdict:
    """The verdict for one recipient."""
    dmarc = evidence.dmarc
    if dmarc is None or dmarc.result is Dmarc.PASS:
        return ALL_RIGHT
    if evidence.hosted and dmarc.result in (Dmarc.FAIL, Dmarc.NONE):
        whose = dmarc.author_domain
        return Verdict(Action.JUNK, f"it says that it is from {whose}, which is hosted here")
    if dmarc.result is Dmarc.TEMPERROR and _may_be_forged(evidence, wishes):
        return Verdict(
            Action.DEFER, f"SPF fails, and DMARC cannot be told: {dmarc.problem}", UNSURE
        )
    if dmarc.result is not Dmarc.FAIL or dmarc.policy is Policy.NONE:
        return ALL_RIGHT
    return _judge_failure(evidence, wishes)


def _judge_failure(evidence: Evidence, wishes: Wishes) -> Verdict:
    dmarc = evidence.dmarc
    assert dmarc is not None
    asked = f"DMARC fails, and {dmarc.author_domain} asks for {dmarc.policy.value}"
    if sealer := evidence.believed(wishes.sealers):
        return Verdict(Action.INBOX, f"{asked}; {sealer}, which is believed, saw it pass")
    if dmarc.policy is Policy.REJECT:
        if zone := evidence.listed:
            return Verdict(Action.REFUSE, f"{asked}; {zone} lists the client", FORGED_BY_LISTED)
        if _is_direct(evidence):
            return Verdict(Action.REFUSE, asked, FORGED)
        if wishes.strict:
            return Verdict(Action.REFUSE, f"{asked}; the organisation is strict", NOT_PROVEN)
    return Verdict(Action.JUNK, asked)


def without_the_dns(evidence: Evidence) -> Verdict:
    """The verdict when the DNS has kept silent for too long: what is not known is not held."""
    problem = evidence.dmarc.problem if evidence.dmarc else ""
    return Verdict(Action.JUNK, f"SPF fails, and for a day DMARC could not be told: {problem}")


def graver(one: Verdict, other: Verdict) -> Verdict:
    """The one that costs the message more; the first, if they are alike."""
    return max(one, other, key=lambda verdict: HARDER.index(verdict.action))


def advised(opinion: Opinion | None) -> Verdict:
    """What another program wants."""
    if opinion is None or opinion.advice is Advice.NOTHING:
        return ALL_RIGHT
    reason = f"{opinion.engine}: {opinion.reason}"
    return Verdict(Action(_ACTIONS[opinion.advice]), reason, opinion.reply)


_ACTIONS = {
    Advice.JUNK: Action.JUNK,
    Advice.QUARANTINE: Action.QUARANTINE,
    Advice.DEFER: Action.DEFER,
    Advice.REFUSE: Action.REFUSE,
}


def _is_direct(evidence: Evidence) -> bool:
    """SPF says no, and nobody on the way could have broken it."""
    return evidence.spf.result is Spf.FAIL and not evidence.passed_on


def _may_be_forged(evidence: Evidence, wishes: Wishes) -> bool:
    """Whether the missing answer could make it a message to refuse; while all fails, none does."""
    if evidence.believed(wishes.sealers):
        return False
    return _is_direct(evidence) or (evidence.spf.result is Spf.FAIL and bool(evidence.listed))


# ---------------------------------------------------------------------- the score

# From the mildest to the hardest.
HARDER = (Action.INBOX, Action.JUNK, Action.QUARANTINE, Action.DEFER, Action.REFUSE)


def add_points(verdict: Verdict, evidence: Evidence, points: Points) -> Verdict:
    """The harder of what DMARC and what the score ask for; a recipient's own list goes before."""
    if points.listed == ALLOW:
        return Verdict(Action.INBOX, f"{points.entry} is always welcome")
    if points.listed == BLOCK:
        why = f"{points.entry} is blocked"
        return Verdict(
            Action.REFUSE, why, _refusal("The recipient takes no mail from this sender", points)
        )
    if _is_bad_forgery(verdict, evidence, points):
        return Verdict(Action.REFUSE, f"{verdict.reason}; the score is bad, too", FORGED_AND_SPAM)
    scored = _by_points(points)
    return max(verdict, scored, key=lambda one: HARDER.index(one.action))


def _is_bad_forgery(verdict: Verdict, evidence: Evidence, points: Points) -> bool:
    """The score is the second fact that refuses what its own domain asks to refuse."""
    dmarc = evidence.dmarc
    if verdict.action is not Action.JUNK or dmarc is None or dmarc.result is not Dmarc.FAIL:
        return False
    return dmarc.policy is Policy.REJECT and points.apart >= points.thresholds.junk


def _by_points(points: Points) -> Verdict:
    total, known = points.total, points.thresholds
    why = f"the score is {total:g}"
    if total >= known.refuse:
        return Verdict(Action.REFUSE, why, _refusal("The message was taken for spam", points))
    if total >= known.defer:
        return Verdict(Action.DEFER, why, LATER)
    if total >= known.quarantine:
        return Verdict(Action.QUARANTINE, why)
    return Verdict(Action.JUNK, why) if total >= known.junk else ALL_RIGHT


def _refusal(what: str, points: Points) -> Reply:
    return Reply(
        550,
        "5.7.1",
        f"{what}; if that is wrong, tell the postmaster this number: {points.reference}",
    )
