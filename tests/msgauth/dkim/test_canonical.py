"""The forms of header and body, against the RFC's examples and a slow, plain version of them."""

import base64
import hashlib
import itertools
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.msgauth.dkim.canonical import BodyHash, CanonicalBody, Form, canonical_field

SIMPLE, RELAXED = Form.SIMPLE, Form.RELAXED
EXAMPLE_BODY = b" C \r\nD \t E\r\n\r\n\r\n"


def canonical(form: Form, *pieces: bytes) -> bytes:
    body = CanonicalBody(form)
    done = [octets for piece in pieces for octets in body.add(piece)]
    return b"".join([*done, *body.finish()])


def plain(form: Form, body: bytes) -> bytes:
    """Line by line, as the RFC tells it."""
    lines = body.split(b"\r\n")
    if form is RELAXED:
        lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    if lines or form is SIMPLE:
        return b"\r\n".join(lines) + b"\r\n"
    return b""


@pytest.mark.rfc("6376 section 3.4.5")
@pytest.mark.parametrize(
    ("form", "raw", "expected"),
    [
        (RELAXED, b"A: X\r\n", b"a:X\r\n"),
        (RELAXED, b"B : Y\t\r\n\tZ  \r\n", b"b:Y Z\r\n"),
        (SIMPLE, b"A: X\r\n", b"A: X\r\n"),
        (SIMPLE, b"B : Y\t\r\n\tZ  \r\n", b"B : Y\t\r\n\tZ  \r\n"),
    ],
)
def test_the_examples_header_fields(form: Form, raw: bytes, expected: bytes) -> None:
    assert canonical_field(raw, form) == expected


@pytest.mark.rfc("6376 section 3.4.5")
@pytest.mark.parametrize(
    ("form", "expected"),
    [(RELAXED, b" C\r\nD E\r\n"), (SIMPLE, b" C \r\nD \t E\r\n")],
)
def test_the_examples_body(form: Form, expected: bytes) -> None:
    assert canonical(form, EXAMPLE_BODY) == expected


@pytest.mark.rfc("6376 section 3.4.2")
@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"SUBJECT:\r\n", b"subject:\r\n"),
        (b"Subject: \r\n", b"subject:\r\n"),
        (b"Subject:x", b"subject:x\r\n"),
        (b"Subject: a:b :c\r\n", b"subject:a:b :c\r\n"),
        (b"Subject:\r\n\t a\r\n b\r\n", b"subject:a b\r\n"),
        (b"Subject: a\r\n \r\n b\r\n", b"subject:a b\r\n"),
        (b"Subject: \xc3\xa4\x00\xff\r\n", b"subject:\xc3\xa4\x00\xff\r\n"),
    ],
)
def test_relaxed_fields(raw: bytes, expected: bytes) -> None:
    assert canonical_field(raw, RELAXED) == expected


@pytest.mark.rfc("6376 section 3.4.3")
@pytest.mark.rfc("6376 section 3.4.4")
@pytest.mark.parametrize(
    ("body", "simple", "relaxed"),
    [
        (b"", b"\r\n", b""),
        (b"\r\n", b"\r\n", b""),
        (b"\r\n\r\n\r\n", b"\r\n", b""),
        (b" \t\r\n", b" \t\r\n", b""),
        (b" ", b" \r\n", b""),
        (b"a", b"a\r\n", b"a\r\n"),
        (b"a ", b"a \r\n", b"a\r\n"),
        (b"a\r\n\r\n", b"a\r\n", b"a\r\n"),
        (b"a\r\n \r\n\t\r\n", b"a\r\n \r\n\t\r\n", b"a\r\n"),
        (b"\r\n\r\na\r\n", b"\r\n\r\na\r\n", b"\r\n\r\na\r\n"),
        (b"a\tb\r\n", b"a\tb\r\n", b"a b\r\n"),
        (b"a\r", b"a\r\r\n", b"a\r\r\n"),
        (b"a\n\r\n", b"a\n\r\n", b"a\n\r\n"),
        (b"\x00\xff \xc3\xa4\r\n", b"\x00\xff \xc3\xa4\r\n", b"\x00\xff \xc3\xa4\r\n"),
    ],
)
def test_bodies(body: bytes, simple: bytes, relaxed: bytes) -> None:
    assert (canonical(SIMPLE, body), canonical(RELAXED, body)) == (simple, relaxed)


@pytest.mark.rfc("6376 section 3.4.3")
@pytest.mark.rfc("6376 section 3.4.4")
@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (SIMPLE, "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="),
        (RELAXED, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
    ],
)
def test_the_hash_of_nothing(form: Form, expected: str) -> None:
    assert base64.b64encode(BodyHash(form).finish()).decode() == expected


_BODIES = st.lists(
    st.sampled_from([b" ", b"\t", b"\r\n", b"\r", b"\n", b"a", b"Bc", b"\xff", b"\0", b"  "]),
    max_size=30,
).map(b"".join)


@pytest.mark.parametrize("form", Form)
@settings(deadline=None)
@given(body=_BODIES, cuts=st.lists(st.integers(0, 60), max_size=6))
def test_how_a_body_is_cut_changes_nothing(form: Form, body: bytes, cuts: list[int]) -> None:
    borders = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[start:end] for start, end in itertools.pairwise(borders)]
    hashed = BodyHash(form)
    for piece in pieces:
        hashed.add(piece)
    assert canonical(form, *pieces) == plain(form, body)
    assert hashed.finish() == hashlib.sha256(plain(form, body)).digest()


@pytest.mark.parametrize("filler", [b" ", b"\t ", b"\r\n", b"\r", b" \r\n", b"\n\r", b"a"])
@pytest.mark.parametrize("size", [1, 100, 100_000])
def test_the_work_is_linear(filler: bytes, size: int) -> None:
    body = filler * (1_000_000 // len(filler))
    pieces = [body[at : at + size] for at in range(0, len(body), size)][:100_000]
    before = time.process_time()
    canonical(RELAXED, *pieces)
    assert time.process_time() - before < 2  # quadratic work takes minutes
