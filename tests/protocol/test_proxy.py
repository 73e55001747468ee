"""The PROXY header, versions 1 and 2, as proxies and as liars write it."""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.model.world import Endpoint
from mailstead.protocol.proxy import V1_LIMIT, V2_LIMIT, Incomplete, NotProxied, Proxied, parse

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ADDRESSES4 = bytes([192, 0, 2, 7, 203, 0, 113, 25]) + b"\x9c\x40\0\x19"
CLIENT4 = Endpoint("192.0.2.7", 40000)
ADDRESSES6 = (
    ipaddress.ip_address("2001:db8::7").packed
    + ipaddress.ip_address("2001:db8::25").packed
    + b"\x9c\x40\0\x19"
)


def v2(addresses: bytes, command: int = 0x21, family: int = 0x11) -> bytes:
    """A header of version 2."""
    return SIGNATURE + bytes([command, family]) + len(addresses).to_bytes(2, "big") + addresses


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (b"PROXY TCP4 192.0.2.7 203.0.113.25 40000 25\r\n", CLIENT4),
        (b"PROXY TCP6 2001:db8::7 2001:db8::25 40000 25\r\n", Endpoint("2001:db8::7", 40000)),
        (b"PROXY TCP6 2001:DB8:0:0:0::7 ::1 0 65535\r\n", Endpoint("2001:db8::7", 0)),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 40000 25\r\n", CLIENT4),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n", None),
        (v2(ADDRESSES4), CLIENT4),
        (v2(ADDRESSES4 + b"\x04\0\x03abc"), CLIENT4),
        (v2(ADDRESSES4 + bytes(1000)), CLIENT4),
        (v2(ADDRESSES6, family=0x21), Endpoint("2001:db8::7", 40000)),
        (v2(b"", command=0x20, family=0), None),
        (v2(ADDRESSES4, command=0x20), None),
        (v2(b"", family=0), None),
        (v2(bytes(216), family=0x31), None),
    ],
)
def test_headers(header: bytes, client: Endpoint | None) -> None:
    assert parse(header + b"EHLO x\r\n") == Proxied(client, len(header))


@pytest.mark.parametrize(
    "data",
    [
        b"EHLO client.example\r\n",
        b"\0",
        b"PROXX",
        b"PROXY  TCP4 192.0.2.7 203.0.113.25 40000 25\r\n",
        b"PROXY TCP4 192.0.2.7 203.0.113.25 40000 25\n",
        b"PROXY TCP4 192.0.2.7 203.0.113.25 40000\r\n",
        b"PROXY TCP4 192.0.2.7 203.0.113.25 40000 25 \r\n",
        b"PROXY TCP4 192.0.2.7 203.0.113.25 65536 25\r\n",
        b"PROXY TCP4 192.0.2.7 203.0.113.25 040 25\r\n",
        b"PROXY TCP4 192.0.2.007 203.0.113.25 40000 25\r\n",
        b"PROXY TCP4 192.0.2.256 203.0.113.25 40000 25\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::25 40000 25\r\n",
        b"PROXY TCP6 192.0.2.7 203.0.113.25 40000 25\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 40000 25\r\n",
        b"PROXY TCP4 192.0.2.7 nonsense 40000 25\r\n",
        b"PROXY UDP4 192.0.2.7 203.0.113.25 40000 25\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY TCP4 192.0.2.7\r203.0.113.25 40000 25\r\n",
        b"PROXY " + b"x" * V1_LIMIT,
        b"PROXY UNKNOWN " + b"x" * V1_LIMIT + b"\r\n",
        b"PROXY TCP4 \xff\0 203.0.113.25 40000 25\r\n",
        v2(ADDRESSES4, command=0x11),
        v2(ADDRESSES4, command=0x22),
        v2(ADDRESSES4[:-1]),
        v2(ADDRESSES4, family=0x21),
        v2(ADDRESSES4, family=0x51),
        v2(ADDRESSES4, family=0x13),
        SIGNATURE + b"\x21\x11" + V2_LIMIT.to_bytes(2, "big"),
        SIGNATURE + b"\x21\x11\xff\xff",
        SIGNATURE[:-1] + b"\r\x21\x11\0\0",
    ],
)
def test_what_is_no_header(data: bytes) -> None:
    assert isinstance(parse(data), NotProxied)


HEADERS = [
    b"PROXY TCP4 192.0.2.7 203.0.113.25 40000 25\r\n",
    b"PROXY UNKNOWN\r\n",
    v2(ADDRESSES4 + b"\x04\0\x03abc"),
    v2(b"", command=0x20, family=0),
]


@pytest.mark.parametrize("header", HEADERS)
def test_every_beginning_is_incomplete(header: bytes) -> None:
    assert {parse(header[:size]) for size in range(len(header))} == {Incomplete()}


@settings(deadline=None, max_examples=200)
@given(st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE]), st.binary(max_size=200))
def test_whatever_comes_has_an_answer(start: bytes, rest: bytes) -> None:
    """And one that further octets do not change, once it is settled."""
    settled = None
    for size in range(len(start) + len(rest) + 1):
        found = parse((start + rest)[:size])
        assert settled is None or found == settled
        settled = None if isinstance(found, Incomplete) else found


@settings(deadline=None, max_examples=50)
@given(st.integers(V1_LIMIT, 10_000))
def test_nobody_goes_on_for_ever(size: int) -> None:
    assert not isinstance(parse(b"PROXY " + b" " * size), Incomplete)
    assert not isinstance(parse(SIGNATURE + b"\x21\x11\x0f\xf1" + bytes(size)), Incomplete)
