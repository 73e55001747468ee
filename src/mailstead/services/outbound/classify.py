"""What a refusing reply is about, where its code does not say enough. Pure.

A site that limits rates or blocks us says so in its own words; asking its next host the same would
make it worse. What is too many recipients for one message is no refusal of any of them.
"""

import enum
import re

from mailstead.model.reply import Reply


class Kind(enum.Enum):
    """What to make of a reply that is not positive."""

    ORDINARY = enum.auto()  # the code says it all
    RATE_LIMIT = enum.auto()  # we are too fast for that site
    BLOCK = enum.auto()  # that site does not want us
    TOO_MANY_RECIPIENTS = enum.auto()  # for one message; the rest goes in another one


_TOO_MANY = re.compile(r"too many recipients", re.I)
_RATE = re.compile(
    r"too (?:quickly|fast|frequently)|rate[ -]?limit|throttl|(?:rate|quota|limit)s? (?:is |was "
    r"|has been )?exceeded|exceeded (?:the |your )?(?:\w+ )?(?:rate|limit)|too many (?:\w+ ){0,2}"
    r"(?:connections|messages|mails|emails|sessions|requests)|unusual rate|slow down",
    re.I,
)
_BLOCK = re.compile(
    r"block(?:ed|list)|black ?list|deny ?list|spamhaus|spamcop|barracuda|listed (?:at|by|in|on)|"
    r"poor reputation|reputation of|bad reputation|low reputation|banned",
    re.I,
)


def classify(reply: Reply) -> Kind:
    """What the reply is about."""
    if reply.code in (452, 552) and (reply.enhanced[2:] == "5.3" or _TOO_MANY.search(reply.text)):
        return Kind.TOO_MANY_RECIPIENTS
    if _RATE.search(reply.text):
        return Kind.RATE_LIMIT
    if _BLOCK.search(reply.text):
        return Kind.BLOCK
    return Kind.ORDINARY


def slows(reply: Reply) -> bool:
    """Whether to leave that site alone for a while instead of trying its next host."""
    return classify(reply) in (Kind.RATE_LIMIT, Kind.BLOCK)
