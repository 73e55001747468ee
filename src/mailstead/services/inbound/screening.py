"""The screening of one message that a stranger brings: from its header on until it is judged.

For mail on port 25; our own people have logged in, and what a program on this machine or in
`relay_from` sends is the operator's. The Visit makes one when the header is complete, feeds it the
body, and asks for the outcome; each recipient has a verdict of its own, the peer gets one reply.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import msgspec

from mailstead.message.mime import Buffer
from mailstead.model.entries import AnyEntry, ScoredPart
from mailstead.model.entries import Scored as ScoredEntry
from mailstead.model.numbers import TraceId
from mailstead.model.reply import Reply
from mailstead.msgauth import authres
from mailstead.msgauth.dmarc.check import Dmarc
from mailstead.services.delivery import recipients
from mailstead.services.delivery.recipients import Found
from mailstead.services.filters.asking import Scanned
from mailstead.services.filters.letter import Letter
from mailstead.services.inbound import authentication, waiting
from mailstead.services.inbound.caller import Caller
from mailstead.services.inbound.evidence import (
    Client,
    Evidence,
    Gathering,
    Setting,
    subjects_of_domains,
)
from mailstead.services.inbound.facts import Fact
from mailstead.services.inbound.manners import Manners
from mailstead.services.inbound.memory import senders_of
from mailstead.services.inbound.policy import (
    HARDER,
    UNSURE,
    Action,
    Verdict,
    add_points,
    advised,
    graver,
    judge,
    without_the_dns,
)
from mailstead.services.inbound.scoring import (
    Read,
    Scored,
    hosts_of,
    marks_of,
    points_of,
    without_marks,
)
from mailstead.services.inbound.site import Site
from mailstead.spam.score import Score
from mailstead.storage.store import Tx
from mailstead.storage.thresholds import Thresholds

REFUSED_FOR = Reply(550, "5.7.1", "A filter of ours refuses the message for its recipients")
EXEMPT = ("postmaster", "abuse")  # local-parts

NOT_FORWARDED = Reply(
    550, "5.7.1", "The message may be forged, and would be forwarded, which we do not do"
)


class Outcome(msgspec.Struct, frozen=True):
    """What becomes of the message for one recipient, and by which score."""

    found: Found
    verdict: Verdict
    scored: Scored

    @property
    def is_junk(self) -> bool:
        """Not fit for the inbox; refused for this one and taken for another, it is junk here."""
        return self.verdict.action is not Action.INBOX


class Screened(msgspec.Struct, frozen=True):
    """What came of it: who gets it, in which mailbox, or why nobody does."""

    evidence: Evidence
    hostname: str
    recipients: list[Found]
    refusal: Reply | None
    entries: tuple[AnyEntry, ...]
    scanned: Scanned

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
        return field + without_marks(authres.remove_own(header, self.hostname))


class Arrived(msgspec.Struct, frozen=True):
    """What is known when the message has come to its end; `received` is our own trace field."""

    received: bytes
    body: Buffer
    trace: TraceId
    manners: Manners


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

    async def finish(self, found: Sequence[Found], arrived: Arrived, letter: Letter) -> Screened:
        """The outcome for these recipients, once the body is complete."""
        now, scoring = self._site.world.clock.now(), self._site.scoring
        message = await scoring.read(arrived.received + self._header, arrived.body)
        wishes = await self._site.wishes.find(found)
        hosted = await self._site.wishes.host_any(self._gathering.authors)
        links = subjects_of_domains(hosts_of(message))
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(self._scan(letter))
            evidence = await self._gathering.finish(now, arrived.manners, links, hosted=hosted)
        scanned = asked.result()
        evidence = with_opinions(evidence, scanned)
        scores = await scoring.score(message, evidence, found, now)
        outcomes = [
            Outcome(
                one,
                outcome_of(judge(evidence, wish), evidence, one, scored, arrived.trace),
                scored,
            )
            for one, wish, scored in zip(found, wishes, scores, strict=True)
        ]
        outcomes = [await self._wait_no_longer(evidence, one) for one in outcomes]
        outcomes = [await self._review(evidence, one, scanned) for one in outcomes]
        refusal = fold(outcomes)
        greylisted = refusal is None and all(one.greylisted for one in wishes)
        if greylisted and await self._is_put_off(evidence, message, found):
            refusal = waiting.COME_AGAIN
        if (refusal is None or refusal.permanent) and not is_untold(evidence):
            noted = [(one.found, one.is_junk) for one in outcomes]
            await scoring.note(message, evidence, noted, now)
        taken = [one.found for one in outcomes] if refusal else await self._file(outcomes)
        entry = authentication.entry_of(evidence, chief(outcomes), now)
        entries: tuple[AnyEntry, ...] = (entry, *entries_of(outcomes, now))
        entries = (*scanned.entries, *entries)
        return Screened(evidence, self._site.hostname, taken, refusal, entries, scanned)

    async def _file(self, outcomes: Sequence[Outcome]) -> list[Found]:
        """The recipients with the mailboxes that their verdicts mean, and what the filter says."""
        filed = [_marked(one) for one in outcomes]
        if not any(one.is_junk for one in outcomes):
            return filed
        junk = [one.is_junk for one in outcomes]
        return await self._site.store.look_up(lambda tx: _into_junk(tx, filed, junk))

    async def _is_put_off(self, evidence: Evidence, message: Read, found: Sequence[Found]) -> bool:
        """Whether greylisting lets it wait."""
        senders = senders_of(evidence, message.authors, self._site.scoring.rules.names)
        return await waiting.is_put_off(self._site.store, evidence, found, senders)

    async def _scan(self, letter: Letter) -> Scanned:
        """What other programs say of it."""
        filters = self._site.filters
        if not await filters.in_use("in"):
            return Scanned(letter.header)
        header = authres.remove_own(letter.header, self._site.hostname)
        name = await self._gathering.name_of_client()
        return await filters.ask(msgspec.structs.replace(letter, header=header, name=name), "in")

    async def _review(self, evidence: Evidence, outcome: Outcome, scanned: Scanned) -> Outcome:
        """With what other programs advise, and the operator's own code has to say."""
        recipient = str(outcome.found.address)
        verdict = graver(outcome.verdict, advised(scanned.gravest))
        if any(recipient in one.refused for one in scanned.opinions):
            verdict = graver(verdict, Verdict(Action.REFUSE, "a filter refuses it", REFUSED_FOR))
        score = outcome.scored.score
        verdict = await self._site.own_code.review(evidence, verdict, recipient, score)
        refused = verdict.action in (Action.REFUSE, Action.DEFER)
        if refused and is_exempt(outcome.found) and not scanned.malware:
            verdict = Verdict(Action.JUNK, verdict.reason)
        return Outcome(outcome.found, verdict, outcome.scored)

    async def _wait_no_longer(self, evidence: Evidence, outcome: Outcome) -> Outcome:
        """The same, but what the DNS has been silent about for a day is judged without it."""
        if outcome.verdict.action is not Action.DEFER or outcome.verdict.reply != UNSURE:
            return outcome
        if not await waiting.has_waited(self._site.store, evidence, outcome.found):
            return outcome
        return Outcome(outcome.found, without_the_dns(evidence), outcome.scored)


