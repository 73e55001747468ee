"""Patterns of LIST: `*` stands for anything, `%` for anything within a level (RFC 3501 6.3.8).

All places where the pattern may stand are followed at once, as bits of one number, so that the
time is linear in the name whatever the pattern: regular expressions would try one after the other.
"""

import re

from mailstead.model.mailbox import DELIMITER, INBOX

_WILDCARDS = re.compile(r"[*%]*\*[*%]*|%+")


class Pattern:
    """A pattern, prepared for many names."""

    __slots__ = ("_any", "_at", "_end", "_inbox", "_level")

    def __init__(self, text: str, fold: bool = True) -> None:
        # Wildcards side by side are one: the widest.
        text = _WILDCARDS.sub(lambda run: "*" if "*" in run[0] else "%", text)
        self._at: dict[str, int] = {}  # where the pattern has this character
        self._any = self._level = 0
        for place, character in enumerate(text):
            if character == "*":
                self._any |= 1 << place
            elif character == "%":
                self._level |= 1 << place
            else:
                self._at[character] = self._at.get(character, 0) | 1 << place
        self._end = 1 << len(text)
        # INBOX is found in any case (RFC 3501 section 5.1).
        self._inbox = fold and Pattern(text.upper(), fold=False).matches(INBOX)

    def matches(self, name: str) -> bool:
        """Whether the pattern stands for the name."""
        if name == INBOX and self._inbox:
            return True
        places = self._skip(1)
        for character in name:
            stay = self._any if character == DELIMITER else self._any | self._level
            places = self._skip(places & stay | (places & self._at.get(character, 0)) << 1)
            if not places:
                return False
        return bool(places & self._end)

    def _skip(self, places: int) -> int:
        """A wildcard may stand for nothing."""
        return places | (places & (self._any | self._level)) << 1
