"""SEARCH FUZZY (RFC 6203): words in the place of strings, and how well a message fits.

A fuzzy key on text finds what the exact one finds, and besides all messages that have the words
(services.mailboxes.texts); on anything else it is exact. The words of a mailbox are taken in when
the first one asks. How well a message fits is said between 1 and 100, the best one having 100.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from mailstead.model.numbers import AccountId
from mailstead.protocol.imap.commands import Tag
from mailstead.protocol.imap.numset import NumSet
from mailstead.protocol.imap.search import (
    And,
    BodyHas,
    Fuzzy,
    HeaderHas,
    Key,
    Not,
    Numbers,
    Or,
    TextHas,
)
from mailstead.services.mailboxes.reading import TEXT_KEY
from mailstead.sessions.imap.progress import Progress
from mailstead.sessions.imap.scan import find_in_store
from mailstead.sessions.imap.state import Session
from mailstead.sessions.imap.sync import View

FUZZY_LIMIT = 8  # keys of one search; further ones are exact
FIELDS = ("subject", "from", "to", "cc", "bcc")  # whose words are known
EXACT = 0.2  # what it counts that a message has the string, but not as words
SCORE_MAX = 100

Text = HeaderHas | BodyHas | TextHas
Wish = tuple[Text, bool]
Fits = Mapping[Text, Mapping[int, float]]  # for each key the indices of messages


class Softened(msgspec.Struct, frozen=True):
    """The program with the messages that have the words named in it, and how well they fit."""

    program: Key
    fits: Sequence[Mapping[int, float]] = ()

    def scores(self, found: Sequence[int]) -> list[int]:
        """What RELEVANCY says of each message that was found."""
        if not self.fits:
            return [SCORE_MAX] * len(found)
        raw = [sum(fit.get(index, 0.0) for fit in self.fits) or EXACT for index in found]
        best = max(raw, default=EXACT)
        return [max(1, round(SCORE_MAX * one / best)) for one in raw]


async def soften(session: Session, view: View, tag: Tag, program: Key) -> Softened:
    """The program as it can be searched for exactly."""
    contents, texts = view.contents, session.site.mailboxes.texts
    wishes = dict(_wishes(program)[:FUZZY_LIMIT])
    owner = await texts.owner(contents.mailbox) if wishes else None
    if owner is None:
        return Softened(program)
    keys = (await session.site.mailboxes.columns(contents, [TEXT_KEY]))[TEXT_KEY]
    run = session.site.world.offload.run
    there: set[int] = await run(partial(set, keys))
    await _read_all(session, view, tag, owner, keys, there)
    fits: dict[Text, dict[int, float]] = {}
    for wish in wishes:
        found = await texts.rank(owner, there, wish.text, _field(wish))
        fits[wish] = await run(partial(_by_index, keys, found))
    by = partial(_or_words, fits, contents.uids)
    softened = await run(partial(_replace, program, False, by))
    return Softened(softened, [fits[wish] for wish, wanted in wishes.items() if wanted])


async def _read_all(
    session: Session,
    view: View,
    tag: Tag,
    owner: AccountId,
    keys: Sequence[int],
    there: set[int],
) -> None:
    """Have the texts of all messages kept, if there is room, and their words in the index."""
    texts, progress = session.site.mailboxes.texts, Progress(session, tag, len(keys))
    seen = (await texts.find(owner, there, [], progress.tell)).seen
    unknown = await session.site.world.offload.run(
        lambda: [index for index, key in enumerate(keys) if key not in seen]
    )
    if unknown and texts.has_room(owner):
        keeper = texts.keeper(owner)
        await find_in_store(session, view, And((TextHas(""),)), unknown, progress, keeper.add)
        await keeper.end()
    await texts.index(owner, progress.tell)


def _by_index(keys: Sequence[int], found: Mapping[int, float]) -> dict[int, float]:
    return {index: found[key] for index, key in enumerate(keys) if key in found}


def _field(wish: Text) -> str:
    match wish:
        case HeaderHas(field, _):
            return field
        case BodyHas():
            return "body"
        case TextHas():
            return ""


def _or_words(fits: Fits, uids: Sequence[int], wish: Text) -> Key:
    """Who has the words, or the very string."""
    if not fits.get(wish):
        return wish
    ranges = tuple((uids[index], uids[index]) for index in sorted(fits[wish]))
    return Or(Numbers(NumSet(ranges), uid=True), wish)


def _wishes(program: Key, fuzzy: bool = False, wanted: bool = True) -> list[Wish]:
    """The keys on text that are fuzzy, and whether a message is the better for having it."""
    match program:
        case Fuzzy(key):
            return _wishes(key, True, wanted)
        case Not(key):
            return _wishes(key, fuzzy, False)
        case Or(left, right):
            return _wishes(left, fuzzy, wanted) + _wishes(right, fuzzy, wanted)
        case And(keys):
            return [wish for key in keys for wish in _wishes(key, fuzzy, wanted)]
        case HeaderHas(field, text) if fuzzy and text and field in FIELDS:
            return [(program, wanted)]
        case BodyHas(text) | TextHas(text) if fuzzy and text:
            return [(program, wanted)]
        case _:
            return []


def _replace(program: Key, fuzzy: bool, by: Callable[[Text], Key]) -> Key:
    match program:
        case Fuzzy(key):
            return _replace(key, True, by)
        case Not(key):
            return Not(_replace(key, fuzzy, by))
        case Or(left, right):
            return Or(_replace(left, fuzzy, by), _replace(right, fuzzy, by))
        case And(keys):
            return And(tuple(_replace(key, fuzzy, by) for key in keys))
        case HeaderHas() | BodyHas() | TextHas() if fuzzy:
            return by(program)
        case _:
            return program
