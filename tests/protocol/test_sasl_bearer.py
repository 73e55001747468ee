"""OAUTHBEARER and XOAUTH2: their messages, and how a refusal is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstead.protocol import sasl_bearer
from mailstead.protocol.sasl import (
    BadResponse,
    CheckToken,
    Disproven,
    Proven,
    TokenOwner,
    TokenRefused,
    advance,
)

USER = "user@example.com"


@pytest.mark.rfc("7628 section 4.1")
@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01"
            b"auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01",
            CheckToken(USER, "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="),
        ),
        (b"n,,\x01auth=Bearer abc\x01\x01", CheckToken("", "abc")),
        (b"y,a=a=2Cb,\x01auth=bearer  a.b-c_d\x01\x01", CheckToken("a,b", "a.b-c_d")),
        (sasl_bearer.client_message(USER, "abc"), CheckToken(USER, "abc")),
    ],
)
def test_oauthbearer(message, expected):
    assert advance(sasl_bearer.oauthbearer(message), None) == expected


def test_xoauth2():
    message = b"user=user@example.com\x01auth=Bearer ya29.abc\x01\x01"
    exchange = sasl_bearer.xoauth2(message)
    assert advance(exchange, None) == CheckToken(USER, "ya29.abc")
    assert advance(exchange, TokenOwner(USER)) == Proven(USER, USER, "XOAUTH2")


@pytest.mark.rfc("7628 section 3.1")
@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n,,\x01\x01",
        b"n,,\x01auth=Basic abc\x01\x01",
        b"n,,\x01auth=Bearer \x01\x01",
        b"n,,\x01auth=Bearer a b\x01\x01",
        b"n,,auth=Bearer abc\x01\x01",
        b"p=x,,\x01auth=Bearer abc\x01\x01",
        b"n,a=\xff,\x01auth=Bearer abc\x01\x01",
        b"n,,\x01auth=Bearer " + b"x" * (sasl_bearer.TOKEN_LIMIT + 1) + b"\x01\x01",
        b"n,,\x01auth=Bearer abc\x01x=" + b"x" * sasl_bearer.MESSAGE_LIMIT + b"\x01\x01",
    ],
)
def test_bad_messages(message):
    assert isinstance(advance(sasl_bearer.oauthbearer(message), None), BadResponse)
    assert isinstance(advance(sasl_bearer.xoauth2(message), None), BadResponse)


@pytest.mark.rfc("7628 section 3.2.3")
def test_a_refusal_is_told_before_the_failure():
    exchange = sasl_bearer.oauthbearer(sasl_bearer.client_message(USER, "abc"))
    assert advance(exchange, None) == CheckToken(USER, "abc")
    refused = advance(exchange, TokenRefused("expired"))
    assert refused == b'{"status":"invalid_token","scope":"mail"}'
    assert advance(exchange, b"\x01") == Disproven(USER, "OAUTHBEARER", "expired")


def test_a_token_is_not_printed():
    assert "abc" not in repr(CheckToken(USER, "abc"))


@given(st.binary())
def test_any_message_is_answered(data):
    for mechanism in (sasl_bearer.oauthbearer, sasl_bearer.xoauth2):
        assert isinstance(advance(mechanism(data), None), CheckToken | BadResponse)
