"""Signatures: those of the RFCs made again, ours verified by somebody else."""

import base64
import random
import re
from datetime import UTC, datetime
from types import ModuleType

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from mailstead.message import header as fields
from mailstead.model.address import Domain
from mailstead.msgauth.dkim.canonical import BodyHash, Form
from mailstead.msgauth.dkim.key import PrivateKey, SigningKey, load, txt_strings
from mailstead.msgauth.dkim.sign import INSTANCES_LIMIT, choose_fields, sign, sign_data, signed_data

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
BODY = b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"
BODY_HASH = "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
FROM = b"From: Joe SixPack <joe@football.example.com>\r\n"
TO = b"To: Suzie Q <suzie@shopping.example.net>\r\n"
SUBJECT = b"Subject: Is dinner ready?\r\n"
DATE = b"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
ID = b"Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"

# ---------------------------------------------------------------------- the RFCs' own


@pytest.mark.rfc("6376 section A.2")
@pytest.mark.rfc("8463 section A.3")
@pytest.mark.parametrize(
    ("form", "body"),
    # The text of RFC 6376 has two spaces where what was signed had one.
    [(Form.SIMPLE, BODY.replace(b"  ", b" ")), (Form.RELAXED, BODY)],
)
def test_the_body_hash_of_the_examples(form: Form, body: bytes) -> None:
    hashed = BodyHash(form)
    hashed.add(body)
    assert base64.b64encode(hashed.finish()).decode() == BODY_HASH


# The secret keys of RFC 8463 section A.1, which everybody knows.
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(
    base64.b64decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
)
RSA = load_pem_private_key(
    b"""-----BEGIN RSA PRIVATE KEY-----
MIICXQIBAAKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi
Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqM
KrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB
AoGAH0cxOhFZDgzXWhDhnAJDw5s4roOXN4OhjiXa8W7Y3rhX3FJqmJSPuC8N9vQm
6SVbaLAE4SG5mLMueHlh4KXffEpuLEiNp9Ss3O4YfLiQpbRqE7Tm5SxKjvvQoZZe
zHorimOaChRL2it47iuWxzxSiRMv4c+j70GiWdxXnxe4UoECQQDzJB/0U58W7RZy
6enGVj2kWF732CoWFZWzi1FicudrBFoy63QwcowpoCazKtvZGMNlPWnC7x/6o8Gc
uSe0ga2xAkEA8C7PipPm1/1fTRQvj1o/dDmZp243044ZNyxjg+/OPN0oWCbXIGxy
WvmZbXriOWoSALJTjExEgraHEgnXssuk7QJBALl5ICsYMu6hMxO73gnfNayNgPxd
WFV6Z7ULnKyV7HSVYF0hgYOHjeYe9gaMtiJYoo0zGN+L3AAtNP9huqkWlzECQE1a
licIeVlo1e+qJ6Mgqr0Q7Aa7falZ448ccbSFYEPD6oFxiOl9Y9se9iYHZKKfIcst
o7DUw1/hz2Ck4N5JrgUCQQCyKveNvjzkkd8HjYs0SwM0fPjK16//5qDZ2UiDGnOe
uEzxBDAr518Z8VFbR41in3W4Y3yCDgQlLlcETrS+zYcL
-----END RSA PRIVATE KEY-----
""",
    None,
)


@pytest.mark.rfc("8463 section A.3")
@pytest.mark.rfc("6376 section 3.7")
@pytest.mark.parametrize(
    ("key", "algorithm", "selector", "expected"),
    [
        (
            ED25519,
            b"ed25519",
            b"brisbane",
            "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus"
            "Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==",
        ),
        (
            RSA,
            b"rsa",
            b"test",
            "F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3"
            "DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz"
            "dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=",
        ),
    ],
)
def test_the_signatures_of_the_example(
    key: PrivateKey, algorithm: bytes, selector: bytes, expected: str
) -> None:
    names = {
        b"ed25519": b"from : to :\r\n subject : date : message-id : from : subject : date",
        b"rsa": b"from : to : subject :\r\n date : message-id : from : subject : date",
    }
    unsigned = (
        b"DKIM-Signature: v=1; a=%s-sha256; c=relaxed/relaxed;\r\n d=football.example.com;"
        b" i=@football.example.com;\r\n q=dns/txt; s=%s; t=1528637909; h=%s;\r\n bh=%s;\r\n b="
    ) % (algorithm, selector, names[algorithm], BODY_HASH.encode())
    data = signed_data([FROM, TO, SUBJECT, DATE, ID], unsigned, Form.RELAXED)
    assert base64.b64encode(sign_data(data, key)).decode() == expected


