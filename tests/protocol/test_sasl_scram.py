"""SCRAM-SHA-256: the example of RFC 7677, what clients may not send, both sides together."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.protocol import sasl_scram
from mailstead.protocol.sasl import (
    BadResponse,
    Disproven,
    FindKeys,
    Key,
    Keys,
    Proven,
    advance,
    normalise_login,
)

SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
PENCIL = sasl_scram.derive("pencil", SALT, 4096)
KEYS = Keys(SALT, 4096, (PENCIL,))
NONCE = b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
BOTH = b"r=rOprNGfwEbeRWgbNEkqO" + NONCE
SERVER_FIRST = BOTH + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
FINAL = b"c=biws," + BOTH + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def run(*messages: bytes, keys: Keys = KEYS, initial: bool = True) -> object:
    """What comes of a client that sends these."""
    exchange = sasl_scram.server(messages[0] if initial else None, NONCE)
    found = advance(exchange, None)
    left = list(messages[1:] if initial else messages)
    while isinstance(found, bytes | FindKeys):
        if isinstance(found, FindKeys):
            found = advance(exchange, keys)
        elif left:
            found = advance(exchange, left.pop(0))
        else:
            return found
    return found


@pytest.mark.rfc("7677 section 3")
def test_the_example():
    assert run(FIRST) == SERVER_FIRST
    assert run(FIRST, FINAL) == SERVER_FINAL
    assert run(FIRST, FINAL, b"") == Proven("", "user", "SCRAM-SHA-256")
    assert run(FIRST, FINAL, b"", initial=False) == Proven("", "user", "SCRAM-SHA-256")


@pytest.mark.rfc("7677 section 3")
def test_the_example_from_the_other_side():
    client = sasl_scram.client("user", "pencil", b"rOprNGfwEbeRWgbNEkqO")
    assert next(client) == FIRST
    assert client.send(SERVER_FIRST) == FINAL
    assert client.send(SERVER_FINAL) == b""


@pytest.mark.rfc("5802 section 5.1")
@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (FIRST, FindKeys("user")),
        (b"y,,n=user,r=abc", FindKeys("user")),
        (b"n,a=other,n=user,r=abc", FindKeys("user")),
        (b"n,,n=a=2Cb=3Dc,r=abc", FindKeys("a,b=c")),
        (b"n,,n=user,r=abc,x=extension", FindKeys("user")),
        (b"p=tls-exporter,,n=user,r=abc", BadResponse("channel bindings are not offered")),
    ],
)
def test_first_messages(first, expected):
    assert advance(sasl_scram.server(first, NONCE), None) == expected


@pytest.mark.rfc("5802 section 7")
@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"n,,",
        b"n,,n=user",
        b"n,,n=user,r=",
        b"n,,n=,r=abc",
        b"n,,n=a=2Db,r=abc",
        b"n,,n=a=b,r=abc",
        b"n,,m=new,n=user,r=abc",
        b"x,,n=user,r=abc",
        b"n,,n=user,r=a b",
        b"n,,n=us\xffer,r=abc",
        b"n,,n=us\0er,r=abc",
        b"n,,n=user,r=" + b"x" * (sasl_scram.NONCE_LIMIT + 1),
        b"n,,n=user,r=abc,x=" + b"x" * sasl_scram.MESSAGE_LIMIT,
    ],
)
def test_bad_first_messages(first):
    assert isinstance(advance(sasl_scram.server(first, NONCE), None), BadResponse)


@pytest.mark.rfc("5802 section 7")
@pytest.mark.parametrize(
    "final",
    [
        b"",
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        FINAL.replace(b"biws", b"eSws"),  # what a man in the middle makes of "y,,"
        FINAL.replace(b",p=", b",q="),
        FINAL[:-1],
        b"c=biws," + BOTH + b",p=YQ==",
        FINAL + b"x" * sasl_scram.MESSAGE_LIMIT,
    ],
)
def test_bad_final_messages(final):
    assert isinstance(run(FIRST, final), BadResponse)


def test_a_wrong_password():
    other = Keys(SALT, 4096, (sasl_scram.derive("pen", SALT, 4096),))
    assert run(FIRST, FINAL, keys=other) == Disproven("user", "SCRAM-SHA-256", "wrong password")
    nobody = Keys(SALT, 4096, (Key(-1, bytes(32), bytes(32)),))
    assert run(FIRST, FINAL, keys=nobody) == Disproven("user", "SCRAM-SHA-256", "wrong password")


def test_the_proof_says_which_password_it_was():
    keys = tuple(sasl_scram.derive(word, SALT, 4096, n) for n, word in enumerate("ab", 1))
    both = Keys(SALT, 4096, (*keys, Key(7, PENCIL.stored_key, PENCIL.server_key)))
    assert run(FIRST, FINAL, keys=both) == SERVER_FINAL
    assert run(FIRST, FINAL, b"", keys=both) == Proven("", "user", "SCRAM-SHA-256", 7)


@pytest.mark.rfc("5803 section 2")
def test_what_is_kept():
    text = sasl_scram.format_keys(KEYS)
    assert text.startswith("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
    assert sasl_scram.parse_keys(text, 0) == KEYS
    for bad in ("", "x", text[:-4], text.replace("256", "1")):
        assert sasl_scram.parse_keys(bad, 0) is None


@pytest.mark.rfc("4013 section 3")
@pytest.mark.parametrize(
    ("password", "expected"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("\u0007", "\u0007"),  # prohibited: left alone
        ("a\u00a0b", "a b"),
    ],
)
def test_spellings_of_a_password(password, expected):
    assert sasl_scram.prepare(password) == expected


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Mn"]), min_size=1)


@settings(deadline=None, max_examples=30)
@given(NAMES.map(normalise_login).filter(bool), st.text(min_size=1))
def test_client_and_server_agree(login, password):
    if not password.isprintable():
        return
    keys = Keys(b"salt", 10, (sasl_scram.derive(password, b"salt", 10),))
    client = sasl_scram.client(login, password, b"abc")
    server = sasl_scram.server(next(client), b"xyz")
    assert advance(server, None) == FindKeys(login)
    first = advance(server, keys)
    final = advance(server, client.send(first))
    assert advance(server, client.send(final)) == Proven("", login, "SCRAM-SHA-256")


@given(st.binary())
def test_any_message_is_answered(data):
    assert isinstance(advance(sasl_scram.server(data, NONCE), None), FindKeys | BadResponse)
    assert isinstance(run(FIRST, data), BadResponse)
