"""The selected mailbox as the client knows it, and how changes are told (RFC 3501 section 5.2).

A View goes from one state to the next only together with the responses that say so: sequence
numbers mean the same on both sides.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import lru_cache

import msgspec

from mailstead.model.flags import DELETED, FLAGGED, SEEN, SYSTEM_FLAGS, format_flags
from mailstead.model.mailbox import Mailbox
from mailstead.protocol.imap import responses
from mailstead.protocol.imap.acl import RIGHTS
from mailstead.protocol.imap.fetch import Item
from mailstead.protocol.imap.numset import NUMBER_MAX, NumSet, select_seqnums, select_uids
from mailstead.protocol.imap.search import Key
from mailstead.services.mailboxes.contents import Contents
from mailstead.services.mailboxes.service import Update
from mailstead.storage.messages import ANY_FLAG, FlagsRow, Ranges
from mailstead.storage.store import WRITE_LIMIT

_SHOWN = ANY_FLAG  # the bits that are flags of IMAP


class Senseless(Exception):
    """The command is BAD: a sequence number that no message has (RFC 3501 section 9), or a part of
    an extension that was not enabled."""


class Manner(msgspec.Struct, frozen=True):
    """How changes are told: with UIDs, with mod-sequences, what is gone by UID (RFC 7162)."""

    uid: bool = False
    modseq: bool = False
    vanished: bool = False
    recent: bool = True  # nobody asks for that any more (RFC 9051 appendix E, 12)
    flags: bool = True  # changed ones are told, too; not if NOTIFY left that out
    uidonly: bool = False  # messages have no other name (RFC 9586)


class Context(msgspec.Struct):
    """A search that is kept up to date (RFC 5267), and the UIDs of its results.

    `where` is what responses say of the mailbox, if the command was one of several mailboxes.
    """

    tag: bytes
    uid: bool
    program: Key
    items: tuple[Item, ...]
    uids: "array[int]"
    where: bytes = b""


class View:
    """The selected mailbox. Messages from UID `recent_from` on are \\Recent in this session."""

    __slots__ = (
        "contents",
        "contexts",
        "dirty",
        "examined",
        "keywords",
        "mailbox",
        "recent_from",
        "recent_to",
        "rights",
        "saved",
        "touched",
    )

    def __init__(
        self,
        mailbox: Mailbox,
        contents: Contents,
        keywords: Iterable[str],
        examined: bool,
        recent: bool = True,
        rights: str = RIGHTS,
    ) -> None:
        self.mailbox, self.contents, self.examined = mailbox, contents, examined
        self.rights = rights  # of RFC 4314, that the client knows of
        self.recent_from: int = mailbox.first_recent if recent else NUMBER_MAX
        self.recent_to: int = mailbox.first_recent  # up to here the store knows
        self.keywords = {name.lower(): name for name in keywords}
        self.dirty = False
        self.contexts: list[Context] = []
        self.touched: set[int] = set()  # UIDs of what changed, while there are contexts
        self.saved: Sequence[int] = ()  # UIDs that a search saved as `$` (RFC 5182)

    @property
    def read_only(self) -> bool:
        """Whether nothing can be changed (RFC 4314 section 5.2)."""
        return not any(map(self.may, "iestw"))

    def may(self, right: str) -> bool:
        """Whether the right is there to be used; not after EXAMINE."""
        return not self.examined and right in self.rights

    @property
    def changeable(self) -> int:
        """The flags that may be changed, as bits; keywords go with \\Flagged."""
        return 0 if self.examined else flags_of(self.rights)

    @property
    def recent(self) -> int:
        """How many messages are \\Recent."""
        return len(self.contents.uids) - bisect_left(self.contents.uids, self.recent_from)

    def select(self, numset: NumSet, uid: bool) -> list[tuple[int, int]]:
        """Half-open ranges of indices; Senseless for a sequence number beyond the last."""
        if numset.saved:
            found = [self.contents.find(one) for one in self.saved]
            return to_spans([index for index in found if index is not None])
        if uid:
            return select_uids(self.contents.uids, numset)
        try:
            return select_seqnums(len(self.contents.uids), numset)
        except ValueError as error:
            raise Senseless(str(error)) from error

    def ranges(self, spans: Iterable[tuple[int, int]]) -> Ranges:
        """The ranges of UIDs that cover these ranges of indices."""
        uids = self.contents.uids
        return [(uids[start], uids[stop - 1]) for start, stop in spans]

    def slices(self, spans: Iterable[tuple[int, int]]) -> list[Ranges]:
        """The same, cut so that each slice covers at most WRITE_LIMIT messages."""
        return [self.ranges(some) for some in cut(spans, WRITE_LIMIT)]


def cut(spans: Iterable[tuple[int, int]], limit: int) -> list[list[tuple[int, int]]]:
    """The ranges of indices in groups of at most `limit` messages."""
    groups: list[list[tuple[int, int]]] = []
    room = 0
    for start, stop in spans:
        while start < stop:
            if not room:
                groups.append([])
                room = limit
            end = min(stop, start + room)
            groups[-1].append((start, end))
            room -= end - start
            start = end
    return groups


def to_spans(indices: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending indices as half-open ranges."""
    if not indices:
        return []
    start = stop = indices[0]
    if indices[-1] - start == len(indices) - 1:
        return [(start, indices[-1] + 1)]
    spans: list[tuple[int, int]] = []
    for index in indices:
        if index != stop:
            spans.append((start, stop))
            start = index
        stop = index + 1
    return [*spans, (start, stop)]


