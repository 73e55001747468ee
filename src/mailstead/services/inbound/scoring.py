"""The score of a message for each of its recipients: rules, learning, memory, lists.

What the message itself says is worked out once; what differs is read from the store in one go:
what was learnt, who was written to, who is on a list, from how many points on it is junk.
Not here: what becomes of the message (policy).
"""

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from mailstead.message import mime
from mailstead.message.addresses import author_addresses
from mailstead.message.header import fold, remove
from mailstead.message.mime import Buffer
from mailstead.model.address import Address
from mailstead.model.numbers import AccountId, OrganisationId, TraceId
from mailstead.model.world import Clock, Offload
from mailstead.msgauth.dkim.failure import Verdict as Dkim
from mailstead.services.delivery.recipients import Found
from mailstead.services.inbound.corpora import Corpora, Key, Seen
from mailstead.services.inbound.evidence import Evidence
from mailstead.services.inbound.memory import Memory, proves_author, senders_of
from mailstead.services.inbound.policy import Points
from mailstead.services.inbound.rulebook import shipped_rules
from mailstead.services.moment import Moment
from mailstead.services.telling import TellingStore
from mailstead.spam.bayes import Totals
from mailstead.spam.features import Circumstances, features
from mailstead.spam.lookalikes import Known, imitated, know
from mailstead.spam.rules import Part, Rules, apply_rules, with_weights
from mailstead.spam.score import WROTE_TO, Remembered, Score, add_up, fade, of_learning, of_sender
from mailstead.spam.sight import Sight, look
from mailstead.spam.tokens import named_tokens, tokens
from mailstead.storage import (
    accounts,
    filter_lists,
    rule_weights,
    sender_memory,
    senders,
    thresholds,
)
from mailstead.storage.filter_lists import Entry
from mailstead.storage.sender_memory import Sender
from mailstead.storage.spam_corpus import EVERYBODY
from mailstead.storage.store import Tx
from mailstead.storage.thresholds import Thresholds, Whose

AT_ONCE = 64 * 1024  # octets of a message that is looked at without a thread
NAMES_REMEMBERED = timedelta(minutes=5)  # so long until a new domain of ours is protected
AUTHORS_LIMIT = 3  # addresses of From that count
WEIGHTS_REMEMBERED = timedelta(minutes=1)  # so long until another weight is seen
NAMES_LIMIT = 10_000  # domains hosted here that may be imitated


FRIENDS_LIMIT = 200  # people an account wrote to last that may be imitated
FRIENDS_KEPT = 500  # accounts whose friends a worker remembers
_IMITATES = {True: "from-looks-like-friend", False: "from-is-nearly-friend"}


class Read(msgspec.Struct, frozen=True):
    """A message as the filter sees it."""

    sight: Sight
    tokens: list[int]
    authors: tuple[Address, ...]


class Scored(msgspec.Struct, frozen=True):
    """What was found for one recipient."""

    score: Score
    thresholds: Thresholds
    entry: Entry | None = None  # of a list of theirs


class Tested(msgspec.Struct, frozen=True):
    """A message judged by hand: the score, and each token that told, in words."""

    score: Score
    totals: Totals
    probability: float
    clues: tuple[tuple[str, float], ...]


class _Standing(msgspec.Struct, frozen=True):
    """What the store knows for one recipient."""

    thresholds: Thresholds
    entry: Entry | None
    wrote_to: bool


class _Facts(msgspec.Struct, frozen=True):
    """What the store knows for all of them, in one state of it."""

    standings: list[_Standing]
    seen: dict[OrganisationId, dict[AccountId, Seen]]
    remembered: dict[OrganisationId, dict[Sender, Remembered]]


