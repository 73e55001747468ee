"""The screening of one message that a stranger brings: from its header on until it is judged.

For mail on port 25; our own people have logged in, and what a program on this machine or in
`relay_from` sends is the operator's. The Visit makes one when the header is complete, feeds it the
body and asks it for the outcome.
"""

from collections.abc import Sequence

import msgspec

from mailstead.model.entries import AnyEntry
from mailstead.model.reply import Reply
from mailstead.msgauth import authres
from mailstead.services.delivery import recipients
from mailstead.services.delivery.recipients import Found
from mailstead.services.inbound.authentication import Authentication, Judged
from mailstead.services.inbound.evidence import Client
from mailstead.services.inbound.policy import Action
from mailstead.services.inbound.site import Site

NOT_FORWARDED = Reply(
    550, "5.7.1", "The message may be forged, and would be forwarded, which we do not do"
)


class Screened(msgspec.Struct, frozen=True):
    """What came of it: who gets it, in which mailbox, or why nobody does."""

    judged: Judged
    hostname: str
    recipients: list[Found]
    refusal: Reply | None
    entries: tuple[AnyEntry, ...]

    @property
    def junk(self) -> bool:
        """It goes to Junk."""
        return self.judged.verdict.action is Action.JUNK

    def stamp(self, header: bytes) -> bytes:
        """The header with what was found on top, and without what others say in our name."""
        return self.judged.field + authres.remove_own(header, self.hostname)


class Screening:
    """What is known of one message so far."""

    def __init__(self, site: Site, client: Client, header: bytes) -> None:
        self._site = site
        self._authentication = Authentication(header, client)

    def add(self, data: bytes) -> None:
        """The next piece of the body."""
        self._authentication.add(data)

    async def finish(self, found: Sequence[Found]) -> Screened:
        """The outcome for these recipients, once the body is complete."""
        site, now = self._site, self._site.world.clock.now()
        judged = await self._authentication.finish(
            site.store, site.world.resolver, site.hostname, now
        )
        taken = list(found)
        if judged.verdict.action is Action.JUNK:
            taken = await site.store.read(lambda tx: recipients.into_junk(tx, found))
        refusal = _unwanted(judged, taken)
        return Screened(judged, site.hostname, taken, refusal, (judged.entry,))


def _unwanted(judged: Judged, found: Sequence[Found]) -> Reply | None:
    """What is refused, and what is junk and would have to be forwarded."""
    if judged.verdict.action is Action.JUNK and any(
        one.forwarded and one.elsewhere for one in found
    ):
        return NOT_FORWARDED
    return judged.verdict.reply
