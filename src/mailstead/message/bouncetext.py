"""Bounces that only people can read: which addresses a text says failed, and why. Pure.

Forms: qmail's (QSBMF), Yahoo's, Exim's, Postfix's, Sendmail's, Gmail's old one, Exchange's,
Domino's, GroupWise's. They have one shape: an opening, then addresses at the start of a line with
reasons behind or below, then a line before the returned message.
Holds: never raises; a text without a known opening is no bounce.
"""

import re

import msgspec

from mailstead.message.diagnostic import DIAGNOSTIC_LIMIT

LINES_LIMIT = 2000  # lines of the text
LINE_LIMIT = 2000  # characters of a line
FAILURES_LIMIT = 1000
OPENING_WITHIN = 40  # lines before the opening: greetings, and the forwards of people

# Lower case, anywhere in a line.
_OPENINGS = (
    ("qmail", "this is the qmail-send program"),
    ("qmail", "wasn't able to deliver your message to the following"),
    ("yahoo", "unable to deliver your message to the following"),
    ("exim", "this message was created automatically by mail delivery software"),
    ("exim", "could not be delivered to one or more of"),
    ("postfix", "this is the mail system at "),
    ("postfix", "could not be delivered to one or more recipients"),
    ("sendmail", "the following addresses had permanent fatal errors"),
    ("sendmail", "the following addresses had transient non-fatal errors"),
    ("sendmail", "the following addresses had delivery problems"),
    ("gmail", "delivery to the following recipient failed permanently"),
    ("gmail", "delivery to the following recipient has been delayed"),
    ("gmail", "your message wasn't delivered to"),
    ("exchange", "delivery has failed to these recipients"),
    ("exchange", "rejected your message to the following e"),
    ("exchange", "your message did not reach some or all of the intended recipients"),
    ("domino", "was not delivered to:"),
    ("groupwise", "was undeliverable to the following"),
    ("other", "your message was not delivered to the following recipient"),
    ("other", "could not deliver message to the following recipient"),
    ("other", "delivery failed for the following recipient"),
    ("other", "unable to deliver the message to the following"),
)
_DELAYED = re.compile(
    r"\b(?:delayed|transient non-fatal|only a warning|warning message|will be retried"
    r"|will retry|still trying|not yet been delivered)\b"
)
_ENDING = re.compile(
    r"-{2,}.{0,20}(?:original message|below this line|this is a copy|enclosed are|returned message"
    r"|message header|the header of|unsent message|undelivered message)"
    r"|original message headers?:|message headers follow|original message follows",
    re.I,
)
_ADDRESS = re.compile(
    r"[\s>]{0,16}(?:failed recipient:\s{0,4})?[<\"'\[]?"
    r"(?P<address>[^\s<>()\[\]:;,\"'@]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9._-]{0,250}[A-Za-z0-9])?)"
    r"[>\"'\]]?(?:\s{0,4}\((?P<aside>[^()]{1,300})\))?"
    r"(?P<colon>\s{0,4}[:;]\s{0,4})?(?P<rest>.{0,2000})\Z",
    re.I,
)
# What comes before a reason that stands apart from its address.
_REASON = re.compile(
    r".{0,200}?(?:because:|server returned was:|remote server returned|reason:"
    r"|technical details of (?:permanent|temporary) failure:)\s{0,4}(?P<rest>.{0,2000})\Z",
    re.I,
)
_NOISE = re.compile(
    r"giving up on |i'm not going to try again|generating server:|the mail system", re.I
)


class Failure(msgspec.Struct, frozen=True):
    """One address and why it failed, in the words of the text."""

    address: str
    reason: str


class BounceText(msgspec.Struct, frozen=True):
    """What a text says."""

    form: str
    delayed: bool  # it is still tried
    failures: tuple[Failure, ...]
    returned: str  # what follows: the returned message or its header


def read_text(text: str) -> BounceText | None:
    """The bounce that a text is; None if it is none."""
    lines = [line[:LINE_LIMIT] for line in text.splitlines()[:LINES_LIMIT]]
    opening = _opening(lines)
    if opening is None:
        return None
    at, form = opening
    end = next((n for n in range(at + 1, len(lines)) if _ENDING.search(lines[n])), len(lines))
    story = lines[at:end]
    reader = _Reader()
    for line in story[1:]:
        reader.line(line)
    return BounceText(
        form,
        any(_DELAYED.search(line.lower()) for line in story[:OPENING_WITHIN]),
        reader.failures(),
        "\r\n".join(lines[end + 1 :]).lstrip(),
    )


def _opening(lines: list[str]) -> tuple[int, str] | None:
    for number, line in enumerate(lines[:OPENING_WITHIN]):
        lowered = line.lower()
        for form, words in _OPENINGS:
            if words in lowered:
                return number, form
    return None


class _Reader:
    """Collects reasons by address, line by line."""

    def __init__(self) -> None:
        self._reasons: dict[str, list[str]] = {}
        self._size = 0
        self._open: list[str] = []  # addresses that the next words are about

    def line(self, line: str) -> None:
        """Take one more line."""
        if not line.strip(" \t>"):
            self._open = [one for one in self._open if not self._reasons[one]]
        elif address := _ADDRESS.match(line):
            self._begin(address)
        elif reason := _REASON.match(line):
            self._open = [one for one, words in self._reasons.items() if not words] or self._open
            self._add(reason["rest"])
        elif not _NOISE.search(line):
            self._add(line)

    def _begin(self, match: "re.Match[str]") -> None:
        address = match["address"]
        rest = match["rest"]
        if rest and not match["colon"] and not match["aside"] and not rest.isspace():
            self._add(match[0])  # an address within a sentence is no failure
            return
        if len(self._reasons) < FAILURES_LIMIT:
            self._reasons.setdefault(address, [])
        self._open = [address] if address in self._reasons else []
        self._add(match["aside"] or "")
        self._add(rest)

    def _add(self, words: str) -> None:
        words = " ".join(words.strip(" \t>'\"").split())
        for address in self._open:
            room = DIAGNOSTIC_LIMIT - sum(map(len, self._reasons[address]))
            if words and room > 0:
                self._reasons[address].append(words[:room])

    def failures(self) -> tuple[Failure, ...]:
        """All of them."""
        return tuple(Failure(address, " ".join(words)) for address, words in self._reasons.items())
