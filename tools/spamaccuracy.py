"""How well the learning filter parts ham from spam: trained on some messages, asked about others.

python tools/spamaccuracy.py HAM SPAM     two folders, one message a file
python tools/spamaccuracy.py ARCHIVE      a tar file with the folders ham and spam
A seed parts each folder in two: what is tuned is tuned on the one half (--part tune), and what is
reported is about the other (--part report), each fold of it trained with all other messages.
"""

import argparse
import math
import random
import tarfile
import tempfile
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mailstead.message.header import ensure_crlf, split
from mailstead.message.mime import scan
from mailstead.spam.bayes import Totals, probability
from mailstead.spam.tokens import tokens

TYPICAL = range(10_000, 14_000)  # octets of a message whose cost is told
COST_ROUNDS = 5
HAM_LOST = (0.001, 0.002, 0.005)
SPAM_CAUGHT = (0.95, 0.97)

Tokens = list[int]
Counts = dict[int, tuple[int, int]]


class Corpus(NamedTuple):
    """The messages of each kind."""

    ham: list[bytes]
    spam: list[bytes]


class Weights(NamedTuple):
    """What was said of the messages of each kind."""

    ham: list[float]
    spam: list[float]


def tokens_of(message: bytes) -> Tokens:
    """The tokens of a message as it lies in a file."""
    header, body = split(ensure_crlf(message))
    return list(tokens(header, scan(header, body), body))


def train(ham: list[Tokens], spam: list[Tokens]) -> Counts:
    """The counts of all these messages."""
    counts: Counts = {}
    for messages, more_ham, more_spam in ((ham, 1, 0), (spam, 0, 1)):
        for message in messages:
            for token in message:
                of_ham, of_spam = counts.get(token, (0, 0))
                counts[token] = of_ham + more_ham, of_spam + more_spam
    return counts


def judge_folds(ham: "Halves", spam: "Halves", folds: int) -> Weights:
    """The weight of each message that is asked about, trained without its fold."""
    weights = Weights([], [])
    for fold in range(folds):
        known_ham, known_spam = ham.without(fold, folds), spam.without(fold, folds)
        counts, totals = train(known_ham, known_spam), Totals(len(known_ham), len(known_spam))
        for asked, into in ((ham.asked, weights.ham), (spam.asked, weights.spam)):
            into += [probability(one, counts, totals).weight for one in asked[fold::folds]]
    return weights


class Halves(NamedTuple):
    """Messages that are asked about, and others that are only learnt."""

    asked: list[Tokens]
    learnt: list[Tokens]

    def without(self, fold: int, folds: int) -> list[Tokens]:
        """All but the fold."""
        others = [one for number, one in enumerate(self.asked) if number % folds != fold]
        return others + self.learnt


def halves(messages: list[Tokens], part: str, seed: int) -> Halves:
    """The messages parted by the seed; while tuning the other half does not exist."""
    shuffled = list(messages)
    random.Random(seed).shuffle(shuffled)
    middle = len(shuffled) // 2
    match part:
        case "tune":
            return Halves(shuffled[:middle], [])
        case "report":
            return Halves(shuffled[middle:], shuffled[:middle])
    return Halves(shuffled, [])


def roc_area(weights: Weights) -> float:
    """How often a spam weighs more than a ham, a tie being half."""
    ham = sorted(weights.ham)
    above = sum(bisect_left(ham, one) + bisect_right(ham, one) for one in weights.spam)
    return above / 2 / len(ham) / len(weights.spam)


def caught(weights: Weights, ham_lost: float) -> float:
    """The share of spam above the threshold at which at most this share of ham is lost."""
    ham = sorted(weights.ham, reverse=True)
    threshold = ham[min(int(ham_lost * len(ham)), len(ham) - 1)]
    return sum(one > threshold for one in weights.spam) / len(weights.spam)


def lost(weights: Weights, spam_caught: float) -> float:
    """The share of ham that is lost at the threshold which catches this share of spam."""
    spam = sorted(weights.spam, reverse=True)
    threshold = spam[math.ceil(spam_caught * len(spam)) - 1]
    return sum(one >= threshold for one in weights.ham) / len(weights.ham)


def cost(corpus: Corpus, counts: Counts, totals: Totals) -> tuple[float, float]:
    """Milliseconds of CPU for tokens and for the judgement of a typical message."""
    typical = [one for one in corpus.ham + corpus.spam if len(one) in TYPICAL][:100]
    if not typical:
        return math.nan, math.nan
    best_tokens = best_judgement = math.inf
    for _ in range(COST_ROUNDS):
        start = time.process_time()
        found = [tokens_of(one) for one in typical]
        middle = time.process_time()
        for one in found:
            probability(one, counts, totals)
        best_tokens = min(best_tokens, middle - start)
        best_judgement = min(best_judgement, time.process_time() - middle)
    return best_tokens * 1000 / len(typical), best_judgement * 1000 / len(typical)


@contextmanager
def folders(paths: list[Path]) -> Iterator[tuple[Path, Path]]:
    """The folder of ham and the folder of spam."""
    if len(paths) == 2:
        yield paths[0], paths[1]
        return
    with tempfile.TemporaryDirectory() as name, tarfile.open(paths[0]) as archive:
        archive.extractall(name, filter="data")
        yield Path(name, "ham"), Path(name, "spam")


def read(folder: Path) -> list[bytes]:
    """All messages below the folder, in an order that is always the same."""
    return [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]


def parser() -> argparse.ArgumentParser:
    """What may be asked for."""
    known = argparse.ArgumentParser(description="How well the filter parts ham from spam.")
    known.add_argument("paths", nargs="+", type=Path, metavar="HAM SPAM | ARCHIVE")
    known.add_argument("--seed", type=int, default=1)
    known.add_argument("--folds", type=int, default=10)
    known.add_argument("--part", choices=("tune", "report", "all"), default="report")
    return known


def main() -> None:
    """Read, judge and print."""
    known = parser()
    asked = known.parse_args()
    with folders(asked.paths) as (ham, spam):
        corpus = Corpus(read(ham), read(spam))
    if min(len(corpus.ham), len(corpus.spam)) < 2:
        known.error("each folder needs two messages at least")
    all_ham, all_spam = list(map(tokens_of, corpus.ham)), list(map(tokens_of, corpus.spam))
    parts = [halves(one, asked.part, asked.seed) for one in (all_ham, all_spam)]
    weights = judge_folds(parts[0], parts[1], asked.folds)
    print(f"judged: {len(weights.ham)} ham, {len(weights.spam)} spam ({asked.part})")
    print(f"ROC area: {roc_area(weights):.5f}")
    for share in HAM_LOST:
        print(f"spam caught at {share:.1%} of ham lost: {caught(weights, share):.1%}")
    for share in SPAM_CAUGHT:
        print(f"ham lost at {share:.0%} of spam caught: {lost(weights, share):.2%}")
    totals = Totals(len(all_ham), len(all_spam))
    for_tokens, for_judgement = cost(corpus, train(all_ham, all_spam), totals)
    print(f"CPU of a message of 10-14 KB (ms): tokens {for_tokens:.2f}, judge {for_judgement:.2f}")


if __name__ == "__main__":
    main()
