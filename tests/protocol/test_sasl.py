"""PLAIN and LOGIN, both sides, and strict base64."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstead.protocol import sasl, sasl_mechanisms
from mailstead.protocol.sasl import (
    FIELD_LIMIT,
    BadResponse,
    Credentials,
    External,
    advance,
    decode,
)
from mailstead.protocol.sasl_mechanisms import Offer


def run(mechanism: str, initial: bytes | None, *responses: bytes) -> list[object]:
    exchange = sasl_mechanisms.begin(mechanism, initial, b"")
    return [advance(exchange, response) for response in (None, *responses)]


@pytest.mark.rfc("4616 section 4")
@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"\0tim\0tanstaaftanstaaf", Credentials("", "tim", "tanstaaftanstaaf", "PLAIN")),
        (b"Ursel\0Kurt\0xipj3plmq", Credentials("Ursel", "Kurt", "xipj3plmq", "PLAIN")),
        ("\0jürgen\0pässword".encode(), Credentials("", "jürgen", "pässword", "PLAIN")),
        ("\0ju\u0308rgen\0 p ".encode(), Credentials("", "jürgen", " p ", "PLAIN")),
        (b"\0" + b"x" * FIELD_LIMIT + b"\0p", Credentials("", "x" * FIELD_LIMIT, "p", "PLAIN")),
    ],
)
def test_plain(message, expected):
    assert run("PLAIN", message) == [expected]
    assert run("PLAIN", None, message) == [b"", expected]


@pytest.mark.rfc("4616 section 2")
@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"tim",
        b"\0tim",
        b"\0\0password",
        b"\0tim\0",
        b"\0 \0password",
        b"\0tim\0a\0b",
        b"\0t\xffm\0p",
        b"\0tim\0\xed\xa0\x80",
        b"\0ti\nm\0p",
        b"\0tim\0p\r\n",
        b"\0" + b"x" * (FIELD_LIMIT + 1) + b"\0p",
        b"\0tim\0" + b"x" * (FIELD_LIMIT + 1),
    ],
)
def test_bad_plain(message):
    (outcome,) = run("PLAIN", message)
    assert isinstance(outcome, BadResponse)


def test_login():
    expected = Credentials("", "tim", "secret", "LOGIN")
    assert run("LOGIN", None, b"tim", b"secret") == [b"Username:", b"Password:", expected]
    assert run("LOGIN", b"tim", b"secret") == [b"Password:", expected]
    assert isinstance(run("LOGIN", b"t\0m", b"secret")[-1], BadResponse)


def test_a_password_is_not_printed():
    assert "secret" not in repr(Credentials("", "tim", "secret", "PLAIN"))


@pytest.mark.rfc("4648 section 3")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", b""),
        (b"YQ==", b"a"),
        (b"YQ", None),
        (b"YQ=", None),
        (b"YR==", None),  # stray bits
        (b"YQ==YQ==", None),
        (b"Y Q==", None),
        (b"YQ==\n", None),
        (b"-_==", None),
        (b"=", None),
        (b"\xff\0", None),
    ],
)
def test_decode(text, expected):
    assert expected == decode(text)


@given(st.binary())
def test_base64_goes_both_ways(data):
    assert decode(sasl.encode(data)) == data
    assert decode(data) is None or sasl.encode(decode(data) or b"") == data


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Mn"]), min_size=1)


@given(NAMES.map(sasl.normalise_login).filter(bool), NAMES)
def test_client_and_server_agree(login, password):
    expected = Credentials("", login, password, "PLAIN")
    assert run("PLAIN", sasl.plain_initial(login, password)) == [expected]
    assert run("LOGIN", None, *sasl.login_responses(login, password))[-1] == Credentials(
        "", login, password, "LOGIN"
    )


@given(st.binary())
def test_any_response_is_answered(data):
    assert isinstance(run("PLAIN", data)[0], Credentials | BadResponse)


@pytest.mark.rfc("4422 section 3.2")
@pytest.mark.parametrize(
    ("offer", "expected"),
    [
        (Offer(), "PLAIN LOGIN"),
        (Offer(scram=True), "PLAIN LOGIN SCRAM-SHA-256"),
        (Offer(tokens=True), "PLAIN LOGIN OAUTHBEARER XOAUTH2"),
        (Offer(certificate=True), "PLAIN LOGIN EXTERNAL"),
    ],
)
def test_what_can_work_is_offered(offer, expected):
    assert " ".join(sasl_mechanisms.names(offer)) == expected
    for name in sasl_mechanisms.names(offer):
        assert isinstance(advance(sasl_mechanisms.begin(name, None, b"x"), None), bytes)


@pytest.mark.rfc("4422 appendix A")
@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"", External("")),
        (b"fred@example.org", External("fred@example.org")),
        (b"a\0b", BadResponse("login and password must not hold control characters")),
    ],
)
def test_external(message, expected):
    assert run("EXTERNAL", message) == [expected]
    assert run("EXTERNAL", None, message) == [b"", expected]
