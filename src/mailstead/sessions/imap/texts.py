"""SEARCH TEXT and BODY by the texts that earlier searches have kept (services.mailboxes.texts).

A key that must hold chooses among the messages at once; one inside NOT or OR becomes the UIDs that
it finds, so that the store is read without bodies. What is not kept is left to the store.
"""

from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from mailstead.protocol.imap.match import Need, needs
from mailstead.protocol.imap.numset import NumSet
from mailstead.protocol.imap.search import And, BodyHas, Key, Not, Numbers, Or, TextHas
from mailstead.services.mailboxes.reading import TEXT_KEY
from mailstead.services.mailboxes.texts import Found
from mailstead.sessions.imap.progress import Progress
from mailstead.sessions.imap.scan import find_in_memory, find_in_store, keep_nothing, probe_of
from mailstead.sessions.imap.state import Session
from mailstead.sessions.imap.sync import View
from mailstead.storage.texts import Asked

ASKED_LIMIT = 8  # texts of one search; for more it costs too much to remember who has which
MANY = 4  # a search of so little a part of a mailbox is not worth knowing what is kept


class Settled(msgspec.Struct, frozen=True):
    """What kept texts say: messages that pass, but for the keys that are left; and unknown ones."""

    passed: list[int]
    left: And
    unknown: list[int]


async def find_by_texts(
    session: Session, view: View, program: And, among: list[int], progress: Progress
) -> list[int]:
    """Those of the messages that pass all the keys."""
    mailboxes, contents = session.site.mailboxes, view.contents
    asked = {**_asked(program), **_narrowing(program)}
    many = len(among) * MANY > len(contents.uids) or mailboxes.has_column(contents, TEXT_KEY)
    some = 0 < len(asked) <= ASKED_LIMIT
    owner = await mailboxes.texts.owner(contents.mailbox) if some and many else None
    if owner is None:
        return await find_in_store(session, view, program, among, progress, keep_nothing)
    keys = (await mailboxes.columns(contents, [TEXT_KEY]))[TEXT_KEY]
    run = session.site.world.offload.run
    wanted = await run(lambda: {keys[index] for index in among})
    found = await mailboxes.texts.find(owner, wanted, list(asked.values()), progress.tell)
    settled = await run(partial(_settle, program, list(asked), contents.uids, keys, among, found))
    passed, keeper = settled.passed, mailboxes.texts.keeper(owner)
    if settled.left.keys and not needs(settled.left) & ~Need.FLAGS:
        passed = await run(partial(find_in_memory, view, settled.left, passed))
    elif settled.left.keys and passed:
        passed = await find_in_store(session, view, settled.left, passed, progress, keep_nothing)
    if settled.unknown:
        others = await find_in_store(session, view, program, settled.unknown, progress, keeper.add)
        await keeper.end()
        passed = sorted(passed + others)
    return passed


def _asked(program: Key) -> dict[Key, Asked]:
    """The keys that kept texts can decide."""
    match program:
        case And(keys):
            return {key: asked for one in keys for key, asked in _asked(one).items()}
        case Or(left, right):
            return _asked(left) | _asked(right)
        case Not(key):
            return _asked(key)
        case TextHas(text):
            return {program: Asked(text, header=True, body=True)}
        case BodyHas(text):
            return {program: Asked(text, header=False, body=True)}
        case _:
            return {}


def _narrowing(program: And) -> dict[Key, Asked]:
    """Keys on header fields: without a word of it anywhere in the header it is not in the field."""
    return {
        key: Asked(word.decode("ascii"), header=True, body=False)
        for key in program.keys
        if (word := probe_of(key))
    }


def _settle(
    program: And,
    asked: Sequence[Key],
    uids: Sequence[int],
    keys: Sequence[int],
    among: Sequence[int],
    found: Found,
) -> Settled:
    known = [index for index in among if keys[index] in found.seen]
    unknown = [index for index in among if keys[index] not in found.seen]
    hits = dict(zip(asked, found.hits, strict=True))
    passed, left = known, []
    for key in program.keys:
        if key in hits:
            passed = [index for index in passed if keys[index] in hits[key]]
        if not isinstance(key, TextHas | BodyHas):
            left.append(key)

    def numbers(key: Key) -> Numbers:
        having = [uids[index] for index in known if keys[index] in hits[key]]
        return Numbers(NumSet(tuple((uid, uid) for uid in having)), uid=True)

    return Settled(passed, And(tuple(_replace(key, numbers) for key in left)), unknown)


def _replace(key: Key, numbers: Callable[[Key], Numbers]) -> Key:
    """The key, with those that kept texts have decided as the UIDs that they find."""
    match key:
        case TextHas() | BodyHas():
            return numbers(key)
        case Not(inner):
            return Not(_replace(inner, numbers))
        case Or(left, right):
            return Or(_replace(left, numbers), _replace(right, numbers))
        case And(keys):
            return And(tuple(_replace(one, numbers) for one in keys))
        case _:
            return key
