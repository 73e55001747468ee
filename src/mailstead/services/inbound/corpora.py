"""What was learnt of spam, remembered in memory for as long as it holds.

For each corpus that a recipient's mail is judged by the weights of tokens are kept, known and
unknown ones both, until the next lesson makes another generation. An account's own lessons count
OWN times beside those of its organisation.
Holds: a judgement costs one look into the store, for the tokens that were not seen before.
"""

from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from mailstead.model.numbers import AccountId, OrganisationId
from mailstead.spam.bayes import OPEN, Judgement, Totals, judge, weigh
from mailstead.storage import spam_corpus
from mailstead.storage.spam_corpus import EVERYBODY, Corpus, Counts
from mailstead.storage.store import Tx

OWN = 3  # times that a lesson of one's own counts more than that of a colleague
KEPT_LIMIT = 200_000  # weights that a worker keeps; some 20 MB

Key = tuple[OrganisationId, AccountId]
Generation = tuple[int, int]  # of the organisation's corpus and of the account's


class Known(msgspec.Struct):
    """The weights of one corpus, as they were in a generation of it."""

    generation: Generation
    totals: Totals
    weights: dict[int, float] = {}


class Seen(msgspec.Struct, frozen=True):
    """What a look into the store found for one recipient."""

    key: Key
    generation: Generation
    totals: Totals
    asked: Sequence[int]
    counts: Counts
    own: Counts


class Corpora:
    """The corpora that this worker knows."""

    def __init__(self) -> None:
        self._known: OrderedDict[Key, Known] = OrderedDict()
        self._size = 0

    def look(
        self,
        tx: Tx,
        organisation: OrganisationId,
        accounts: Sequence[AccountId],
        tokens: Sequence[int],
    ) -> dict[AccountId, Seen]:
        """What has to be read to judge the tokens for these accounts; nothing is changed."""
        found = spam_corpus.corpora(tx, organisation, accounts)
        seen: dict[AccountId, Seen] = {}
        for account in dict.fromkeys(accounts):
            own = found.get(account) if account != EVERYBODY else None
            whose = account if own is not None else EVERYBODY
            seen[account] = seen.get(whose) or self._look(
                tx, (organisation, whose), found.get(EVERYBODY), own, tokens
            )
        return seen

    def _look(
        self, tx: Tx, key: Key, all_: Corpus | None, own: Corpus | None, tokens: Sequence[int]
    ) -> Seen:
        generation = (all_.generation if all_ else 0, own.generation if own else 0)
        totals = _together(all_, own)
        if not totals.enough:
            return Seen(key, generation, totals, (), {}, {})
        known = self._known.get(key)
        asked = tokens
        if known is not None and known.generation == generation:
            asked = [token for token in tokens if token not in known.weights]
        organisation, account = key
        return Seen(
            key,
            generation,
            totals,
            asked,
            spam_corpus.counts(tx, organisation, EVERYBODY, asked) if asked else {},
            spam_corpus.counts(tx, organisation, account, asked) if asked and own else {},
        )

    def judge(self, seen: Seen, tokens: Sequence[int]) -> Judgement:
        """The judgement on these tokens, which `look` was told of."""
        if not seen.totals.enough:
            return OPEN
        known = self._learn(seen)
        return judge(tokens, [known.weights.get(token, 0.0) for token in tokens])

    def _learn(self, seen: Seen) -> Known:
        known = self._known.pop(seen.key, None)
        if known is None or known.generation != seen.generation:
            self._size -= len(known.weights) if known else 0
            known = Known(seen.generation, seen.totals)
        before = len(known.weights)
        for token in seen.asked:
            known.weights[token] = _weight(seen, token)
        self._size += len(known.weights) - before
        while self._size > KEPT_LIMIT and self._known:
            self._size -= len(self._known.popitem(last=False)[1].weights)
        if self._size > KEPT_LIMIT:
            known.weights = {token: known.weights[token] for token in seen.asked}
            self._size = len(known.weights)
        self._known[seen.key] = known
        return known


def _weight(seen: Seen, token: int) -> float:
    ham, spam = seen.counts.get(token, (0, 0))
    own_ham, own_spam = seen.own.get(token, (0, 0))
    return weigh(ham + OWN * own_ham, spam + OWN * own_spam, seen.totals)


def _together(all_: Corpus | None, own: Corpus | None) -> Totals:
    ham, spam = (all_.totals.ham, all_.totals.spam) if all_ else (0, 0)
    if own is not None:
        ham, spam = ham + OWN * own.totals.ham, spam + OWN * own.totals.spam
    return Totals(ham, spam)