class Scoring:
    """The filter of a house."""

    def __init__(
        self, store: TellingStore, clock: Clock, offload: Offload, rules: Rules | None = None
    ) -> None:
        self._store, self._offload = store, offload
        self._thresholds: Moment[Whose, Thresholds] = Moment(store, clock)
        self._shipped = self.rules = rules or shipped_rules()
        self._weighed: datetime | None = None  # when the weights were looked up
        self.corpora, self.memory = Corpora(), Memory(store)
        self._names: tuple[datetime, Known] | None = None
        self._friends: OrderedDict[AccountId, tuple[datetime, Known]] = OrderedDict()

    async def read(self, header: bytes, body: Buffer) -> Read:
        """The message taken apart; a big one on a thread."""
        if len(body) <= AT_ONCE:
            return read(header, body)
        return await self._offload.run(lambda: read(header, body))

    async def score(
        self, message: Read, evidence: Evidence, found: Sequence[Found], now: datetime
    ) -> list[Scored]:
        """What each of the recipients makes of it."""
        await self._look_up_weights(now)
        parts = await self.judge(message, evidence, now)
        facts = await self._store.look_up(lambda tx: self._facts(tx, message, evidence, found))
        learnt: dict[Key, tuple[Part, ...]] = {}  # many recipients share what was learnt
        scored = []
        for one, standing in zip(found, facts.standings, strict=True):
            self._thresholds.keep(whose_of(one), standing.thresholds)
            seen = facts.seen[one.organisation][account_of(one)]
            if seen.key not in learnt:
                learnt[seen.key] = self._with_learning(message, parts, seen)
            own = [*learnt[seen.key], *await self._imitations(message, one, now)]
            own += parts_of_senders(facts.remembered[one.organisation])
            if standing.wrote_to:
                own.append(WROTE_TO)
            scored.append(Scored(add_up(own), standing.thresholds, standing.entry))
        return scored

    def _with_learning(self, message: Read, parts: Sequence[Part], seen: Seen) -> tuple[Part, ...]:
        """What the message says to all who share a corpus."""
        judgement = self.corpora.judge(seen, message.tokens)
        faded = fade(parts, self.rules, seen.totals)
        return (*faded, of_learning(judgement, seen.totals))

    async def _imitations(self, message: Read, found: Found, now: datetime) -> list[Part]:
        """Authors that look like somebody the recipient writes to."""
        account = account_of(found)
        if account == EVERYBODY or not message.authors:
            return []
        kept = self._friends.pop(account, None)
        if kept is None or now - kept[0] > NAMES_REMEMBERED:
            friends = await self._store.look_up(lambda tx: _friends(tx, account))
            kept = now, know(friends)
        self._friends[account] = kept
        if len(self._friends) > FRIENDS_KEPT:
            self._friends.popitem(last=False)
        return [
            Part(rule.name, rule.weight, f"{domain} for {like.of}, whom they write to")
            for domain in dict.fromkeys(one.domain for one in message.authors)
            if (like := imitated(domain, kept[1]))
            and (rule := self.rules.rules.get(_IMITATES[like.exact]))
        ]

    async def test(
        self,
        header: bytes,
        body: Buffer,
        organisation: OrganisationId,
        account: AccountId,
        now: datetime,
    ) -> Tested:
        """What the message alone says to this account, without who brings it."""
        await self._look_up_weights(now)
        message = await self.read(header, body)
        known = Circumstances(known=await self._own_names(now))
        parts = apply_rules(
            self.rules, features(message.sight, known, self.rules.names), message.tokens
        )
        seen = await self._store.read(
            lambda tx: self.corpora.look(tx, organisation, [account], message.tokens)
        )
        totals, words = seen[account].totals, named_tokens(message.sight)
        judgement = self.corpora.judge(seen[account], message.tokens)
        score = add_up([*fade(parts, self.rules, totals), of_learning(judgement, totals)])
        clues = tuple((words[clue.token], clue.weight) for clue in judgement.clues)
        return Tested(score, totals, judgement.probability, clues)

    async def judge_leaving(
        self, header: bytes, body: Buffer, sender: Whose, now: datetime
    ) -> Scored | None:
        """What a message of our own people says, if somebody wants to see it before it leaves."""
        known = self._thresholds.find(sender)
        if known is None:
            known = await self._store.look_up(lambda tx: thresholds.find(tx, sender))
            self._thresholds.keep(sender, known)
        if known.hold >= thresholds.NEVER:
            return None
        # An account that was stolen has taught us that its owner's mail is welcome.
        tested = await self.test(header, body, sender.organisation, EVERYBODY, now)
        return Scored(tested.score, known)

    async def judge(self, message: Read, evidence: Evidence, now: datetime) -> list[Part]:
        """What is the same for all recipients."""
        known = circumstances(message, evidence, await self._own_names(now), now)
        parts = apply_rules(
            self.rules, features(message.sight, known, self.rules.names), message.tokens
        )
        return parts + [Part(fact.name, fact.weight, fact.words) for fact in evidence.facts]

    async def _look_up_weights(self, now: datetime) -> None:
        """The rules with the weights that an operator gave them."""
        if self._weighed is None or now - self._weighed > WEIGHTS_REMEMBERED:
            self._weighed = now
            weights = await self._store.look_up(rule_weights.find_all)
            self.rules = with_weights(self._shipped, weights) if weights else self._shipped

    async def _own_names(self, now: datetime) -> Known:
        """The domains that are hosted here, as others could imitate them."""
        if self._names is None or now - self._names[0] > NAMES_REMEMBERED:
            names = await self._store.read(_hosted)
            self._names = now, know(names)
        return self._names[1]

    async def note(
        self,
        message: Read,
        evidence: Evidence,
        outcomes: Sequence[tuple[Found, bool]],
        now: datetime,
    ) -> None:
        """Remember who wrote, once for each organisation, and whether it was junk for anybody."""
        senders_ = senders_of(evidence, message.authors, self.rules.names)
        spam: dict[OrganisationId, bool] = {}
        for found, is_junk in outcomes:
            spam[found.organisation] = spam.get(found.organisation, False) or is_junk
        for organisation, is_spam in spam.items():
            await self.memory.note(organisation, senders_, is_spam, now)

    def _standing(self, tx: Tx, message: Read, evidence: Evidence, found: Found) -> _Standing:
        account, whose = account_of(found), whose_of(found)
        genuine = proves_author(evidence)
        return _Standing(
            thresholds=self._thresholds.find(whose) or thresholds.find(tx, whose),
            entry=_listed(tx, message, evidence, whose),
            wrote_to=genuine
            and account != EVERYBODY
            and any(senders.has_written(tx, account, one) for one in message.authors),
        )

    def _facts(self, tx: Tx, message: Read, evidence: Evidence, found: Sequence[Found]) -> _Facts:
        standings = [self._standing(tx, message, evidence, one) for one in found]
        senders_ = senders_of(evidence, message.authors, self.rules.names)
        seen: dict[OrganisationId, dict[AccountId, Seen]] = {}
        remembered: dict[OrganisationId, dict[Sender, Remembered]] = {}
        for organisation in dict.fromkeys(one.organisation for one in found):
            whose = [account_of(one) for one in found if one.organisation == organisation]
            seen[organisation] = self.corpora.look(tx, organisation, whose, message.tokens)
            remembered[organisation] = sender_memory.find(tx, organisation, senders_)
        return _Facts(standings, seen, remembered)


