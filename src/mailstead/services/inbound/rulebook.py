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
