import base64
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstead.message.transfer import Decoder


def decode(encoding: str, *pieces: bytes) -> bytes:
    decoder = Decoder(encoding)
    return b"".join([*map(decoder.feed, pieces), decoder.finish()])


@pytest.mark.rfc("2045 section 6")
@pytest.mark.parametrize(
    ("encoding", "octets", "expected"),
    [
        ("7bit", b"a=62\r\n", b"a=62\r\n"),
        ("8bit", b"\xe9=\r\n", b"\xe9=\r\n"),
        ("binary", b"\0", b"\0"),
        ("base64", b"YWJj\r\nZA==\r\n", b"abcd"),
        ("base64", b"YW!Jj\r\nZGU", b"abcde"),
        ("base64", b"YWJjZ", b"abc"),
        ("base64", b"YQ==YQ==", b"a"),
        ("base64", b"", b""),
        ("quoted-printable", b"a=62=\r\nc=E9 =C3=BC\r\n", b"abc\xe9 \xc3\xbc\r\n"),
        ("quoted-printable", b"a=", b"a"),
        ("quoted-printable", b"a=x=6", b"a=x=6"),
    ],
)
def test_decode(encoding: str, octets: bytes, expected: bytes) -> None:
    assert expected == decode(encoding, octets)
    assert expected == decode(encoding, *[bytes([octet]) for octet in octets])


@given(st.binary(max_size=300), st.data())
def test_any_split_gives_the_same_octets(octets: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, 500), max_size=5).map(sorted))
    for encoding, encoded in [
        ("base64", base64.encodebytes(octets)),
        ("base64", octets),
        ("quoted-printable", octets),
        ("quoted-printable", b"=".join(octets[at : at + 3] for at in range(0, len(octets), 3))),
    ]:
        pieces = [encoded[low:high] for low, high in pairwise([0, *cuts, len(encoded)])]
        assert decode(encoding, encoded) == decode(encoding, *pieces)
    assert octets == decode("base64", base64.encodebytes(octets))


def test_an_endless_line_is_not_kept() -> None:
    decoder = Decoder("quoted-printable")
    assert sum(len(decoder.feed(b"x" * 1000)) for _ in range(100)) == 100_000
