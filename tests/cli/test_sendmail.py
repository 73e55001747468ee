"""The command line and the input of `sendmail`."""

import io

import pytest

from mailstead.cli.sendmail import USAGE, Failure, Wanted, parse, read_message, run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["bob"], Wanted(recipients=("bob",))),
        (["-t", "-i"], Wanted(from_header=True, dot_ends=False)),
        (["-ti"], Wanted(from_header=True, dot_ends=False)),
        (["-oi", "-oem", "bob"], Wanted(dot_ends=False, recipients=("bob",))),
        (["-fme@x.example", "--", "-odd"], Wanted(sender="me@x.example", recipients=("-odd",))),
        (["-r", "me", "-F", "Me Myself"], Wanted(sender="me", name="Me Myself")),
        (["-f", "", "bob"], Wanted(sender="", recipients=("bob",))),
        (["-bs"], Wanted(mode="s")),
        (["-q"], Wanted()),
        (["bob", "-v", "-t"], Wanted(from_header=True, recipients=("bob",))),
        (
            ["-Nfailure,delay", "-Rhdrs", "-Vid1", "-B8BITMIME"],
            Wanted(notify="FAILURE,DELAY", ret="HDRS", envid="id1"),
        ),
    ],
)
def test_options(arguments: list[str], expected: Wanted) -> None:
    assert expected == parse(arguments)


def test_options_that_are_none() -> None:
    with pytest.raises(Failure) as raised:
        parse(["-Z"])
    assert raised.value.code == USAGE
    assert run("sendmail", ["-bv", "bob"]) == USAGE
    assert run("newaliases", []) == 0


@pytest.mark.parametrize(
    ("octets", "dot_ends", "expected"),
    [
        (b"A: b\n\nHi\n", True, b"A: b\r\n\r\nHi\r\n"),
        (b"A: b\r\n\r\nHi", True, b"A: b\r\n\r\nHi\r\n"),
        (b"A: b\n\nHi\n.\nmore\n", True, b"A: b\r\n\r\nHi\r\n"),
        (b"A: b\n\nHi\n.\nmore\n", False, b"A: b\r\n\r\nHi\r\n.\r\nmore\r\n"),
        (b"A: b\n\n.hidden\n", True, b"A: b\r\n\r\n.hidden\r\n"),
        (b".\n", True, b"\r\n"),
        (b"", True, b"\r\n"),
        (b"A: b\n", True, b"A: b\r\n\r\n"),
    ],
)
def test_the_message(octets: bytes, dot_ends: bool, expected: bytes) -> None:
    assert expected == read_message(io.BytesIO(octets), dot_ends)
