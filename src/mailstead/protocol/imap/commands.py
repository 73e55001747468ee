"""The commands of a client as values, one type each (RFC 3501 section 6 and extensions).

Mailbox names are decoded and normalised, flags are in the form of model.flags, moments are in UTC.
`uid` says that the command came with the prefix UID: its set and its answers are of UIDs.
"""

import enum
from datetime import datetime

import msgspec

from mailstead.protocol.imap.acl import AclCommand
from mailstead.protocol.imap.fetch import Item
from mailstead.protocol.imap.metadata import MetadataCommand
from mailstead.protocol.imap.notification import Group
from mailstead.protocol.imap.numset import NumSet
from mailstead.protocol.imap.search import Key

Tag = bytes


class Capability(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.1.1."""

    tag: Tag


class Noop(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.1.2."""

    tag: Tag


class Logout(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.1.3."""

    tag: Tag


class Id(msgspec.Struct, frozen=True):
    """What the client says it is (RFC 2971 section 3.1)."""

    tag: Tag
    parameters: tuple[tuple[str, str | None], ...]


class StartTls(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.2.1."""

    tag: Tag


class Authenticate(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.2.2; `initial` is the initial response, decoded (RFC 4959)."""

    tag: Tag
    mechanism: str
    initial: bytes | None


class Login(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.2.3; both as UTF-8."""

    tag: Tag
    user: str
    password: str


class Namespace(msgspec.Struct, frozen=True):
    """RFC 2342 section 5."""

    tag: Tag


class Enable(msgspec.Struct, frozen=True):
    """RFC 5161 section 3.1: extensions that change what the server says, in capitals."""

    tag: Tag
    names: tuple[str, ...]


class Resync(msgspec.Struct, frozen=True):
    """What a client knows of a mailbox that it selects again (RFC 7162 section 3.2.5)."""

    uidvalidity: int
    modseq: int
    known: NumSet | None = None  # UIDs
    match: tuple[NumSet, NumSet] | None = None  # sequence numbers and the UIDs that they had


class Compress(msgspec.Struct, frozen=True):
    """RFC 4978 section 3."""

    tag: Tag
    mechanism: str


class Unauthenticate(msgspec.Struct, frozen=True):
    """RFC 8437 section 3."""

    tag: Tag


class GetQuota(msgspec.Struct, frozen=True):
    """RFC 9208 section 4.1.1; there is one root, whose name is empty."""

    tag: Tag
    root: str


class GetQuotaRoot(msgspec.Struct, frozen=True):
    """RFC 9208 section 4.1.2."""

    tag: Tag
    mailbox: str


class Select(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.3.1, with the parameters of RFC 7162."""

    tag: Tag
    mailbox: str
    condstore: bool = False
    resync: Resync | None = None


class Examine(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.3.2, with the same parameters."""

    tag: Tag
    mailbox: str
    condstore: bool = False
    resync: Resync | None = None


class Create(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.3.3; a delimiter at the end of the name has been taken off.

    `uses` are the special uses that it is to have (RFC 6154 section 3), as they were written.
    """

    tag: Tag
    mailbox: str
    uses: tuple[str, ...] = ()


class Delete(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.3.4."""

    tag: Tag
    mailbox: str


class Rename(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.3.5."""

    tag: Tag
    mailbox: str
    new_name: str


class Subscribe(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.3.6."""

    tag: Tag
    mailbox: str


class Unsubscribe(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.3.7."""

    tag: Tag
    mailbox: str


class StatusItem(enum.StrEnum):
    """What STATUS can tell (RFC 3501 section 6.3.10; SIZE is of RFC 8438)."""

    MESSAGES = "MESSAGES"
    RECENT = "RECENT"
    UIDNEXT = "UIDNEXT"
    UIDVALIDITY = "UIDVALIDITY"
    UNSEEN = "UNSEEN"
    DELETED = "DELETED"  # RFC 9051 section 6.3.11
    SIZE = "SIZE"
    HIGHESTMODSEQ = "HIGHESTMODSEQ"  # RFC 7162 section 3.1.7
    MAILBOXID = "MAILBOXID"  # RFC 8474 section 4.3
    DELETED_STORAGE = "DELETED-STORAGE"  # RFC 9208 section 5.3


class Selection(enum.StrEnum):
    """Which mailboxes LIST is to find (RFC 5258 section 3.1, RFC 6154 section 2)."""

    SUBSCRIBED = "SUBSCRIBED"
    REMOTE = "REMOTE"
    RECURSIVEMATCH = "RECURSIVEMATCH"
    SPECIAL_USE = "SPECIAL-USE"


class Return(enum.StrEnum):
    """What LIST is to tell of them (RFC 5258 section 3.2, RFC 6154 section 2, RFC 5819)."""

    SUBSCRIBED = "SUBSCRIBED"
    CHILDREN = "CHILDREN"
    SPECIAL_USE = "SPECIAL-USE"
    STATUS = "STATUS"
    MYRIGHTS = "MYRIGHTS"  # RFC 8440
    METADATA = "METADATA"  # RFC 9590


class List(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.3.8; `extended` if any syntax of RFC 5258 was used.

    Patterns are decoded, with wildcards in place. What a selection implies is in `returns` too.
    """

    tag: Tag
    reference: str
    patterns: tuple[str, ...]
    selection: frozenset[Selection] = frozenset()
    returns: frozenset[Return] = frozenset()
    status: tuple[StatusItem, ...] = ()
    extended: bool = False
    entries: tuple[str, ...] = ()  # of METADATA


class Lsub(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.3.9."""

    tag: Tag
    reference: str
    pattern: str


class Status(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.3.10."""

    tag: Tag
    mailbox: str
    items: tuple[StatusItem, ...]


class NewMessage(msgspec.Struct, frozen=True):
    """What APPEND says of a message before its octets, which are `size` in all."""

    system: int
    keywords: str
    internal_date: datetime | None
    size: int
    binary: bool = False  # it may have NUL (RFC 3516 section 4.4)
    utf8: bool = False  # it came as UTF8 (...) (RFC 6855 section 4)


class Append(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.3.11; the first message follows as AppendChunk events."""

    tag: Tag
    mailbox: str
    message: NewMessage


class Replace(msgspec.Struct, frozen=True):
    """RFC 8508 section 3.2: the message follows as that of an APPEND does; there is only one."""

    tag: Tag
    numset: NumSet  # of one number
    mailbox: str
    message: NewMessage
    uid: bool


class Idle(msgspec.Struct, frozen=True):
    """RFC 2177 section 3."""

    tag: Tag


class Notify(msgspec.Struct, frozen=True):
    """RFC 5465 section 3.1; without groups it is NONE."""

    tag: Tag
    groups: tuple[Group, ...]
    status: bool = False


class Check(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.4.1."""

    tag: Tag


class Close(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.4.2."""

    tag: Tag


class Unselect(msgspec.Struct, frozen=True):
    """RFC 3691 section 2."""

    tag: Tag


class Expunge(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.4.3."""

    tag: Tag


class UidExpunge(msgspec.Struct, frozen=True):
    """RFC 4315 section 2.1."""

    tag: Tag
    numset: NumSet


class Result(enum.StrEnum):
    """What SEARCH is to tell of what it found (RFC 4731 section 3.1, RFC 5182)."""

    MIN = "MIN"
    MAX = "MAX"
    ALL = "ALL"
    COUNT = "COUNT"
    SAVE = "SAVE"
    CONTEXT = "CONTEXT"  # a hint that more searches like that will come (RFC 5267 section 4.2)
    UPDATE = "UPDATE"  # word of changes from now on
    RELEVANCY = "RELEVANCY"  # RFC 6203 section 4


class Wanted(msgspec.Struct, frozen=True):
    """RETURN of SEARCH and SORT; `partial` is which results, from 1 or from -1 (RFC 9394)."""

    results: frozenset[Result]
    partial: tuple[int, int] | None = None
    items: tuple[Item, ...] = ()  # that UPDATE fetches of new messages (RFC 5465 section 7)


class Search(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.4.4; strings are decoded and case-folded.

    `wanted` is None without RETURN, which asks for the answer of old.
    """

    tag: Tag
    program: Key
    uid: bool
    wanted: Wanted | None = None


class MultiSearch(msgspec.Struct, frozen=True):
    """ESEARCH of any mailboxes (RFC 7377 section 2); of `sources` only scope and names count."""

    tag: Tag
    sources: tuple[Group, ...]
    program: Key
    wanted: Wanted


class CancelUpdate(msgspec.Struct, frozen=True):
    """RFC 5267 section 4.3.5; `tags` are those of searches."""

    tag: Tag
    tags: tuple[Tag, ...]


class SortKey(enum.StrEnum):
    """What messages are sorted by (RFC 5256 section 3, RFC 5957, RFC 6203)."""

    ARRIVAL = "ARRIVAL"
    CC = "CC"
    DATE = "DATE"
    DISPLAYFROM = "DISPLAYFROM"
    DISPLAYTO = "DISPLAYTO"
    FROM = "FROM"
    RELEVANCY = "RELEVANCY"  # RFC 6203 section 6
    SIZE = "SIZE"
    SUBJECT = "SUBJECT"
    TO = "TO"


class SortBy(msgspec.Struct, frozen=True):
    """One criterion; reversed, the greatest comes first."""

    key: SortKey
    reverse: bool = False


class Sort(msgspec.Struct, frozen=True):
    """RFC 5256 section 3; with RETURN RFC 5267 section 3."""

    tag: Tag
    criteria: tuple[SortBy, ...]
    program: Key
    uid: bool
    wanted: Wanted | None = None


class Threading(enum.StrEnum):
    """How threads are found (RFC 5256 section 3)."""

    REFERENCES = "REFERENCES"
    ORDEREDSUBJECT = "ORDEREDSUBJECT"


class Thread(msgspec.Struct, frozen=True):
    """RFC 5256 section 3."""

    tag: Tag
    threading: Threading
    program: Key
    uid: bool


class Fetch(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.4.5; with `uid`, UID is among the items."""

    tag: Tag
    numset: NumSet
    items: tuple[Item, ...]
    uid: bool
    changed_since: int | None = None  # RFC 7162 section 3.1.4.1
    vanished: bool = False  # RFC 7162 section 3.2.6
    partial: tuple[int, int] | None = None  # RFC 9394 section 3.3


class StoreMode(enum.StrEnum):
    """What becomes of the flags that were there (RFC 3501 section 6.4.6)."""

    REPLACE = ""
    ADD = "+"
    REMOVE = "-"


class Store(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.4.6."""

    tag: Tag
    numset: NumSet
    mode: StoreMode
    silent: bool
    system: int
    keywords: str
    uid: bool
    unchanged_since: int | None = None  # RFC 7162 section 3.1.3


class Copy(msgspec.Struct, frozen=True):
    """RFC 3501 section 6.4.7."""

    tag: Tag
    numset: NumSet
    mailbox: str
    uid: bool


class Move(msgspec.Struct, frozen=True):
    """RFC 6851 section 3."""

    tag: Tag
    numset: NumSet
    mailbox: str
    uid: bool


Command = (
    Capability
    | Noop
    | Logout
    | Id
    | StartTls
    | Authenticate
    | Login
    | Namespace
    | Enable
    | Compress
    | Unauthenticate
    | GetQuota
    | GetQuotaRoot
    | Select
    | Examine
    | Create
    | Delete
    | Rename
    | Subscribe
    | Unsubscribe
    | List
    | Lsub
    | Status
    | Append
    | Replace
    | Idle
    | Notify
    | Check
    | Close
    | Unselect
    | Expunge
    | UidExpunge
    | Search
    | MultiSearch
    | CancelUpdate
    | Sort
    | Thread
    | Fetch
    | Store
    | Copy
    | Move
    | AclCommand
    | MetadataCommand
)
