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
from mailstead.spam.bayes import FAINT, OPEN, Judgement, Totals, judge, weigh
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
    weights: dict[int, float]


class Seen(msgspec.Struct, frozen=True):
    """What a look into the store found for one recipient."""

    key: Key
    generation: Generation
    totals: Totals
    weights: list[float | None]  # of the tokens, those that are known
    counts: Counts = {}  # of the others
    own: Counts = {}
    whole: bool = False  # all weights are known


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
        of_corpus: dict[AccountId, Seen] = {}
        seen: dict[AccountId, Seen] = {}
        for account in dict.fromkeys(accounts):
            own = found.get(account) if account != EVERYBODY else None
            whose = account if own is not None else EVERYBODY
            if whose not in of_corpus:
                of_corpus[whose] = self._look(
                    tx, (organisation, whose), found.get(EVERYBODY), own, tokens
                )
            seen[account] = of_corpus[whose]
        return seen

    def _look(
        self, tx: Tx, key: Key, all_: Corpus | None, own: Corpus | None, tokens: Sequence[int]
    ) -> Seen:
        generation = (all_.generation if all_ else 0, own.generation if own else 0)
        totals = _together(all_, own)
        if not totals.enough:
            return Seen(key, generation, totals, [])
        known = self._known.get(key)
        if known is not None and known.generation == generation:
            weights = list(map(known.weights.get, tokens))
            asked = [token for token, one in zip(tokens, weights, strict=True) if one is None]
        else:
            weights, asked = [None] * len(tokens), list(tokens)
        if not asked:
            return Seen(key, generation, totals, weights, whole=True)
        organisation, account = key
        counts = spam_corpus.counts(tx, organisation, EVERYBODY, asked)
        own_counts = spam_corpus.counts(tx, organisation, account, asked) if own else {}
        return Seen(key, generation, totals, weights, counts, own_counts)

    def judge(self, seen: Seen, tokens: Sequence[int]) -> Judgement:
        """The judgement on these tokens, which `look` was told of."""
        if not seen.totals.enough:
            return OPEN
        weights = seen.weights
        if not seen.whole:
            new = {
                token: _weight(seen, token)
                for token, one in zip(tokens, weights, strict=True)
                if one is None
            }
            self._learn(seen, new)
            weights = [
                new[token] if one is None else one
                for token, one in zip(tokens, weights, strict=True)
            ]
        return judge(tokens, weights)  # type: ignore[arg-type]

    def _learn(self, seen: Seen, new: dict[int, float]) -> None:
        known = self._known.pop(seen.key, None)
        if known is None or known.generation != seen.generation:
            self._size -= len(known.weights) if known else 0
            known = Known(seen.generation, {})
        before = len(known.weights)
        known.weights.update(new)
        self._size += len(known.weights) - before
        self._known[seen.key] = known
        while self._size > KEPT_LIMIT:
            self._size -= len(self._known.popitem(last=False)[1].weights)


def _weight(seen: Seen, token: int) -> float:
    """What it weighs; nothing, if that is hardly anything."""
    ham, spam = seen.counts.get(token, (0, 0))
    own_ham, own_spam = seen.own.get(token, (0, 0))
    weight = weigh(ham + OWN * own_ham, spam + OWN * own_spam, seen.totals)
    return weight if abs(weight) > FAINT else 0.0


def _together(all_: Corpus | None, own: Corpus | None) -> Totals:
    ham, spam = (all_.totals.ham, all_.totals.spam) if all_ else (0, 0)
    if own is not None:
        ham, spam = ham + OWN * own.totals.ham, spam + OWN * own.totals.spam
    return Totals(ham, spam)
