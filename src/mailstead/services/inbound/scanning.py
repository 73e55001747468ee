"""What other programs see of a message at the door, and what is done about what they change."""

import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from mailstead.model.address import Address, parse_address
from mailstead.model.reply import Reply
from mailstead.services.delivery.recipients import Found
from mailstead.services.filters.asking import Scanned
from mailstead.services.filters.letter import Advice, Changes
from mailstead.services.inbound.policy import Action, advised

log = logging.getLogger("mailstead.filters")

NOT_SENT = Reply(550, "5.7.1", "A filter of ours does not let the message leave")

NOBODY = Reply(550, "5.7.1", "A filter of ours lets nobody have the message")

LookUp = Callable[[Address], Awaitable[Found | Reply]]


def refusal_of(scanned: Scanned) -> Reply | None:
    """Why a message of our own people is not taken."""
    verdict = advised(scanned.gravest)
    if verdict.action in (Action.DEFER, Action.REFUSE):
        return verdict.reply or NOT_SENT
    return None


def held(scanned: Scanned, found: Sequence[Found]) -> list[Found]:
    """The recipients of a message of our own people, kept back if a filter thinks ill of it."""
    gravest = scanned.gravest
    if gravest is None or gravest.advice not in (Advice.JUNK, Advice.QUARANTINE):
        return list(found)
    return [msgspec.structs.replace(one, quarantined=True) for one in found]


async def change_recipients(
    changes: Changes, found: Sequence[Found], look_up: LookUp
) -> list[Found]:
    """The recipients with those that filters added, and without those that they removed."""
    removed = {one.lower() for one in changes.removed}
    left = [one for one in found if str(one.address).lower() not in removed]
    there = {one.address for one in left}
    for text in dict.fromkeys(changes.added):
        try:
            address = parse_address(text)
        except ValueError:
            continue
        more = await look_up(address) if address not in there else None
        if isinstance(more, Found):
            left.append(more)
        elif more is not None:
            log.warning("filter-failed reason='it adds %s: %s'", address, more)
    return left


def change_path(changes: Changes, path: Address | None) -> Address | None:
    """The reverse-path, as filters want it."""
    if changes.reverse_path is None:
        return path
    try:
        return parse_address(changes.reverse_path) if changes.reverse_path else None
    except ValueError:
        return path