def read(header: bytes, body: Buffer) -> Read:
    """The message taken apart."""
    sight = look(header, mime.scan(header, body), body)
    return Read(sight, tokens(sight), tuple(author_addresses(header)[:AUTHORS_LIMIT]))


def circumstances(message: Read, evidence: Evidence, names: Known, now: datetime) -> Circumstances:
    """What the rules may know of who sent it."""
    dkim = [one.verdict for one in evidence.dkim]
    if not dkim:
        signed = "none"
    elif Dkim.PASS in dkim:
        signed = "pass"
    else:
        signed = "fail" if Dkim.FAIL in dkim else ""
    return Circumstances(
        now=now,
        spf=evidence.spf.result.value,
        dkim=signed,
        dmarc=evidence.dmarc.result.value if evidence.dmarc else "",
        reverse_path=evidence.client.reverse_path,
        known=names,
    )


def account_of(found: Found) -> AccountId:
    """Whose lessons count: of a recipient with one mailbox its owner's, else everybody's."""
    return found.accounts[0].account if len(found.accounts) == 1 else EVERYBODY


def whose_of(found: Found) -> Whose:
    """Whose thresholds and lists count for a recipient."""
    return Whose(found.organisation, found.address.domain, account_of(found))


def parts_of_senders(remembered: dict[Sender, Remembered]) -> list[Part]:
    """What is remembered of a sender, in points."""
    return [
        of_sender(sender.kind, sender.sender, known, SENDER_WEIGHTS[sender.kind])
        for sender, known in sorted(remembered.items())
    ]


