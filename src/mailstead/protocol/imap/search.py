"""Search programs: parsing SEARCH into a tree (RFC 3501 section 6.4.4).

Strings are decoded from the charset and case-folded here, once. What a program means for a message
is in match. Depth and number of keys are limited, so a program is always cheap to walk.
"""

import enum
from collections.abc import Callable
from datetime import date
from encodings import normalize_encoding
from encodings.aliases import aliases

import msgspec

from mailstead.model import flags
from mailstead.protocol.imap.lexer import BadSyntax, Lexer, Unacceptable
from mailstead.protocol.imap.numset import NumSet
from mailstead.protocol.imap.objectid import EMAIL_ID, parse_object_id

DEPTH_LIMIT = 50  # keys inside keys
_DAY = 86_400_000_000  # microseconds
_EVER = 2**63
KEYS_LIMIT = 500  # keys of one program

# Python's text codecs that are no charsets of mail, or that cost more than linear time. Only names
# of the list are ever looked up: Python remembers each unknown name that it is asked for.
_NO_CHARSETS = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs"}
_CODECS = {"utf_8": "utf_8", **aliases, **{codec: codec for codec in aliases.values()}}
_CHARSETS = frozenset(name for name, codec in _CODECS.items() if codec not in _NO_CHARSETS)


class All(msgspec.Struct, frozen=True):
    """Every message."""


class Numbers(msgspec.Struct, frozen=True):
    """Messages with these sequence numbers or UIDs."""

    numset: NumSet
    uid: bool


class HasFlag(msgspec.Struct, frozen=True):
    """Messages with the system flag, a bit of model.flags."""

    bit: int


class HasKeyword(msgspec.Struct, frozen=True):
    """Messages with the keyword."""

    name: str


class IsRecent(msgspec.Struct, frozen=True):
    """Messages with \\Recent in this session."""


class Relation(enum.StrEnum):
    """How a day has to lie to the one given; SINCE includes it, BEFORE does not."""

    BEFORE = "BEFORE"
    ON = "ON"
    SINCE = "SINCE"


class Dated(msgspec.Struct, frozen=True):
    """Messages by day: of the Date field if `sent`, else of the internal date."""

    sent: bool
    relation: Relation
    day: date


class ChangedSince(msgspec.Struct, frozen=True):
    """Messages whose mod-sequence is this or greater (RFC 7162 section 3.1.5)."""

    modseq: int


class Within(msgspec.Struct, frozen=True):
    """Messages that came in the last seconds, or if not `younger` before (RFC 5032 section 3)."""

    younger: bool
    seconds: int


class Between(msgspec.Struct, frozen=True):
    """Messages whose number in a column lies there, the end not included.

    Times are microseconds since 1970 (UTC); `email` is what EMAILID names (RFC 8474 section 5.1).
    """

    column: str  # "internal_date", "saved", "content"
    least: int
    end: int


class Larger(msgspec.Struct, frozen=True):
    """Messages with more octets."""

    octets: int


class Smaller(msgspec.Struct, frozen=True):
    """Messages with fewer octets."""

    octets: int


class HeaderHas(msgspec.Struct, frozen=True):
    """Messages with the text in the field, named in lower case; without text, with the field."""

    field: str
    text: str


class BodyHas(msgspec.Struct, frozen=True):
    """Messages with the text in the body."""

    text: str


class TextHas(msgspec.Struct, frozen=True):
    """Messages with the text in header or body."""

    text: str


class Not(msgspec.Struct, frozen=True):
    """Messages that the key does not find."""

    key: "Key"


class Or(msgspec.Struct, frozen=True):
    """Messages that at least one of the two finds."""

    left: "Key"
    right: "Key"


class And(msgspec.Struct, frozen=True):
    """Messages that all the keys find."""

    keys: tuple["Key", ...]


class Fuzzy(msgspec.Struct, frozen=True):
    """Messages that the key finds, or nearly (RFC 6203 section 3)."""

    key: "Key"


class Named(msgspec.Struct, frozen=True):
    """What is kept under this name, in lower case (RFC 5466 section 3.1); `filters` knows it."""

    name: str


Key = (
    All
    | Named
    | Numbers
    | HasFlag
    | HasKeyword
    | IsRecent
    | ChangedSince
    | Within
    | Between
    | Dated
    | Larger
    | Smaller
    | HeaderHas
    | BodyHas
    | TextHas
    | Not
    | Or
    | And
    | Fuzzy
)


def is_fuzzy(program: Key) -> bool:
    """Whether FUZZY stands anywhere in the program."""
    match program:
        case Fuzzy():
            return True
        case Not(key):
            return is_fuzzy(key)
        case Or(left, right):
            return is_fuzzy(left) or is_fuzzy(right)
        case And(keys):
            return any(map(is_fuzzy, keys))
        case _:
            return False


