"""Tokens: which keys of a set can be used, and who is believed about what."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from joserfc import jwk, jwt

from mailstead.protocol.sasl import TokenRefused
from mailstead.services import tokens
from mailstead.storage.token_issuers import Issuer

NOW = datetime(2026, 11, 22, tzinfo=UTC)
SOON = int(NOW.timestamp()) + 60
GOOD = {"iss": "i", "exp": SOON}
EC = jwk.ECKey.generate_key("P-256", {"kid": "ec"}, private=True)
RSA = jwk.RSAKey.generate_key(2048, {"kid": "rsa", "alg": "RS256"}, private=True)
ED = jwk.OKPKey.generate_key("Ed25519", {"kid": "ed"}, private=True)
SECRET = jwk.OctKey.import_key("x" * 32)
PUBLIC = [key.as_dict(private=False) for key in (EC, RSA, ED)]
STRANGE: list[Any] = [
    {"kty": "oct", "k": "AAAA"},
    {"kty": "EC", "crv": "P-999", "x": "a", "y": "b"},
    {"kty": "XX"},
    {},
    7,
]


def keys(listed: list[Any]) -> Any:
    return tokens.read_keys(json.dumps({"keys": listed}).encode())


@pytest.mark.parametrize(("algorithm", "key"), [("ES256", EC), ("RS256", RSA), ("Ed25519", ED)])
@pytest.mark.parametrize("named", [True, False])
def test_keys_among_strange_ones(algorithm, key, named):
    header = {"alg": algorithm, "kid": key.kid} if named else {"alg": algorithm}
    token = jwt.encode(header, GOOD, key, algorithms=[algorithm])
    assert tokens.verify(token, keys([*STRANGE, *PUBLIC]), Issuer("i"), NOW) == GOOD


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"keys": 7}', b'{"keys": []}', b"\xff"])
def test_what_is_no_set_of_keys(body):
    assert tokens.read_keys(body) is None


@pytest.mark.parametrize(
    "token",
    [
        jwt.encode({"alg": "HS256"}, GOOD, SECRET),
        jwt.encode({"alg": "ES256", "kid": "other"}, GOOD, EC),
        jwt.encode({"alg": "ES256", "kid": "rsa"}, GOOD, EC),
        "eyJhbGciOiJub25lIn0.eyJpc3MiOiJpIn0.",
        "a.b.c",
        "..",
        "x" * 9000,
        "é.é.é",
    ],
)
def test_tokens_of_nobody(token):
    assert isinstance(tokens.verify(token, keys(PUBLIC), Issuer("i"), NOW), TokenRefused)
    assert tokens.named_issuer(token) in ("i", None)


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        (GOOD, True),
        ({**GOOD, "exp": SOON - 100}, True),  # clocks differ
        ({**GOOD, "exp": SOON - 200}, False),
        ({**GOOD, "exp": None}, False),
        ({**GOOD, "exp": "soon"}, False),
        ({"iss": "i"}, False),
        ({**GOOD, "nbf": SOON + 100}, False),
        ({**GOOD, "iss": "other"}, False),
        ({**GOOD, "iss": ["i"]}, False),
    ],
)
def test_claims(claims, good):
    found = tokens.check_claims(claims, Issuer("i"), NOW, must_expire=True)
    assert found == claims if good else isinstance(found, TokenRefused)


@pytest.mark.parametrize(
    ("audience", "good"), [("mail", True), (["a", "mail"], True), ("a", False), (7, False)]
)
def test_audiences(audience, good):
    claims = {**GOOD, "aud": audience}
    found = tokens.check_claims(claims, Issuer("i", audience="mail"), NOW, must_expire=True)
    assert isinstance(found, dict) is good


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"active": false}', b'{"active": 1}'])
def test_answers_about_tokens_that_are_not_good(body):
    assert isinstance(tokens.read_introspection(body, Issuer("i"), NOW), TokenRefused)
