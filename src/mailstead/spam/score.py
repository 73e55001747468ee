"""The score of a message: a sum of reasons, each with its weight in points.

5 points are spam to be filed, 15 spam to be refused; less than nothing is welcome. The sum that
is shown is the sum that decides: every weight is rounded before it is added.
Not here: what becomes of the message (services.inbound).
"""

from collections.abc import Sequence

import msgspec

from mailstead.spam.bayes import Judgement, Totals
from mailstead.spam.rules import Part, Rules

DETAIL_LIMIT = 200  # characters of a detail that are kept
PARTS_LIMIT = 60  # reasons that are kept; what is left out is one reason together

# Points for what the counts of tokens say, by the weight of the judgement: straight between these.
LEARNT = ((-30.0, -7.0), (0.0, 1.7), (12.0, 5.3), (30.0, 9.0), (60.0, 11.0))
LEARNT_RULE = "learnt"
SURE = 100  # messages of each kind that have to be learnt before the counts are fully believed
FADED = 0.25  # what is left of a rule that fades, once
LEARNT_ALL = 200  # messages of each kind were learnt

WROTE_TO = Part("you-wrote-to", -3.0)
SENDER_PREJUDICE = 4  # messages before what is remembered of a sender weighs half
SENDER_MOST = 2.0  # points that are given to a sender for what was thought of him


class Score(msgspec.Struct, frozen=True):
    """The sum, and the reasons it is made of, the heaviest first."""

    total: float
    parts: tuple[Part, ...]


class Remembered(msgspec.Struct, frozen=True):
    """What came from a sender before: messages that were welcome, and that were spam."""

    ham: int
    spam: int


def add_up(parts: Sequence[Part]) -> Score:
    """The score of these reasons."""
    rounded = [_rounded(one) for one in parts]
    ordered = sorted((one for one in rounded if one.weight), key=_order)
    kept, rest = ordered[:PARTS_LIMIT], ordered[PARTS_LIMIT:]
    if rest:
        kept.append(Part("others", round(sum(one.weight for one in rest), 2), f"{len(rest)} more"))
    total = round(sum(one.weight for one in kept), 2)
    return Score(total + 0.0, tuple(kept))  # never -0


def _rounded(part: Part) -> Part:
    return Part(part.rule, round(part.weight, 2), part.detail[:DETAIL_LIMIT])


def _order(part: Part) -> tuple[float, str]:
    return -abs(part.weight), part.rule


def of_learning(judgement: Judgement, totals: Totals) -> Part:
    """What was learnt, in points."""
    if not judgement.clues:
        return Part(LEARNT_RULE, 0.0)
    sure = min(1.0, min(totals.ham, totals.spam) / SURE)
    said = f"{len(judgement.clues)} clues of {totals.ham} ham and {totals.spam} spam"
    return Part(LEARNT_RULE, sure * _between(judgement.weight, LEARNT), said)


def fade(parts: Sequence[Part], rules: Rules, totals: Totals) -> list[Part]:
    """The parts, with less weight for those rules that learning makes needless."""
    learnt = min(1.0, max(0, min(totals.ham, totals.spam)) / LEARNT_ALL)
    if not learnt:
        return list(parts)
    left, fading = 1.0 - learnt * (1.0 - FADED), rules.fading
    return [
        Part(one.rule, one.weight * left, one.detail) if one.rule in fading else one
        for one in parts
    ]


def _between(value: float, points: Sequence[tuple[float, float]]) -> float:
    """Straight lines through the points, level beyond the last ones."""
    before = points[0]
    if value <= before[0]:
        return before[1]
    for after in points[1:]:
        if value <= after[0]:
            share = (value - before[0]) / (after[0] - before[0])
            return before[1] + share * (after[1] - before[1])
        before = after
    return before[1]


def of_sender(kind: str, sender: str, remembered: Remembered, weight: float = 1.0) -> Part:
    """What is remembered of a sender: the share of spam, the surer the more there was."""
    seen = remembered.ham + remembered.spam
    sure = seen / (seen + SENDER_PREJUDICE)
    share = (remembered.spam - remembered.ham) / seen if seen else 0.0
    said = f"{sender}: {remembered.ham} welcome, {remembered.spam} spam"
    return Part(f"sender-{kind}", SENDER_MOST * weight * share * sure, said)
