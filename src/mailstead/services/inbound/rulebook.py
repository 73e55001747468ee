"""The rules that come with Mailstead, read once from the files beside mailstead.spam.rules."""

import functools
import importlib.resources

from mailstead.spam.names import NAMES_FILE, parse_names
from mailstead.spam.rules import RULES_FILE, Rules, parse_rules


@functools.cache
def shipped_rules() -> Rules:
    """The rules, with their names."""
    folder = importlib.resources.files("mailstead.spam")
    names = parse_names((folder / NAMES_FILE).read_text("utf-8"))
    return parse_rules((folder / RULES_FILE).read_text("utf-8"), names)


# What is no rule of the file, and weighs all the same.
_SENTENCES = {
    "learnt": "looks like what was learnt",
    "you-wrote-to": "is from somebody that you wrote to",
    "sender-address": "is from an address that wrote before",
    "sender-domain": "is from a domain that wrote before",
    "sender-network": "is from a network that wrote before",
    "others": "has more to it",
}


def sentence_of(rule: str) -> str:
    """What a part of a score says, as in "it has no Date"; empty if its detail says it all."""
    known = shipped_rules().rules.get(rule)
    said = known.sentence if known else _SENTENCES.get(rule, "")
    return f"it {said}" if said else ""
