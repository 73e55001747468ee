"""The screening of one message that a stranger brings: from its header on until it is judged.

For mail on port 25; our own people have logged in, and what a program on this machine or in
`relay_from` sends is the operator's. The Visit makes one when the header is complete, feeds it the
body, and asks for the outcome; each recipient has a verdict of its own, the peer gets one reply.
"""

from collections.abc import Sequence

import msgspec

from mailstead.message.addresses import author_addresses
from mailstead.model.entries import AnyEntry
from mailstead.model.reply import Reply
from mailstead.msgauth import authres
from mailstead.msgauth.dmarc.check import Dmarc
from mailstead.services.delivery import recipients
from mailstead.services.delivery.recipients import Found
from mailstead.services.inbound import authentication, waiting
from mailstead.services.inbound.caller import Caller
from mailstead.services.inbound.evidence import (
    AUTHORS_LIMIT,
    Client,
    Evidence,
    Gathering,
    Setting,
)
from mailstead.services.inbound.manners import Manners
from mailstead.services.inbound.policy import (
    UNSURE,
    Action,
    Verdict,
    Wishes,
    judge,
    without_the_dns,
)
from mailstead.services.inbound.site import Site
from mailstead.storage import accounts, arc_sealers
from mailstead.storage.store import Tx

NOT_FORWARDED = Reply(
    550, "5.7.1", "The message may be forged, and would be forwarded, which we do not do"
)


class Outcome(msgspec.Struct, frozen=True):
    """What becomes of the message for one recipient."""

    found: Found
    verdict: Verdict


class Screened(msgspec.Struct, frozen=True):
    """What came of it: who gets it, in which mailbox, or why nobody does."""

    evidence: Evidence
    hostname: str
    recipients: list[Found]
    refusal: Reply | None
    entries: tuple[AnyEntry, ...]

    @property
    def genuine(self) -> bool:
        """Its sender is who it says."""
        return authentication.is_genuine(self.evidence)

    @property
    def proven(self) -> bool:
        """It was taken, and DMARC says that it is genuine."""
        dmarc = self.evidence.dmarc
        return self.refusal is None and dmarc is not None and dmarc.result is Dmarc.PASS

    def stamp(self, header: bytes) -> bytes:
        """The header with what was found on top, and without what others say in our name."""
        field = authentication.field_of(self.evidence, self.hostname)
        return field + authres.remove_own(header, self.hostname)


class Screening:
    """What is known of one message so far; `close` it if it comes to no end."""

    def __init__(self, site: Site, caller: Caller, client: Client, header: bytes) -> None:
        self._site, self._header = site, header
        setting = Setting(site.hostname, site.world.resolver, site.lists, caller)
        self._gathering = Gathering(header, client, setting)

    def add(self, data: bytes) -> None:
        """The next piece of the body."""
        self._gathering.add(data)

    def close(self) -> None:
        """The message was given up."""
        self._gathering.close()

    async def finish(self, found: Sequence[Found], manners: Manners) -> Screened:
        """The outcome for these recipients, once the body is complete."""
        now, store = self._site.world.clock.now(), self._site.store
        hosted = await store.look_up(lambda tx: hosts_author(tx, self._header))
        evidence = await self._gathering.finish(now, manners, hosted=hosted)
        wishes = await store.look_up(lambda tx: [wishes_of(tx, one) for one in found])
        outcomes = [
            Outcome(one, judge(evidence, wish)) for one, wish in zip(found, wishes, strict=True)
        ]
        outcomes = [await self._wait_no_longer(evidence, one) for one in outcomes]
        refusal = fold(outcomes)
        if refusal is None and await waiting.is_put_off(store, evidence, found):
            refusal = waiting.COME_AGAIN
        taken = [one.found for one in outcomes]
        if refusal is None and any(map(_is_junk, outcomes)):
            taken = await store.read(lambda tx: _file(tx, outcomes))
        entry = authentication.entry_of(evidence, chief(outcomes), now)
        return Screened(evidence, self._site.hostname, taken, refusal, (entry,))

    async def _wait_no_longer(self, evidence: Evidence, outcome: Outcome) -> Outcome:
        """The same, but what the DNS has been silent about for a day is judged without it."""
        if outcome.verdict.action is not Action.DEFER or outcome.verdict.reply != UNSURE:
            return outcome
        if not await waiting.has_waited(self._site.store, evidence, outcome.found):
            return outcome
        return Outcome(outcome.found, without_the_dns(evidence))


def hosts_author(tx: Tx, header: bytes) -> bool:
    """Whether From names a domain that is hosted here."""
    authors = author_addresses(header)[:AUTHORS_LIMIT]
    return any(accounts.find_domain(tx, one.domain) is not None for one in authors)


def wishes_of(tx: Tx, found: Found) -> Wishes:
    """How the recipient wants its mail judged."""
    return Wishes(sealers=arc_sealers.believed_by(tx, found.organisation))


# Best first: what is good for one recipient is taken, and each gets it where it belongs.
_ORDER = (Action.INBOX, Action.JUNK, Action.QUARANTINE, Action.DEFER, Action.REFUSE)


def chief(outcomes: Sequence[Outcome]) -> Verdict:
    """The best of the verdicts, which decides what the peer hears."""
    return min((one.verdict for one in outcomes), key=lambda one: _ORDER.index(one.action))


def fold(outcomes: Sequence[Outcome]) -> Reply | None:
    """The one reply for all recipients, if nobody gets the message (RFC 5321 section 4.2.5)."""
    best = chief(outcomes)
    if best.action in (Action.DEFER, Action.REFUSE):
        return best.reply
    if any(_is_junk(one) and one.found.forwarded and one.found.elsewhere for one in outcomes):
        return NOT_FORWARDED
    return None


def _is_junk(outcome: Outcome) -> bool:
    """Not fit for the inbox; refused for one and taken for another, it is junk for the first."""
    return outcome.verdict.action is not Action.INBOX


def _file(tx: Tx, outcomes: Sequence[Outcome]) -> list[Found]:
    return [
        recipients.into_junk(tx, [one.found])[0] if _is_junk(one) else one.found for one in outcomes
    ]