def parse_program(lexer: Lexer) -> Key:
    """The rest of a SEARCH command; Unacceptable with BADCHARSET for a charset we do not know."""
    charset = "utf_8"  # contains US-ASCII, the default; clients send it undeclared
    if lexer.accept_word(b"CHARSET"):
        if not lexer.enabled.charset:  # RFC 6855 section 3
            raise BadSyntax("With UTF8=ACCEPT all strings are UTF-8, without CHARSET")
        lexer.space()
        charset = _find_charset(lexer.astring())
        lexer.space()
    return _Parser(lexer, charset).program()


def parse_criteria(lexer: Lexer) -> Key:
    """Search keys without a charset, in UTF-8 (RFC 5466 section 3.2)."""
    return _Parser(lexer, "utf_8").program()


def parse_program_in_charset(lexer: Lexer) -> Key:
    """The same of SORT and THREAD, where the charset always stands before it."""
    charset = _find_charset(lexer.astring())
    lexer.space()
    return _Parser(lexer, charset).program()


def _find_charset(name: bytes) -> str:
    normal = normalize_encoding(name.decode("ascii", "replace")).lower()
    if normal not in _CHARSETS:
        raise Unacceptable("BADCHARSET (UTF-8 US-ASCII)", "Unknown charset")
    try:
        b"charset".decode(normal, "ignore")  # nothing would be looked up for b""
    except LookupError:  # a codec that is not for text, as base64 or zlib
        raise Unacceptable("BADCHARSET (UTF-8 US-ASCII)", "Unknown charset") from None
    return normal


class _Parser:
    """One descent through a program, with what it has used up of the limits."""

    def __init__(self, lexer: Lexer, charset: str) -> None:
        self.lexer = lexer
        self.charset = charset
        self.keys = 0
        self.depth = 0

    def program(self) -> Key:
        """Keys parted by spaces, all of which must hold."""
        keys = [self.key()]
        while self.lexer.accept(b" "):
            keys.append(self.key())
        return keys[0] if len(keys) == 1 else And(tuple(keys))

    def key(self) -> Key:
        """One search key."""
        self._count()
        if self.lexer.at_numset():
            self.lexer.needs_seqnums()
            return Numbers(self.lexer.numset(), uid=False)
        if self.lexer.accept(b"("):
            return self._nested(self._list)
        word = self.lexer.keyword()
        if word in _PLAIN:
            return _PLAIN[word]
        parse = _WITH_ARGUMENTS.get(word)
        if parse is None:
            raise BadSyntax("Unknown search key")
        self.lexer.space()
        return parse(self, word)

    def text(self) -> str:
        """A string in the charset of the command, case-folded."""
        try:
            return self.lexer.astring().decode(self.charset).casefold()
        except ValueError:
            raise BadSyntax("A string is not in the charset") from None

    def negation(self, word: bytes) -> Key:
        """What follows NOT."""
        return Not(self._nested(self.key))

    def fuzziness(self, word: bytes) -> Key:
        """What follows FUZZY."""
        return Fuzzy(self._nested(self.key))

    def alternative(self, word: bytes) -> Key:
        """What follows OR."""
        return self._nested(self._pair)

    def _pair(self) -> Key:
        left = self.key()
        self.lexer.space()
        return Or(left, self.key())

    def _list(self) -> Key:
        inner = self.program()
        self.lexer.expect(b")")
        return inner

    def _count(self) -> None:
        self.keys += 1
        if self.keys > KEYS_LIMIT:
            raise BadSyntax(f"More than {KEYS_LIMIT} search keys")

    def _nested(self, parse: Callable[[], Key]) -> Key:
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            raise BadSyntax(f"Search keys nested more than {DEPTH_LIMIT} deep")
        key = parse()
        self.depth -= 1
        return key


def _uids(parser: _Parser, word: bytes) -> Key:
    return Numbers(parser.lexer.numset(), uid=True)


def _keyword(parser: _Parser, word: bytes) -> Key:
    has = HasKeyword(parser.lexer.flag())
    return Not(has) if word == b"UNKEYWORD" else has


def _dated(parser: _Parser, word: bytes) -> Key:
    relation = Relation(word.removeprefix(b"SENT").decode("ascii"))
    return Dated(word.startswith(b"SENT"), relation, parser.lexer.day())


def _size(parser: _Parser, word: bytes) -> Key:
    octets = parser.lexer.number64()
    return Larger(octets) if word == b"LARGER" else Smaller(octets)


def _named_field(parser: _Parser, word: bytes) -> Key:
    return HeaderHas(word.decode("ascii").lower(), parser.text())