def is_untold(evidence: Evidence) -> bool:
    """Whether the DNS kept silent about the author: what comes of that is no fault of a sender."""
    return evidence.dmarc is not None and evidence.dmarc.result is Dmarc.TEMPERROR


def with_opinions(evidence: Evidence, scanned: Scanned) -> Evidence:
    """The evidence with what other programs add to the score."""
    more = [
        Fact(f"filter.{one.engine}", one.weight, one.reason)
        for one in scanned.opinions
        if one.weight
    ]
    return msgspec.structs.replace(evidence, facts=(*evidence.facts, *more))


def chief(outcomes: Sequence[Outcome]) -> Verdict:
    """The best of the verdicts: what is good for one recipient is taken, each gets its own."""
    return min((one.verdict for one in outcomes), key=lambda one: HARDER.index(one.action))


def fold(outcomes: Sequence[Outcome]) -> Reply | None:
    """The one reply for all recipients, if nobody gets the message (RFC 5321 section 4.2.5)."""
    best = chief(outcomes)
    if best.action in (Action.DEFER, Action.REFUSE):
        return best.reply
    if any(one.is_junk and one.found.forwarded and one.found.elsewhere for one in outcomes):
        return NOT_FORWARDED
    return None


def outcome_of(
    verdict: Verdict, evidence: Evidence, found: Found, scored: Scored, trace: TraceId
) -> Verdict:
    """The verdict with the score; whom everybody must be able to reach is never refused to."""
    judged = add_points(verdict, evidence, points_of(scored, trace))
    if judged.action in (Action.REFUSE, Action.DEFER) and is_exempt(found):
        return Verdict(Action.JUNK, judged.reason)
    return judged


def is_exempt(found: Found) -> bool:
    """Postmaster and abuse take what complains of us (RFC 5321 section 4.5.1, RFC 2142).

    What comes back to our own return paths is looked at there, and lands in no mailbox.
    """
    return found.home is not None or found.address.local_part.lower() in EXEMPT


def entries_of(outcomes: Sequence[Outcome], now: datetime) -> list[ScoredEntry]:
    """What the journal keeps: one entry for all who had the same score and the same outcome."""
    told: dict[tuple[Score, Thresholds, Verdict], list[str]] = {}
    for one in outcomes:
        key = one.scored.score, one.scored.thresholds, one.verdict
        told.setdefault(key, []).append(str(one.found.address))
    return [
        ScoredEntry(
            at=now,
            total=score.total,
            parts=tuple(ScoredPart(one.rule, one.weight, one.detail) for one in score.parts),
            recipients=tuple(recipients),
            action=verdict.action.value,
            reason=verdict.reason,
            junk_at=known.junk,
            refuse_at=known.refuse,
        )
        for (score, known, verdict), recipients in told.items()
    ]


def _marked(outcome: Outcome) -> Found:
    return msgspec.structs.replace(
        outcome.found,
        marks=marks_of(outcome.scored, outcome.is_junk),
        quarantined=outcome.verdict.action is Action.QUARANTINE,
    )


def _into_junk(tx: Tx, filed: Sequence[Found], junk: Sequence[bool]) -> list[Found]:
    pairs = zip(filed, junk, strict=True)
    return [recipients.into_junk(tx, [one])[0] if is_junk else one for one, is_junk in pairs]
