"""The words of one whole command: atoms, strings, numbers, dates (RFC 3501 section 9).

The text comes without its line end; where a literal stood there is LITERAL_MARK, and the literals
lie beside it in order. The server keeps NUL out of the text, so nobody can forge the mark.
"""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone

import msgspec

from mailstead.protocol.imap.numset import NUMBER_MAX, NumSet, parse_numset

LITERAL_MARK = b"\x00"

_ATOM = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\\]]+')
# Eight-bit octets are let in: clients send raw UTF-8 names and passwords without quoting them.
_ASTRING = re.compile(rb'[^\x00-\x20\x7f(){%*"\\]+')
_LIST_MAILBOX = re.compile(rb'[^\x00-\x20\x7f(){"\\]+')
_FLAG = re.compile(rb'\\?[^\x00-\x20\x7f-\xff(){%*"\\\]]+')
_QUOTED = re.compile(rb'"([^\x00\r\n"\\]*(?:\\["\\][^\x00\r\n"\\]*)*)"')
_ESCAPE = re.compile(rb"\\(.)")
NUMBER64_MAX = 2**63 - 1
_NUMBER = re.compile(rb"[0-9]+")
_NUMSET = re.compile(rb"[0-9*:,]+|\$")
_KEYWORD = re.compile(rb"[A-Za-z0-9.\-]+")
_DATE = re.compile(rb'("?)([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})\1')
_DATE_TIME = re.compile(
    rb'"([ 0-9][0-9])-([A-Za-z]{3})-([0-9]{4}) '
    rb'([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+\-])([0-9]{2})([0-9]{2})"'
)
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_MONTH = {name.encode("ascii"): number for number, name in enumerate(MONTHS, 1)}


class BadSyntax(Exception):
    """The command is none; text and code go into the tagged BAD. Never leaves this room."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.text, self.code = text, code


class Unacceptable(Exception):
    """The command is well formed but cannot be taken: NO with a response code (RFC 5530)."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Enabled(msgspec.Struct, frozen=True):
    """What a client has enabled that changes how its commands are read."""

    utf8: bool = False  # names are UTF-8 (RFC 6855 section 3, RFC 9051 section 5.1)
    charset: bool = True  # a SEARCH may name one; not with UTF8=ACCEPT
    seqnums: bool = True  # messages have sequence numbers; not with UIDONLY (RFC 9586)


NOTHING = Enabled()