def _header(parser: _Parser, word: bytes) -> Key:
    field = parser.lexer.astring().decode("utf-8", "replace").lower()
    parser.lexer.space()
    return HeaderHas(field, parser.text())


def _modseq(parser: _Parser, word: bytes) -> Key:
    """One mod-sequence stands for all of a message, so which part is meant is passed over."""
    if parser.lexer.at(b'"'):
        parser.lexer.string()
        parser.lexer.space()
        if parser.lexer.keyword() not in (b"ALL", b"PRIV", b"SHARED"):
            raise BadSyntax("Expected all, priv or shared")
        parser.lexer.space()
    return ChangedSince(parser.lexer.modseq())


def _within(parser: _Parser, word: bytes) -> Key:
    return Within(word == b"YOUNGER", parser.lexer.nz_number())


def _saved(parser: _Parser, word: bytes) -> Key:
    """Days of arrival in the mailbox, in UTC (RFC 8514 section 4.2)."""
    day = parser.lexer.day()
    start = (day - date(1970, 1, 1)).days * _DAY
    if word == b"SAVEDBEFORE":
        return Between("saved", -_EVER, start)
    return Between("saved", start, start + _DAY if word == b"SAVEDON" else _EVER)


def _email(parser: _Parser, word: bytes) -> Key:
    """EMAILID (RFC 8474 section 6); what is no identifier of ours finds nothing."""
    number = parse_object_id(EMAIL_ID, parser.lexer.astring())
    return Between("content", number, number + 1) if number else Not(All())


def _thread(parser: _Parser, word: bytes) -> Key:
    """THREADID: no message has one here (RFC 8474 section 5.2)."""
    parser.lexer.astring()
    return Not(All())


def _filter(parser: _Parser, word: bytes) -> Key:
    """RFC 5466 section 3.1: filters are in UTF-8, so the command has to be, too."""
    if _CODECS.get(parser.charset) not in ("utf_8", "ascii"):
        raise BadSyntax("FILTER needs UTF-8", "BADCHARSET (UTF-8 US-ASCII)")
    name = parser.lexer.atom().decode("ascii").lower()
    if "/" in name:
        raise BadSyntax("That is no name of a filter")
    return Named(name)


def _body(parser: _Parser, word: bytes) -> Key:
    return BodyHas(parser.text())


def _text(parser: _Parser, word: bytes) -> Key:
    return TextHas(parser.text())


_PLAIN: dict[bytes, Key] = {
    b"ALL": All(),
    b"ANSWERED": HasFlag(flags.ANSWERED),
    b"DELETED": HasFlag(flags.DELETED),
    b"DRAFT": HasFlag(flags.DRAFT),
    b"FLAGGED": HasFlag(flags.FLAGGED),
    b"SEEN": HasFlag(flags.SEEN),
    b"UNANSWERED": Not(HasFlag(flags.ANSWERED)),
    b"UNDELETED": Not(HasFlag(flags.DELETED)),
    b"UNDRAFT": Not(HasFlag(flags.DRAFT)),
    b"UNFLAGGED": Not(HasFlag(flags.FLAGGED)),
    b"UNSEEN": Not(HasFlag(flags.SEEN)),
    b"RECENT": IsRecent(),
    b"OLD": Not(IsRecent()),
    b"SAVEDATESUPPORTED": All(),
    b"NEW": And((IsRecent(), Not(HasFlag(flags.SEEN)))),
}
_WITH_ARGUMENTS: dict[bytes, Callable[[_Parser, bytes], Key]] = {
    b"NOT": _Parser.negation,
    b"OR": _Parser.alternative,
    b"FUZZY": _Parser.fuzziness,
    b"UID": _uids,
    b"KEYWORD": _keyword,
    b"UNKEYWORD": _keyword,
    b"BEFORE": _dated,
    b"ON": _dated,
    b"SINCE": _dated,
    b"SENTBEFORE": _dated,
    b"SENTON": _dated,
    b"SENTSINCE": _dated,
    b"LARGER": _size,
    b"SMALLER": _size,
    b"BCC": _named_field,
    b"CC": _named_field,
    b"FROM": _named_field,
    b"SUBJECT": _named_field,
    b"TO": _named_field,
    b"HEADER": _header,
    b"BODY": _body,
    b"MODSEQ": _modseq,
    b"OLDER": _within,
    b"YOUNGER": _within,
    b"SAVEDBEFORE": _saved,
    b"SAVEDON": _saved,
    b"SAVEDSINCE": _saved,
    b"EMAILID": _email,
    b"THREADID": _thread,
    b"TEXT": _text,
    b"FILTER": _filter,
}
