"""What a search program means for one message (RFC 3501 section 6.4.4).

needs() tells what has to be read for a program; matches() asks for the expensive things last: of
the keys that must all hold, those on flags and columns are tried before any text is fetched.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import assert_never

import msgspec

from mailstead.model.flags import has_keyword
from mailstead.protocol.imap.numset import NumSet, contains
from mailstead.protocol.imap.search import (
    All,
    And,
    Between,
    BodyHas,
    ChangedSince,
    Dated,
    Fuzzy,
    HasFlag,
    HasKeyword,
    HeaderHas,
    IsRecent,
    Key,
    Larger,
    Named,
    Not,
    Numbers,
    Or,
    Relation,
    Smaller,
    TextHas,
    Within,
)


class Need(enum.Flag):
    """What a program has to know of a message besides its numbers."""

    NOTHING = 0
    FLAGS = enum.auto()
    COLUMNS = enum.auto()  # size, internal date, day of the Date field
    HEADER = enum.auto()
    BODY = enum.auto()


class SearchMessage(msgspec.Struct, frozen=True):
    """One message; the callables are called only if a key asks, and their texts are case-folded.

    `fields(name)` gives the decoded values of all fields of that lower-case name. `sent` is the day
    that the Date field says, None if it says none.
    """

    seqnum: int
    uid: int
    system: int
    keywords: str
    recent: bool
    modseq: int
    columns: Mapping[str, int]  # of Between
    size: int
    received: date
    sent: date | None
    fields: Callable[[str], Sequence[str]]
    header: Callable[[], str]
    body: Callable[[], str]


def bind(program: Key, count: int, last_uid: int) -> Key:
    """The program for a mailbox as it is now: `*` resolved, cheap keys first.

    Must be done before matches(). What is still FUZZY is exact from here on. A sequence number
    beyond the last message finds nothing, and is no error (RFC 7377 section 2).
    """
    match program:
        case Numbers(numset, uid):
            return Numbers(NumSet(tuple(numset.resolve(last_uid if uid else count))), uid)
        case Fuzzy(key):
            return bind(key, count, last_uid)
        case Not(key):
            return Not(bind(key, count, last_uid))
        case Or(left, right):
            first, second = _cheapest_first([bind(each, count, last_uid) for each in (left, right)])
            return Or(first, second)
        case And(keys):
            return And(tuple(_cheapest_first([bind(each, count, last_uid) for each in keys])))
        case _:
            return program


def needs(program: Key) -> Need:
    """What has to be read to decide the program."""
    match program:
        case Not(key) | Fuzzy(key):
            return needs(key)
        case Or(left, right):
            return needs(left) | needs(right)
        case And(keys):
            found = Need.NOTHING
            for key in keys:
                found |= needs(key)
            return found
        case HasFlag() | HasKeyword() | IsRecent() | ChangedSince():
            return Need.FLAGS
        case Dated() | Larger() | Smaller() | Between():
            return Need.COLUMNS
        case HeaderHas():
            return Need.HEADER
        case BodyHas():
            return Need.BODY
        case TextHas():
            return Need.HEADER | Need.BODY
        case _:
            return Need.NOTHING


def matches(program: Key, message: SearchMessage) -> bool:
    """Whether the bound program finds the message."""
    match program:
        case And(keys):
            return all(matches(key, message) for key in keys)
        case Or(left, right):
            return matches(left, message) or matches(right, message)
        case Not(key):
            return not matches(key, message)
        case HasFlag(bit):
            return bool(message.system & bit)
        case HasKeyword(name):
            return has_keyword(message.keywords, name)
        case IsRecent():
            return message.recent
        case ChangedSince(modseq):
            return message.modseq >= modseq
        case Numbers(numset, uid):
            return contains(numset.ranges, message.uid if uid else message.seqnum)
        case Between(column, least, end):
            return least <= message.columns[column] < end
        case Within():
            raise AssertionError("the session knows the time, and puts Between in its place")
        case Fuzzy():
            raise AssertionError("bind() has put the key itself in its place")
        case Named():
            raise AssertionError("the session puts what has the name in its place")
        case Dated() | Larger() | Smaller():
            return _column_matches(program, message)
        case HeaderHas() | BodyHas() | TextHas():
            return _text_matches(program, message)
        case All():
            return True
        case _:
            assert_never(program)


def _column_matches(key: Dated | Larger | Smaller, message: SearchMessage) -> bool:
    match key:
        case Larger(octets):
            return message.size > octets
        case Smaller(octets):
            return message.size < octets
        case Dated(sent, relation, day):
            return _is_dated(message.sent if sent else message.received, relation, day)
        case _:
            assert_never(key)


def _is_dated(day_of_message: date | None, relation: Relation, day: date) -> bool:
    if day_of_message is None:
        return False
    if relation is Relation.BEFORE:
        return day_of_message < day
    return day_of_message == day if relation is Relation.ON else day_of_message >= day


def _text_matches(key: HeaderHas | BodyHas | TextHas, message: SearchMessage) -> bool:
    match key:
        case HeaderHas(field, text):
            return any(text in value for value in message.fields(field))
        case BodyHas(text):
            return text in message.body()
        case TextHas(text):
            return text in message.header() or text in message.body()
        case _:
            assert_never(key)


def _cheapest_first(keys: list[Key]) -> list[Key]:
    return sorted(keys, key=lambda key: needs(key).value)
