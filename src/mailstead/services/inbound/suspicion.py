"""What our own people send, looked at before it leaves: an account may have been stolen.

Off until somebody sets the threshold `hold`; what reaches it waits until somebody releases it.
"""

from collections.abc import Sequence

import msgspec

from mailstead.message.mime import Buffer
from mailstead.model.address import parse_address
from mailstead.model.entries import AnyEntry, Scored, ScoredPart
from mailstead.services.accounts import Login
from mailstead.services.delivery.recipients import Found
from mailstead.services.inbound.site import Site
from mailstead.storage.thresholds import NEVER, Whose


class Judged(msgspec.Struct, frozen=True):
    """The recipients, perhaps kept back, and what is told of it."""

    recipients: list[Found]
    entries: tuple[AnyEntry, ...] = ()


async def judge(
    site: Site, login: Login, found: Sequence[Found], header: bytes, body: Buffer
) -> Judged:
    """What becomes of the message of this sender."""
    whose = Whose(login.organisation, parse_address(login.login).domain, login.account)
    now = site.world.clock.now()
    scored = await site.scoring.judge_leaving(header, body, whose, now)
    if scored is None:
        return Judged(list(found))
    score, limit = scored.score, scored.thresholds.hold
    held = score.total >= limit
    entry = Scored(
        at=now,
        total=score.total,
        parts=tuple(ScoredPart(one.rule, one.weight, one.detail) for one in score.parts),
        recipients=tuple(str(one.address) for one in found),
        action="hold" if held else "send",
        reason=f"the score is {score.total:g}" if held else "",
        junk_at=limit,
        refuse_at=NEVER,
    )
    kept = [msgspec.structs.replace(one, quarantined=held) for one in found]
    return Judged(kept, (entry,))
