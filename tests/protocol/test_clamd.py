"""What goes to clamd, and what its answers mean."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.protocol.clamd import (
    CHUNK,
    END,
    LIMIT,
    START,
    Clean,
    Failed,
    Malware,
    Scan,
    TooBig,
    Verdict,
    chunks,
    parse,
)


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (b"stream: OK", Clean()),
        (b"stream: Eicar-Test-Signature FOUND", Malware("Eicar-Test-Signature")),
        (b"stream: Win.Test\x1b[31m FOUND", Malware("Win.Test [31m")),
        (b"INSTREAM size limit exceeded. ERROR", TooBig()),
        (b"stream: Can't allocate memory ERROR", Failed("stream: Can't allocate memory")),
        (b"stream:  FOUND", Failed("stream:  FOUND")),
        (b"stream: OK FOUND OK", Failed("stream: OK FOUND OK")),
        (b"UNKNOWN COMMAND", Failed("UNKNOWN COMMAND")),
        (b"", Failed("clamd closed without an answer")),
        (b"\xff\0", Failed("clamd closed without an answer")),
    ],
)
def test_answers(said: bytes, verdict: Verdict) -> None:
    assert parse(said) == verdict


def test_the_message_goes_in_chunks() -> None:
    data = bytes(CHUNK) + b"xyz"
    out = b"".join([START, *chunks(data), *chunks(b""), END])
    assert out == b"zINSTREAM\0\0\x01\0\0" + bytes(CHUNK) + b"\0\0\0\x03xyz\0\0\0\0"


def test_the_verdict_is_there_before_clamd_closes() -> None:
    scan = Scan()
    assert [scan.receive(b"stream:"), scan.receive(b" OK\0")] == [None, Clean()]
    assert scan.receive(b"stream: X FOUND\0") == Clean()


def test_clamd_that_closes_or_babbles() -> None:
    scan = Scan()
    assert scan.receive(b"stream: O") is None
    assert scan.receive(b"") == Failed("stream: O")
    scan = Scan()
    for _ in range(10):
        scan.receive(b"x" * LIMIT)
    assert isinstance(scan.verdict, Failed)


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from([b"stream: OK\0", b"stream: X FOUND\0rest", b"x" * 9000, b"stream: OK"]),
    st.lists(st.integers(1, 5000), max_size=8),
)
def test_any_split_gives_the_same_verdict(said: bytes, cuts: list[int]) -> None:
    whole, parts = Scan(), Scan()
    whole.receive(said)
    at = 0
    for cut in [*cuts, len(said)]:
        if piece := said[at : at + cut]:
            parts.receive(piece)
        at += cut
    assert whole.receive(b"") == parts.receive(b"")
