"""A fact: something small that was learned of a message or of who brings it, and its weight.

The one form in which lists, manners and other programs say what they found; a score adds them up.
"""

import msgspec


class Fact(msgspec.Struct, frozen=True):
    """Something that speaks for or against a message.

    `name` is of a known family: "dnsbl.spamhaus-zen", "helo.ours", "iprev.none", "arc.believed".
    """

    name: str
    weight: float  # above 0: against it
    words: str = ""
