"""Paths from a certificate to an anchor: what each certificate in it may do."""

import base64
import random
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mailstead.msgauth import certpath
from mailstead.msgauth.certpath import Anchors, check
from mailstead.msgauth.tlsrpt import Result
from mailstead.testing.certificates import Authority, Issued

NOW = datetime(2026, 11, 22, tzinfo=UTC)
HOST = "mx.example.com"


def verdict(root: Authority, leaf: Issued) -> Result:
    return check(leaf.certificate, leaf.above, Anchors((root.issued.certificate,)), [HOST], NOW)


def key_usage(sign: bool) -> x509.KeyUsage:
    flags = {"content_commitment", "key_encipherment", "data_encipherment", "key_agreement"}
    others = dict.fromkeys((*flags, "crl_sign", "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=True, key_cert_sign=sign, **others)


def constraints(permitted: str = "", excluded: str = "") -> x509.NameConstraints:
    return x509.NameConstraints(
        [x509.DNSName(permitted)] if permitted else None,
        [x509.DNSName(excluded)] if excluded else None,
    )


@pytest.mark.rfc("5280 section 6.1.4")
@pytest.mark.parametrize(
    ("middle", "expected"),
    [
        ({}, Result.SUCCESS),
        ({"ca": False}, Result.NOT_TRUSTED),
        ({"path_length": 0}, Result.SUCCESS),
        ({"extensions": [key_usage(True)]}, Result.SUCCESS),
        ({"extensions": [key_usage(False)]}, Result.NOT_TRUSTED),
        ({"extensions": [constraints("example.com")]}, Result.SUCCESS),
        ({"extensions": [constraints("ample.com")]}, Result.NOT_TRUSTED),
        ({"extensions": [constraints(excluded="example.com")]}, Result.NOT_TRUSTED),
        ({"extensions": [constraints(excluded="mx2.example.com")]}, Result.SUCCESS),
        ({"extensions": [x509.InhibitAnyPolicy(0)]}, Result.NOT_TRUSTED),  # not understood
    ],
)
def test_issuers(middle: dict, expected: Result) -> None:
    root = Authority("Root")
    assert expected is verdict(root, Authority("Middle", root, **middle).issue(HOST))


@pytest.mark.rfc("5280 section 6.1.4")
def test_path_length() -> None:
    for length, expected in ((0, Result.NOT_TRUSTED), (1, Result.SUCCESS)):
        root = Authority("Root", path_length=length)
        assert expected is verdict(root, Authority("Middle", root).issue(HOST))


@pytest.mark.parametrize(
    ("purpose", "expected"),
    [
        (ExtendedKeyUsageOID.SERVER_AUTH, Result.SUCCESS),
        (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, Result.SUCCESS),
        (ExtendedKeyUsageOID.CLIENT_AUTH, Result.NOT_TRUSTED),
    ],
)
def test_purpose(purpose: x509.ObjectIdentifier, expected: Result) -> None:
    root = Authority()
    leaf = root.issue(HOST, extensions=[x509.ExtendedKeyUsage([purpose])])
    assert expected is verdict(root, leaf)


@pytest.mark.parametrize("expected", [Result.EXPIRED])
def test_an_authority_that_is_over(expected: Result) -> None:
    root = Authority()
    leaf = root.issue(HOST)
    anchors = Anchors((root.issued.certificate,))
    for year in (1960, 2300):
        now = datetime(year, 1, 1, tzinfo=UTC)
        assert check(leaf.certificate, leaf.above, anchors, [HOST], now) is expected


@pytest.mark.rfc("7672 section 3.2.3")
def test_the_common_name_counts_only_without_dns_names() -> None:
    root = Authority()
    without = Authority(HOST, root, ca=False).issued
    assert certpath.dns_names(without.certificate) == [HOST]
    assert verdict(root, without) is Result.SUCCESS
    assert certpath.dns_names(root.issue("a.example").certificate) == ["a.example"]


def test_rsa() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    ca = x509.BasicConstraints(True, None)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
        .add_extension(ca, True)
    )
    anchors = Anchors((), (key.public_key(),))
    signed = builder.sign(key, hashes.SHA256())
    assert check(signed, (), anchors, [HOST], NOW) is Result.SUCCESS
    foreign = Authority().issue(HOST).certificate
    assert check(foreign, (), anchors, [HOST], NOW) is Result.NOT_TRUSTED


def test_the_key_is_cut_out_octet_for_octet() -> None:
    issued = Authority().issue(HOST)
    assert certpath.spki(issued.chain[0]) == issued.spki
    assert certpath.spki(b"rubbish") is None
    encoded = issued.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert certpath.load_key(encoded) == issued.key.public_key()
    assert certpath.load_key(b"rubbish") is None


def test_issuers_in_a_circle_end() -> None:
    one = Authority("One")
    two = Authority("Two", one)
    leaf = two.issue(HOST)
    issuers = [*leaf.above, *leaf.above, *leaf.above]
    assert check(leaf.certificate, issuers, Anchors(()), [HOST], NOW) is Result.NOT_TRUSTED


# Signed by itself with ECDSA and SHA-1, which today's libraries will not do any more.
WEAK = base64.b64decode(
    "MIIBhjCCAS6gAwIBAgIUJF41sYTViip+B2+0COhu1lEbNoowCQYHKoZIzj0EATAZMRcwFQYDVQQDDA5teC5l"
    "eGFtcGxlLmNvbTAgFw0yNjExMjIwMjI5MzZaGA8yMTkxMDMwMjAyMjkzNlowGTEXMBUGA1UEAwwObXguZXhh"
    "bXBsZS5jb20wWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQiFH5aK/CJMjLf1pN9MxXgqNxznJ7CFueQiDbD"
    "6646xdP+w3GsCdqjasKxLDy0ulxt3b/U7tXrMqV1uRSwJpDKo1MwUTAdBgNVHQ4EFgQUAShq6ZjK5Uj8OmuJ"
    "vm0oRTUbh9swHwYDVR0jBBgwFoAUAShq6ZjK5Uj8OmuJvm0oRTUbh9swDwYDVR0TAQH/BAUwAwEB/zAJBgcq"
    "hkjOPQQBA0cAMEQCIHIFG7tmaxoOaDR25MWji6RRFvqBRWYh3gz06QF9zjPzAiBTbZcznAnPLjLcd2y4yNWV"
    "JaGSZlhKoijTNK99GyQptw=="
)


def test_a_weak_digest_is_no_signature() -> None:
    weak = certpath.load(WEAK)
    assert weak is not None
    anchors = Anchors((), (weak.public_key(),))
    assert check(weak, (), anchors, [HOST], NOW) is Result.NOT_TRUSTED


def test_a_certificate_of_no_known_version() -> None:
    der = Authority().issue(HOST).chain[0]
    version = b"\xa0\x03\x02\x01"
    assert certpath.load(der) is not None
    assert certpath.load(der.replace(version + b"\x02", version + b"\x19", 1)) is None


def test_spoilt_certificates_are_not_trusted_and_raise_nothing() -> None:
    chance = random.Random(1)
    root = Authority(extensions=[constraints("example.com", "bad.example.com")])
    leaf = root.issue(HOST, extensions=[x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])])
    for _ in range(3000):
        spoilt = bytearray(chance.choice(leaf.chain))
        spoilt[chance.randrange(len(spoilt))] ^= chance.randrange(1, 256)
        if found := certpath.load(bytes(spoilt)):
            anchors = Anchors((root.issued.certificate, found))
            issuers = (*leaf.above, found)
            check(found, issuers, anchors, [HOST], NOW)
            check(leaf.certificate, issuers, anchors, [HOST], NOW)