SENDER_WEIGHTS = {"address": 1.0, "domain": 0.75, "network": 0.5}


def _listed(tx: Tx, message: Read, evidence: Evidence, whose: Whose) -> Entry | None:
    """The entry that decides. Anybody can claim a name: it is no welcome without a proof."""
    client = evidence.client
    domains = [str(one.domain) for one in message.authors]
    domains.append(client.reverse_path.rpartition("@")[2])
    addresses = [*map(str, message.authors), client.reverse_path]
    keys = filter_lists.keys_of(client.address, filter(None, domains), addresses)
    for entry in filter_lists.find(tx, whose.organisation, whose.account, keys):
        if entry.verdict != filter_lists.ALLOW or "/" in entry.entry or proves_author(evidence):
            return entry
    return None


def _friends(tx: Tx, account: AccountId) -> list[str]:
    """Domains that the account writes to; everybody writes to the big ones."""
    written = senders.correspondents(tx, account, FRIENDS_LIMIT)
    domains = dict.fromkeys(one.rpartition("@")[2] for one in written)
    freemail = shipped_rules().names.freemail
    return [one for one in domains if one not in freemail]


def _hosted(tx: Tx) -> list[str]:
    return [one.name for one in accounts.list_domains(tx)[:NAMES_LIMIT]]


# ---------------------------------------------------------------------- what others are told


def hosts_of(message: Read) -> list[str]:
    """The hosts that its links lead to."""
    return list(dict.fromkeys(link.host for link in message.sight.links))


def points_of(scored: Scored, trace: TraceId) -> Points:
    """What the policy needs to know of a score."""
    score, entry = scored.score, scored.entry
    own = sum(one.weight for one in score.parts if one.rule in OF_DMARC)
    return Points(
        total=score.total,
        apart=round(score.total - own, 2),
        thresholds=scored.thresholds,
        reference=trace,
        listed=entry.verdict if entry else "",
        entry=entry.entry if entry else "",
    )


# What says no more than that DMARC fails, which alone refuses nothing.
OF_DMARC = frozenset(("not-genuine", "spf-fail", "spf-softfail", "broken-signature", "no-proof"))

# Fields that filters write; whoever sends them wants to be believed.
MARKS = ("X-Spam-Status", "X-Spam-Flag", "X-Spam-Score", "X-Spam-Level", "X-Spam-Report")
TESTS_LIMIT = 20  # rules that the field names


def marks_of(scored: Scored, is_junk: bool) -> bytes:
    """X-Spam-Status, as programs know it: the score, the threshold, the heaviest rules."""
    tests = ",".join(one.rule for one in scored.score.parts[:TESTS_LIMIT])
    said = "Yes" if is_junk else "No"
    total, junk = scored.score.total, scored.thresholds.junk
    return fold("X-Spam-Status", f"{said}, score={total:g} required={junk:g} tests={tests}")


def without_marks(header: bytes) -> bytes:
    """The header without what others say in the name of a filter."""
    return remove(header, MARKS) if b"x-spam-" in header.lower() else header
