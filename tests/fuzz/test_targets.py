"""A short run of each target: all that was kept of longer ones, and what hypothesis thinks of.

`script/fuzz TARGET --minutes 10` is the long run, and puts what is new into the corpus.
"""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .targets import TARGETS, WORDS

CORPUS = Path(__file__).parent / "corpus"
HANG = 0.1  # seconds
INPUTS = st.lists(st.sampled_from(WORDS) | st.binary(max_size=20), max_size=30).map(b"".join)


def run(name: str, data: bytes) -> None:
    """The target, in time."""
    began = time.perf_counter()
    TARGETS[name](data)
    assert time.perf_counter() - began < HANG or len(data) > 1_000_000


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_kept(name: str) -> None:
    for path in sorted((CORPUS / name).glob("*")):
        run(name, path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=300, deadline=None)
@given(data=INPUTS)
def test_what_is_made_up(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("data", [b"x" * 2**20, b"\r\n" * 2**19, b".\n" * 2**19, b"\xff" * 2**18])
def test_much_of_the_same(name: str, data: bytes) -> None:
    """A megabyte of anything takes no more than a second."""
    began = time.perf_counter()
    TARGETS[name](data)
    assert time.perf_counter() - began < 5
