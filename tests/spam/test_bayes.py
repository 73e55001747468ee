"""What the counts say."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstead.message.header import split
from mailstead.message.mime import scan
from mailstead.spam.bayes import (
    HEADER_CLUES,
    OPEN,
    PREJUDICE,
    TEXT_CLUES,
    Totals,
    probability,
    weigh,
)
from mailstead.spam.sight import look
from mailstead.spam.tokens import named_tokens, token_of

TOTALS = Totals(ham=100, spam=100)
TEXT, HEADER = 2, 3  # a token of the text, one of the header


HALF = PREJUDICE / 2


@pytest.mark.parametrize(
    ("count", "totals", "weight"),
    [
        ((50, 50), TOTALS, 0.0),
        ((0, 0), TOTALS, 0.0),
        ((0, 1), TOTALS, math.log((1 + HALF) / HALF)),
        ((1, 0), TOTALS, -math.log((1 + HALF) / HALF)),
        ((0, 100), TOTALS, math.log((100 + HALF) / HALF)),
        ((10, 10), Totals(100, 10), math.log((HALF + 20 / 1.1) / (HALF + 2 / 1.1))),
        ((-5, 500), TOTALS, math.log((100 + HALF) / HALF)),
    ],
)
def test_weight_of_a_token(count, totals, weight):
    assert math.isclose(weigh(*count, totals), weight, abs_tol=1e-12)


def test_faint_tokens_tell_nothing():
    assert probability([TEXT, 4], {TEXT: (50, 50), 4: (50, 51)}, TOTALS).clues == ()


@pytest.mark.parametrize("totals", [Totals(0, 0), Totals(5, 0), Totals(0, 5), Totals(-1, 5)])
def test_untrained_is_open(totals):
    assert probability([TEXT], {TEXT: (0, 5)}, totals) == OPEN


def test_unknown_tokens_are_passed_over():
    judgement = probability([TEXT, 4, 6], {TEXT: (0, 3)}, TOTALS)
    assert [clue.token for clue in judgement.clues] == [TEXT]


def test_heaviest_clues_come_first():
    counts = {2: (1, 0), 4: (0, 50), 3: (0, 7)}
    assert [clue.token for clue in probability([2, 4, 3], counts, TOTALS).clues] == [4, 3, 2]


def test_only_the_most_telling_decide():
    counts = {2 * n: (n, 100) for n in range(100)} | {2 * n + 1: (n, 100) for n in range(100)}
    clues = probability(counts, counts, TOTALS).clues
    header = sorted(clue.token for clue in clues if clue.token % 2)
    text = sorted(clue.token for clue in clues if not clue.token % 2)
    assert header == [2 * n + 1 for n in range(HEADER_CLUES)]
    assert text == [2 * n for n in range(TEXT_CLUES)]


def test_neither_witness_shouts_the_other_down():
    one_sided = {2 * n: (100, 0) for n in range(1, 1000)}
    few = {2 * n: (100, 0) for n in range(1, TEXT_CLUES + 1)}
    spam = {HEADER: (0, 100)}
    assert (
        probability(one_sided | spam, one_sided | spam, TOTALS).weight
        == probability(few | spam, few | spam, TOTALS).weight
    )


COUNTS = st.tuples(st.integers(-5, 10**20), st.integers(-5, 10**20))


@given(st.dictionaries(st.integers(-(2**63), 2**63 - 1), COUNTS), COUNTS)
def test_never_raises(counts, totals):
    judgement = probability(counts, counts, Totals(*totals))
    assert 0 <= judgement.probability <= 1
    assert len(judgement.clues) <= HEADER_CLUES + TEXT_CLUES


@given(st.dictionaries(st.integers(0, 99), st.tuples(st.integers(0, 9), st.integers(0, 9))))
def test_ham_and_spam_are_alike(counts):
    turned = {token: (spam, ham) for token, (ham, spam) in counts.items()}
    one, other = probability(counts, counts, TOTALS), probability(counts, turned, TOTALS)
    assert math.isclose(one.weight, -other.weight, abs_tol=1e-9)


@given(st.integers(1, 50), st.integers(0, 99))
def test_more_spam_weighs_more(ham, spam):
    assert weigh(ham, spam, TOTALS) < weigh(ham, spam + 1, TOTALS)


HAM = """\
Subject: Minutes of Tuesday|Attached are the minutes, please check the third paragraph.
Subject: Re: patch for the parser|The second hunk does not apply, can you rebase it?
Subject: Lunch on Friday?|Shall we meet at noon in the usual place?
Subject: Re: Lunch on Friday?|Noon is fine, the usual place is closed on Friday though.
Subject: Build is broken|The parser tests fail since the last patch, please check.
"""
SPAM = """\
Subject: You have WON!|Claim your prize now, limited offer, click http://win.example/claim
Subject: Cheap pills|Lowest prices guaranteed, order now, click http://pills.example/order
Subject: Lose weight now|Limited offer, order today, guaranteed results http://pills.example/
Subject: Your prize is waiting|Click now to claim your money, guaranteed http://win.example/x
Subject: MAKE MONEY FAST|Guaranteed income from home, click now http://win.example/money
"""


def _tokens(line: str) -> dict[int, str]:
    header, body = split(line.replace("|", "\r\n\r\n").encode())
    return named_tokens(look(header, scan(header, body), body))


def _trained() -> dict[int, tuple[int, int]]:
    counts: dict[int, tuple[int, int]] = {}
    for sample, ham, spam in ((HAM, 1, 0), (SPAM, 0, 1)):
        for line in sample.splitlines():
            for token in _tokens(line):
                of_ham, of_spam = counts.get(token, (0, 0))
                counts[token] = of_ham + ham, of_spam + spam
    return counts


@pytest.mark.parametrize(
    ("line", "is_spam"),
    [
        ("Subject: Lunch on Monday?|The usual place at noon?", False),
        ("Subject: Re: parser|Please check the patch, the tests fail.", False),
        ("Subject: Limited offer|Order now, prices guaranteed http://pills.example/a", True),
        ("Subject: Claim it|Your money is waiting, click http://win.example/z", True),
    ],
)
def test_sample(line, is_spam):
    judgement = probability(_tokens(line), _trained(), Totals(5, 5))
    assert (judgement.probability > 0.9, judgement.probability < 0.1) == (is_spam, not is_spam)


def test_clues_can_be_read():
    found = _tokens("Subject: hello|click http://win.example/")
    clues = probability(found, _trained(), Totals(5, 5)).clues
    spam = {found[clue.token] for clue in clues if clue.weight > 0}
    assert {"click", "url:win.example"} <= spam
    assert token_of("click") in {clue.token for clue in clues}