def describe(view: View, update: Update, manner: Manner) -> bytes:
    """The responses that bring the client from the view to the newest contents; moves the view."""
    before = view.contents
    gone = [i for one in update.changes.expunged if (i := before.find(one)) is not None]
    if manner.vanished:
        pieces = [responses.vanished(before.uids[index] for index in gone)]
    else:
        pieces = [responses.expunge(index + 1 - n) for n, index in enumerate(gone)]
    view.contents = update.contents
    if len(view.contents.uids) > len(before.uids) - len(gone):
        pieces.append(responses.exists(len(view.contents.uids)))
        pieces += [responses.recent(view.recent)] * manner.recent
    changed = [
        row
        for row in update.changes.rows
        if (index := before.find(row.uid)) is not None and _is_other(before, index, row, manner)
    ]
    if not manner.flags:
        return b"".join(pieces)
    pieces.append(new_keywords(view, (row.keywords for row in changed)))
    indices = view.contents.locate([row.uid for row in changed])
    pieces.append(flags_responses(view, indices, manner))
    return b"".join(pieces)


def _is_other(before: Contents, index: int, row: FlagsRow, manner: Manner) -> bool:
    """Whether the client sees a difference; a mod-sequence moves even if a flag came and went."""
    if manner.modseq and before.modseqs[index] != row.modseq:
        return True
    flags = (before.flags[index] ^ row.flags) & _SHOWN
    return bool(flags) or before.keywords[index] != row.keywords


def new_keywords(view: View, keywords: Iterable[str]) -> bytes:
    """FLAGS and PERMANENTFLAGS anew, if a keyword is none that the client has heard of."""
    names = {name for words in set(keywords) for name in words.split()}
    new = {name.lower(): name for name in sorted(names) if name.lower() not in view.keywords}
    if not new:
        return b""
    view.keywords.update(new)
    return flag_lists(view)


def flag_lists(view: View) -> bytes:
    """Which flags the mailbox knows, and which the client may change (RFC 3501 section 7.1)."""
    names = [*sorted(SYSTEM_FLAGS), *view.keywords.values()]
    bits = view.changeable
    permanent = [name for name in sorted(SYSTEM_FLAGS) if bits & SYSTEM_FLAGS[name]]
    if bits & FLAGGED:
        permanent += [*view.keywords.values(), "\\*"]
    said = "Flags that can be changed" if permanent else "No flags can be changed"
    return responses.flags(names) + responses.ok(
        responses.UNTAGGED, said, f"PERMANENTFLAGS ({' '.join(permanent)})"
    )


def flags_of(rights: str) -> int:
    """The flags that these rights allow to change, as bits (RFC 4314 section 4)."""
    bits = {"s": SEEN, "t": DELETED, "w": ANY_FLAG & ~(SEEN | DELETED)}
    return sum(bits[right] for right in bits if right in rights)


def flags_responses(
    view: View, indices: Sequence[int], manner: Manner, flags: bool = True
) -> bytes:
    """`* 12 FETCH (FLAGS (\\Seen))` for each of the messages; perhaps all but the flags."""
    contents, items = view.contents, []
    numbers = pick(contents.uids, indices) if manner.uidonly else [i + 1 for i in indices]
    columns: list[Sequence[object]] = [numbers]
    if manner.uid and not manner.uidonly:
        items.append(b"UID %d")
        columns.append(pick(contents.uids, indices))
    if flags:
        items.append(b"FLAGS (%b)")
        columns.append(flags_column(contents, indices, view.recent_from))
    if manner.modseq:
        items.append(b"MODSEQ (%d)")
        columns.append(pick(contents.modseqs, indices))
    word = b"UIDFETCH" if manner.uidonly else b"FETCH"
    template = b"* %d " + word + b" (" + b" ".join(items) + b")\r\n"
    return b"".join([template % row for row in zip(*columns, strict=True)])


def flags_column(contents: Contents, indices: Sequence[int], recent_from: int) -> list[bytes]:
    """The flags of each message, as they stand between the parentheses."""
    system = pick(contents.flags, indices)
    keywords = pick(contents.keywords, indices)
    border = bisect_left(contents.uids, recent_from)
    if not indices or indices[-1] < border:  # indices ascend
        return list(map(_shown, system, keywords))
    return [
        _shown(bits, words, index >= border)
        for bits, words, index in zip(system, keywords, indices, strict=True)
    ]


def pick(values: Sequence[int] | Sequence[str], indices: Sequence[int]) -> Sequence[object]:
    """The values at these indices."""
    if isinstance(indices, range) and indices.step == 1:
        return values[indices.start : indices.stop]
    return [values[index] for index in indices]


@lru_cache(maxsize=4096)
def _shown(system: int, keywords: str, recent: bool = False) -> bytes:
    return format_flags(system & _SHOWN, keywords, recent).encode("ascii", "replace")