# ---------------------------------------------------------------------- what h= names


@pytest.mark.rfc("6376 section 5.4.2")
def test_of_many_fields_the_last_is_the_first() -> None:
    chosen = choose_fields(b"To: one\r\nTO: two\r\nFrom: x\r\n\r\n")
    assert [raw for name, raw in chosen if name == "To"] == [b"TO: two\r\n", b"To: one\r\n", b""]


@pytest.mark.rfc("6376 section 8.15")
@pytest.mark.parametrize("name", ["From", "To", "Subject", "Date", "Content-Type", "Reply-To"])
def test_a_field_that_was_added_breaks_the_signature(
    key: SigningKey, dkimpy: ModuleType, name: str
) -> None:
    message = signed(b"From: a@example.org\r\n\r\n", b"Hi!\r\n", key)
    assert good(dkimpy, message, key)
    assert not good(dkimpy, name.encode() + b": added\r\n" + message, key)


@pytest.mark.rfc("6376 section 5.4.1")
def test_fields_of_mailing_lists_may_be_added_and_not_doubled(
    key: SigningKey, dkimpy: ModuleType
) -> None:
    added = b"List-Unsubscribe: <mailto:leave@list.example>\r\n"
    assert good(dkimpy, added + signed(FROM + b"\r\n", b"Hi!\r\n", key), key)
    assert not good(dkimpy, added + signed(FROM + added + b"\r\n", b"Hi!\r\n", key), key)


def test_a_header_of_one_name_has_a_limit(key: SigningKey, dkimpy: ModuleType) -> None:
    message = signed(FROM + b"To: x\r\n" * 10_000 + b"\r\n", b"", key)
    names = [name for name, _ in choose_fields(message)]
    assert names.count("To") == INSTANCES_LIMIT
    assert good(dkimpy, message, key)


# ---------------------------------------------------------------------- the field


def body_hash(body: bytes) -> bytes:
    hashed = BodyHash()
    hashed.add(body)
    return hashed.finish()


def signed(header: bytes, body: bytes, key: SigningKey) -> bytes:
    return sign(header, body_hash(body), key, NOW) + header + body


def good(dkimpy: ModuleType, message: bytes, key: SigningKey) -> bool:
    records = {f"{key.name}.".encode(): key.record.encode()}
    return bool(dkimpy.verify(message, dnsfunc=lambda name, timeout=5: records[name]))


@pytest.mark.rfc("6376 section 3.5")
def test_the_field(key: SigningKey) -> None:
    field = sign(FROM + TO + b"\r\n", body_hash(BODY), key, NOW)
    assert field.endswith(b"\r\n")
    assert max(map(len, field.split(b"\r\n"))) <= 78
    (parsed,) = fields.fields(field)
    assert parsed.name == "DKIM-Signature"
    tags = dict(tag.strip().split(b"=", 1) for tag in parsed.value.split(b";"))
    names = tags.pop(b"h").replace(b"\t", b"").split(b":")
    assert names[:4] == [b"from", b"from", b"to", b"to"]
    assert b"list-id" not in names
    assert len(base64.b64decode(tags.pop(b"b").replace(b"\t", b""))) == 256
    assert tags == {
        b"v": b"1",
        b"a": b"rsa-sha256",
        b"c": b"relaxed/relaxed",
        b"t": b"1795262400",
        b"d": b"example.org",
        b"s": b"m1",
        b"bh": BODY_HASH.encode(),
    }


