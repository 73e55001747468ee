"""What becomes of a message, by what is known of who sent it. Pure: a table that can be printed.

A message that fails DMARC is never refused solely because its domain asks for it (RFC 9989 section
7.4): lists and forwarders break what was right. It goes to junk, unless SPF fails too and nothing
shows that it came through a list or forwarder. What claims a domain hosted here and fails is junk
at best, whatever its record says.
"""

import enum

import msgspec

from mailstead.message import header as fields
from mailstead.model.reply import Reply
from mailstead.msgauth.dmarc.check import Dmarc
from mailstead.msgauth.dmarc.record import Policy
from mailstead.msgauth.spf.record import Spf
from mailstead.services.inbound.evidence import Evidence

FORGED = Reply(
    550,
    "5.7.1",
    "The message is not from who it says: SPF and DMARC fail, and its domain asks to refuse it",
)

# Fields that lists and forwarders add; anybody can write them, so they only keep from refusing.
_ON_THE_WAY = (
    "List-Id",
    "List-Post",
    "ARC-Seal",
    "Resent-From",
    "X-Forwarded-To",
    "X-Forwarded-For",
    "Delivered-To",
)


class Action(enum.StrEnum):
    """Where the message goes."""

    INBOX = "inbox"
    JUNK = "junk"
    REFUSE = "refuse"


class Verdict(msgspec.Struct, frozen=True):
    """What becomes of it, and why, in words; no reason for what is all right."""

    action: Action
    reason: str = ""
    reply: Reply | None = None


ALL_RIGHT = Verdict(Action.INBOX)


def judge(evidence: Evidence, header: bytes, hosted: bool) -> Verdict:
    """The verdict; `hosted`: the domain of From is one of ours."""
    dmarc = evidence.dmarc
    if dmarc is None or dmarc.result is Dmarc.PASS:
        return ALL_RIGHT
    if hosted and dmarc.result in (Dmarc.FAIL, Dmarc.NONE):
        whose = dmarc.author_domain
        return Verdict(Action.JUNK, f"it says that it is from {whose}, which is hosted here")
    if dmarc.result is not Dmarc.FAIL or dmarc.policy is Policy.NONE:
        return ALL_RIGHT
    asked = f"DMARC fails, and {dmarc.author_domain} asks for {dmarc.policy.value}"
    if dmarc.policy is Policy.REJECT and _is_direct(evidence, header):
        return Verdict(Action.REFUSE, asked, FORGED)
    return Verdict(Action.JUNK, asked)


def _is_direct(evidence: Evidence, header: bytes) -> bool:
    """SPF says no, and nobody on the way could have broken it."""
    passed_on = any(fields.get(header, name) is not None for name in _ON_THE_WAY)
    return evidence.spf.result is Spf.FAIL and not passed_on
