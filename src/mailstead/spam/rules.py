"""The rules: what each feature of a message weighs, as a file that people read and change.

They lie in rules.toml beside this module; here they are checked, once. A rule holds if all of its
`when` are features of the message and none of its `unless`; a rule with `phrases` weighs `weight`
for each of them in the text or the subject, `most` at most.
"""

import tomllib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from mailstead.spam.features import Features
from mailstead.spam.names import Names
from mailstead.spam.tokens import pair_of, token_of

RULES_FILE = "rules.toml"
NAME_LIMIT = 60  # characters of a name
WEIGHT_LIMIT = 100.0  # points that a rule may weigh


class Part(msgspec.Struct, frozen=True):
    """One reason: the rule, what it weighs here, and where it was seen."""

    rule: str
    weight: float
    detail: str = ""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of the file; the sentence completes "the message ..."."""

    name: str
    weight: float
    sentence: str
    when: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()
    most: float = 0.0
    fades: bool = False


class Rules(msgspec.Struct, frozen=True):
    """All of them: those of features by the first that they ask for, phrases by their tokens."""

    rules: dict[str, Rule]
    by_feature: dict[str, tuple[Rule, ...]]
    phrases: dict[int, tuple[str, Rule]]
    fading: frozenset[str]  # those that learning makes needless
    names: Names


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: tuple[Rule, ...]


def parse_rules(toml: str, names: Names) -> Rules:
    """The rules of a file; ValueError says which one is wrong."""
    data: dict[str, Any] = tomllib.loads(toml)
    return compile_rules(msgspec.convert(data, _File).rule, names)


def compile_rules(rules: tuple[Rule, ...], names: Names) -> Rules:
    """The same, ready to use."""
    if len({one.name for one in rules}) < len(rules):
        raise ValueError("two rules have the same name")
    by_feature: dict[str, tuple[Rule, ...]] = {}
    phrases: dict[int, tuple[str, Rule]] = {}
    for one in rules:
        _check(one)
        if one.when:
            by_feature[one.when[0]] = (*by_feature.get(one.when[0], ()), one)
        for phrase in one.phrases:
            phrases |= dict.fromkeys(_tokens_of(phrase), (phrase, one))
    fading = frozenset(one.name for one in rules if one.fades)
    return Rules({one.name: one for one in rules}, by_feature, phrases, fading, names)


def with_weights(rules: Rules, weights: Mapping[str, float]) -> Rules:
    """The same rules, some of them with other weights."""
    changed = [
        msgspec.structs.replace(one, weight=weights.get(one.name, one.weight))
        for one in rules.rules.values()
    ]
    return compile_rules(tuple(changed), rules.names)


def _check(rule: Rule) -> None:
    if len(rule.name) > NAME_LIMIT or not rule.name.replace("-", "").isalnum():
        raise ValueError(f"{rule.name!r} is no name of a rule")
    if not -WEIGHT_LIMIT <= rule.weight <= WEIGHT_LIMIT or not rule.sentence:
        raise ValueError(f"{rule.name}: without a sentence, or too heavy")
    if bool(rule.when) == bool(rule.phrases):
        raise ValueError(f"{rule.name}: needs either features or phrases")


def _tokens_of(phrase: str) -> Iterator[int]:
    """A phrase of one word or two, in the text and in the subject."""
    match phrase.split():
        case [word]:
            yield from (token_of(word), token_of(word, "subject"))
        case [first, second]:
            yield from (pair_of(first, second), pair_of(first, second, "subject"))
        case _:
            raise ValueError(f"{phrase!r} has more than two words")


def apply_rules(rules: Rules, found: Features, tokens: Collection[int]) -> list[Part]:
    """What the rules say of a message with these features and tokens; those that weigh nothing
    are left out."""
    parts = [
        Part(rule.name, rule.weight, found[name])
        for name in found
        for rule in rules.by_feature.get(name, ())
        if rule.weight and _holds(rule, found)
    ]
    parts += _of_phrases(rules, tokens)
    return parts


def _holds(rule: Rule, found: Mapping[str, str]) -> bool:
    return all(name in found for name in rule.when) and not any(
        name in found for name in rule.unless
    )


def _of_phrases(rules: Rules, tokens: Collection[int]) -> Iterator[Part]:
    said: dict[str, dict[str, None]] = {}
    for token in rules.phrases.keys() & tokens:
        phrase, rule = rules.phrases[token]
        said.setdefault(rule.name, {})[phrase] = None
    for name, phrases in sorted(said.items()):
        rule = rules.rules[name]
        weight = rule.weight * len(phrases)
        weight = min(weight, rule.most) if rule.weight > 0 else max(weight, rule.most)
        if weight:
            yield Part(name, round(weight, 2), f"{len(phrases)} of them")
