"""The rules that come with Mailstead, for tests of what they say."""

from pathlib import Path

import pytest

import mailstead.spam
from mailstead.spam.names import NAMES_FILE, parse_names
from mailstead.spam.rules import RULES_FILE, Rules, parse_rules


@pytest.fixture(scope="session")
def rules() -> Rules:
    folder = Path(mailstead.spam.__file__).parent
    names = parse_names((folder / NAMES_FILE).read_text("utf-8"))
    return parse_rules((folder / RULES_FILE).read_text("utf-8"), names)