class Lexer:
    """Reads one command from left to right; every method but `at_*` raises BadSyntax."""

    __slots__ = ("_literals", "_taken", "enabled", "position", "text")

    def __init__(
        self,
        text: bytes,
        literals: Sequence[bytes] = (),
        position: int = 0,
        enabled: Enabled = NOTHING,
    ) -> None:
        self.text = text
        self.enabled = enabled
        self.position = position
        self._literals = literals
        self._taken = 0

    def needs_seqnums(self) -> None:
        """What comes is about sequence numbers: not with UIDONLY (RFC 9586 section 3)."""
        if not self.enabled.seqnums:
            raise BadSyntax("There are no message numbers once UIDONLY is enabled", "UIDREQUIRED")

    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self.position >= len(self.text)

    def at(self, token: bytes) -> bool:
        """Whether this comes next; it stays where it is."""
        return self.text.startswith(token, self.position)

    def accept(self, token: bytes) -> bool:
        """Whether this came next; if so it is behind us."""
        if not self.text.startswith(token, self.position):
            return False
        self.position += len(token)
        return True

    def accept_word(self, word: bytes) -> bool:
        """Whether this word, in any case, came next and ended there; if so it is behind us."""
        match = _KEYWORD.match(self.text, self.position)
        if match is None or match[0].upper() != word:
            return False
        self.position = match.end()
        return True

    def expect(self, token: bytes) -> None:
        """Step over what must come next."""
        if not self.text.startswith(token, self.position):
            raise BadSyntax(f"Expected {_NAMES.get(token, repr(token.decode()))}")
        self.position += len(token)

    def space(self) -> None:
        """Step over the one space between two arguments."""
        self.expect(b" ")

    def end(self) -> None:
        """The command must be over."""
        if self.position < len(self.text):
            raise BadSyntax("Too many arguments")

    def atom(self) -> bytes:
        """An atom."""
        return self._match(_ATOM, "an atom")[0]

    def keyword(self) -> bytes:
        """A word of the protocol, in upper case."""
        return self._match(_KEYWORD, "a word")[0].upper()

    def astring(self) -> bytes:
        """An atom (with "]" allowed) or a string, unquoted."""
        match = _ASTRING.match(self.text, self.position)
        if match is None:
            return self.string()
        self.position = match.end()
        return match[0]

    def list_mailbox(self) -> bytes:
        """A mailbox name that may have wildcards."""
        match = _LIST_MAILBOX.match(self.text, self.position)
        if match is None:
            return self.string()
        self.position = match.end()
        return match[0]

    def string(self) -> bytes:
        """A quoted string or a literal, without what marks it."""
        if self.accept(LITERAL_MARK):
            return self._literal()
        quoted = self._match(_QUOTED, "a string")[1]
        if not quoted.isascii():  # RFC 6855 section 3
            _check_utf8(quoted)
        return _ESCAPE.sub(rb"\1", quoted) if b"\\" in quoted else quoted

    def nstring(self) -> bytes | None:
        """A string, or None for NIL."""
        return None if self.accept_word(b"NIL") else self.string()

    def number(self) -> int:
        """A number of 32 bits."""
        digits = self._match(_NUMBER, "a number")[0]
        # Count the digits first: int() of a very long number costs too much, or raises.
        if len(digits.lstrip(b"0")) > 10 or (value := int(digits[-10:])) > NUMBER_MAX:
            raise BadSyntax("A number of more than 32 bits")
        return value

    def modseq(self, least: int = 0) -> int:
        """A mod-sequence (RFC 7162 section 7)."""
        return self.number64(least, "a mod-sequence")

    def number64(self, least: int = 0, what: str = "a number of 63 bits") -> int:
        """A number of 63 bits (RFC 9051 section 9)."""
        digits = self._match(_NUMBER, what)[0].lstrip(b"0")
        if len(digits) > 19 or (value := int(digits or b"0")) > NUMBER64_MAX or value < least:
            raise BadSyntax(f"Not {what}")
        return value

    def nz_number(self) -> int:
        """A number of 32 bits that is not zero and has no leading zero."""
        if self.at(b"0"):
            raise BadSyntax("Expected a number other than zero")
        return self.number()

    def numset(self) -> NumSet:
        """A set of sequence numbers or UIDs."""
        try:
            return parse_numset(self._match(_NUMSET, "a sequence set")[0])
        except ValueError as error:
            raise BadSyntax(f"Not a sequence set: {error}") from None

    def at_numset(self) -> bool:
        """Whether a digit, "*" or "$" comes next."""
        return self.text[self.position : self.position + 1] in _NUMSET_STARTS

    def flag(self) -> str:
        """A system flag or a keyword."""
        return self._match(_FLAG, "a flag")[0].decode("ascii")

    def flag_list(self) -> list[str]:
        """Flags between parentheses, perhaps none."""
        self.expect(b"(")
        if self.accept(b")"):
            return []
        flags = self.flags()
        self.expect(b")")
        return flags

    def flags(self) -> list[str]:
        """One flag or more, parted by spaces."""
        flags = [self.flag()]
        while self.accept(b" "):
            flags.append(self.flag())
        return flags

    def day(self) -> date:
        """A day, as `1-Feb-1994`, with or without quotes."""
        match = self._match(_DATE, "a date")
        try:
            return date(int(match[4]), _month(match[3]), int(match[2]))
        except ValueError:
            raise BadSyntax("There is no such day") from None

    def moment(self) -> datetime:
        """A moment, as `"17-Jul-1996 02:44:25 -0700"`, in UTC."""
        day, month, year, hour, minute, second, sign, zone_hour, zone_minute = self._match(
            _DATE_TIME, "a date and time"
        ).groups()
        zone = timedelta(hours=int(zone_hour), minutes=int(zone_minute))
        try:
            return datetime(
                int(year),
                _month(month),
                int(day),
                int(hour),
                int(minute),
                min(int(second), 59) if second == b"60" else int(second),  # a leap second
                tzinfo=timezone(-zone if sign == b"-" else zone),
            ).astimezone(UTC)
        except (ValueError, OverflowError):
            raise BadSyntax("There is no such date and time") from None

    def _match(self, pattern: re.Pattern[bytes], what: str) -> re.Match[bytes]:
        match = pattern.match(self.text, self.position)
        if match is None:
            raise BadSyntax(f"Expected {what}")
        self.position = match.end()
        return match

    def _literal(self) -> bytes:
        literal = self._literals[self._taken]
        self._taken += 1
        return literal


_NUMSET_STARTS = frozenset(b"%d" % digit for digit in range(10)) | {b"*", b"$"}
_NAMES = {
    b" (~": "a literal8 in parentheses",
    b" ": "a space",
    b"(": "an opening parenthesis",
    b")": "a closing parenthesis",
}


def _check_utf8(quoted: bytes) -> None:
    try:
        quoted.decode("utf-8")
    except ValueError:
        raise BadSyntax("A quoted string is not UTF-8") from None


def _month(name: bytes) -> int:
    month = _MONTH.get(name.upper())
    if month is None:
        raise ValueError("no such month")
    return month