@pytest.mark.rfc("6376 section 3.6.1")
@pytest.mark.rfc("6376 section 3.6.2.2")
def test_the_record(key: SigningKey) -> None:
    assert key.name == "m1._domainkey.example.org"
    assert re.fullmatch(r"v=DKIM1; k=rsa; p=[A-Za-z0-9+/]{392}", key.record)
    strings = txt_strings(key.record)
    assert [len(one) for one in strings] == [255, len(key.record) - 255]
    assert "".join(strings) == key.record


@pytest.mark.rfc("8463 section A.2")
def test_the_record_of_an_ed25519_key() -> None:
    pem = ED25519.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key = SigningKey(Domain("football.example.com"), "brisbane", pem)
    assert key.record == "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    assert b"a=ed25519-sha256;" in sign(FROM + b"\r\n", body_hash(b""), key, NOW)


def test_other_keys_are_none() -> None:
    with pytest.raises(ValueError, match="PEM"):
        load(b"no key")


# ---------------------------------------------------------------------- a thousand messages

_WORDS = ("a", "Hello", "tab\tbed", "two  spaces", " ", "\t", "", "\N{SNOWMAN}", "=?utf-8?q?x?=")
_NAMES = ("Subject", "subject", "X-Other", "To", "CC", "List-Id", "References", "Content-Type")


def generate(chance: random.Random) -> tuple[bytes, bytes]:
    """A header and a body with all that canonical forms are about."""
    lines = ["From: Alice <alice@example.org>"]
    for _ in range(chance.randrange(12)):
        value = chance.choice(["", " "]) + text(chance, " ")
        folds = "".join(f"\r\n\t {text(chance, ' ')}x" for _ in range(chance.randrange(3)))
        lines.append(f"{chance.choice(_NAMES)}:{value}{folds}")
    chance.shuffle(lines)
    header = "\r\n".join(lines) + "\r\n\r\n"
    body = "".join(text(chance, " ") + "\r\n" for _ in range(chance.randrange(8)))
    body += "\r\n" * chance.randrange(4)
    return header.encode(), body.encode(chance.choice(["utf-8", "cp1252"]), "replace")


def text(chance: random.Random, between: str) -> str:
    return between.join(chance.choice(_WORDS) for _ in range(chance.randrange(5)))


def test_a_thousand_messages_are_verified(key: SigningKey, dkimpy: ModuleType) -> None:
    chance = random.Random(6376)
    for number in range(1000):
        header, body = generate(chance)
        message = signed(header, body, key)
        assert good(dkimpy, message, key), (number, message)


@pytest.mark.parametrize("change", [(b"Hi!", b"Ho!"), (b"alice", b"mallory"), (b"t=17", b"t=18")])
def test_a_change_is_noticed(
    key: SigningKey, dkimpy: ModuleType, change: tuple[bytes, bytes]
) -> None:
    message = signed(b"From: alice@example.org\r\n\r\n", b"Hi!\r\n", key)
    assert good(dkimpy, message, key)
    assert not good(dkimpy, message.replace(*change), key)


def test_a_relay_may_change_white_space(key: SigningKey, dkimpy: ModuleType) -> None:
    message = signed(b"From: alice@example.org\r\nSubject: a b\r\n\r\n", b"Hi you!\r\n", key)
    changed = message.replace(b"a b", b"a\r\n\tb").replace(b"Hi you!", b"Hi  you! ") + b"\r\n"
    assert good(dkimpy, changed, key)


def test_any_octets_are_signed(key: SigningKey) -> None:
    chance = random.Random(1)
    for _ in range(200):
        header = bytes(chance.choices(b"To: \r\n\0\xff\t", k=60))
        assert sign(header, body_hash(header), key, NOW).startswith(b"DKIM-Signature: v=1;")


def test_keys_of_the_rfc_are_what_we_take_keys_for() -> None:
    assert isinstance(RSA, rsa.RSAPrivateKey)
