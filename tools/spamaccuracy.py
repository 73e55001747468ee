"""How well the filter parts ham from spam: trained on some messages, asked about others.

python tools/spamaccuracy.py HAM SPAM     two folders, one message a file
python tools/spamaccuracy.py ARCHIVE      a tar file with the folders ham and spam
A seed parts each folder in two: what is tuned is tuned on the one half (--part tune), and what is
reported is about the other (--part report), each fold of it trained with all other messages.
The score is the whole one, rules and learning, without what only a live connection tells.
"""

import argparse
import math
import random
import tarfile
import tempfile
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mailstead.message.header import ensure_crlf, split
from mailstead.message.mime import scan
from mailstead.services.inbound.rulebook import shipped_rules
from mailstead.spam.bayes import Totals, judge, probability, weigh
from mailstead.spam.features import NOTHING_KNOWN, features
from mailstead.spam.rules import Part, apply_rules
from mailstead.spam.score import add_up, fade, of_learning
from mailstead.spam.sight import look
from mailstead.spam.tokens import tokens

JUNK = 5.0  # points, as the house uses them
TYPICAL = range(10_000, 14_000)  # octets of a message whose cost is told
COST_ROUNDS = 5
HAM_LOST = (0.001, 0.002, 0.005)
SPAM_CAUGHT = (0.95, 0.97)

Counts = dict[int, tuple[int, int]]


class Message(NamedTuple):
    """What is counted of a message, and what the rules say of it."""

    tokens: list[int]
    parts: list[Part]


class Corpus(NamedTuple):
    """The messages of each kind."""

    ham: list[bytes]
    spam: list[bytes]


class Weights(NamedTuple):
    """What was said of the messages of each kind."""

    ham: list[float]
    spam: list[float]


def read_message(message: bytes) -> Message:
    """A message as it lies in a file."""
    header, body = split(ensure_crlf(message))
    sight = look(header, scan(header, body), body)
    found, rules = tokens(sight), shipped_rules()
    parts = apply_rules(rules, features(sight, NOTHING_KNOWN, rules.names), found)
    return Message(found, parts)


def train(ham: list[Message], spam: list[Message]) -> Counts:
    """The counts of all these messages."""
    counts: Counts = {}
    for messages, more_ham, more_spam in ((ham, 1, 0), (spam, 0, 1)):
        for message in messages:
            for token in message.tokens:
                of_ham, of_spam = counts.get(token, (0, 0))
                counts[token] = of_ham + more_ham, of_spam + more_spam
    return counts


Judge = Callable[[Message, Counts, Totals], float]


def whole(message: Message, counts: Counts, totals: Totals) -> float:
    """The total that decides."""
    learnt = of_learning(probability(message.tokens, counts, totals), totals)
    return add_up([*fade(message.parts, shipped_rules(), totals), learnt]).total


def learnt_alone(message: Message, counts: Counts, totals: Totals) -> float:
    """Only what was learnt."""
    return probability(message.tokens, counts, totals).weight


def rules_alone(message: Message, counts: Counts, totals: Totals) -> float:
    """What a server says on its first day."""
    return add_up(message.parts).total


def judge_folds(ham: "Halves", spam: "Halves", folds: int, judges: list[Judge]) -> list[Weights]:
    """What each judge says of the messages that are asked about, trained without their fold."""
    weights = [Weights([], []) for _ in judges]
    for fold in range(folds):
        known_ham, known_spam = ham.without(fold, folds), spam.without(fold, folds)
        counts, totals = train(known_ham, known_spam), Totals(len(known_ham), len(known_spam))
        for judge_, into in zip(judges, weights, strict=True):
            into.ham.extend(judge_(one, counts, totals) for one in ham.asked[fold::folds])
            into.spam.extend(judge_(one, counts, totals) for one in spam.asked[fold::folds])
    return weights


class Halves(NamedTuple):
    """Messages that are asked about, and others that are only learnt."""

    asked: list[Message]
    learnt: list[Message]

    def without(self, fold: int, folds: int) -> list[Message]:
        """All but the fold."""
        others = [one for number, one in enumerate(self.asked) if number % folds != fold]
        return others + self.learnt


def halves(messages: list[Message], part: str, seed: int) -> Halves:
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
    """Milliseconds of CPU for a typical message: taking it apart, and judging it."""
    typical = [one for one in corpus.ham + corpus.spam if len(one) in TYPICAL][:100]
    if not typical:
        return math.nan, math.nan
    weights = {token: weigh(*count, totals) for token, count in counts.items()}
    best_reading = best_judging = math.inf
    for _ in range(COST_ROUNDS):
        start = time.process_time()
        found = [read_message(one) for one in typical]
        middle = time.process_time()
        for one in found:
            said = judge(one.tokens, [weights.get(token, 0.0) for token in one.tokens])
            add_up([*fade(one.parts, shipped_rules(), totals), of_learning(said, totals)])
        best_reading = min(best_reading, middle - start)
        best_judging = min(best_judging, time.process_time() - middle)
    return best_reading * 1000 / len(typical), best_judging * 1000 / len(typical)


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


def show(title: str, weights: Weights) -> None:
    """What one way of judging is worth."""
    print(f"{title}: ROC area {roc_area(weights):.5f}")
    for share in HAM_LOST:
        print(f"  spam caught at {share:.1%} of ham lost: {caught(weights, share):.1%}")
    for share in SPAM_CAUGHT:
        print(f"  ham lost at {share:.0%} of spam caught: {lost(weights, share):.2%}")


def show_threshold(title: str, weights: Weights) -> None:
    """What happens at the threshold that the house has."""
    ham = sum(one >= JUNK for one in weights.ham) / len(weights.ham)
    spam = sum(one >= JUNK for one in weights.spam) / len(weights.spam)
    print(f"{title} at {JUNK:g} points: {ham:.2%} of ham lost, {spam:.1%} of spam caught")


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
    all_ham, all_spam = list(map(read_message, corpus.ham)), list(map(read_message, corpus.spam))
    parts = [halves(one, asked.part, asked.seed) for one in (all_ham, all_spam)]
    judges: list[Judge] = [whole, learnt_alone, rules_alone]
    score, learnt, cold = judge_folds(parts[0], parts[1], asked.folds, judges)
    print(f"judged: {len(score.ham)} ham, {len(score.spam)} spam ({asked.part})")
    show_threshold("score", score)
    show("score", score)
    show("learning alone", learnt)
    show_threshold("without training", cold)
    show("without training", cold)
    totals = Totals(len(all_ham), len(all_spam))
    for_reading, for_judging = cost(corpus, train(all_ham, all_spam), totals)
    print(f"CPU of a message of 10-14 KB (ms): read {for_reading:.2f}, judge {for_judging:.2f}")


if __name__ == "__main__":
    main()
