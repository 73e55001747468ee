"""The sum that is shown is the sum that decides."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mailstead.spam
from mailstead.spam.bayes import OPEN, Clue, Judgement, Totals
from mailstead.spam.rules import Part, Rule, apply_rules, compile_rules, parse_rules
from mailstead.spam.score import (
    PARTS_LIMIT,
    Remembered,
    add_up,
    fade,
    of_learning,
    of_sender,
)
from mailstead.spam.tokens import pair_of, token_of

PLENTY = Totals(1000, 1000)


@given(st.lists(st.floats(-50, 50), max_size=100))
def test_the_sum_is_that_of_the_parts(weights):
    score = add_up([Part(f"rule-{n}", weight) for n, weight in enumerate(weights)])
    assert score.total == round(sum(part.weight for part in score.parts), 2)
    assert len(score.parts) <= PARTS_LIMIT + 1


def test_the_heaviest_come_first_and_nothing_weighs_nothing():
    score = add_up([Part("a", 0.5), Part("b", -3.0), Part("c", 0.001)])
    assert [part.rule for part in score.parts] == ["b", "a"]


def judged(weight):
    return Judgement(0.5, weight, (Clue(2, weight),))


@pytest.mark.parametrize(
    ("judgement", "totals", "points"),
    [
        (OPEN, PLENTY, 0.0),
        (judged(0.0), PLENTY, 1.7),
        (judged(100.0), PLENTY, 11.0),
        (judged(-100.0), PLENTY, -7.0),
        (judged(-100.0), Totals(1000, 5), -0.35),
    ],
)
def test_points_for_what_was_learnt(judgement, totals, points):
    assert round(of_learning(judgement, totals).weight, 2) == points


@given(st.floats(-100, 100), st.floats(0, 10))
def test_more_weight_is_more_points(weight, more):
    less, most = (of_learning(judged(one), PLENTY).weight for one in (weight, weight + more))
    assert less <= most


@pytest.mark.parametrize(
    ("remembered", "points"),
    [((0, 0), 0.0), ((4, 0), -1.0), ((0, 4), 1.0), ((1000, 0), -1.99), ((5, 5), 0.0)],
)
def test_points_for_senders(remembered, points):
    part = of_sender("domain", "example.net", Remembered(*remembered))
    assert round(part.weight, 2) == points


WORDS = Rule("words", 1.0, "says so", phrases=("pills", "act now"), most=1.5, fades=True)
PLAIN = Rule("plain", 2.0, "is so", when=("a", "b"), unless=("c",))


@pytest.mark.parametrize(
    ("features", "tokens", "expected"),
    [
        ({"a": "x"}, [], []),
        ({"a": "x", "b": ""}, [], [Part("plain", 2.0, "x")]),
        ({"a": "x", "b": "", "c": ""}, [], []),
        ({}, [token_of("pills", "subject")], [Part("words", 1.0, "1 of them")]),
        ({}, [token_of("pills"), pair_of("act", "now")], [Part("words", 1.5, "2 of them")]),
    ],
)
def test_rules(features, tokens, expected, rules):
    ours = compile_rules((WORDS, PLAIN), rules.names)
    assert apply_rules(ours, features, tokens) == expected


@pytest.mark.parametrize(
    ("totals", "left"), [(Totals(0, 0), 1.0), (Totals(100, 900), 0.62), (PLENTY, 0.25)]
)
def test_words_fade(totals, left, rules):
    ours = compile_rules((WORDS, PLAIN), rules.names)
    parts = [Part("words", 1.0), Part("plain", 1.0), Part("no.rule.of.ours", 1.0)]
    faded = fade(parts, ours, totals)
    assert [round(part.weight, 2) for part in faded] == [left, 1.0, 1.0]


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ('[[rule]]\nname="a"\nweight=1\nsentence="x"', "needs either"),
        ('[[rule]]\nname="a b"\nweight=1\nsentence="x"\nwhen=["a"]', "no name"),
        ('[[rule]]\nname="a"\nweight=1000\nsentence="x"\nwhen=["a"]', "too heavy"),
        ('[[rule]]\nname="a"\nweight=1\nsentence="x"\nphrases=["a b c"]', "more than two"),
        ('[[rule]]\nname="a"\nweight=1\nsentence="x"\nwhen=["a"]\n' * 2, "the same name"),
    ],
)
def test_wrong_rules(toml, problem, rules):
    with pytest.raises(ValueError, match=problem):
        parse_rules(toml, rules.names)


def test_shipped_rules_speak_of_features_that_exist(rules):
    """A feature that nothing makes is a slip of the pen."""
    folder = Path(mailstead.spam.__file__).parent
    modules = ("features", "attachments", "links")
    code = "".join((folder / f"{name}.py").read_text() for name in modules)
    for rule in rules.rules.values():
        for feature in (*rule.when, *rule.unless):
            rest = feature.partition("-")[2]
            spellings = (f'"{feature}"', f'}}-{rest}"', f'"{rest}"')
            assert any(one in code for one in spellings), feature
