"""A filter's changes to a header."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.message.header import fields
from mailstead.protocol.milter.edit import change_header
from mailstead.protocol.milter.responses import (
    AddHeader,
    ChangeHeader,
    HeaderChange,
    InsertHeader,
)

HEADER = b"From: a\r\nX: 1\r\n fold\r\nno field\r\nx : 2\r\nTo: b\r\n\r\n"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], HEADER),
        ([AddHeader("Y", b" z")], HEADER[:-2] + b"Y: z\r\n\r\n"),
        ([AddHeader("Y", b"")], HEADER[:-2] + b"Y:\r\n\r\n"),
        ([InsertHeader(0, "Y", b" z")], b"Y: z\r\n" + HEADER),
        ([InsertHeader(1, "Y", b" z")], HEADER.replace(b"X: 1", b"Y: z\r\nX: 1")),
        ([InsertHeader(2, "Y", b" z")], HEADER.replace(b"x : 2", b"Y: z\r\nx : 2")),
        ([InsertHeader(99, "Y", b" z")], HEADER[:-2] + b"Y: z\r\n\r\n"),
        ([ChangeHeader(1, "x", b" 3")], HEADER.replace(b"X: 1\r\n fold", b"x: 3")),
        ([ChangeHeader(0, "X", b"3")], HEADER.replace(b"X: 1\r\n fold", b"X:3")),
        ([ChangeHeader(2, "X", b" 3")], HEADER.replace(b"x : 2", b"X: 3")),
        ([ChangeHeader(3, "X", b" 3")], HEADER[:-2] + b"X: 3\r\n\r\n"),
        ([ChangeHeader(2, "X", b"")], HEADER.replace(b"x : 2\r\n", b"")),
        ([ChangeHeader(1, "X", b"")], HEADER.replace(b"X: 1\r\n fold\r\n", b"")),
        ([ChangeHeader(3, "X", b"")], HEADER),
        ([ChangeHeader(1, "no field", b"")], HEADER),
        (
            [ChangeHeader(1, "X", b""), ChangeHeader(1, "X", b"")],
            HEADER.replace(b"X: 1\r\n fold\r\n", b"").replace(b"x : 2\r\n", b""),
        ),
        (
            [AddHeader("X", b" 3"), ChangeHeader(3, "X", b" 4")],
            HEADER[:-2] + b"X: 4\r\n\r\n",
        ),
    ],
)
def test_changes(changes: list[HeaderChange], expected: bytes) -> None:
    assert change_header(HEADER, changes) == expected


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (b" a\n\tb", b"Y: a\r\n\tb\r\n"),
        (b" a\r\n b", b"Y: a\r\n b\r\n"),
        (b" a\nBcc: b", b"Y: a\r\n\tBcc: b\r\n"),
        (b" a\n\n\nbody", b"Y: a\r\n\tbody\r\n"),
        (b" a\r\n\r\n.\r\n", b"Y: a\r\n\t.\r\n"),
        (b" a\0\rb\n", b"Y: ab\r\n"),
    ],
)
def test_no_value_makes_more_than_one_field(value: bytes, field: bytes) -> None:
    assert change_header(b"\r\n", [AddHeader("Y", value)]) == field + b"\r\n"


def test_headers_without_an_end() -> None:
    assert change_header(b"X: 1", [AddHeader("Y", b" 2")]) == b"X: 1\r\nY: 2\r\n"
    assert change_header(b"", [AddHeader("Y", b" 2")]) == b"Y: 2\r\n"


CHANGES = st.one_of(
    st.builds(AddHeader, st.sampled_from(["X", "Y"]), st.binary(max_size=20)),
    st.builds(InsertHeader, st.integers(0, 5), st.just("X"), st.binary(max_size=20)),
    st.builds(ChangeHeader, st.integers(0, 3), st.just("X"), st.binary(max_size=20)),
)


@settings(deadline=None, max_examples=200)
@given(st.lists(CHANGES, max_size=6))
def test_each_change_makes_one_field_at_most(changes: list[HeaderChange]) -> None:
    changed = change_header(HEADER, changes)
    assert changed.count(b"\r\n\r\n") == 1
    assert changed.endswith(b"\r\n\r\n")
    assert len(fields(changed)) <= len(fields(HEADER)) + len(changes)
    assert changed.replace(b"\r\n", b"").count(b"\n") == 0
